"""A preview's files and what they are, as the workspace service has them."""

import shlex
from dataclasses import dataclass
from typing import Any

from runyard_events import CommandBus, CommandPayload, CommandTimeout, LogUnavailable, Reply, command, derived_id
from runyard_events.catalogue import PreviewFailure, PreviewPrepared
from runyard_events.commands import DetectProject, OpenPreviewTree, PrepareSandbox, RemovePreviewTree
from runyard_orchestrator.adapters.preview_projects import CHOSEN, compose_project
from runyard_orchestrator.domain.compose import NotServed
from runyard_orchestrator.domain.facts import OWNER
from runyard_orchestrator.domain.preview import BUILT, COMPOSE, Preview
from runyard_orchestrator.store.previews import PreviewKey

_SECONDS = 120


@dataclass(frozen=True, slots=True)
class NotPrepared(Exception):
    """The files are not to be had, or nobody knows how to serve them."""

    reason: PreviewFailure
    message: str


class PreviewFiles:
    """Asks the workspace service. `owner` is `uid:gid` of previews in containers."""

    def __init__(self, bus: CommandBus, owner: str) -> None:
        self._bus = bus
        self._owner = owner

    async def prepare(self, key: PreviewKey, preview: Preview, *, boxed: bool, builds: bool) -> PreviewPrepared:
        """Has the files made ready, and finds out how they are served.

        `boxed`: a container is to read and write them. `builds`: images can be built where the preview will run.

        Raises:
            NotPrepared: it cannot be.
            LogUnavailable: the workspace service does not answer.
        """
        tree = await self._tree(key, preview, boxed=boxed)
        found: dict[str, Any]
        if preview.command:
            found = {"framework": "command", "name": "Command", "install": None, "serve": preview.command, "folder": ""}
        else:
            found = await self._detected(key, preview, tree["path"], builds=builds)
        is_built = found["framework"] in BUILT
        return PreviewPrepared(
            path=tree["path"],
            framework=found["framework"],
            name=found["name"],
            install=_in_folder(tree["path"], found["folder"], found["install"]),
            build=_in_folder(tree["path"], found["folder"], found.get("build")),
            serve=_in_folder(tree["path"], found["folder"], found["serve"]) or "",
            branch=tree.get("branch"),
            commit=tree.get("commit"),
            folder=found["folder"] if is_built else "",
        )

    async def has_moved(self, key: PreviewKey, preview: Preview) -> bool:
        """Whether the branch that it shows is at another commit now; then its files are the new ones already.

        Raises:
            LogUnavailable: the workspace service does not answer.
        """
        if preview.session_id is not None:
            return False
        wanted = OpenPreviewTree(workspace_id=preview.workspace_id, preview_id=key.preview_id, branch=preview.branch)
        reply = await self._ask(key, wanted)
        return reply.ok and reply.result.get("commit") != preview.commit

    async def remove(self, key: PreviewKey, preview: Preview) -> None:
        """Has the files of a branch's preview removed, sooner or later."""
        wanted = RemovePreviewTree(workspace_id=preview.workspace_id, preview_id=key.preview_id)
        await self._bus.send(
            command(
                wanted,
                tenant_id=key.tenant_id,
                actor=f"service:{OWNER}",
                command_id=derived_id("remove-preview-tree", key.tenant_id, key.preview_id),
            )
        )

    async def _tree(self, key: PreviewKey, preview: Preview, *, boxed: bool) -> dict[str, Any]:
        if preview.session_id is None:
            wanted = OpenPreviewTree(
                workspace_id=preview.workspace_id,
                preview_id=key.preview_id,
                branch=preview.branch,
                owner=self._owner if boxed else None,
            )
            return _needed(await self._ask(key, wanted), "workspace_lost")
        if boxed:
            wanted = PrepareSandbox(session_id=preview.session_id, owner=self._owner, beside=True)
            return _needed(await self._ask(key, wanted), "workspace_lost")
        looked = await self._ask(key, DetectProject(workspace_id=preview.workspace_id, session_id=preview.session_id))
        return _needed(looked, "workspace_lost")

    async def _detected(self, key: PreviewKey, preview: Preview, path: str, *, builds: bool) -> dict[str, Any]:
        about = {"session_id": preview.session_id} if preview.session_id else {"preview_id": key.preview_id}
        asked = DetectProject(workspace_id=preview.workspace_id, **about)
        candidates = _needed(await self._ask(key, asked), "workspace_lost")["candidates"]
        if preview.framework:
            asked_for = COMPOSE if preview.framework.startswith(CHOSEN) else preview.framework
            candidates = [one for one in candidates if one["framework"] == asked_for]
        if not candidates:
            what = f"a project of {preview.framework}" if preview.framework else "a project that we know how to serve"
            raise NotPrepared("not_detected", f"The files are not {what}. Give a command that serves them on $PORT.")
        why = "images are not built here."
        for one in candidates:
            if one["framework"] not in BUILT:
                return one
            if not builds:
                continue
            try:
                if one["framework"] == COMPOSE:
                    await compose_project(path, one["folder"], preview.framework)
            except NotServed as error:
                why = f"it cannot be served: {error}"
            else:
                return one
        raise NotPrepared(
            "not_detected",
            f"All that was found is a {candidates[0]['name']}, and {why} "
            "Give a command that serves the project on $PORT.",
        )

    async def _ask(self, key: PreviewKey, payload: CommandPayload) -> Reply:
        try:
            return await self._bus.request(
                command(payload, tenant_id=key.tenant_id, actor=f"service:{OWNER}"), timeout=_SECONDS
            )
        except CommandTimeout as error:
            raise LogUnavailable(str(error)) from error


def _needed(reply: Reply, reason: PreviewFailure) -> dict[str, Any]:
    if not reply.ok:
        raise NotPrepared(reason, reply.problem.detail if reply.problem else "The files are not to be had.")
    return reply.result


def _in_folder(path: str, folder: str, commands: str | None) -> str | None:
    if not commands or not folder:
        return commands
    return f"cd {shlex.quote(f'{path}/{folder}')} && {commands}"
