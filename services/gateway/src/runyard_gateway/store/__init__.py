"""Queries on the projections; every one is scoped by tenant."""
