"""What the orchestrator does: carry out commands, follow up on events, repair what was left undone."""
