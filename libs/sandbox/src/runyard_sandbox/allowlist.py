"""Which hosts a team's sandboxes may reach: `host`, `*.host`, `host:port`; 443 and 80 where no port is given."""

from collections.abc import Iterable

_USUAL_PORTS = frozenset({80, 443})


def allows(rules: Iterable[str], host: str, port: int) -> bool:
    """Whether any of the rules names this host and port. `*.host` is not `host` itself."""
    host = host.lower().removesuffix(".")
    return any(_matches(rule.strip().lower(), host, port) for rule in rules)


def _matches(rule: str, host: str, port: int) -> bool:
    name, asked = _parts(rule)
    if not name or (port not in _USUAL_PORTS if asked is None else port != asked):
        return False
    if name.startswith("*."):
        # The name in front of the dot must not be empty.
        return host.endswith(name[1:]) and len(host) > len(name) - 1
    return host == name


def _parts(rule: str) -> tuple[str, int | None]:
    """Name and port of a rule; an IPv6 address is in brackets when it has a port."""
    if rule.startswith("["):
        name, _, rest = rule[1:].partition("]")
        port = rest.removeprefix(":")
    elif rule.count(":") == 1:
        name, _, port = rule.partition(":")
    else:
        name, port = rule, ""
    name = name.removesuffix(".")
    if not port:
        return name, None
    return (name, int(port)) if port.isdigit() else ("", None)
