"""A stack whose sessions work in containers of a real engine, and a look into those containers."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from runyard_events import EventLog, connect
from runyard_stack.accounts import STACK
from runyard_stack.credentials import read_credentials

if TYPE_CHECKING:
    from tests.conftest import Api, Stack

CANARY = "canary-7d20e3b95c184fa6"


def docker(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    """What the engine's own command says."""
    argv = ["docker", *arguments]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Engine:
    """What the engine has of one stack."""

    installation: str

    def containers(self, *, running: bool = False) -> list[str]:
        """Names, without the proxy's."""
        everything = [] if running else ["--all"]
        found = docker("ps", *everything, "--filter", self.label, "--filter", "label=runyard.kind=sandbox", *NAMES)
        return sorted(found.split())

    def everything(self) -> dict[str, list[str]]:
        """All that carries the stack's label."""
        return {
            "containers": sorted(docker("ps", "--all", "--filter", self.label, *NAMES).split()),
            "networks": sorted(docker("network", "ls", "--filter", self.label, "--format", "{{.Name}}").split()),
            "volumes": sorted(docker("volume", "ls", "--filter", self.label, "--format", "{{.Name}}").split()),
            "images": sorted(docker("images", "--quiet", "--no-trunc", "--filter", self.label).split()),
        }

    @property
    def label(self) -> str:
        return f"label=runyard.installation={self.installation}"

    def of(self, session: str) -> str:
        """The name of a session's running container."""
        owner = f"label=runyard.owner={session}"
        names = docker("ps", "--filter", self.label, "--filter", owner, *NAMES).split()
        assert len(names) == 1, names
        return names[0]

    def of_any(self, session: str) -> str:
        """The name of a session's container, at rest or not."""
        owner = f"label=runyard.owner={session}"
        return docker("ps", "--all", "--filter", self.label, "--filter", owner, *NAMES)

    def inside(self, session: str, *command: str, check: bool = True) -> str:
        """What a command in a session's container prints."""
        return docker("exec", self.of(session), *command, check=check)

    def python(self, session: str, program: str) -> Any:
        """What a program in a session's container, with all that the runner there has, prints as JSON."""
        printed = docker("exec", "--interactive", self.of(session), "python", "-", stdin=program)
        return json.loads(printed.splitlines()[-1])

    def clear(self) -> None:
        """Removes all that carries the stack's label, containers first: they hold the rest."""
        for kind, remove in REMOVE.items():
            if found := self.everything()[kind]:
                docker(*remove, *found, check=False)


NAMES = ("--format", "{{.Names}}")
REMOVE = {
    "containers": ("rm", "--force"),
    "networks": ("network", "rm"),
    "volumes": ("volume", "rm"),
    "images": ("rmi",),
}


def acp_image(tag: str, *agents: str) -> str:
    """The image of runner-acp with these agents in it and no other, built as a user builds it."""
    environment = {**os.environ, "TAG": tag, "AGENTS": " ".join(agents)}
    argv = [Path(__file__).parents[2] / "tools/images.sh", "runner-acp"]
    built = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return f"runyard/runner-acp:{tag}"


@pytest.fixture(scope="session")
def images() -> str:
    """The tag of images that are built from what is tested."""
    tag = os.environ.get("TAG", "latest")
    for agent in ("codex", "claude"):
        docker("image", "inspect", f"runyard/runner-{agent}:{tag}", "--format", "{{.Id}}")
    return tag


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """What a module wants besides; overridden there."""
    return {}


@pytest.fixture(scope="module")
def data_folder() -> Iterator[Path]:
    """Short, and reachable by PostgreSQL's own user."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-docker-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(
    data_folder: Path, new_stack: Callable[..., "Stack"], images: str, model_url: str, settings: dict[str, str]
) -> Iterator["Stack"]:
    """Its provider is the scripted model as a server outside of it, so that it needs the provider's key."""
    one = new_stack(
        data_folder,
        SANDBOX="docker",
        SANDBOX_IMAGE=f"runyard/runner-{{runner}}:{images}",
        OPENAI_API_KEY=CANARY,
        OPENAI_BASE_URL=f"{model_url}/v1",
        ANTHROPIC_API_KEY=CANARY,
        ANTHROPIC_BASE_URL=model_url,
        GEMINI_API_KEY=CANARY,
        GOOGLE_GEMINI_BASE_URL=model_url,
        **settings,
    )
    one.up()
    yield one
    one.down()
    engine_of(one).clear()


@pytest.fixture(scope="session")
def clear() -> Callable[["Stack"], None]:
    """Removes what a stack has left on the engine."""
    return lambda stack: engine_of(stack).clear()


def engine_of(stack: "Stack") -> Engine:
    credentials = read_credentials(stack.home / "secrets.json")
    assert credentials is not None
    return Engine(credentials.tenant_id[:8])


@pytest.fixture(scope="module")
def engine(stack: "Stack") -> Engine:
    return engine_of(stack)


@pytest.fixture(scope="module")
def token(stack: "Stack") -> str:
    return stack.token()


@pytest_asyncio.fixture
async def api(stack: "Stack", token: str, api_of: Any) -> AsyncIterator["Api"]:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=90) as client:
        yield api_of(client)


@pytest.fixture(scope="session")
def sandbox_events() -> Callable[..., Any]:
    """What the log says of a session's container."""

    async def read(stack: "Stack", session: str, family: str = "sandbox") -> list[dict[str, Any]]:
        credentials = read_credentials(stack.home / "secrets.json")
        assert credentials is not None
        url = f"nats://127.0.0.1:{stack.port_base + 11}"
        client = await connect(url, service=STACK, user=STACK, password=credentials.nats_passwords[STACK])
        try:
            subject = f"ev.{credentials.tenant_id}.session.{session}.{family}"
            return [json.loads(stored.data) async for stored in EventLog(client).replay(subject)]
        finally:
            await client.close()

    return read


@pytest.fixture
def status_of(api: "Api") -> Callable[..., Any]:
    """Waits until a session's container has a status, and returns it as the API shows it."""

    async def wait(session: str, wanted: str, seconds: float = 45) -> dict[str, Any]:
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    with contextlib.suppress(AssertionError):  # 404: it has none yet
                        found = await api.call("GET", f"/api/sessions/{session}/container/status")
                    if found.get("status") == wanted:
                        return found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"never {wanted}: {found}") from None

    return wait
