"""What whoever has a session's container in his hands can do with it: work on that session, and nothing else."""

import asyncio
import json
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from runyard_events import EventLog, connect
from runyard_stack.accounts import STACK
from runyard_stack.credentials import Credentials, read_credentials

if TYPE_CHECKING:
    from tests.conftest import Api, Stack
    from tests.docker.conftest import Engine

pytestmark = [pytest.mark.docker, pytest.mark.agents, pytest.mark.timeout(180)]
CANARY = "canary-7d20e3b95c184fa6"

# What the runner itself does, in the hands of somebody else: nats-py with the session's token.
NATS = """
import asyncio, json, os
import nats
async def main():
    said, refusals = {}, []
    async def note(error): refusals.append(str(error))
    client = await nats.connect(
        os.environ["NATS_URL"], user=os.environ["SESSION_ID"], password=os.environ["SESSION_TOKEN"],
        error_cb=note, inbox_prefix=f"_INBOX_sandbox-{os.environ['SESSION_ID']}".encode(), allow_reconnect=False,
    )
    async def ask(name, subject, body):
        try:
            answer = await client.request(subject, json.dumps(body).encode(), timeout=0.7)
            said[name] = answer.data.decode(errors="replace") or str(answer.headers)
        except Exception as error:
            said[name] = "refused: " + type(error).__name__
    heard = []
    async def hear(message): heard.append(message.subject)
    %s
    await asyncio.sleep(1)
    await client.close()
    print(json.dumps({"said": said, "refusals": refusals, "heard": heard}))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def two(stack: "Stack", token: str, api_of: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A session with a container that has run something, and another one of the same team."""
    return opened(stack, token, api_of, tmp_path_factory.mktemp("repo"), "codex")


@pytest.fixture(scope="module", params=["codex", "claude"])
def two_of_each(
    request: pytest.FixtureRequest,
    stack: "Stack",
    token: str,
    api_of: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, str]:
    """The same for each image: what is in them differs."""
    if request.param == "codex":
        return request.getfixturevalue("two")
    return opened(stack, token, api_of, tmp_path_factory.mktemp("repo"), request.param)


def opened(stack: "Stack", token: str, api_of: Any, folder: Path, agent: str) -> tuple[str, str]:
    """Two sessions whose agents have run something."""
    (folder / "README.md").write_text("# A project\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)

    async def open_both() -> list[str]:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=90) as client:
            api: Api = api_of(client)
            workspace = await api.import_repository(folder)
            sessions = [await api.session(workspace, agent) for _ in range(2)]
            for session in sessions:
                events = await api.events(await api.prompt(session, "[[script: tokens 5]]"))
                assert events[-1].type == "run.completed", events[-1].event
        return sessions

    mine, other = asyncio.run(open_both())
    return mine, other


def credentials_of(stack: "Stack") -> Credentials:
    credentials = read_credentials(stack.home / "secrets.json")
    assert credentials is not None
    return credentials


async def everything_of(stack: "Stack", session: str) -> list[bytes]:
    credentials = credentials_of(stack)
    url = f"nats://127.0.0.1:{stack.port_base + 11}"
    client = await connect(url, service=STACK, user=STACK, password=credentials.nats_passwords[STACK])
    try:
        subject = f"ev.{credentials.tenant_id}.session.{session}.>"
        return [stored.data async for stored in EventLog(client).replay(subject)]
    finally:
        await client.close()


async def test_it_cannot_read_another_sessions_events(stack: "Stack", engine: "Engine", two: tuple[str, str]) -> None:
    mine, other = two
    tenant = credentials_of(stack).tenant_id
    program = (
        NATS
        % f"""
    for name, subject in {{
        "other": "ev.{tenant}.session.{other}.>", "lifecycle": "ev.{tenant}.session.{other}.lifecycle", "all": ">",
        "commands": "cmd.>", "inboxes": "_INBOX.>", "gateway": "_INBOX_gateway.>", "js": "$JS.>", "kv": "$KV.>",
    }}.items():
        await client.subscribe(subject, cb=hear)
    for subject in ("ev.{tenant}.session.{other}.lifecycle", "ev.>", "ev.{tenant}.session.{other}.>"):
        body = {{"stream_name": "EVENTS", "config": {{
            "name": "thief", "filter_subject": subject, "deliver_policy": "all", "ack_policy": "none",
            "mem_storage": True, "inactive_threshold": 5_000_000_000}}}}
        await ask("consumer " + subject, "$JS.API.CONSUMER.CREATE.EVENTS.thief." + subject, body)
        await ask("next " + subject, "$JS.API.CONSUMER.MSG.NEXT.EVENTS.thief", {{"batch": 1, "no_wait": True}})
        await ask("last " + subject, "$JS.API.DIRECT.GET.EVENTS." + subject, {{}})
        await ask("get " + subject, "$JS.API.STREAM.MSG.GET.EVENTS", {{"last_by_subj": subject}})
        await ask("direct " + subject, "$JS.API.DIRECT.GET.EVENTS", {{"last_by_subj": subject}})
    await ask("streams", "$JS.API.STREAM.LIST", {{}})
    await ask("outputs", "$JS.API.STREAM.INFO.OBJ_outputs", {{}})
    """
    )

    found = engine.python(mine, program)

    assert found["heard"] == []
    assert all(answer.startswith("refused") for answer in found["said"].values()), found["said"]
    assert len(found["refusals"]) >= 10


