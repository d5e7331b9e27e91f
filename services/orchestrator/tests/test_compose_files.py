"""Compose files of projects: what of them is served, what is passed over, and what is refused by its name."""

import re
import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard_orchestrator.domain.compose import Bind, ImageBuild, NotServed, Project, Service, parse
from runyard_orchestrator.domain.compose.variables import interpolated, variables

ENV = {"TAG": "1.2", "EMPTY": "", "PORT": "9000"}


def _parsed(text: str, **how: Any) -> Project:
    return parse(textwrap.dedent(text), ENV, **how)


def _web(keys: str, *, top: str = "", folder: str = "") -> Service:
    """A page of the image x with these keys."""
    body = textwrap.indent(textwrap.dedent(keys), "    ")
    return parse(f"services:\n  web:\n    image: x\n{body}\n{textwrap.dedent(top)}", ENV, folder=folder).page


def test_a_whole_file_is_understood() -> None:
    project = _parsed("""
        version: "3.9"
        name: shop
        x-env: &env {LOG: info}
        services:
          web:
            build:
              context: ./site
              dockerfile: docker/web.Dockerfile
              target: dev
              args: {MODE: "${MODE:-production}"}
            command: python -m http.server 8000
            environment:
              <<: *env
              DB: postgres://db:5432/${TAG}
              DEBUG: true
            working_dir: /srv
            user: "1000"
            ports: ["127.0.0.1:8080:8000"]
            restart: always
            depends_on:
              db: {condition: service_healthy}
          db:
            image: postgres:16
            volumes: ["data:/var/lib/postgresql/data"]
            healthcheck: {test: pg_isready -U postgres, interval: 1m1.5s, retries: 5}
          monitoring:
            image: spy
            privileged: true
        volumes: {data: }
    """)
    web, (db,) = project.page, project.beside
    assert web.build == ImageBuild("site", "docker/web.Dockerfile", target="dev", arguments={"MODE": "production"})
    assert (web.image, web.command) == (None, ("python", "-m", "http.server", "8000"))
    assert web.environment == {"LOG": "info", "DB": "postgres://db:5432/1.2", "DEBUG": "true"}
    assert (web.working_directory, web.user, web.ports) == ("/srv", "1000:1000", (8000,))
    assert web.needs == {"db": "service_healthy"}
    assert (db.image, db.build, db.scratch) == ("postgres:16", None, ("/var/lib/postgresql/data",))
    assert db.check is not None
    assert (db.check.test, db.check.every, db.check.retries) == (("/bin/sh", "-c", "pg_isready -U postgres"), 61.5, 5)


@pytest.mark.parametrize(
    ("services", "page"),
    [
        ("{a: {image: x}, b: {image: x, ports: [80]}}", "b"),
        ("{a: {image: x, ports: [80], profiles: [debug]}, b: {image: x, ports: [80]}}", "b"),
        ("{a: {image: x, expose: [80]}, b: {image: x}}", "a"),
        ("{a: {image: x, ports: ['53:53/udp']}, b: {image: x, expose: [80]}}", "b"),
        ("{db: {image: x, ports: [5432]}, app: {image: x, ports: [80]}, web: {image: x, ports: [81]}}", "web"),
        ("{only: {image: x}}", "only"),
    ],
)
def test_the_page_is_the_service_that_says_so(services: str, page: str) -> None:
    assert _parsed(f"services: {services}").page.name == page


def test_where_several_could_be_the_page_one_is_asked_for() -> None:
    text = "services: {a: {image: x, ports: [80]}, b: {image: x, ports: [81]}}"
    with pytest.raises(NotServed, match=r"a, b.*compose-a"):
        _parsed(text)
    assert _parsed(text, wanted="b").page.name == "b"
    with pytest.raises(NotServed, match="no service c"):
        _parsed(text, wanted="c")


def test_what_the_page_needs_comes_before_it_and_nothing_else_comes() -> None:
    project = _parsed("""
        services:
          web: {image: x, ports: [80], depends_on: [api, cache]}
          api: {image: x, depends_on: [db], links: ["cache"]}
          cache: {image: x}
          db: {image: x}
          other: {network_mode: host}
    """)
    assert [one.name for one in project.services] == ["cache", "db", "api", "web"]


