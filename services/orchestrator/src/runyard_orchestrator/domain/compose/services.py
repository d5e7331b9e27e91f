"""One service of a Compose file, key by key."""

import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from runyard_orchestrator.domain.compose.model import Check, Condition, EnvFile, ImageBuild, Service
from runyard_orchestrator.domain.compose.values import Value
from runyard_orchestrator.domain.compose.volumes import is_external, places_of

PASSED_OVER = frozenset(
    {
        # How it is called, found, watched and started again is the platform's.
        *("annotations", "attach", "container_name", "domainname", "hostname", "labels", "label_file", "logging"),
        *("profiles", "pull_policy", "restart", "scale", "stdin_open", "tty", "stop_grace_period", "stop_signal"),
        # Limits: a preview has its own.
        *("blkio_config", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime"),
        *("cpu_shares", "cpus", "cpuset", "deploy", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit"),
        *("oom_kill_disable", "oom_score_adj", "pids_limit", "shm_size", "ulimits"),
        # A preview's containers are as hard already but for their roots, which end with them; they have an init, and
        # are of the engine's own platform.
        *("cap_drop", "init", "platform", "read_only"),
        # Its files are watched by nobody: a restart shows what has changed.
        "develop",
    }
)
"""Keys that change nothing of what a preview shows."""
_WHY: Mapping[str, str] = {
    "extends": "services of other files are not followed.",
    "network_mode": "a preview has a network of its own.",
    "secrets": "a preview has no secrets of the host. Its variables can come from a file of the project.",
    "configs": "a preview has no configs. The file can be copied into the image.",
    "privileged": "a preview's containers have no privileges.",
    "cap_add": "a preview's containers have no privileges.",
    "devices": "a preview has no devices of the host.",
}
_READ = (
    *("image", "build", "command", "entrypoint", "environment", "env_file", "working_dir", "user", "ports", "expose"),
    *("volumes", "tmpfs", "depends_on", "links", "healthcheck", "networks", "security_opt", "network_mode"),
)
_BUILD = ("context", "dockerfile", "dockerfile_inline", "target", "args")
_BUILD_PASSED_OVER = ("cache_from", "cache_to", "labels", "no_cache", "platforms", "pull", "shm_size", "tags")
_HARMLESS_OPTIONS = frozenset({"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"})
_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/:-]{0,300}(?:@sha256:[0-9a-f]{64})?")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PORT = re.compile(r"(?:(?:\[[0-9a-fA-F:]*\]|[0-9.]*):)?(?:[0-9-]*:)?([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp))?")
_HIGHEST = 65535
_MOST_ENV_FILES = 10
_STARTED: Condition = "service_started"
_LEAST_INTERVAL = 1.0
"""Seconds. Each look is the engine's work, which no limit of the container's holds."""


def service_of(whole: Value, folder: str, top: Mapping[str, Mapping[str, Any]]) -> Service:
    """A service. `folder` is where the file is, `top` the file's own networks and volumes.

    Raises:
        NotServed: it says something that a preview cannot give.
    """
    found = _known(whole)
    _on_networks(found, top.get("networks", {}))
    places = places_of(found.get("volumes"), found.get("tmpfs"), folder, top.get("volumes", {}))
    build = _build(found["build"], folder) if "build" in found else None
    entrypoint = found["entrypoint"].words() if "entrypoint" in found else None
    command = found["command"].words() if "command" in found else None
    if entrypoint == () and not command:
        found["entrypoint"].refuse("it is empty, and there is no `command`.")
    return Service(
        name=whole.service,
        build=build,
        image=_image(whole, found) if build is None else None,
        entrypoint=entrypoint,
        command=command,
        environment=found["environment"].variables() if "environment" in found else {},
        env_files=_env_files(found["env_file"], folder) if "env_file" in found else (),
        working_directory=_working_directory(found),
        user=_user(found["user"]) if "user" in found else None,
        ports=ports_of(whole),
        needs=_needs(found),
        check=_check(found["healthcheck"]) if "healthcheck" in found else None,
        binds=places.binds,
        volumes=places.volumes,
        scratch=places.scratch,
    )


def ports_of(whole: Value) -> tuple[int, ...]:
    """The TCP ports that a service says it listens on, the published ones first."""
    found = whole.fields()
    published = [_port(one) for one in found["ports"].items()] if _says(found, "ports") else []
    exposed = [_port(one) for one in found["expose"].items()] if _says(found, "expose") else []
    return tuple(dict.fromkeys(port for port in (*published, *exposed) if port is not None))


def _says(found: Mapping[str, Value], key: str) -> bool:
    return key in found and found[key].raw is not None


def _known(whole: Value) -> dict[str, Value]:
    found = whole.fields()
    for key, value in found.items():
        if key not in _READ and key not in PASSED_OVER and not key.startswith("x-") and not value.is_off:
            value.refuse(_WHY.get(key, "this is not possible in a preview."))
    if _says(found, "network_mode") and found["network_mode"].text() not in {"", "bridge", "default"}:
        found["network_mode"].refuse(_WHY["network_mode"])
    for option in found["security_opt"].items() if _says(found, "security_opt") else ():
        if option.text() not in _HARMLESS_OPTIONS:
            option.refuse(f"{option.text()} is not possible in a preview.")
    return {key: value for key, value in found.items() if value.raw is not None}


def _on_networks(found: Mapping[str, Value], networks: Mapping[str, Any]) -> None:
    """All are on the preview's own network; what is asked of one besides is refused."""
    if "networks" not in found:
        return
    asked = found["networks"]
    if isinstance(asked.raw, dict):
        for one in asked.fields().values():
            if one.raw is not None:
                one.only(passed_over=("priority", "gw_priority"))
        names = list(asked.fields())
    else:
        names = [one.text() for one in asked.items()]
    for name in names:
        if is_external(networks.get(name)):
            asked.refuse(f"the network {name} is not the project's own (`external`).")


def _image(whole: Value, found: Mapping[str, Value]) -> str:
    if "image" not in found:
        whole.refuse("there is neither `build` nor `image`.")
    name = found["image"].text()
    if not _IMAGE.fullmatch(name):
        found["image"].refuse(f"{name[:100]!r} is no image's name.")
    return name


def _build(value: Value, folder: str) -> ImageBuild:
    if isinstance(value.raw, str):
        return ImageBuild(value.path(folder))
    found = value.only(*_BUILD, passed_over=_BUILD_PASSED_OVER)
    context = found["context"].path(folder) if "context" in found else folder
    if "dockerfile" in found and "dockerfile_inline" in found:
        value.refuse("`dockerfile` and `dockerfile_inline` exclude each other.")
    target = found["target"].text() if "target" in found else None
    if target is not None and not _TARGET.fullmatch(target):
        found["target"].refuse(f"{target[:100]!r} is no stage's name.")
    return ImageBuild(
        context,
        dockerfile=found["dockerfile"].path("") if "dockerfile" in found else None,
        steps=found["dockerfile_inline"].text() if "dockerfile_inline" in found else None,
        target=target,
        arguments=found["args"].variables() if "args" in found else {},
    )


def _env_files(value: Value, folder: str) -> tuple[EnvFile, ...]:
    found: list[EnvFile] = []
    if len(files := value.one_or_more()) > _MOST_ENV_FILES:
        value.refuse(f"more than {_MOST_ENV_FILES} files.")
    for one in files:
        if not isinstance(one.raw, dict):
            found.append(EnvFile(one.path(folder)))
            continue
        said = one.only("path", "required")
        if "path" not in said:
            one.refuse("a file without a `path`.")
        found.append(EnvFile(said["path"].path(folder), "required" not in said or said["required"].flag()))
    return tuple(found)


def _working_directory(found: Mapping[str, Value]) -> str | None:
    if "working_dir" not in found:
        return None
    path = found["working_dir"].text()
    if not path.startswith("/"):
        found["working_dir"].refuse("an absolute path is expected here.")
    return path


def _user(value: Value) -> str:
    uid, _, gid = value.text().partition(":")
    gid = gid or uid
    if not all(one.isascii() and one.isdigit() and len(one) < 10 and int(one) > 0 for one in (uid, gid)):  # noqa: PLR2004
        value.refuse("a preview's containers run as a number that is not root's, like 1000:1000.")
    return f"{int(uid)}:{int(gid)}"


def _port(value: Value) -> int | None:
    """The port inside; None: it is none of TCP."""
    if isinstance(value.raw, dict):
        passed_over = ("published", "host_ip", "mode", "name", "app_protocol")
        said = value.only("target", "protocol", passed_over=passed_over)
        if "target" not in said:
            value.refuse("a port without a `target`.")
        if "protocol" in said and said["protocol"].text() != "tcp":
            return None
        return said["target"].number(_HIGHEST)
    found = value.text()
    match = _PORT.fullmatch(found)
    if match is None or not 0 < int(match[1]) <= _HIGHEST:
        value.refuse(f"{found[:60]!r} is no port.")
    return None if match[3] == "udp" else int(match[1])


def _needs(found: Mapping[str, Value]) -> dict[str, Condition]:
    needs: dict[str, Condition] = {}
    for one in found["links"].items() if "links" in found else ():
        name, _, alias = one.text().partition(":")
        if alias not in {"", name}:
            one.refuse(f"{name} is known by its own name only, not as {alias}.")
        needs[name] = _STARTED
    if "depends_on" not in found:
        return needs
    if isinstance(found["depends_on"].raw, list):
        return {**needs, **dict.fromkeys((one.text() for one in found["depends_on"].items()), _STARTED)}
    for name, value in found["depends_on"].fields().items():
        said = value.only("condition", passed_over=("required", "restart")) if value.raw is not None else {}
        condition = said["condition"].text() if "condition" in said else _STARTED
        if condition not in get_args(Condition):
            value.refuse(f"{condition[:60]!r} is no condition.")
        needs[name] = cast("Condition", condition)
    return needs


def _check(value: Value) -> Check | None:
    said = value.only(
        *("test", "interval", "timeout", "retries", "start_period", "disable"), passed_over=("start_interval",)
    )
    if "test" not in said or ("disable" in said and said["disable"].flag()):
        return None
    test = said["test"]
    words = tuple(one.text() for one in test.items()) if isinstance(test.raw, list) else ("CMD-SHELL", test.text())
    match words:
        case ("NONE",):
            return None
        case ("CMD-SHELL", line):
            words = ("/bin/sh", "-c", line)
        case ("CMD", _, *_):
            words = words[1:]
        case _:
            test.refuse("a line, or a list that begins with CMD or CMD-SHELL, is expected here.")
    return Check(
        words,
        every=max(_LEAST_INTERVAL, said["interval"].seconds()) if "interval" in said else 30,
        timeout=said["timeout"].seconds() if "timeout" in said else 30,
        retries=said["retries"].number(1000) if "retries" in said else 3,
        start=said["start_period"].seconds() if "start_period" in said else 0,
    )
