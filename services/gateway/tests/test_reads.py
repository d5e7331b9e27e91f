"""What the API shows of a log that others have written."""

from uuid import uuid4

import httpx

from .conftest import Running, Story
from .histories import call, checkpoint, completed, imported, opened, requested, worked


async def test_a_told_story_is_read_back_on_every_route(api: httpx.AsyncClient, gateway: Running, story: Story) -> None:
    ws, session, run = (str(uuid4()) for _ in range(3))
    await story.tell(story.workspace(ws), *imported(), source="workspace")
    await story.tell(story.session(session), *opened(ws))
    await story.tell(story.run(session, run), *requested(ws))
    await story.tell(story.run(session, run), *worked(session), *completed(), source="runner-codex.1")
    await story.tell(story.run(session, run), call(), call(), source="llm-gateway.1")
    end = await story.tell(story.run(session, run), checkpoint(), source="workspace")

    answer = await api.get(f"/api/runs/{run}", params={"min_seq": end})
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown["status"] == "completed"
    assert shown["usage"]["input_tokens"] == 200
    assert shown["cost_usd"] == 0.025
    assert shown["diff"] == {"commit": "beef", "files_changed": 2, "insertions": 7, "deletions": 1}
    assert shown["queue_position"] is None

    messages = (await api.get(f"/api/sessions/{session}/messages")).json()["items"]
    assert [(one["role"], one["text"]) for one in messages] == [
        ("user", "List the files"),
        ("assistant", "word word word "),
    ]
    assert (await api.get(f"/api/workspaces/{ws}")).json()["local_path"] == "/workspaces/w/repo"
    assert (await api.get(f"/api/sessions/{session}")).json()["repo_path"] == "/workspaces/w/s"
    sessions = (await api.get(f"/api/workspaces/{ws}/sessions")).json()["items"]
    assert [one["session_id"] for one in sessions] == [session]
    dashboard = (await api.get("/api/stats/dashboard")).json()
    assert (dashboard["workspaces_count"], dashboard["sessions_count"], dashboard["runs_total"]) == (1, 1, 1)
    assert [one["type"] for one in dashboard["recent_activity"]] == ["run", "session", "workspace"]
    stream = await api.get(f"/api/runs/{run}/events")
    assert stream.content.startswith(b": connected\n\n")
    assert stream.content.count(b"\ndata: ") == 11
    assert stream.headers["cache-control"] == "no-cache, no-transform"
    assert stream.headers["x-accel-buffering"] == "no"
