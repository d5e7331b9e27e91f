"""`cmd.workspace.set-credential` and `cmd.workspace.remove-credential`, and the one place where a secret is opened."""

from typing import Any

from runyard_chassis import Invalid, get_logger, redact_also
from runyard_chassis.sealing import NotSealed, PrivateKey
from runyard_events import Command, Reply, Scope
from runyard_events.catalogue import CredentialRemoved, CredentialSet
from runyard_events.commands import RemoveCredential, SetCredential, credential_context
from runyard_workspace.domain.credentials import (
    Credential,
    NotACredential,
    check_parts,
    credential_for,
    parse_host,
    standing,
)
from runyard_workspace.domain.layout import is_identifier
from runyard_workspace.histories import Histories

_log = get_logger(__name__)


class Credentials:
    """What teams sign in with. In the log and everywhere else a secret is sealed; it is opened to be used."""

    def __init__(self, *, histories: Histories, key: PrivateKey) -> None:
        self._histories = histories
        self._key = key

    @property
    def public_key(self) -> str:
        """What a secret has to be sealed with."""
        return self._key.public

    async def set(self, command: Command[SetCredential]) -> Reply:
        """Keeps a credential, in the place of the one with the same id."""
        given, tenant = command.payload, command.tenant_id
        try:
            host = parse_host(given.host)
            opened = self._key.open(
                given.secret, context=credential_context(tenant, given.credential_id, host, given.username)
            )
            redact_also(opened.get_secret_value())
            check_parts(given.username, opened.get_secret_value())
        except (NotACredential, NotSealed) as error:
            raise Invalid(str(error), type="credential-refused") from None
        if not is_identifier(given.credential_id):
            raise Invalid("This cannot be the id of a credential.", type="credential-refused")
        event = CredentialSet(
            credential_id=given.credential_id,
            host=host,
            username=given.username,
            sealed=given.secret,
            set_by=command.actor,
        )
        seq = await self._histories.tell(Scope.team(tenant), event)
        _log.info("credential.set", credential_id=given.credential_id, host=host)
        return Reply(ok=True, result=_view(event), seq=seq)

    async def remove(self, command: Command[RemoveCredential]) -> Reply:
        """Forgets a credential; one that is not there is fine."""
        wanted, tenant = command.payload, command.tenant_id
        if wanted.credential_id not in standing(await self._histories.team(tenant)):
            return Reply(ok=True)
        event = CredentialRemoved(credential_id=wanted.credential_id, removed_by=command.actor)
        return Reply(ok=True, seq=await self._histories.tell(Scope.team(tenant), event))

    async def for_address(self, tenant: str, url: str) -> Credential | None:
        """What a team signs in with at an address; None where it has nothing for its host."""
        found = credential_for(url, standing(await self._histories.team(tenant)).values())
        if found is None:
            return None
        context = credential_context(tenant, found.credential_id, found.host, found.username)
        try:
            opened = self._key.open(found.sealed, context=context)
        except NotSealed:
            # The installation has another key by now: as good as none, and the remote will say so.
            _log.warning("credential.cannot_be_opened", credential_id=found.credential_id, host=found.host)
            return None
        redact_also(opened.get_secret_value())
        return Credential(found.host, found.username, opened)


def _view(event: CredentialSet) -> dict[str, Any]:
    return {"credential_id": event.credential_id, "host": event.host, "username": event.username}
