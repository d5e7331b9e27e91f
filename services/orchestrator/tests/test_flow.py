"""The main path, through real NATS and PostgreSQL."""

import asyncio

from .conftest import World


async def test_a_prompt_runs_from_session_to_completion(world: World) -> None:
    session_id = await world.session()
    run_id = await world.prompt(session_id)
    run = await asyncio.wait_for(world.runner.started(run_id), 20)
    await run.complete()

    assert await world.types(session_id, run_id) == [
        "run.requested",
        "ui.message.user",
        "run.dispatched",
        "ui.run.started",
        "run.started",
        "ui.run.completed",
        "run.completed",
    ]
    start = run.command.payload
    assert (start.prompt, start.working_directory) == (
        "List the files.",
        f"/workspaces/{world.workspace_id}/sessions/{session_id}",
    )
    own = [one.event.seq for one in await world.events(session_id, run_id) if one.event.source == "orchestrator"]
    assert own == [1, 2, 3]


async def test_the_second_prompt_waits_for_the_first(world: World) -> None:
    session_id = await world.session()
    first = await world.prompt(session_id)
    second = await world.prompt(session_id, "And now?")
    running = await asyncio.wait_for(world.runner.started(first), 20)
    assert not world.runner.started(second).done()
    await running.complete()

    next_one = await asyncio.wait_for(world.runner.started(second), 20)

    assert next_one.command.payload.prompt == "And now?"
    assert next_one.command.payload.native_thread_id == f"native-{session_id}"
