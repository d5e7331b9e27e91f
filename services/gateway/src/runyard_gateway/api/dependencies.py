"""What routes stand on: the gateway's parts, and the row behind an id."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query
from sqlalchemy import RowMapping
from starlette.requests import HTTPConnection

from runyard_chassis.auth import Caller, CallerDep
from runyard_chassis.problems import NotFound
from runyard_gateway.api.fields import MAX_SEQ, Cursor, Limit
from runyard_gateway.gateway import Gateway
from runyard_gateway.store.paging import Cut


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The parts that `build` put on the app."""
    gateway = connection.app.state.gateway
    if not isinstance(gateway, Gateway):
        raise TypeError("the app was not made by runyard_gateway.app.build()")
    return gateway


GatewayDep = Annotated[Gateway, Depends(gateway_of)]


async def fresh(
    caller: CallerDep,
    gateway: GatewayDep,
    min_seq: Annotated[
        int | None,
        Query(ge=0, le=MAX_SEQ, description="Wait until this stream sequence can be read (`X-Runyard-Seq`)."),
    ] = None,
) -> Caller:
    """The caller of a read, once the rows are as new as the caller asks for, or as what streams here have told."""
    if min_seq is None:
        await gateway.consistency.shows_told()
    else:
        await gateway.consistency.shows_all(min_seq)
    return caller


ReaderDep = Annotated[Caller, Depends(fresh)]


def cut(limit: Limit = 50, cursor: Cursor = None) -> Cut:
    """Which page of a listing."""
    return Cut(limit, cursor)


CutDep = Annotated[Cut, Depends(cut)]


async def found(gateway: Gateway, look: Callable[[], Awaitable[RowMapping | None]]) -> RowMapping | None:
    """What a look at the rows finds; if nothing, what it finds when they show what streams here have told."""
    if (row := await look()) is None:
        await gateway.consistency.shows_told()
        row = await look()
    return row


async def open_session(gateway: Gateway, caller: Caller, session_id: UUID) -> RowMapping:
    """The caller's session.

    Raises:
        NotFound: there is none, it is deleted, or another tenant's.
    """
    row = await found(gateway, lambda: gateway.records.session(caller.tenant, str(session_id)))
    if row is None or row["status"] == "deleted":
        raise NotFound("There is no such session.", type="session-not-found")
    return row


async def known_run(gateway: Gateway, caller: Caller, run_id: UUID) -> RowMapping:
    """The caller's run.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    row = await found(gateway, lambda: gateway.records.run(caller.tenant, str(run_id)))
    if row is None:
        raise run_not_found()
    return row


async def known_workspace(gateway: Gateway, caller: Caller, workspace_id: UUID) -> RowMapping:
    """The caller's workspace.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    row = await found(gateway, lambda: gateway.records.workspace(caller.tenant, str(workspace_id)))
    if row is None:
        raise NotFound("There is no such workspace.", type="workspace-not-found")
    return row


def run_not_found() -> NotFound:
    """The problem of a run that is not there."""
    return NotFound("There is no such run.", type="run-not-found")
