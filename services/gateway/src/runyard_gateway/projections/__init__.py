"""The gateway's tables: projections of the log, dropped and rebuilt at will."""
