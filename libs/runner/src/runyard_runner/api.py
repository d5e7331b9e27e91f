"""The runners' own HTTP contract: threads and runs without the gateway, in the same log.

A thread is a session: it is made by the orchestrator in the workspace that the directory belongs to,
with a worktree of its own, and its runs queue like all others. So nothing is known here that the log
does not know, and every runner of the same type answers alike.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import StreamingResponse

from runyard_chassis import (
    Caller,
    CallerDep,
    Invalid,
    NotFound,
    StreamCallerDep,
    TimedOut,
    Unavailable,
    raise_for_problem,
)
from runyard_events.catalogue import TERMINAL_TYPES
from runyard_events.commands import CommandBus, CommandPayload, CreateSession, RequestRun, command
from runyard_events.errors import CommandTimeout, LogUnavailable
from runyard_events.ids import new_id
from runyard_events.log import EventLog
from runyard_events.subjects import run_everything
from runyard_events.tasks import end_tasks

CONNECTED = b": connected\n\n"
HEARTBEAT = b": heartbeat\n\n"
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}

router = APIRouter(tags=["runner"])


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid", frozen=True)


class NewThread(_Body):
    """Where the agent is to work: a workspace's folder or anything inside it."""

    working_directory: str = Field(min_length=1, max_length=4096)
    skip_git_repo_check: bool = False
    """Accepted for the contract's sake: a workspace is always a repository."""


class Thread(_Body):
    thread_id: str


class NewRun(_Body):
    thread_id: UUID
    prompt: str = Field(min_length=1, max_length=200_000)


class Run(_Body):
    run_id: str


@dataclass(frozen=True, slots=True)
class Direct:
    """What the routes work with."""

    runner_type: str
    bus: CommandBus
    log: EventLog
    workspaces_root: Path
    stream_heartbeat_seconds: float

    async def ask(self, caller: Caller, wanted: CommandPayload) -> None:
        """Has the orchestrator carry out a command in the caller's name.

        Raises:
            Problem: it was refused, not answered in time, or could not be sent.
        """
        try:
            reply = await self.bus.request(command(wanted, tenant_id=caller.tenant, actor=caller.user))
        except CommandTimeout as error:
            raise TimedOut("The orchestrator did not answer in time.") from error
        except LogUnavailable as error:
            raise Unavailable("The event log is away.") from error
        raise_for_problem(reply)


def direct(request: Request) -> Direct:
    """FastAPI dependency."""
    found = request.app.state.direct
    assert isinstance(found, Direct)  # noqa: S101 - the lifespan has put it there
    return found


DirectDep = Annotated[Direct, Depends(direct)]


@router.post("/threads", status_code=201)
async def create_thread(body: NewThread, caller: CallerDep, runner: DirectDep) -> Thread:
    """A session in the workspace that the directory belongs to."""
    workspace = workspace_of(Path(body.working_directory), runner.workspaces_root)
    session = new_id()
    wanted = CreateSession(session_id=session, workspace_id=workspace, runner_type=runner.runner_type)
    await runner.ask(caller, wanted)
    return Thread(thread_id=session)


@router.post("/runs", status_code=201)
async def create_run(body: NewRun, caller: CallerDep, runner: DirectDep) -> Run:
    """A run of the thread; it waits when another one is active."""
    run = new_id()
    wanted = RequestRun(session_id=str(body.thread_id), run_id=run, prompt=body.prompt)
    await runner.ask(caller, wanted)
    return Run(run_id=run)


@router.get("/runs/{run_id}/events", response_class=StreamingResponse)
async def run_events(run_id: UUID, caller: StreamCallerDep, runner: DirectDep) -> StreamingResponse:
    """The run's events from its first one on, until its terminal one."""
    subject = run_everything(caller.tenant, "*", str(run_id))
    async with aclosing(runner.log.replay(subject)) as events:
        if await anext(events, None) is None:
            raise NotFound("There is no such run.", type="run-not-found")
    frames = _frames(runner.log, subject, runner.stream_heartbeat_seconds)
    return StreamingResponse(frames, media_type="text/event-stream", headers=HEADERS)


async def _frames(log: EventLog, subject: str, heartbeat_seconds: float) -> AsyncGenerator[bytes]:
    yield CONNECTED
    async with aclosing(log.follow(subject, from_seq=1)) as events:
        upcoming = asyncio.ensure_future(anext(events))
        try:
            while True:
                done, _ = await asyncio.wait({upcoming}, timeout=heartbeat_seconds)
                if not done:
                    yield HEARTBEAT
                    continue
                stored = upcoming.result()
                yield b"id: %d\ndata: %s\n\n" % (stored.stream_seq, stored.data)
                if stored.family == "lifecycle" and stored.event.type in TERMINAL_TYPES:
                    return
                upcoming = asyncio.ensure_future(anext(events))
        finally:
            await end_tasks(upcoming)


def workspace_of(directory: Path, root: Path) -> str:
    """The id of the workspace that a directory belongs to.

    Raises:
        Invalid: the directory is missing, or outside the workspaces once links are resolved.
    """
    try:
        inside = directory.resolve(strict=True).relative_to(root.resolve())
        return str(UUID(inside.parts[0]))
    except (OSError, ValueError, IndexError) as error:
        raise Invalid("workingDirectory is not inside a workspace.", type="working-directory-refused") from error
