"""What a sandbox cannot do, seen from inside a real one."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from runyard_sandbox import Limits, Mount, Spec
from runyard_sandbox.provisioner import MIB

from .real_engine import World, client

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def network() -> dict[str, Any]:
    # Servers outside are containers here, on private addresses.
    return {"private_networks": ("172.16.0.0/12", "192.168.0.0/16")}


@pytest_asyncio.fixture(name="box", scope="module", loop_scope="module")
async def _box(here: World) -> Spec:
    return await here.run("box")


async def test_it_has_no_capability_and_can_get_none(here: World, box: Spec) -> None:
    _, status = await here.inside(box, "cat /proc/self/status")
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {lines[f"Cap{each}"] for each in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert lines["NoNewPrivs"] == "1"
    assert lines["Seccomp"] == "2"
    assert (await here.inside(box, "id -u; id -g"))[1] == "10001\n10001\n"
    assert (await here.inside(box, "su -c id || mount -t tmpfs x /mnt || chroot / true"))[0] != 0


async def test_its_root_cannot_be_written_and_what_can_is_in_memory(here: World, box: Spec) -> None:
    for path in ("/x", "/etc/x", "/usr/bin/x", "/var/x", "/opt/runyard/x"):
        code, said = await here.inside(box, f"touch {path}")
        assert (code, "Read-only file system" in said or "Permission denied" in said) == (1, True), path
    mounts = (await here.inside(box, "cat /proc/mounts"))[1].splitlines()
    options = {line.split()[1]: line.split()[3].split(",") for line in mounts}
    assert "ro" in options["/"]
    assert {"nosuid", "nodev", "noexec"} <= set(options["/run/secrets"])
    assert {"nosuid", "nodev"} <= set(options["/tmp"])  # noqa: S108
    assert (await here.inside(box, "echo x > /tmp/x && cat /tmp/x && cat > /run/secrets/y", stdin=b"y"))[0] == 0


async def test_it_sees_nothing_of_the_engine(here: World, box: Spec) -> None:
    code, _ = await here.inside(box, "ls /var/run/docker.sock /run/docker.sock /run/containerd")
    assert code != 0
    names = (await here.inside(box, "ls /dev"))[1].split()
    assert not {each for each in names if each.startswith(("sd", "vd", "kmsg", "mem", "kvm"))}
    assert (await here.inside(box, "cat /proc/1/comm"))[1].strip() in {"docker-init", "tini"}


async def test_it_reaches_no_port_and_no_address_of_the_host(here: World, box: Spec) -> None:
    everywhere = socket.create_server(("", 0))
    port = everywhere.getsockname()[1]
    addresses = {
        each.address
        for found in psutil.net_if_addrs().values()
        for each in found
        if each.family == socket.AF_INET and not each.address.startswith("127.")
    }
    gateway = (await here.inside(box, "ip route 2>/dev/null || true; getent hosts runyard | cut -d' ' -f1"))[1].split()[
        -1
    ]
    first = gateway.rpartition(".")[0] + "." + str(int(gateway.rpartition(".")[2]) - 1)
    for address in {*addresses, first, "host.docker.internal"}:
        assert not await here.connects(box, address, port), address
    everywhere.close()
    assert (await here.inside(box, "cat /proc/net/if_inet6 | grep -v ' lo$'"))[1] == ""


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "1.1.1.1"])
async def test_it_reaches_no_address_outside_but_through_the_proxy(here: World, box: Spec, address: str) -> None:
    assert not await here.connects(box, address, 80)


async def test_it_cannot_ask_for_names(here: World, box: Spec) -> None:
    assert (await here.inside(box, "getent hosts example.com"))[0] != 0


async def test_it_reaches_our_services_by_the_proxy_alone(here: World, box: Spec) -> None:
    code = "import socket; s = socket.create_connection(('runyard', 4222), 5); s.sendall(b'x\\n'); print(s.recv(99))"
    assert "INFO our service" in (await here.inside(box, f'python3 -c "{code}"'))[1]
    for port in (22, 80, 5432, 8087, 9109):
        assert not await here.connects(box, "runyard", port), port


async def test_it_reaches_no_other_sandbox(here: World, box: Spec) -> None:
    other = await here.run("other", "python3 -m http.server 7000")
    address = (await here.inside(other, "hostname -i"))[1].strip()
    assert await here.connects(other, address, 7000)
    assert not await here.connects(box, address, 7000)
    # Nor by way of the proxy, which is on both networks, even where it is allowed.
    here.allowed.add(address)
    assert (
        "403" in (await here.inside(box, f"curl -sS -m 5 -o /dev/null -w '%{{http_code}}' http://{address}:7000/"))[1]
    )
    assert (await here.inside(box, f"curl -sS -m 5 -p -x runyard:3128 http://{address}:7000/"))[0] != 0
    forwarding = client().containers.get(here.proxy)
    assert forwarding.exec_run(["cat", "/proc/sys/net/ipv4/ip_forward"]).output == b"0\n"
    await here.provisioner.delete(other.name)


async def test_the_host_itself_is_not_served_by_the_proxy(here: World, box: Spec) -> None:
    _ = box
    proxy = client().containers.get(here.proxy)
    uplink = proxy.attrs["NetworkSettings"]["Networks"][f"runyard-{here.settings.installation}-uplink"]
    for port in (4222, 3128):
        reader, writer = await asyncio.open_connection(uplink["IPAddress"], port)
        writer.write(b"CONNECT a:443 HTTP/1.1\r\n\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 20)


async def test_the_proxy_itself_is_held_like_a_sandbox(here: World, box: Spec) -> None:
    _ = box
    proxy = client().containers.get(here.proxy)
    host: dict[str, Any] = proxy.attrs["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 256 * MIB
    assert (host["NanoCpus"], host["PidsLimit"]) == (1_000_000_000, 64)
    assert (host["CapDrop"], host["CapAdd"], host["SecurityOpt"]) == (["ALL"], None, ["no-new-privileges:true"])
    assert (host["ReadonlyRootfs"], host["Privileged"]) == (True, False)
    assert not host["PortBindings"]
    assert {each["Target"] for each in host["Mounts"]} == {"/run/runyard/in", "/run/runyard/out"}
    status = proxy.exec_run(["cat", "/proc/self/status"]).output.decode()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {lines[f"Cap{each}"] for each in ("Prm", "Eff", "Bnd")} == {"0" * 16}
    assert (lines["NoNewPrivs"], lines["Seccomp"]) == ("1", "2")
    assert lines["Uid"].split()[0] != "0"
    assert proxy.exec_run(["touch", "/opt/x"]).exit_code != 0


async def test_an_allowed_host_is_reached_and_every_other_refused(here: World, box: Spec) -> None:
    engine = client()
    uplink = f"runyard-{here.settings.installation}-uplink"
    server = engine.containers.run(
        here.settings.images["agent"],
        ["python3", "-m", "http.server", "80"],
        name=f"{here.settings.installation}-outside",
        labels={"runyard.installation": here.settings.installation},
        network=uplink,
        working_dir="/opt",
        detach=True,
    )
    engine.networks.get(uplink).disconnect(server)
    engine.networks.get(uplink).connect(server, aliases=["allowed.test", "denied.test"])
    here.allowed.add("allowed.test")
    here.asked.clear()
    try:
        get = "curl -sS -m 10 -w '%{http_code}' -o /dev/null"
        ready = f"for i in $(seq 100); do {get} http://allowed.test/ | grep -q 200 && exit; sleep 0.1; done; exit 1"
        assert (await here.inside(box, ready))[0] == 0
        tunnel = "curl -sS -m 10 -p -w '%{http_code} %{http_connect}' -o /dev/null"
        assert (await here.inside(box, f"{tunnel} http://allowed.test/"))[1] == "200 200"
        assert (await here.inside(box, "curl -sS -m 10 -w '%{http_code}' http://denied.test/"))[1].endswith("403")
        assert "000 403" in (await here.inside(box, f"{tunnel} http://denied.test/"))[1]
        assert not await here.connects(box, "allowed.test", 80)
    finally:
        server.remove(force=True)
    found = await here.provisioner.at_address(here.asked[0][0])
    assert found is not None
    assert found.owner_id == box.owner_id
    assert {host for _, host, _ in here.asked} == {"allowed.test", "denied.test"}


async def test_no_more_processes_than_its_limit(here: World) -> None:
    spec = await here.run("pids", limits=Limits(256 * MIB, 0.5, 32))
    code, said = await here.inside(spec, "for i in $(seq 64); do sleep 5 & done; wait")
    assert code != 0
    assert "fork" in said.lower() or "resource" in said.lower()
    await here.provisioner.delete(spec.name)


async def test_out_of_memory_ends_it_and_is_told_so(here: World) -> None:
    eat = "python3 -c 'x = bytearray(200 * 1024 * 1024)'; exit $?"
    spec = await here.run("memory", eat, limits=Limits(64 * MIB, 1.0))
    async with asyncio.timeout(60):
        async for _ in here.provisioner.logs(spec.name, follow=True):
            pass
    found = await here.provisioner.find(spec.name)
    assert found is not None
    assert (found.status, found.exit_code, found.out_of_memory) == ("stopped", 137, True)
    assert [each.out_of_memory for each in await here.provisioner.list() if each.name == spec.name] == [True]
    await here.provisioner.delete(spec.name)


async def test_temporary_files_count_towards_its_memory(here: World) -> None:
    spec = await here.run("tmp", limits=Limits(64 * MIB, 1.0, temporary_bytes=16 * MIB))
    assert (await here.inside(spec, "head -c 32M /dev/zero > /tmp/x"))[0] != 0
    await here.provisioner.delete(spec.name)


async def test_only_its_own_folders_of_the_host(here: World, tmp_path: Path) -> None:
    worktree, common = _folders(tmp_path)
    mounts = (Mount(worktree, str(worktree)), Mount(common, str(common), read_only=True))
    spec = await here.run("files", mounts=mounts, working_directory=str(worktree))
    assert (await here.inside(spec, f"echo hi > made && ls {tmp_path}"))[1].split() == ["common", "worktree"]
    assert (worktree / "made").read_text() == "hi\n"
    assert "Read-only" in (await here.inside(spec, f"touch {common}/x"))[1]
    await here.provisioner.delete(spec.name)


def _folders(parent: Path) -> tuple[Path, Path]:
    parent.chmod(0o755)
    worktree, common = parent / "worktree", parent / "common"
    for folder in (worktree, common):
        folder.mkdir()
        folder.chmod(0o777)
    return worktree, common
