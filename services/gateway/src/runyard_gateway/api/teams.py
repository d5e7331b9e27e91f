"""A team: its containers, and what it allows in them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from runyard_chassis import AdminDep, Caller, CallerDep, NotFound
from runyard_events.catalogue import SandboxRules
from runyard_events.commands import SetSandboxRules
from runyard_gateway.api.containers import ContainerView, container_view
from runyard_gateway.api.dependencies import CutDep, GatewayDep, ReaderDep
from runyard_gateway.api.fields import Body, ContainerStatus, ContainerType, Page, View
from runyard_gateway.gateway import Gateway

router = APIRouter(prefix="/api/teams/{team_id}", tags=["teams"])

_PORTS = range(1, 65536)
_LONGEST_REST = 30 * 24 * 3600


def _reachable(host: str) -> str:
    name, _, port = host.partition(":")
    if port and int(port) not in _PORTS:
        raise ValueError("a port is 1 to 65535")
    return name.lower() + (f":{int(port)}" if port else "")


Host = Annotated[
    str,
    StringConstraints(
        max_length=260,
        pattern=r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
        r"(:[0-9]{1,5})?$",
    ),
    AfterValidator(_reachable),
]
"""`host`, `*.host` or `host:port`."""
Runtime = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class Rules(Body):
    """What a team allows in its containers, whole: what is null or left out is as the installation has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "enabled": True,
                    "process_fallback": False,
                    "egress": ["packages.example.com", "*.example.org", "github.com:443"],
                    "idle_stop_seconds": 900,
                    "runtime": "runsc",
                }
            ]
        }
    )
    enabled: bool | None = Field(default=None, description="Whether runs go into containers.")
    process_fallback: bool | None = Field(
        default=None, description="Whether a run may go to a plain process when its container cannot be had."
    )
    egress: Annotated[list[Host], Field(max_length=200)] | None = Field(
        default=None,
        description="Hosts that may be reached; 80 and 443 without a port. Empty: none. New connections follow a "
        "change within ten seconds, those that are open go on.",
    )
    idle_stop_seconds: Annotated[int, Field(ge=10, le=_LONGEST_REST)] | None = None
    runtime: Runtime | None = Field(default=None, description="The container runtime, for example `runsc`.")


class RulesView(View):
    """A team's rules, and who made them so."""

    enabled: bool | None = None
    process_fallback: bool | None = None
    egress: list[str] | None = None
    idle_stop_seconds: int | None = None
    runtime: str | None = None
    changed_by: str | None = None
    changed_at: datetime | None = Field(default=None, description="Null: all is as the installation has it.")


class ContainerPage(Page):
    items: list[ContainerView]


def check_team(team_id: UUID, caller: Caller) -> None:
    """Nobody sees another team.

    Raises:
        NotFound: it is not the caller's own.
    """
    if str(team_id) != caller.tenant.lower():
        raise NotFound("There is no such team.", type="team-not-found")


def own_team(team_id: UUID, caller: CallerDep) -> None:
    """The same as a dependency of routes."""
    check_team(team_id, caller)


OwnTeam = Depends(own_team)


@router.get("/sandbox-rules", summary="What a team allows in its containers", dependencies=[OwnTeam])
async def get_rules(caller: ReaderDep, gateway: GatewayDep) -> RulesView:
    return await _rules(gateway, caller)


@router.put(
    "/sandbox-rules",
    summary="Change what a team allows in its containers, from the next run on",
    dependencies=[OwnTeam],
)
async def put_rules(body: Rules, caller: AdminDep, gateway: GatewayDep, response: Response) -> RulesView:
    wanted = SetSandboxRules(rules=SandboxRules.model_validate(body.model_dump()))
    (await gateway.commands.carry_out(caller, wanted)).mark(response)
    return await _rules(gateway, caller)


@router.get("/containers", summary="A team's containers, newest first", dependencies=[OwnTeam])
async def list_containers(
    caller: ReaderDep,
    gateway: GatewayDep,
    cut: CutDep,
    status: Annotated[ContainerStatus | None, Query()] = None,
    container_type: Annotated[ContainerType | None, Query()] = None,
) -> ContainerPage:
    page = await gateway.containers.all(caller.tenant, cut, status=status, kind=container_type)
    return ContainerPage(items=[container_view(row) for row in page.items], next_cursor=page.next)


async def _rules(gateway: Gateway, caller: Caller) -> RulesView:
    row = await gateway.containers.rules(caller.tenant)
    if row is None:
        return RulesView()
    return RulesView.model_validate({**row["rules"], "changed_by": row["changed_by"], "changed_at": row["changed_at"]})
