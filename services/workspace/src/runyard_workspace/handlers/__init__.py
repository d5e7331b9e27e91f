"""What the service does when a command or an event comes in."""