async def test_it_cannot_write_another_sessions_history_nor_commands(
    stack: "Stack", engine: "Engine", two: tuple[str, str]
) -> None:
    mine, other = two
    tenant = credentials_of(stack).tenant_id
    forged = json.dumps({"type": "session.deleted", "v": 1}).encode()
    program = (
        NATS
        % f"""
    for subject in (
        "ev.{tenant}.session.{other}.lifecycle", "ev.{tenant}.session.{other}.run.x.lifecycle",
        "ev.{tenant}.session.{mine}.lifecycle", "ev.{tenant}.session.{mine}.sandbox",
        "ev.{tenant}.team.{tenant}.lifecycle", "cmd.orchestrator.delete-session", "cmd.workspace.push",
        "cmd.runner.codex.start", "cmd.sandbox.{other}.start", "$KV.leases.{other}.x", "$SYS.REQ.SERVER.PING",
        "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.PURGE.EVENTS",
    ):
        await ask(subject, subject, {{"type": "session.deleted", "v": 1}})
    """
    )

    found = engine.python(mine, program)

    assert all(answer.startswith("refused") for answer in found["said"].values()), found["said"]
    for session in two:
        assert forged not in await everything_of(stack, session)


@pytest.mark.parametrize("account", ["orchestrator", "stack", "gateway", "auth"])
async def test_its_token_is_nobody_elses_password(engine: "Engine", two: tuple[str, str], account: str) -> None:
    program = f"""
import asyncio, json, os, nats
async def enter(user):
    said = []
    async def note(error): said.append(str(error))
    try:
        client = await nats.connect(os.environ["NATS_URL"], user=user, password=os.environ["SESSION_TOKEN"],
                                    error_cb=note, allow_reconnect=False, connect_timeout=3)
    except Exception as error:
        return [*said, str(error)]
    await client.close()
    return ["in"]
async def main():
    return [await enter(user) for user in (os.environ["SESSION_ID"], "{account}")]
print(json.dumps(asyncio.run(main())))
"""
    itself, another = engine.python(two[0], program)
    assert itself == ["in"]
    assert any("authorization violation" in one.lower() for one in another), another


async def test_it_reaches_no_database_no_port_of_the_host_and_no_metadata(
    stack: "Stack", engine: "Engine", two: tuple[str, str]
) -> None:
    base = stack.port_base
    with socket.create_server(("", 0)) as everywhere:
        open_port = everywhere.getsockname()[1]
        hosts = sorted(
            {
                each.address
                for found in psutil.net_if_addrs().values()
                for each in found
                if each.family == socket.AF_INET and not each.address.startswith("127.")
            }
        )
        ports = [open_port, *(base + offset for offset in (1, 2, 3, 4, 8, 9, 10, 11)), 22, 2375, 5432]
        targets = [(host, port) for host in (*hosts, "runyard", "127.0.0.1") for port in ports]
        targets += [("169.254.169.254", 80), ("host.docker.internal", base + 3), ("1.1.1.1", 443)]
        program = f"""
import json, socket
from concurrent.futures import ThreadPoolExecutor
def reached(target):
    try:
        socket.create_connection(target, 2).close()
    except OSError:
        return None
    return target
with ThreadPoolExecutor(32) as pool:
    print(json.dumps([one for one in pool.map(reached, {targets!r}) if one]))
"""
        assert engine.python(two[0], program) == []


@pytest.mark.parametrize("target", ["169.254.169.254:80", "127.0.0.1:9103", "example.invalid:443", "localhost:4222"])
async def test_the_proxy_leads_nowhere_that_is_not_allowed_and_the_refusal_is_an_event(
    stack: "Stack", engine: "Engine", two: tuple[str, str], target: str
) -> None:
    host, _, port = target.partition(":")
    program = f"""
import json, socket
with socket.create_connection(("runyard", 3128), 5) as proxy:
    proxy.sendall(b"CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n")
    print(json.dumps(proxy.recv(200).decode(errors="replace").split("\\r\\n")[0]))
"""

    answer = engine.python(two[0], program)

    assert " 403 " in f"{answer} ", answer
    async with asyncio.timeout(20):
        while True:
            events = [json.loads(one) for one in await everything_of(stack, two[0])]
            denied = [one["payload"] for one in events if one["type"] == "sandbox.egress_denied"]
            if any((one["host"], one["port"]) == (host, int(port)) for one in denied):
                return
            await asyncio.sleep(0.2)


