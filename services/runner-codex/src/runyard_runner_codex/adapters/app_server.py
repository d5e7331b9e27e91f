"""One `codex app-server`: JSON-RPC over its stdio, with its opening handshake."""

from runyard_runner.json_rpc import JsonRpc


class AppServer(JsonRpc):
    """One app-server process and the record of all that is said to it and by it, in order."""

    async def initialize(self, version: str) -> None:
        """The opening handshake.

        Raises:
            RpcError: refused.
            AgentFailed: the process has ended or does not answer.
        """
        about = {"name": "runyard", "title": "Runyard", "version": version}
        await self.request("initialize", {"clientInfo": about, "capabilities": {"experimentalApi": True}})
        await self.notify("initialized")
