"""The orchestrator's hands: the log it writes, the projections it waits for, the services it sends out."""
