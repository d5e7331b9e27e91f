"""An agent at work in one request: the repository, a session on it, the first prompt."""

import asyncio
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy import RowMapping

from runyard_chassis import Caller, CallerDep, Conflict
from runyard_events.commands import CreateSession, RequestRun
from runyard_events.ids import derived_id, new_id
from runyard_gateway.api.dependencies import GatewayDep, known_run
from runyard_gateway.api.fields import Body, Id, IdempotencyKey, RunnerType, Uri, View, Words
from runyard_gateway.api.teams import check_team
from runyard_gateway.commands import request_hash
from runyard_gateway.gateway import Gateway

router = APIRouter(prefix="/api/agents", tags=["agents"])


class Spawn(Body):
    """What is to be done, by which agent, on which repository, for which team."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        json_schema_extra={
            "examples": [
                {
                    "task": "Add a NOTES.md that says what this is",
                    "agentType": "codex",
                    "repositoryUrl": "https://github.com/psf/requests",
                    "teamId": "5e0a3f5e-6c0f-4a6e-8f0a-0d9f3b6f2c11",
                }
            ]
        },
    )
    task: Words
    agent_type: RunnerType
    repository_url: Uri = Field(
        description="Imported if the team has not got it yet; otherwise the agent begins at what was fetched last."
    )
    team_id: UUID


class Spawned(View):
    """Where the agent works. `method` is null when that was not decided in time; the run has it later."""

    success: bool = Field(description="False when the run has failed already: its `error` says why.")
    method: str | None = Field(
        description="`docker` (or another that runs containers) or `process`, as the run was handed out.",
        examples=["docker"],
    )
    session_id: Id
    run_id: Id
    workspace_id: Id


@router.post("/spawn", status_code=201, summary="Set an agent to work on a repository")
async def spawn(
    body: Spawn, caller: CallerDep, gateway: GatewayDep, response: Response, key: IdempotencyKey = None
) -> Spawned:
    check_team(body.team_id, caller)
    workspace = await gateway.imports.known_or_new(caller, body.repository_url, key=key)
    if workspace["status"] != "ready":
        detail = f"The workspace is {workspace['status']}."
        raise Conflict(detail, type="workspace-not-ready", workspace_id=workspace["id"])
    hashed = request_hash(body.model_dump(mode="json"))
    session = CreateSession(
        session_id=derived_id(caller.tenant, "session", key) if key else new_id(),
        workspace_id=workspace["id"],
        runner_type=body.agent_type,
        idempotency_key=key,
        request_hash=hashed,
    )
    await gateway.commands.carry_out(caller, session, timeout_seconds=gateway.settings.session_timeout_seconds)
    run = RequestRun(
        session_id=session.session_id,
        run_id=derived_id(caller.tenant, "run", session.session_id, key) if key else new_id(),
        prompt=body.task,
        idempotency_key=key,
        request_hash=hashed,
    )
    (await gateway.commands.carry_out(caller, run)).mark(response)
    row = await _handed_out(gateway, caller, run)
    return Spawned(
        success=row["status"] != "error",
        method=row["method"],
        session_id=session.session_id,
        run_id=run.run_id,
        workspace_id=workspace["id"],
    )


async def _handed_out(gateway: Gateway, caller: Caller, run: RequestRun) -> RowMapping:
    """The run once it is certain where it is worked on: a container that cannot be had gives it back."""
    topic = f"ev.{caller.tenant}.session.{run.session_id}.run.{run.run_id}"
    with gateway.hub.subscribe(topic) as events:
        row = await known_run(gateway, caller, UUID(run.run_id))
        try:
            async with asyncio.timeout(gateway.settings.spawn_wait_seconds):
                while not (_is_certain(row) or events.closed):
                    # What came before the subscription has passed the hub, though maybe not the rows.
                    await gateway.consistency.shows(gateway.hub.last_of_state)
                    row = await known_run(gateway, caller, UUID(run.run_id))
                    if not _is_certain(row):
                        await events.take()
        except TimeoutError:
            pass  # as far as it is known
    return row


def _is_certain(row: RowMapping) -> bool:
    return row["method"] == "process" or row["started_at"] is not None or row["end_seq"] is not None
