"""Alembic history of the schema `workspace`."""
