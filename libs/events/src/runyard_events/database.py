"""Faults of a database that pass by themselves, told from those that a statement provokes whenever it is tried."""

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

DATABASE_FAULTS = (DBAPIError, PoolTimeout, OSError, TimeoutError)
"""What asking a database may raise that is no mistake of the asker's."""
_PASSING_STATES = ("08", "25P", "40", "53", "55", "57", "58", "XX")
"""Connections refused or lost, who was in whose way, a disk or memory that is full, a server that starts or stops."""


def is_passing(error: BaseException) -> bool:
    """Whether the same statement may well succeed later. asyncpg's faults have no classes, only their SQLSTATE."""
    if isinstance(error, DBAPIError):
        state = str(getattr(error.orig, "sqlstate", None) or "")
        is_lost = error.connection_invalidated or isinstance(error, InterfaceError | OperationalError)
        return is_lost or state.startswith(_PASSING_STATES)
    return isinstance(error, DATABASE_FAULTS)
