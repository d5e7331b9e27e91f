"""Runs the proxy until it is told to end."""

import asyncio
import logging
import os
import signal

from runyard_sandbox.proxy.config import TOKEN_VARIABLE, VARIABLE, ProxyConfig, decoded
from runyard_sandbox.proxy.server import ProxyServer


async def run(config: ProxyConfig) -> None:
    """Serves until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, ended.set)
    server = ProxyServer(config)
    await server.start()
    await ended.wait()
    await server.close()


def main() -> None:
    """The configuration is in the environment."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    asyncio.run(run(decoded(os.environ[VARIABLE], os.environ.get(TOKEN_VARIABLE))))


if __name__ == "__main__":
    main()
