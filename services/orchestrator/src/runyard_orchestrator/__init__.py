"""Runyard orchestrator service."""
