"""Runyard LLM gateway: the only holder of provider credentials."""
