"""Fixtures on real servers for every test of the workspace."""

pytest_plugins = ["runyard_stack.testing"]
