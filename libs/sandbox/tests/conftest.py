"""What several modules stand on: containers of a real engine, and a Kubernetes that only seems one."""

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from runyard_sandbox.kubernetes import KubernetesProvisioner

from .fake_kubernetes import FakeKubernetes, kubernetes
from .on_kubernetes import settings
from .real_engine import World, build_image, left, unique, world


@pytest.fixture(scope="session")
def image() -> str:
    """Built of what is tested."""
    return build_image()


@pytest.fixture(scope="module")
def network() -> dict[str, Any]:
    """What a module wants of its network besides; overridden there."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(
    request: pytest.FixtureRequest, image: str, network: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[World]:
    """An installation of the module's own, of which nothing is left after it."""
    word = request.path.stem.rpartition("_")[2]
    name = unique(word)
    async with world(name, tmp_path_factory.mktemp(word), **network) as here:
        await here.provisioner.check()
        yield here
    assert left(name) == []


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeKubernetes]:
    """The API server of a Kubernetes; tests of other platforms have a server of their own."""
    async with kubernetes(tmp_path) as fake:
        yield fake


@pytest_asyncio.fixture
async def provisioner(server: FakeKubernetes) -> AsyncIterator[KubernetesProvisioner]:
    """Asks that server."""
    one = KubernetesProvisioner(settings(server))
    yield one
    await one.close()
