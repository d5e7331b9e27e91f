"""Processes in the place of containers, with real processes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runyard_sandbox import Limits, LogLine, NotThere, ProvisionFailed, Spec, Stats
from runyard_sandbox.process import ProcessProvisioner, ProcessSettings
from runyard_sandbox.process.identity import Identity, identity_of, signal_quietly
from runyard_sandbox.process.output import Output
from runyard_sandbox.process.reading import Reading
from runyard_sandbox.process.record import Folder
from runyard_sandbox.provisioner import MIB

_WAIT = "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done"


def spec(script: str, *, name: str = "p-1", epoch: int = 1, limits: Limits | None = None) -> Spec:
    return Spec(
        name=name,
        purpose="preview",
        tenant_id="t",
        owner_id="preview-1",
        epoch=epoch,
        image=None,
        command=("sh", "-c", script),
        env={"GREETING": "hello"},
        limits=limits or Limits(512 * MIB, 1.0),
        ports=(5001,),
    )


@pytest.fixture(name="provisioner")
async def _provisioner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessProvisioner]:
    monkeypatch.setenv("JWT_SECRET_KEY", "ours")
    provisioner = ProcessProvisioner(ProcessSettings(folder=tmp_path / "processes"))
    yield provisioner
    for each in await provisioner.list():
        await provisioner.delete(each.name)
    await provisioner.close()


async def until_line(provisioner: ProcessProvisioner, text: str, name: str = "p-1") -> LogLine:
    async with asyncio.timeout(20):
        async for line in provisioner.logs(name, follow=True):
            if text in line.text:
                return line
    raise AssertionError(text)


async def until_ended(provisioner: ProcessProvisioner, name: str = "p-1") -> None:
    async with asyncio.timeout(20):
        async for _ in provisioner.logs(name, follow=True):
            pass


async def test_it_runs_prints_and_is_found(provisioner: ProcessProvisioner) -> None:
    made = await provisioner.provision(spec(f"echo $GREETING >&2; {_WAIT}"))
    assert made.status == "running"
    assert made.addresses == {5001: "127.0.0.1:5001"}
    line = await until_line(provisioner, "hello")
    assert (line.stream, line.at is not None) == ("stderr", True)
    assert await provisioner.find("p-1") == made
    assert await provisioner.list() == [made]


async def test_the_same_spec_again_is_the_same_process(provisioner: ProcessProvisioner) -> None:
    made, again = await asyncio.gather(provisioner.provision(spec(_WAIT)), provisioner.provision(spec(_WAIT)))
    assert made == again
    with pytest.raises(ProvisionFailed):
        await provisioner.provision(spec(_WAIT, epoch=2))


async def test_it_gets_nothing_of_our_environment_but_what_it_needs(provisioner: ProcessProvisioner) -> None:
    await provisioner.provision(spec("env; echo done"))
    await until_ended(provisioner)
    lines = [line.text async for line in provisioner.logs("p-1")]
    assert not [line for line in lines if line.startswith("JWT_SECRET_KEY")]
    assert [line for line in lines if line.startswith("HOME=") and line.endswith("/p-1/home")]


async def test_how_it_ended_is_known(provisioner: ProcessProvisioner) -> None:
    await provisioner.provision(spec("exit 7"))
    await until_ended(provisioner)
    found = await provisioner.find("p-1")
    assert found is not None
    assert (found.status, found.exit_code) == ("stopped", 7)


async def test_one_that_ends_while_it_is_looked_at_either_runs_or_has_ended_as_it_did(
    provisioner: ProcessProvisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provisioner.provision(spec(_WAIT))
    await until_line(provisioner, "up")
    how_it_ended = Folder.ended

    def ends_behind_the_look(self: Folder) -> object:
        found, running = how_it_ended(self), self.running()
        if running is not None and running.supervisor.lives():
            running.supervisor.send(signal.SIGTERM)
            while running.supervisor.lives():
                time.sleep(0.01)
        return found

    monkeypatch.setattr(Folder, "ended", ends_behind_the_look)
    for status, code in (("running", None), ("stopped", 3)):
        found = await provisioner.find("p-1")
        assert found is not None
        assert (found.status, found.exit_code) == (status, code)


async def test_a_command_that_cannot_be_started_leaves_nothing(provisioner: ProcessProvisioner) -> None:
    wrong = Spec(
        name="p-2", purpose="preview", tenant_id="t", owner_id="o", epoch=1, image=None, command=("/no/such/program",)
    )
    with pytest.raises(ProvisionFailed, match="/no/such/program"):
        await provisioner.provision(wrong)
    assert await provisioner.list() == []


async def test_stop_asks_then_kills_all_that_it_started(provisioner: ProcessProvisioner) -> None:
    # One that ignores SIGTERM, in a session of its own and away from its parent.
    script = f"setsid sh -c \"trap '' TERM; echo stubborn \\$\\$; while :; do sleep 0.05; done\" & {_WAIT}"
    await provisioner.provision(spec(script))
    stubborn = psutil.Process(int((await until_line(provisioner, "stubborn")).text.split()[1]))
    await provisioner.stop("p-1", grace_seconds=0.5)
    found = await provisioner.find("p-1")
    assert found is not None
    assert (found.status, found.exit_code) == ("stopped", 3)
    assert not stubborn.is_running()
    await provisioner.stop("p-1")
    assert (await provisioner.start("p-1")).status == "running"


async def test_a_restarted_service_finds_what_runs_and_how_it_ends(
    provisioner: ProcessProvisioner, tmp_path: Path
) -> None:
    made = await provisioner.provision(spec(_WAIT))
    await provisioner.close()
    again = ProcessProvisioner(ProcessSettings(folder=tmp_path / "processes"))
    assert await again.list() == [made]
    changes = again.changes()
    waiting = asyncio.ensure_future(anext(changes))
    await until_line(again, "up")
    os.kill(int(made.native_id), signal.SIGTERM)
    assert (await asyncio.wait_for(waiting, 20)).what == "die"
    found = await again.find("p-1")
    assert found is not None
    assert (found.status, found.exit_code) == ("stopped", 3)
    await again.close()


async def test_a_killed_supervisor_is_an_error_and_nothing_of_it_stays(
    provisioner: ProcessProvisioner, tmp_path: Path
) -> None:
    made = await provisioner.provision(spec(_WAIT))
    running = Folder(tmp_path / "processes" / "p-1").running()
    assert running is not None
    os.kill(running.supervisor.pid, signal.SIGKILL)
    await until_ended(provisioner)
    found = await provisioner.find("p-1")
    assert found is not None
    assert found.status == "error"
    await provisioner.delete("p-1")
    assert not psutil.pid_exists(int(made.native_id)) or psutil.Process(int(made.native_id)).status() == "zombie"
    assert await provisioner.list() == []


async def test_another_process_of_the_same_number_is_not_taken_for_it() -> None:
    me = identity_of(os.getpid())
    assert me is not None
    assert me.lives()
    assert not Identity(me.pid, me.ticks + 1, me.boot).lives()
    assert not Identity(me.pid, me.ticks, "another boot").lives()


async def test_a_group_whose_leader_s_number_is_another_s_by_now_is_left_alone(
    provisioner: ProcessProvisioner, tmp_path: Path
) -> None:
    made = await provisioner.provision(spec(_WAIT))
    folder = Folder(tmp_path / "processes" / "p-1")
    running = folder.running()
    assert running is not None
    bystander = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
    other = identity_of(bystander.pid)
    assert other is not None
    os.kill(running.supervisor.pid, signal.SIGKILL)
    await until_ended(provisioner)
    folder.began(replace(running, leader=replace(other, ticks=other.ticks - 1)))
    await provisioner.delete("p-1")
    assert bystander.returncode is None
    assert other.lives()
    bystander.kill()
    await bystander.wait()
    signal_quietly(int(made.native_id), signal.SIGKILL)


async def test_too_much_memory_of_all_together_ends_it(provisioner: ProcessProvisioner) -> None:
    eat = f"{sys.executable} -c 'import time; x = bytearray(40 * 1024 * 1024); time.sleep(60)'"
    await provisioner.provision(spec(f"{eat} & {eat} & wait", limits=Limits(60 * MIB, 1.0)))
    await until_ended(provisioner)
    found = await provisioner.find("p-1")
    assert found is not None
    assert (found.status, found.out_of_memory) == ("stopped", True)


async def test_it_stands_still_and_goes_on(provisioner: ProcessProvisioner) -> None:
    await provisioner.provision(spec(_WAIT))
    await provisioner.pause("p-1")
    await provisioner.pause("p-1")
    found = await provisioner.find("p-1")
    assert found is not None
    assert found.status == "paused"
    await provisioner.resume("p-1")
    found = await provisioner.find("p-1")
    assert found is not None
    assert found.status == "running"
    await provisioner.pause("p-1")
    await provisioner.stop("p-1", grace_seconds=5)


async def test_one_that_waits_for_a_child_which_stands_still_before_it_has_begun_stands_still(
    provisioner: ProcessProvisioner,
) -> None:
    child = "import ctypes; libc = ctypes.CDLL(None); print('up', flush=True); libc.vfork() or getattr(libc, 'raise')"
    await provisioner.provision(spec(f'exec {sys.executable} -c "{child}({int(signal.SIGSTOP)})"'))
    await until_line(provisioner, "up")
    await provisioner.pause("p-1")
    found = await provisioner.find("p-1")
    assert found is not None
    assert found.status == "paused"


async def test_what_it_uses_is_told_until_it_ends(provisioner: ProcessProvisioner) -> None:
    await provisioner.provision(spec("while :; do :; done"))
    readings: list[Stats] = []
    async with asyncio.timeout(20):
        async for reading in provisioner.stats("p-1"):
            readings.append(reading)
            if len(readings) == 2:
                await provisioner.stop("p-1", grace_seconds=0)
    assert all(each.memory_bytes > 0 for each in readings[:2])
    assert readings[1].cpu_percent > 5
    assert (readings[-1].memory_bytes, readings[-1].processes) == (0, 0)


async def test_what_it_leaves_on_the_disk_is_told(provisioner: ProcessProvisioner, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "before").write_bytes(os.urandom(2 * MIB))
    script = "dd if=/dev/urandom of=after bs=1M count=3 2>/dev/null; echo up; sleep 600"
    await provisioner.provision(replace(spec(script), working_directory=str(tree)))
    await until_line(provisioner, "up")
    readings: list[Stats] = []
    async with asyncio.timeout(20):
        async for reading in provisioner.stats("p-1"):
            readings.append(reading)
            if len(readings) == 1:
                (tree / "late").write_bytes(os.urandom(4 * MIB))
                await provisioner.stop("p-1", grace_seconds=0)
    first, last = readings[0].disk_bytes, readings[-1].disk_bytes
    assert first is not None
    assert last is not None
    assert 5 * MIB <= first < 6 * MIB
    assert 9 * MIB <= last < 10 * MIB


async def test_a_command_beside_it_gets_its_input_and_is_killed_when_late(provisioner: ProcessProvisioner) -> None:
    await provisioner.provision(spec(_WAIT))
    result = await provisioner.exec("p-1", ["sh", "-c", "cat; echo $GREETING; exit 4"], stdin=b"secret ")
    assert (result.exit_code, result.output) == (4, b"secret hello\n")
    with pytest.raises(TimeoutError):
        await provisioner.exec("p-1", ["sleep", "100"], timeout_seconds=0.2)
    with pytest.raises(NotThere):
        await provisioner.exec("other", ["true"])


async def test_what_is_gone_stays_gone(provisioner: ProcessProvisioner) -> None:
    await provisioner.delete("p-1")
    await provisioner.stop("p-1")
    assert await provisioner.find("p-1") is None
    assert await provisioner.find("../x") is None
    with pytest.raises(NotThere):
        await provisioner.start("p-1")


def test_output_is_bounded_and_read_across_the_change_of_files(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    output, reading = Output(path, most_bytes=1000), Reading(path)
    assert reading.tail(10) == []
    seen: list[str] = []
    for number in range(100):
        output.write(f"line {number}".encode(), "stdout")
        seen += [line.text for line in reading.fresh()]
    assert seen == [f"line {number}" for number in range(100)]
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 2200
    assert [line.text for line in Reading(path).tail(2)] == ["line 98", "line 99"]
