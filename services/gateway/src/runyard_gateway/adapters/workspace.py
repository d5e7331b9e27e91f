"""Files and diffs are the workspace service's."""

from runyard_chassis import Caller, Unavailable
from runyard_chassis.sealing import PublicKey
from runyard_gateway.adapters.passing import ServiceBehind


class WorkspaceService(ServiceBehind):
    """A client of the workspace service."""

    def __init__(self, address: str) -> None:
        super().__init__("workspace", address)

    async def sealing_key(self, caller: Caller) -> PublicKey:
        """The key that only the workspace service can open what it seals.

        Raises:
            Problem: 503 or 504, it does not answer.
        """
        body = await self.read(caller, "/credentials/key")
        try:
            return PublicKey(body["public_key"])
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable("The workspace service gives out no key.", type="workspace-unavailable") from error
