"""Imports: send the command, then wait for what the log says about the workspace."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakValueDictionary

from sqlalchemy import RowMapping

from runyard_chassis import Caller, Problem, TimedOut, raise_for_problem
from runyard_events.commands import ImportWorkspace, Reply
from runyard_events.ids import derived_id, new_id
from runyard_gateway.commands import Commands, request_hash
from runyard_gateway.consistency import Consistency
from runyard_gateway.store.records import Records
from runyard_gateway.streaming.hub import Hub
from runyard_gateway.streaming.subscription import Subscription

SourceType = Literal["github", "git", "local"]
UNPROCESSABLE = 422
_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*")
_SCP = re.compile(r"^[^/]*?:")


@dataclass(frozen=True)
class Imports:
    """Carries out imports. `wait_seconds` bounds how long an answer is held back for a clone."""

    commands: Commands
    consistency: Consistency
    records: Records
    hub: Hub
    wait_seconds: float
    under_way: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(
        default_factory=WeakValueDictionary[tuple[str, str], asyncio.Lock]
    )
    """One lock per repository that is looked for, so that several who need it at once import it once."""

    async def known_or_new(self, caller: Caller, source_uri: str, *, key: str | None) -> RowMapping:
        """The workspace of a repository, imported when there is none yet. Raises as `carry_out`."""
        spellings = spellings_of(source_uri)
        lock = self.under_way.setdefault((caller.tenant, spellings[0]), asyncio.Lock())
        async with lock:
            known = await self.records.workspace_from(caller.tenant, spellings)
            if known is not None:
                return known
            return await self.of(caller, source_type_of(source_uri), source_uri, name=None, key=key, wait=True)

    async def of(
        self, caller: Caller, source_type: SourceType, source_uri: str, *, name: str | None, key: str | None, wait: bool
    ) -> RowMapping:
        """Imports a repository; the same key with the same repository is the same workspace. Raises as `carry_out`."""
        display_name = name or default_name(source_uri)
        wanted = ImportWorkspace(
            workspace_id=derived_id(caller.tenant, "workspace", key) if key else new_id(),
            source_type=source_type,
            source_uri=source_uri,
            display_name=display_name,
            idempotency_key=key,
            request_hash=request_hash({"type": source_type, "uri": source_uri, "name": display_name}),
        )
        return await self.carry_out(caller, wanted, wait=wait)

    async def carry_out(self, caller: Caller, wanted: ImportWorkspace, *, wait: bool) -> RowMapping:
        """The workspace's row: ready, or still importing when the wait was over (or not wanted).

        Raises:
            Problem: 422 `workspace-import-failed` with `reason`; 503 or 504 when nothing is known.
        """
        topic = f"ev.{caller.tenant}.workspace.{wanted.workspace_id}"
        moved = asyncio.Event()
        with self.hub.subscribe(topic) as events:
            asking = asyncio.create_task(self.commands.ask(caller, wanted, timeout_seconds=self.wait_seconds))
            asking.add_done_callback(lambda _: moved.set())
            watching = asyncio.create_task(_tell(events, moved))
            try:
                async with asyncio.timeout(self.wait_seconds):
                    while True:
                        await moved.wait()
                        moved.clear()
                        row = await self._row(caller, wanted, asking)
                        if row is not None and (row["status"] != "importing" or not wait):
                            return _unless_failed(row)
            except TimeoutError:
                return _still_going(await self.records.workspace(caller.tenant, wanted.workspace_id))
            finally:
                asking.cancel()
                watching.cancel()

    async def _row(self, caller: Caller, wanted: ImportWorkspace, asking: "asyncio.Task[Reply]") -> RowMapping | None:
        await self.consistency.shows(self.hub.last_of_state)
        if asking.done():
            reply = _unless_refused(asking.result())
            if reply.seq is not None:
                await self.consistency.shows(reply.seq)
        return await self.records.workspace(caller.tenant, wanted.workspace_id)


async def _tell(events: Subscription, moved: asyncio.Event) -> None:
    while not events.closed:
        if any(one.family == "lifecycle" for one in await events.take()):
            moved.set()


def default_name(source_uri: str) -> str:
    """`org/repo` of an address or a path, or as much of it as there is."""
    text = _SCHEME.sub("", source_uri.strip())
    if text == source_uri.strip():
        text = _SCP.sub("", text)
    parts = [part for part in re.split(r"[/\\]+", text.split("?")[0].split("#")[0]) if part not in {"", ".", ".."}]
    if parts:
        parts[-1] = parts[-1].removesuffix(".git") or parts[-1]
    return "/".join(parts[-2:])[:200] or "repository"


def spellings_of(source_uri: str) -> list[str]:
    """One address as it may have been written: with and without `.git` and a slash at its end."""
    bare = source_uri.strip().rstrip("/").removesuffix(".git")
    return [bare, f"{bare}.git", f"{bare}/", f"{bare}.git/"]


def source_type_of(repo_url: str) -> SourceType:
    """What kind of source an address is when nobody said so."""
    text = repo_url.strip()
    if text.startswith(("/", "./", "../", "~", "file://")):
        return "local"
    if re.match(r"^(https?://|ssh://git@|git@)?(www\.)?github\.com[/:]", text) or re.fullmatch(
        r"[\w.-]+/[\w.-]+", text
    ):
        return "github"
    return "git"


def _unless_refused(reply: Reply) -> Reply:
    problem = reply.problem
    if problem is not None and problem.type.startswith("import-"):
        raise failed(problem.type.removeprefix("import-").replace("-", "_"), problem.detail)
    return raise_for_problem(reply)


def _unless_failed(row: RowMapping) -> RowMapping:
    if row["status"] == "failed":
        raise failed(row["failure_reason"], row["failure_message"], workspace_id=row["id"])
    return row


def failed(reason: str, message: str | None, **extra: Any) -> Problem:
    """The problem of a repository that could not be had."""
    return Problem(
        UNPROCESSABLE,
        "workspace-import-failed",
        "The repository could not be imported",
        message,
        reason=reason,
        **extra,
    )


def _still_going(row: RowMapping | None) -> RowMapping:
    if row is None:
        raise TimedOut(
            "The import is queued but nobody has taken it up yet; it may still be carried out.",
            type="command-timeout",
        )
    return row
