"""Runyard workspace service."""