@pytest.mark.parametrize(
    ("services", "why"),
    [
        ("{web: {image: x, depends_on: [db]}}", "no service db"),
        ("{web: {image: x, depends_on: [db], ports: [80]}, db: {image: x, depends_on: [web]}}", "needs itself"),
        (
            "{web: {image: x, depends_on: [a, b, c, d], ports: [80]}, a: &x {image: x}, b: *x, c: *x, d: *x}",
            r"needs 4 others \(a, b, c, d\)",
        ),
        ("{web: {image: x, ports: [80], depends_on: [db]}, db: {image: x, pid: host}}", "Service db, `pid`"),
        (
            "{web: {image: x, ports: [80], depends_on: {db: {condition: service_healthy}}}, db: {image: x}}",
            "healthcheck",
        ),
        ("{web: {image: x, depends_on: {db: {condition: later}}}, db: {image: x, profiles: [a]}}", "`depends_on.db`"),
    ],
)
def test_what_is_needed_and_cannot_be_had_is_refused(services: str, why: str) -> None:
    with pytest.raises(NotServed, match=why):
        _parsed(f"services: {services}")


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ("privileged: true", "privileged"),
        ("privileged: ${TAG}", "privileged"),
        ("cap_add: [SYS_ADMIN]", "cap_add"),
        ("devices: [/dev/sda]", "devices"),
        ("device_cgroup_rules: ['c 1:3 mr']", "device_cgroup_rules"),
        ("gpus: all", "gpus"),
        ("network_mode: host", "network_mode"),
        ("network_mode: service:db", "network_mode"),
        ("pid: host", "pid"),
        ("ipc: host", "ipc"),
        ("uts: host", "uts"),
        ("userns_mode: host", "userns_mode"),
        ("cgroup: host", "cgroup"),
        ("cgroup_parent: /x", "cgroup_parent"),
        ("runtime: nvidia", "runtime"),
        ("security_opt: [seccomp:unconfined]", "security_opt"),
        ("sysctls: {net.ipv4.ip_forward: 1}", "sysctls"),
        ("group_add: [docker]", "group_add"),
        ("extra_hosts: ['metadata:169.254.169.254']", "extra_hosts"),
        ("dns: 1.1.1.1", "dns"),
        ("secrets: [key]", "secrets"),
        ("configs: [key]", "configs"),
        ("credential_spec: {file: x}", "credential_spec"),
        ("volumes_from: [db]", "volumes_from"),
        ("external_links: [db]", "external_links"),
        ("links: ['db:database']", "links"),
        ("extends: {file: ../other.yaml, service: x}", "extends"),
        ("mac_address: 02:42:ac:11:65:43", "mac_address"),
        ("use_api_socket: true", "use_api_socket"),
        ("post_start: [{command: x}]", "post_start"),
        ("provider: {type: x}", "provider"),
        ("something_new: 1", "something_new"),
        ("user: root", "user"),
        ("user: '0:0'", "user"),
        ("user: 1000:0", "user"),
        ("working_dir: relative", "working_dir"),
        ("networks: {default: {ipv4_address: 10.0.0.1}}", "networks.default.ipv4_address"),
        ("networks: [theirs]", "networks"),
        ("volumes: ['/etc:/host']", "volumes"),
        ("volumes: ['/var/run/docker.sock:/var/run/docker.sock']", "volumes"),
        ("volumes: ['~/.ssh:/keys']", "volumes"),
        ("volumes: ['../other:/other']", "volumes"),
        ("volumes: ['./a/../../b:/other']", "volumes"),
        ("volumes: ['./src:/app/src']", "volumes"),
        ("volumes: ['src/x:/app/src']", "volumes"),
        ("volumes: ['C:\\x:/app']", "volumes"),
        ("volumes: ['theirs:/data']", "volumes"),
        ("volumes: ['unknown:/data']", "volumes"),
        ("volumes: ['nfs:/data']", "volumes.nfs.driver_opts"),
        ("volumes: ['.:/app:rshared']", "volumes"),
        ("volumes: ['.:/']", "volumes"),
        ("volumes: ['.:/tmp/']", "volumes"),
        ("volumes: ['.:/proc/x']", "volumes"),
        ("volumes: ['.:/run']", "volumes"),
        ("volumes: ['/a,b']", "volumes"),
        ("volumes: [{type: bind, source: /etc, target: /e}]", "volumes.source"),
        ("volumes: [{type: bind, source: ., target: /e, bind: {propagation: rshared}}]", "volumes.bind"),
        ("volumes: [{type: npipe, source: x, target: /e}]", "volumes"),
        ("tmpfs: /dev/x", "tmpfs"),
        ("env_file: /etc/passwd", "env_file"),
        ("env_file: ../.env", "env_file"),
        ("env_file: [{path: ~/.aws/credentials}]", "env_file.path"),
        ("build: https://example.com/x.git", "build"),
        ("build: git@example.com:x", "build"),
        ("build: {context: /etc}", "build.context"),
        ("build: {context: ../..}", "build.context"),
        ("build: {context: ., dockerfile: ../Dockerfile}", "build.dockerfile"),
        ("build: {context: ., dockerfile: /etc/passwd}", "build.dockerfile"),
        ("build: {context: ., network: host}", "build.network"),
        ("build: {context: ., privileged: true}", "build.privileged"),
        ("build: {context: ., ssh: [default]}", "build.ssh"),
        ("build: {context: ., secrets: [key]}", "build.secrets"),
        ("build: {context: ., additional_contexts: {x: /etc}}", "build.additional_contexts"),
        ("build: {context: ., extra_hosts: [a:1.1.1.1]}", "build.extra_hosts"),
        ("build: {context: ., target: 'a b'}", "build.target"),
        ("ports: ['99999:99999']", "ports"),
        ("ports: [{published: 80}]", "ports"),
        ('command: "un\'ended"', "command"),
        ("command: {a: b}", "command"),
        ("entrypoint: []", "entrypoint"),
        ("environment: {A: [b]}", "environment.A"),
        ("environment: ['=b']", "environment"),
        ("environment: {A: '${SECRET:?from the host}'}", "environment.A"),
        ("healthcheck: {test: [x]}", "healthcheck.test"),
        ("healthcheck: {test: x, interval: soon}", "healthcheck.interval"),
    ],
)
def test_what_a_preview_cannot_give_is_refused_with_service_and_key(keys: str, named: str) -> None:
    top = """
        networks: {theirs: {external: true}}
        volumes: {theirs: {external: true}, nfs: {driver_opts: {type: nfs, device: ":/x"}}}
    """
    with pytest.raises(NotServed, match=rf"^Service web, `{re.escape(named)}`: "):
        _web(keys, top=top)


