"""The dashboard's figures and the health of the services."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter

from runyard_chassis import CallerDep
from runyard_gateway.api.dependencies import GatewayDep, ReaderDep
from runyard_gateway.api.fields import View

RECENT = 20
router = APIRouter(prefix="/api", tags=["dashboard"])


class Activity(View):
    """Something that was begun."""

    type: Literal["run", "session", "workspace"]
    status: str
    workspace_name: str | None
    runner_type: str | None
    prompt_preview: str | None
    created_at: datetime


class Dashboard(View):
    """A tenant's figures; days are UTC."""

    workspaces_count: int
    sessions_count: int
    runs_today: int
    runs_total: int
    recent_activity: list[Activity]


class ServiceHealth(View):
    """How a service is; `latency_ms` is null when it did not answer."""

    service: str
    status: Literal["ok", "not_ready", "timeout", "down"]
    latency_ms: float | None


class Health(View):
    services: list[ServiceHealth]


@router.get("/stats/dashboard", summary="Figures for the dashboard")
async def dashboard(caller: ReaderDep, gateway: GatewayDep) -> Dashboard:
    counts = await gateway.records.counts(caller.tenant)
    recent = await gateway.records.activity(caller.tenant, RECENT)
    activity = [Activity.model_validate(dict(row)) for row in recent]
    return Dashboard.model_validate({**counts, "recent_activity": activity})


@router.get("/health/services", summary="How the services are")
async def services(caller: CallerDep, gateway: GatewayDep) -> Health:
    _ = caller
    probes = await gateway.probes.ask_all()
    return Health(services=[ServiceHealth.model_validate(probe) for probe in probes])
