"""Drives the Codex agent."""
