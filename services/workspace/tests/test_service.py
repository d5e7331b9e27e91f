"""The service end to end: commands in, events and files out, on the real NATS and PostgreSQL."""

from pathlib import Path

from runyard_events import new_id
from runyard_events.catalogue import CheckpointCreated
from runyard_events.subjects import session_subject, workspace_subject

from .conftest import Running, git


async def test_a_prompt_s_files_go_from_import_to_checkpoint_and_diff(service: Running, repository: Path) -> None:
    workspace = await service.import_local(repository)
    stored = await service.events(workspace_subject(service.tenant, workspace, "lifecycle"))
    assert [one.event.type for one in stored] == ["workspace.import_requested", "workspace.imported"]
    session, path = await service.open_session(workspace)
    assert git(path, "rev-parse", "--abbrev-ref", "HEAD") == f"runyard/{session.replace('-', '')[:8]}"

    (path / "NOTES.md").write_text("one\ntwo\n")
    (path / "README.md").unlink()
    run = new_id()
    kept = (await service.finish_run(session, run)).event.payload
    assert isinstance(kept, CheckpointCreated)
    assert (kept.files_changed, kept.insertions, kept.deletions) == (2, 2, 1)

    diff = await service.http.get(f"/runs/{run}/diff", headers=service.headers())
    assert diff.status_code == 200, diff.text
    assert {one["path"]: one["status"] for one in diff.json()["files"]} == {
        "NOTES.md": "added",
        "README.md": "deleted",
    }
    live = await service.http.get(f"/sessions/{session}/diff", headers=service.headers())
    assert live.json()["patch"] == diff.json()["patch"]
    assert len(await service.events(session_subject(service.tenant, session, "effect"))) == 1
