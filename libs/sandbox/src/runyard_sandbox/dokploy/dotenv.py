"""Environment variables as the text that Dokploy keeps them in and reads with dotenv."""

import re
from collections.abc import Mapping

from runyard_sandbox.provisioner import ProvisionFailed

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = "${{"


def dotenv(env: Mapping[str, str]) -> str:
    """One `NAME='value'` per variable, so quoted that dotenv reads back the very value.

    Raises:
        ProvisionFailed: a name or a value that dotenv or Dokploy would read as something else.
    """
    return "\n".join(f"{_name(name)}={_quoted(name, value)}" for name, value in env.items())


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ProvisionFailed(f"{name!r} is no name for an environment variable")
    return name


def _quoted(name: str, value: str) -> str:
    # The message never has the value: it may be a token.
    if _REFERENCE in value:
        raise ProvisionFailed(f"{name} has ${{{{, which Dokploy would replace by a variable of its project")
    for quote in ("'", "`"):
        if quote not in value and not value.endswith("\\"):
            return f"{quote}{value}{quote}"
    raise ProvisionFailed(f"{name} cannot be written for dotenv: it has both kinds of quotes, or ends in a backslash")