@pytest.mark.parametrize("image", ["x y", "x AS y\nRUN true", "--platform=x", "$TAG;x", "", "${TAG}@sha256:1"])
def test_an_image_s_name_is_nothing_but_a_name(image: str) -> None:
    with pytest.raises(NotServed, match="`image`"):
        parse("services: {web: {image: " + repr(image).replace("\\n", "\n") + "}}", ENV)


@pytest.mark.parametrize(
    "keys",
    [
        "restart: always",
        "labels: {a: b}",
        "container_name: x",
        "logging: {driver: syslog}",
        "deploy: {replicas: 3}",
        "mem_limit: 8g",
        "cap_drop: [ALL]",
        "security_opt: ['no-new-privileges:true']",
        "privileged: false",
        "cap_add: []",
        "secrets:",
        "network_mode: bridge",
        "networks: [default, own]",
        "networks: {own: {priority: 1}}",
        "x-anything: {a: 1}",
        "develop: {watch: []}",
    ],
)
def test_what_changes_nothing_of_a_preview_is_passed_over(keys: str) -> None:
    assert _web(keys, top="networks: {own: {driver: bridge}}") == _web("")


@pytest.mark.parametrize(
    ("keys", "binds", "volumes", "scratch"),
    [
        ("volumes: ['.:/app', '/app/node_modules']", (Bind("/app"),), ("/app/node_modules",), ()),
        ("volumes: ['./:/app:ro,z']", (Bind("/app", read_only=True),), (), ()),
        ("volumes: ['data:/data']", (), (), ("/data",)),
        ("volumes: [{type: bind, source: ., target: /app, read_only: true}]", (Bind("/app", read_only=True),), (), ()),
        ("volumes: [{type: volume, source: data, target: /data}, {type: tmpfs, target: /c}]", (), (), ("/data", "/c")),
        ("volumes: [{type: volume, target: /data}]", (), ("/data",), ()),
        ("tmpfs: ['/cache:size=1g', /tmp]", (), (), ("/cache",)),
        ("volumes: ['${NO}data:/d/${TAG}']", (), (), ("/d/1.2",)),
    ],
)
def test_places_are_the_project_s_files_or_fresh(keys: str, binds: Any, volumes: Any, scratch: Any) -> None:
    found = _web(keys, top="volumes: {data: {}}")
    assert (found.binds, found.volumes, found.scratch) == (binds, volumes, scratch)


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        ("[80]", (80,)),
        ("['8080:80', '80/tcp', '53:53/udp']", (80,)),
        ("['127.0.0.1::8000', '[::1]:1:8001']", (8000, 8001)),
        ("['22:22']", (22,)),
        ("['3000-3001:4000-4001']", (4000,)),
        ("['${PORT}:${PORT:-80}']", (9000,)),
        ("[{target: 80, published: 8080, protocol: tcp}, {target: 1, protocol: udp}]", (80,)),
    ],
)
def test_ports_are_those_inside(ports: str, found: tuple[int, ...]) -> None:
    assert _web(f"ports: {ports}").ports == found


