"""A Kubernetes that only seems one, for the tests of several modules."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from runyard_sandbox.kubernetes import KubernetesProvisioner

from .fake_kubernetes import FakeKubernetes, kubernetes
from .on_kubernetes import settings


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
