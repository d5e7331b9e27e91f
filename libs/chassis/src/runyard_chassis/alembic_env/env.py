# ruff: noqa: INP001  # Alembic loads it by path
"""Alembic's environment for every service: runs on the connection that runyard_chassis.migrations hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
