"""Fixtures on real servers for every test of the workspace."""

import structlog

pytest_plugins = ["runyard_stack.testing"]


def pytest_configure() -> None:
    """Services in the test's own process log as they would on a terminal: without local variables in tracebacks."""
    *before, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before, plain])
