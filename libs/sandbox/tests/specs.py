"""The sandbox of an agent, as tests on platforms that are far away ask for it."""

from pathlib import Path

from runyard_sandbox import Mount, Spec

AGENT = Spec(
    name="runyard-0a1b2c3d-1",
    purpose="agent",
    tenant_id="t-1",
    owner_id="s-1",
    epoch=1,
    image=None,
    command=("python", "-m", "runyard_runner_codex"),
    env={"SESSION_TOKEN": "a-session-token"},
    mounts=(Mount(Path("/shared/w/s-1"), "/shared/w/s-1"),),
)
