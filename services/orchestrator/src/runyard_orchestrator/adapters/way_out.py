"""How containers get out, and how the proxy's question tells which of them it is about.

Where each has a network of its own (Docker), by its address. Everywhere else an address may be that of a node, or soon
another container's: there each is given a pass, which it shows to the proxy.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, runtime_checkable

from runyard_chassis import Database
from runyard_chassis.tokens import TokenError, Tokens, derive_key
from runyard_events import Scope
from runyard_orchestrator.settings import Settings
from runyard_orchestrator.store.previews import PreviewKey, PreviewRows
from runyard_orchestrator.store.reading import SessionKey
from runyard_orchestrator.store.reading_sandboxes import SandboxRows
from runyard_sandbox import Provisioner
from runyard_sandbox import Sandbox as Container

_AUDIENCE = "runyard-egress"
_KEY = "egress-pass"
_LONG = timedelta(days=3650)
"""A preview's container has no last moment, so neither has its pass: without the container it is worth nothing."""
_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


@runtime_checkable
class Locating(Protocol):
    """A provisioner that knows whose an address of its networks is."""

    async def at_address(self, address: str) -> Container | None:
        """The sandbox of this address."""
        ...


class Passes:
    """Passes to the outside. One opens nothing else, and ends with the container that it was made for."""

    def __init__(self, tokens: Tokens, lifetime: timedelta, *, sandboxes: SandboxRows, previews: PreviewRows) -> None:
        self._tokens = tokens
        self._lifetime = lifetime
        self._sandboxes = sandboxes
        self._previews = previews

    def mint(self, scope: Scope, epoch: int) -> str:
        """The pass of a session's or a preview's container."""
        return self._tokens.mint(
            tenant=scope.tenant_id,
            session=scope.aggregate_id,
            role=scope.aggregate,
            epoch=epoch,
            lifetime=self._lifetime if scope.aggregate == "session" else _LONG,
        )

    async def whose(self, shown: str) -> Scope | None:
        """The session or the preview whose present container holds this; None: nobody's."""
        try:
            claims = self._tokens.verify(shown)
        except TokenError:
            return None
        tenant, owner, epoch = claims.tenant, claims.session or "", claims.epoch or 0
        if claims.role == "preview":
            preview = await self._previews.preview(PreviewKey(tenant, owner))
            is_present = preview.container is not None and preview.generation == epoch
            return Scope.preview(tenant, owner) if is_present else None
        sandbox = await self._sandboxes.sandbox(SessionKey(tenant, owner))
        return Scope.session(tenant, owner) if sandbox.admits(epoch) else None


@dataclass(frozen=True, slots=True)
class WayOut:
    """Where containers find the proxy. `passes` None: their addresses say whose they are."""

    proxy_url: str
    passes: Passes | None = None

    def environment(self, scope: Scope, epoch: int) -> dict[str, str]:
        """What a container is told about it."""
        scheme, _, proxy = self.proxy_url.partition("://")
        shown = "" if self.passes is None else f"{scope.aggregate}:{self.passes.mint(scope, epoch)}@"
        direct = f"{proxy.partition(':')[0]},localhost,127.0.0.1,::1"
        led = dict.fromkeys(_NAMES, f"{scheme}://{shown}{proxy}")
        return {**led, "NO_PROXY": direct, "no_proxy": direct}


def way_out_of(settings: Settings, database: Database, provisioner: Provisioner | None) -> WayOut:
    """The way out of this installation's containers."""
    if provisioner is None or isinstance(provisioner, Locating):
        return WayOut(settings.sandbox_proxy_url)
    tokens = Tokens(derive_key(settings.jwt_secret_key, _KEY), _AUDIENCE)
    lifetime = timedelta(days=settings.sandbox_token_days)
    passes = Passes(tokens, lifetime, sandboxes=SandboxRows(database), previews=PreviewRows(database))
    return WayOut(settings.sandbox_proxy_url, passes)
