"""The public API: takes requests, sends commands, answers from its projection, streams the log."""
