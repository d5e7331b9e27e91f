"""Drives agents that speak ACP, and Droid."""