async def test_it_has_no_engine_no_privilege_and_no_other_sessions_files(
    stack: "Stack", engine: "Engine", two_of_each: tuple[str, str]
) -> None:
    mine, other = two_of_each
    program = f"""
import glob, json, os
socks = [one for one in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd") if os.path.exists(one)]
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
others = [one for one in glob.glob("{stack.home}/**", recursive=True) if "{other}" in one]
writable = [one for one in ("/", "/etc", "/usr", "/app", "/opt/runyard") if os.access(one, os.W_OK)]
print(json.dumps({{"socks": socks, "caps": status["CapEff"].strip(), "bounding": status["CapBnd"].strip(),
    "privileges": status["NoNewPrivs"].strip(), "uid": os.getuid(), "others": others, "writable": writable,
    "secrets": os.path.exists("{stack.home}/secrets.json")}}))
"""

    found = engine.python(mine, program)

    assert found["socks"] == []
    assert (found["caps"], found["bounding"], found["privileges"]) == ("0" * 16, "0" * 16, "1")
    assert found["uid"] != 0
    assert (found["others"], found["writable"], found["secrets"]) == ([], [], False)


async def test_no_provider_key_and_no_key_of_the_stack_is_anywhere_in_it(
    stack: "Stack", engine: "Engine", two_of_each: tuple[str, str]
) -> None:
    credentials = credentials_of(stack)
    secrets = {
        "provider": CANARY,
        "jwt": credentials.jwt_secret_key,
        "postgres": credentials.postgres_password,
        "nats": credentials.nats_passwords["orchestrator"],
        "issuer": credentials.nats_issuer_seed,
    }
    # The program itself must not be what is found.
    backwards = {name: value[::-1] for name, value in secrets.items()}
    program = f"""
import glob, json, os
wanted = {{name: value[::-1].encode() for name, value in {backwards!r}.items()}}
found = []
def look(place, content):
    found.extend((place, name) for name, value in wanted.items() if value in content)
look("environment", json.dumps(dict(os.environ)).encode())
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    if str(os.getpid()) in path.split("/"):
        continue
    try:
        look(path, open(path, "rb").read())
    except OSError:
        pass
for root in ("/agents", "/tmp", "/run", "/etc", "/app", "/home", "/root", "/var", os.environ["WORKSPACE_PATH"]):
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 64 << 20:
                    look(path, open(path, "rb").read())
            except OSError:
                pass
print(json.dumps(found))
"""
    for session in two_of_each:
        assert engine.python(session, program) == []


async def test_its_token_opens_no_other_session_and_nothing_of_the_users_api(
    api: "Api", stack: "Stack", engine: "Engine", two: tuple[str, str]
) -> None:
    mine, other = two
    token = engine.inside(mine, "printenv", "SESSION_TOKEN")
    headers = {"Authorization": f"Bearer {token}"}
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/api/sessions", {}),
        ("GET", f"/api/sessions/{mine}", {}),
        ("GET", f"/api/sessions/{other}/messages", {}),
        ("POST", f"/api/sessions/{other}/prompt", {"json": {"prompt": "hello"}}),
        ("POST", f"/api/sessions/{mine}/prompt", {"json": {"prompt": "hello"}}),
        ("DELETE", f"/api/sessions/{other}", {}),
        ("GET", f"/api/container-webhooks/{other}/messages", {}),
        ("POST", f"/api/container-webhooks/{other}/message", {"json": {"type": "chunk", "content": "x"}}),
    ]
    for method, path, more in asked:
        answer = await api.client.request(method, path, headers=headers, **more)
        assert answer.status_code in {401, 403, 404}, (method, path, answer.status_code)
    run = await api.prompt(other, "[[script: tokens 200 delay 50]]")
    await api.until(run, "ui.message.assistant.delta")
    program = f"""
import json, os, urllib.error, urllib.request
headers = {{"Authorization": "Bearer " + os.environ["SESSION_TOKEN"], "Content-Type": "application/json"}}
url = os.environ["LLM_GATEWAY_URL"]
directly = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
def post(path, body):
    try:
        return directly.open(urllib.request.Request(url + path, json.dumps(body).encode(), headers)).status
    except urllib.error.HTTPError as error:
        return error.code
exchange = post("/run-tokens", {{"run_id": "{run}"}})
chat = post("/v1/responses", {{"model": "gpt-5.5", "input": "x"}})
print(json.dumps([exchange, chat]))
"""
    exchange, chat = engine.python(mine, program)
    await api.call("POST", f"/api/runs/{run}/cancel")
    assert exchange in {401, 403, 404, 409}
    assert chat in {401, 403}
