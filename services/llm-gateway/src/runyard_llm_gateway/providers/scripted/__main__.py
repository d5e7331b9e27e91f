"""`python -m runyard_llm_gateway.providers.scripted --port 18080`: the scripted model as a server."""

import argparse

import uvicorn

from runyard_llm_gateway.providers.scripted.app import app


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m runyard_llm_gateway.providers.scripted")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=18080)
    options = parser.parse_args()
    uvicorn.run(app, host=options.host, port=options.port, log_level="critical", access_log=False)


if __name__ == "__main__":
    main()
