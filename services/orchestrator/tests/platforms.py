"""Dokploy and Kubernetes as the orchestrator's tests need them: the strict servers of libs/sandbox, over real HTTP."""

import copy
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from libs.sandbox.tests.fake_dokploy import KEY, FakeDokploy, dokploy
from libs.sandbox.tests.fake_kubernetes import TOKEN, FakeKubernetes, kubernetes
from libs.sandbox.tests.mains import Mains

from runyard_events.catalogue import Method
from runyard_orchestrator.settings import Settings

PROXY_TOKEN = "shared-by-proxy-and-orchestrator"


class Platform(Protocol):
    """One of them, to be looked at and to be meddled with."""

    @property
    def method(self) -> Method: ...
    @property
    def says(self) -> str:
        """Its name in messages."""
        ...

    @property
    def remedy(self) -> str:
        """What has to be said of a credential that is not taken."""
        ...

    @property
    def secrets(self) -> Sequence[str]: ...
    @property
    def mains(self) -> Mains: ...
    @property
    def names(self) -> set[str]:
        """Of all sandboxes there are."""
        ...

    def at_rest(self, name: str) -> bool: ...
    def is_clean(self) -> bool:
        """Whether nothing of any sandbox is left."""
        ...

    def goes_away(self) -> None: ...
    def comes_back(self) -> None: ...
    def settings(self) -> dict[str, Any]: ...
    def lock_out(self) -> dict[str, Any]:
        """From now on the credential is not taken; what a service that starts now is told."""
        ...

    def let_in(self) -> dict[str, Any]: ...
    def removes(self, name: str) -> None:
        """Somebody removes a sandbox."""
        ...

    def copies(self, name: str, owner: str, stray: str) -> None:
        """There is one more like `name`, of an owner that nobody knows."""
        ...


class OnDokploy:
    method: Method = "dokploy"
    says, remedy = "Dokploy", "DOKPLOY_API_KEY"

    def __init__(self, fake: FakeDokploy) -> None:
        self.fake = fake
        self.secrets = [KEY, "a-key-of-yesterday"]

    @property
    def mains(self) -> Mains:
        return self.fake.mains

    def goes_away(self) -> None:
        self.fake.is_away = True

    def comes_back(self) -> None:
        self.fake.is_away = False

    @property
    def names(self) -> set[str]:
        return {row["name"] for row in self.fake.applications.values()}

    def at_rest(self, name: str) -> bool:
        return self.fake.named(name)["applicationStatus"] == "idle"

    def is_clean(self) -> bool:
        return not self.fake.applications and not self.fake.tasks

    def settings(self) -> dict[str, Any]:
        return {
            "dokploy_url": self.fake.url,
            "dokploy_api_key": KEY,
            "dokploy_network": "runyard-sandboxes",
            "dokploy_shared_folder": "/mnt/runyard",
            "dokploy_read_only_folder": "/mnt/runyard-read-only",
            "dokploy_accept_unhardened": True,
            "sandbox_user": "10001:10001",
        }

    def lock_out(self) -> dict[str, Any]:
        return {"dokploy_api_key": "a-key-of-yesterday"}

    def let_in(self) -> dict[str, Any]:
        return {}

    def removes(self, name: str) -> None:
        self.fake.removes(name)

    def copies(self, name: str, owner: str, stray: str) -> None:
        row = copy.deepcopy(self.fake.named(name))
        description = row["description"].replace(owner, "nobody")
        row |= {"applicationId": stray, "name": stray, "appName": stray, "description": description}
        self.fake.applications[stray] = row


class OnKubernetes:
    method: Method = "kubernetes"
    says, remedy = "Kubernetes", "deploy/kubernetes/orchestrator.yaml"

    def __init__(self, fake: FakeKubernetes, account: Path) -> None:
        self.fake = fake
        self.secrets = [TOKEN, "a-token-of-yesterday"]
        self._account = account
        account.mkdir()
        (account / "ca.crt").write_bytes(fake.authority.read_bytes())
        self.let_in()

    @property
    def mains(self) -> Mains:
        return self.fake.mains

    def goes_away(self) -> None:
        self.fake.is_away = True
        self.fake.end_watches()

    def comes_back(self) -> None:
        self.fake.is_away = False

    @property
    def names(self) -> set[str]:
        return set(self.fake.resources["Sandbox"])

    def at_rest(self, name: str) -> bool:
        return self.fake.resources["Sandbox"][name]["spec"]["operatingMode"] == "Suspended"

    def is_clean(self) -> bool:
        return not any(self.fake.resources[kind] for kind in ("Sandbox", "Pod", "Secret"))

    def settings(self) -> dict[str, Any]:
        host, _, port = self.fake.url.removeprefix("https://").partition(":")
        return {
            "kubernetes_claim": "runyard-files",
            "kubernetes_service_host": host,
            "kubernetes_service_port": int(port),
            "kubernetes_account": self._account,
        }

    def lock_out(self) -> dict[str, Any]:
        (self._account / "token").write_text("a-token-of-yesterday\n")
        return {}

    def let_in(self) -> dict[str, Any]:
        (self._account / "token").write_text(f"{TOKEN}\n")
        return {}

    def removes(self, name: str) -> None:
        self.fake.removes(name)

    def copies(self, name: str, owner: str, stray: str) -> None:
        sandbox = copy.deepcopy(self.fake.resources["Sandbox"][name])
        sandbox["metadata"] |= {"name": stray, "uid": stray}
        for metadata in (sandbox["metadata"], sandbox["spec"]["podTemplate"]["metadata"]):
            metadata["labels"] |= {"runyard/sandbox": stray}
            metadata["annotations"] |= {"runyard/owner": "nobody"}
        assert owner not in str(sandbox["metadata"]["annotations"])
        self.fake.resources["Sandbox"][stray] = sandbox


@asynccontextmanager
async def standing(method: str, folder: Path) -> AsyncGenerator[Platform]:
    """A platform that answers."""
    if method == "dokploy":
        async with dokploy() as fake:
            yield OnDokploy(fake)
    else:
        (folder / "cluster").mkdir()
        async with kubernetes(folder / "cluster") as cluster:
            yield OnKubernetes(cluster, folder / "account")


def settings_on(platform: Platform, usual: Settings, shared: Path, **more: Any) -> Settings:
    """What a service there is told, checked as its environment would be."""
    told: dict[str, Any] = {name: getattr(usual, name) for name in usual.model_fields_set}
    told |= {
        "sandbox": platform.method,
        "agents_root": shared / "agents",
        "sandbox_shared_folder": shared,
        "sandbox_proxy_token": PROXY_TOKEN,
        "reconcile_seconds": 0.2,
        "sandbox_backoff_seconds": 0.05,
        "resend_seconds": 2.0,
    }
    return Settings(**{**told, **platform.settings(), **more})
