"""Pages by place in the log: a page stays the same however many rows are added."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Column, RowMapping, Select

Query: TypeAlias = Select[*tuple[Any, ...]]
"""A select of any columns."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which page: at most `limit` rows behind the sequence `after` (None: from the beginning)."""

    limit: int = 50
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """A page's rows and the cursor of the next page, None on the last."""

    items: Sequence[RowMapping]
    next: int | None = None


def newest_first(statement: Query, column: Column[Any], cut: Cut) -> Query:
    """The page of a listing that begins with the newest."""
    if cut.after is not None:
        statement = statement.where(column < cut.after)
    return statement.order_by(column.desc()).limit(cut.limit + 1)


def oldest_first(statement: Query, column: Column[Any], cut: Cut) -> Query:
    """The page of a listing that begins with the oldest."""
    if cut.after is not None:
        statement = statement.where(column > cut.after)
    return statement.order_by(column).limit(cut.limit + 1)


def rows(found: Sequence[RowMapping], cut: Cut, column: str) -> Rows:
    """The page out of what was found; one row more than `limit` says that there is a next page."""
    items = found[: cut.limit]
    return Rows(items, int(items[-1][column]) if len(found) > cut.limit else None)
