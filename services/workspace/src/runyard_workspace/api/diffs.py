"""Diffs of a session and of a run."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, Response

from runyard_chassis import CallerDep, Invalid, NotFound
from runyard_workspace.adapters.diffs import Diff
from runyard_workspace.adapters.git import GitError
from runyard_workspace.api.sessions import SessionTrees, TreesDep
from runyard_workspace.api.shapes import ChangedFile, DiffView
from runyard_workspace.domain.diff import totals
from runyard_workspace.store import RunCheckpoint, Worktree
from runyard_workspace.views import removed

BASE = "base"
WORKTREE = "worktree"
PATCH_TYPES = ("text/x-diff", "text/x-patch", "text/plain")


router = APIRouter(tags=["diffs"])


@router.get("/sessions/{session_id}/diff", summary="What a session has changed", response_model=DiffView)
async def session_diff(
    *,
    session_id: UUID,
    caller: CallerDep,
    trees: TreesDep,
    old: Annotated[str, Query(alias="from", description="`base`, or a run: the files after it")] = BASE,
    new: Annotated[str, Query(alias="to", description="`worktree`, or a run: the files after it")] = WORKTREE,
    accept: Annotated[str, Header()] = "application/json",
) -> Response:
    worktree = await trees.views.worktree(caller.tenant, str(session_id))
    old_commit = _base(worktree) if old == BASE else await _commit_after(trees, worktree, _run_id(old))
    if new == WORKTREE:
        view = await _to_now(trees, worktree, old, old_commit)
    else:
        new_commit = await _commit_after(trees, worktree, _run_id(new))
        view = await _between(trees, worktree, (old, old_commit), (new, new_commit))
    return _answer(view, accept)


@router.get("/runs/{run_id}/diff", summary="What one run has changed", response_model=DiffView)
async def run_diff(
    *,
    run_id: UUID,
    caller: CallerDep,
    trees: TreesDep,
    session_id: Annotated[UUID | None, Query(description="for a run that has not ended: its session")] = None,
    accept: Annotated[str, Header()] = "application/json",
) -> Response:
    run = str(run_id)
    session = str(session_id) if session_id else None
    kept = await trees.views.checkpoint(caller.tenant, run, session)
    if kept is not None and (session is None or kept.session_id == session):
        worktree = await trees.views.worktree(caller.tenant, kept.session_id)
        commit, parent = _commits(kept)
        return _answer(await _between(trees, worktree, ("before", parent), (run, commit)), accept)
    if session is None or kept is not None:
        raise NotFound("There is no such run, or it has not ended.", type="checkpoint-not-found")
    worktree = await trees.views.open_worktree(caller.tenant, session)
    newest = await trees.views.newest_checkpoint(caller.tenant, session)
    since = newest.commit if newest and newest.commit else _base(worktree)
    return _answer(await _to_now(trees, worktree, "before", since), accept)


async def _commit_after(trees: SessionTrees, worktree: Worktree, run: str) -> str:
    kept = await trees.views.checkpoint(worktree.tenant_id, run, worktree.session_id)
    if kept is None or kept.session_id != worktree.session_id:
        raise NotFound("There is no such run in this session, or it has not ended.", type="checkpoint-not-found")
    return _commits(kept)[0]


async def _to_now(trees: SessionTrees, worktree: Worktree, old: str, commit: str) -> DiffView:
    if worktree.status != "opened":
        raise removed()
    diff, skipped = await trees.diff_to_now(worktree, commit)
    return _view(worktree, old, WORKTREE, diff, skipped)


async def _between(trees: SessionTrees, worktree: Worktree, old: tuple[str, str], new: tuple[str, str]) -> DiffView:
    try:
        diff = await trees.diff(worktree, old[1], new[1])
    except GitError as error:
        raise NotFound("The commits are not in the repository any more.", type="diff-lost") from error
    return _view(worktree, old[0], new[0], diff)


def _run_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise Invalid("`from` is `base` or a run's id, `to` is `worktree` or a run's id.") from None


def _base(worktree: Worktree) -> str:
    if worktree.base_commit is None:
        raise NotFound("The session has no files.", type="session-not-found")
    return worktree.base_commit


def _commits(kept: RunCheckpoint) -> tuple[str, str]:
    if kept.commit is None or kept.parent is None:
        reason = kept.failure_message or "nothing is known about them"
        raise NotFound(f"The files of this run could not be kept: {reason}", type="checkpoint-failed")
    return kept.commit, kept.parent


def _view(worktree: Worktree, old: str, new: str, diff: Diff, skipped: tuple[str, ...] = ()) -> DiffView:
    sums = totals(diff.changes)
    files = [
        ChangedFile(
            path=one.path,
            old_path=one.old_path,
            status=one.status,
            insertions=one.insertions,
            deletions=one.deletions,
            binary=one.binary,
            submodule=one.submodule,
        )
        for one in diff.changes
    ]
    return DiffView(
        session_id=worktree.session_id,
        from_=old,
        to=new,
        files_changed=sums.files,
        insertions=sums.insertions,
        deletions=sums.deletions,
        files=files,
        patch=diff.patch,
        truncated=diff.truncated,
        skipped=list(skipped),
    )


def _answer(view: DiffView, accept: str) -> Response:
    if any(kind in accept for kind in PATCH_TYPES) and "json" not in accept:
        headers = {"X-Runyard-Truncated": "true"} if view.truncated else {}
        return Response(view.patch, media_type="text/x-diff; charset=utf-8", headers=headers)
    return JSONResponse(view.model_dump(mode="json", by_alias=True))
