"""Runyard gateway service."""
