"""One run loop for every agent: lease, heartbeat, publish, cancel, approve, resume."""
