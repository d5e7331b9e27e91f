"""Workspaces and their remotes: fetch, push what a session has worked out, ask for its merge."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from runyard_chassis import CallerDep, ProblemBody
from runyard_events.commands import FetchWorkspace, OpenPullRequest, PushSession
from runyard_gateway.api.dependencies import GatewayDep, known_workspace, open_session
from runyard_gateway.api.fields import Body, Id, Line, View, Words, one_line

router = APIRouter(prefix="/api", tags=["remotes"])

BranchName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(one_line)]
_FAILURES: dict[int | str, dict[str, Any]] = {
    409: {
        "model": ProblemBody,
        "description": "`sync-conflict` with `files`, `sync-rejected`, or `sync-nothing-to-push`.",
    },
    422: {"model": ProblemBody, "description": "`sync-auth-required` or `sync-not-found`, or a body that is none."},
    502: {"model": ProblemBody, "description": "`sync-unreachable` or `sync-failed`."},
    504: {"model": ProblemBody, "description": "`sync-timeout`."},
}


class FetchView(View):
    """What a fetch has brought."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "workspace_id": "6f1c7a52-5b7e-4f0e-9f6a-2f1f0c1d9a11",
                    "branches": {"main": "29aa569c91f04d14e225a440089fe0e36454a925", "old": ""},
                }
            ]
        }
    )
    workspace_id: Id
    branches: dict[str, str] = Field(description="The branches that changed; an empty commit: it is gone.")


class Push(Body):
    """Where to, and in what words."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message": "Add a health check"}]})
    branch: BranchName | None = Field(default=None, description="The session's own when not given.")
    message: Words | None = Field(default=None, description="Of the commit for what the agent has not committed.")


class PushView(View):
    """What is on the remote now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "branch": "runyard/6f1c7a52",
                    "commit": "29aa569c91f04d14e225a440089fe0e36454a925",
                    "up_to_date": False,
                    "left_out": [],
                }
            ]
        }
    )
    branch: str
    commit: str
    up_to_date: bool = Field(description="It was there already.")
    left_out: list[str] = Field(default=[], description="Files that are too large for a commit, or none Git can keep.")


class Proposal(Body):
    """What is proposed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"title": "Add a health check", "body": "It answers `ok`.", "draft": True}]}
    )
    title: Line
    body: Annotated[str, StringConstraints(max_length=60_000)] = ""
    base: BranchName | None = Field(default=None, description="The branch to merge into; else the default one.")
    draft: bool = False


class PullRequestView(PushView):
    """The pull request, and what was pushed for it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "https://github.com/org/repo/pull/7",
                    "number": 7,
                    "existed": False,
                    "branch": "runyard/6f1c7a52",
                    "commit": "29aa569c91f04d14e225a440089fe0e36454a925",
                    "up_to_date": False,
                    "left_out": [],
                }
            ]
        }
    )
    url: str
    number: int
    existed: bool = Field(description="It was open before it was asked for.")


@router.post(
    "/workspaces/{workspace_id}/fetch", summary="Bring a workspace up to date with its remote", responses=_FAILURES
)
async def fetch(workspace_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response) -> FetchView:
    row = await known_workspace(gateway, caller, workspace_id)
    wanted = FetchWorkspace(workspace_id=row["id"])
    timeout = gateway.settings.sync_timeout_seconds
    written = await gateway.commands.carry_out(caller, wanted, timeout_seconds=timeout)
    written.mark(response)
    return FetchView.model_validate(written.result)


@router.post(
    "/sessions/{session_id}/push",
    summary="Push what a session has worked out to a branch of the remote",
    responses=_FAILURES,
)
async def push(
    session_id: UUID, caller: CallerDep, gateway: GatewayDep, response: Response, body: Push | None = None
) -> PushView:
    row = await open_session(gateway, caller, session_id)
    given = body or Push()
    wanted = PushSession(
        workspace_id=row["workspace_id"], session_id=row["id"], branch=given.branch, message=given.message
    )
    timeout = gateway.settings.sync_timeout_seconds
    written = await gateway.commands.answered(caller, wanted, timeout_seconds=timeout)
    written.mark(response)
    return PushView.model_validate(written.result)


@router.post(
    "/sessions/{session_id}/pull-request",
    summary="Push, and ask on GitHub for the merge of a session's branch",
    responses=_FAILURES,
)
async def open_pull_request(
    session_id: UUID, body: Proposal, caller: CallerDep, gateway: GatewayDep, response: Response
) -> PullRequestView:
    row = await open_session(gateway, caller, session_id)
    wanted = OpenPullRequest(workspace_id=row["workspace_id"], session_id=row["id"], **body.model_dump())
    timeout = gateway.settings.sync_timeout_seconds
    written = await gateway.commands.answered(caller, wanted, timeout_seconds=timeout)
    written.mark(response)
    return PullRequestView.model_validate(written.result)