def test_paths_begin_where_the_file_is_and_end_within_the_project() -> None:
    build = _web("build: {context: ..}\nenv_file: [a.env, {path: ../b.env, required: false}]", folder="web")
    assert build.build == ImageBuild("")
    assert [(one.path, one.required) for one in build.env_files] == [("web/a.env", True), ("b.env", False)]
    with pytest.raises(NotServed, match="leads out"):
        _web("build: ../..", folder="web")
    with pytest.raises(NotServed, match="part of the project"):
        _web("volumes: ['.:/app']", folder="web")
    assert _web("volumes: ['..:/app']", folder="web").binds == (Bind("/app"),)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("", None),
        ("command: b 'c d'", ("image", "b", "c d")),
        ("command: [b, $TAG]", ("image", "b", "1.2")),
        ("entrypoint: a", ("a",)),
        ("entrypoint: [a]\ncommand: [b]", ("a", "b")),
        ("entrypoint: ''\ncommand: b", ("b",)),
        ("command: echo $$HOME", ("image", "echo", "$HOME")),
    ],
)
def test_what_runs_is_as_docker_has_it(keys: str, words: tuple[str, ...] | None) -> None:
    assert _web(keys).words(("image",)) == words


def test_variables_are_those_of_the_project_s_env_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "hidden")
    found = _web("environment: [JWT_SECRET_KEY, TAG, 'A=$JWT_SECRET_KEY', 'B=$$TAG', 'C=a=$TAG']").environment
    assert found == {"TAG": "1.2", "A": "", "B": "$TAG", "C": "a=1.2"}


@given(st.text(max_size=200))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    for call in (lambda: parse(text, {}), lambda: interpolated(text, ENV), lambda: variables(text, ENV)):
        try:
            call()
        except NotServed:
            continue


_PLAIN = st.text("abcz01:/.-_$ ", max_size=12)
_VALUES = st.recursive(_PLAIN | st.none() | st.booleans() | st.integers(), lambda inner: st.lists(inner, max_size=3))
_KEYS = st.sampled_from(
    ["image", "build", "command", "ports", "volumes", "environment", "user", "networks", "depends_on", "healthcheck"]
)


@given(st.dictionaries(_KEYS, _VALUES | st.dictionaries(_PLAIN, _VALUES, max_size=3), max_size=4))
def test_no_values_do_anything_but_parse_or_be_refused(keys: dict[str, Any]) -> None:
    import json  # noqa: PLC0415

    try:
        found = parse(json.dumps({"services": {"web": keys}}), ENV)
    except NotServed:
        return
    assert not found.page.binds or found.page.binds[0].target.startswith("/")
    assert found.page.user is None or "0" not in found.page.user.split(":")
