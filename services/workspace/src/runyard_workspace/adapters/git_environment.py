"""The environment of Git processes: what they may use, and what nothing in a repository can override."""

import os
from collections.abc import Mapping
from pathlib import Path

CONFIG = Path(__file__).parent / "gitconfig"

_PASSED_ON = (
    "PATH", "TMPDIR", "SSH_AUTH_SOCK",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
)  # fmt: skip

_SSH = (
    "ssh -oBatchMode=yes -oConnectTimeout=15 -oServerAliveInterval=10 -oServerAliveCountMax=3 "
    "-oStrictHostKeyChecking=accept-new"
)

_SETTINGS = {
    "advice.detachedHead": "false",
    "commit.gpgSign": "false",
    "core.attributesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.quotePath": "false",
    "credential.helper": "",
    "diff.external": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.version": "2",
    "submodule.recurse": "false",
}


def git_environment(protocols: tuple[str, ...], settings: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a Git process: a short list, nothing of the caller's own settings.

    Args:
        protocols: the only transports that it may use.
        settings: configuration on top of ours; it outranks the repository's own.
    """
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= {
        "LC_ALL": "C",
        "HOME": "/nonexistent",  # no ~/.netrc, no ~/.config/git
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "GIT_ASKPASS": "",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(CONFIG),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_EDITOR": ":",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": _SSH,
        "GIT_TERMINAL_PROMPT": "0",
    }
    chosen = {**_SETTINGS, **settings}
    env["GIT_CONFIG_COUNT"] = str(len(chosen))
    for number, (key, value) in enumerate(chosen.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env
