"""What a sandbox shows the proxy where its address says nothing of whose it is."""

from datetime import timedelta

from pydantic import SecretStr

from runyard_chassis.tokens import TokenError, Tokens, derive_key
from runyard_orchestrator.store.reading import SessionKey
from runyard_orchestrator.store.reading_sandboxes import SandboxRows

_AUDIENCE = "runyard-egress"
_KEY = "egress-pass"


class EgressPasses:
    """Passes to the outside. One opens nothing else, and ends with the container that it was made for."""

    def __init__(self, secret: SecretStr, rows: SandboxRows, lifetime: timedelta) -> None:
        self._tokens = Tokens(derive_key(secret, _KEY), _AUDIENCE)
        self._rows = rows
        self._lifetime = lifetime

    def mint(self, key: SessionKey, epoch: int) -> str:
        """The pass of a session's container."""
        return self._tokens.mint(tenant=key.tenant_id, session=key.session_id, epoch=epoch, lifetime=self._lifetime)

    async def whose(self, shown: str) -> SessionKey | None:
        """The session whose present container holds this; None: nobody's."""
        try:
            claims = self._tokens.verify(shown)
        except TokenError:
            return None
        if claims.session is None or claims.epoch is None:
            return None
        key = SessionKey(claims.tenant, claims.session)
        return key if (await self._rows.sandbox(key)).admits(claims.epoch) else None
