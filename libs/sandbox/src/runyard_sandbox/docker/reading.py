"""From the engine's JSON to what the product asks about."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from runyard_sandbox.docker.engine import Json, part
from runyard_sandbox.docker.labels import ALIAS, OWNER, TENANT, epoch_of, expiry_of, pages_of, purpose_of
from runyard_sandbox.provisioner import Sandbox, Stats, Status
from runyard_sandbox.timestamps import STAMPED, moment

_STATUSES: Mapping[str, Status] = {
    "created": "creating",
    "running": "running",
    "restarting": "running",
    "paused": "paused",
    "exited": "stopped",
    "removing": "stopped",
    "dead": "error",
}
_SAYS_ENOUGH = frozenset({"created", "running", "restarting", "paused"})


def from_inspection(data: Json, page_address: str) -> Sandbox:
    """From the whole description of a container."""
    state: Json = data["State"]
    labels = part(data, "Config", "Labels")
    at_rest = state["Status"] in {"exited", "dead"}
    return _sandbox(
        name=str(data["Name"]).removeprefix("/"),
        native_id=str(data["Id"]),
        status=_STATUSES.get(state["Status"], "error"),
        labels=labels,
        exit_code=int(state["ExitCode"]) if at_rest else None,
        out_of_memory=bool(state.get("OOMKilled")),
        healthy=_healthy(part(state, "Health"), part(data, "Config", "Healthcheck")),
        created_at=stamp(str(data["Created"])),
        page_address=page_address,
    )


def from_summary(data: Json, page_address: str) -> Sandbox | None:
    """From one line of the list; None when it does not say enough (how something ended, or why it is unhealthy)."""
    words = str(data.get("Status", ""))
    if data["State"] not in _SAYS_ENOUGH or "unhealthy" in words:
        return None
    labels = part(data, "Labels")
    return _sandbox(
        name=str(data["Names"][0]).removeprefix("/"),
        native_id=str(data["Id"]),
        status=_STATUSES[data["State"]],
        labels=labels,
        healthy=True if "healthy" in words else None,
        created_at=datetime.fromtimestamp(int(data["Created"]), UTC),
        page_address=page_address,
    )


def from_stats(data: Json) -> Stats | None:
    """From one reading; None for one of a container that does not run (all zero)."""
    memory = part(data, "memory_stats")
    if "usage" not in memory:
        return None
    networks = cast("dict[str, Json]", part(data, "networks")).values()
    return Stats(
        at=stamp(str(data["read"])) or datetime.now(UTC),
        cpu_percent=_cpu_percent(data),
        memory_bytes=_memory(memory),
        memory_limit_bytes=_number(memory, "limit"),
        processes=_number(part(data, "pids_stats"), "current"),
        received_bytes=sum(int(each.get("rx_bytes", 0)) for each in networks),
        sent_bytes=sum(int(each.get("tx_bytes", 0)) for each in networks),
    )


def written_folders(data: Json) -> list[Path]:
    """Where on the host its files are that it may write, from its description.

    The engine's own volumes among them only where this process may look into them: the engine's folder is mostly
    closed to others.
    """
    mounts = [mount for mount in cast("list[Json]", data.get("Mounts") or []) if mount.get("RW")]
    folders = [(Path(str(mount["Source"])), mount["Type"]) for mount in mounts if mount["Type"] in {"bind", "volume"}]
    return [folder for folder, kind in folders if kind == "bind" or os.access(folder, os.R_OK | os.X_OK)]


def stamp(text: str) -> datetime | None:
    """The engine's time with its nanoseconds; None for its zero."""
    found = STAMPED.match(text)
    return None if found is None or text.startswith("0001-") else moment(found[1])


def _sandbox(
    *,
    name: str,
    native_id: str,
    status: Status,
    labels: Mapping[str, str],
    page_address: str,
    exit_code: int | None = None,
    out_of_memory: bool = False,
    healthy: bool | None = None,
    created_at: datetime | None = None,
) -> Sandbox:
    return Sandbox(
        name=name,
        native_id=native_id,
        status=status,
        purpose=purpose_of(labels),
        tenant_id=labels.get(TENANT, ""),
        owner_id=labels.get(OWNER, ""),
        epoch=epoch_of(labels),
        exit_code=exit_code,
        out_of_memory=out_of_memory,
        healthy=healthy,
        alias=labels.get(ALIAS),
        created_at=created_at,
        expires_at=expiry_of(labels),
        addresses={inside: f"{page_address}:{here}" for inside, here in pages_of(labels).items()},
    )


def _healthy(health: Json, check: Json) -> bool | None:
    """Of one that was paused the engine says "unhealthy" until it has looked again, however its last looks ended."""
    if health.get("Status") == "unhealthy" and int(health.get("FailingStreak") or 0) >= int(check.get("Retries") or 3):
        return False
    return True if health.get("Status") == "healthy" else None


def _cpu_percent(data: Json) -> float:
    """Of one core: what it used since the last reading, over the time that went by."""
    now, before = part(data, "cpu_stats"), part(data, "precpu_stats")
    used = _total(now) - _total(before)
    went_by = int(now.get("system_cpu_usage") or 0) - int(before.get("system_cpu_usage") or 0)
    cores = int(now.get("online_cpus") or 1)
    if used <= 0 or went_by <= 0 or not before.get("system_cpu_usage"):
        return 0.0
    return round(100.0 * cores * used / went_by, 2)


def _total(cpu: Json) -> int:
    return int(part(cpu, "cpu_usage").get("total_usage") or 0)


def _memory(memory: Json) -> int:
    """Without the pages of files that the kernel would give back first (cgroup v1 and v2 name them differently)."""
    details = part(memory, "stats")
    cache = int(details.get("total_inactive_file") or details.get("inactive_file") or 0)
    return max(0, int(memory["usage"]) - cache)


def _number(data: Json, key: str) -> int | None:
    return int(data[key]) if key in data else None
