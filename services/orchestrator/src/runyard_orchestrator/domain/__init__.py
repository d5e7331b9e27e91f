"""Sessions and runs as pure decisions: what may happen, and what is so because it happened."""
