"""A secret that the stack knows is found nowhere: not in the log, not in the database, not in any service's log."""

import asyncio
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runyard_events import EventLog, connect
from runyard_stack.accounts import STACK
from runyard_stack.credentials import Credentials, read_credentials
from runyard_stack.embedded.postgres import postgres_folder

from .own_stack import stack, token

if TYPE_CHECKING:
    from tests.conftest import Api, Stack

__all__ = ["stack", "token"]

pytestmark = [pytest.mark.agents, pytest.mark.timeout(180)]
CANARY = "canary-4f1d9c7be2a86035"
AGENTS = ("codex", "claude")


@pytest.fixture(scope="module")
def settings(model_url: str) -> dict[str, str]:
    """A provider's key."""
    return {
        "OPENAI_API_KEY": CANARY,
        "OPENAI_BASE_URL": f"{model_url}/v1",
        "ANTHROPIC_API_KEY": CANARY,
        "ANTHROPIC_BASE_URL": model_url,
        "GEMINI_API_KEY": CANARY,
        "GOOGLE_GEMINI_BASE_URL": model_url,
    }


def credentials_of(stack: "Stack") -> Credentials:
    credentials = read_credentials(stack.home / "secrets.json")
    assert credentials is not None
    return credentials


async def everything_in_the_log(stack: "Stack") -> bytes:
    credentials = credentials_of(stack)
    url = f"nats://127.0.0.1:{stack.port_base + 11}"
    client = await connect(url, service=STACK, user=STACK, password=credentials.nats_passwords[STACK])
    try:
        return b"\n".join([stored.data async for stored in EventLog(client).replay("ev.>")])
    finally:
        await client.close()


def everything_in_the_database(stack: "Stack") -> bytes:
    url = f"postgresql://runyard:{credentials_of(stack).postgres_password}@127.0.0.1:{stack.port_base + 3}/runyard"
    done = subprocess.run([postgres_folder() / "bin" / "pg_dump", url], capture_output=True, check=True)
    return done.stdout


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_known_secret_in_prompt_key_and_tool_output_is_found_nowhere(
    stack: "Stack", api: "Api", repository: Path, agent: str
) -> None:
    (repository / "leak.env").write_text(f"OPENAI_API_KEY={CANARY}\n")
    subprocess.run(["git", "add", "."], cwd=repository, check=True)
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *identity, "commit", "-qm", "leak"], cwd=repository, check=True)
    session = await api.session(await api.import_repository(repository), agent)
    script = '{"steps": [{"run": "cat leak.env; env"}, {"say": "It says ' + CANARY + ' there."}]}'
    run = await api.prompt(session, f"The key is {CANARY}, use it. [[script: {script}]]")

    events = await api.events(run)

    assert events[-1].type == "run.completed", events[-1].event
    outputs = [str(one.payload["output"]) for one in events if one.type == "ui.tool.result"]
    assert any("[redacted]" in output for output in outputs)
    log = await everything_in_the_log(stack)
    assert b"ui.tool.result" in log
    database = await asyncio.to_thread(everything_in_the_database, stack)
    assert run.encode() in database
    logs = b"".join(path.read_bytes() for path in (stack.home / "logs").glob("*.log"))
    for place, content in {"log": log, "database": database, "service logs": logs}.items():
        assert CANARY.encode() not in content, place
        # What signs every token is no more at home there than a provider's key.
        assert credentials_of(stack).jwt_secret_key.encode() not in content, place
