"""Drives the Claude agent."""
