"""NATS and PostgreSQL from wheels, run as child processes."""

from runyard_stack.embedded.errors import BrokenData, EmbeddedError, PortTaken
from runyard_stack.embedded.nats import NatsServer, NatsUser
from runyard_stack.embedded.postgres import PostgresServer

__all__ = ["BrokenData", "EmbeddedError", "NatsServer", "NatsUser", "PortTaken", "PostgresServer"]
