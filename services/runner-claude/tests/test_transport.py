"""The transport with a stand-in for Claude's program: what a real one does only on its worst days."""

import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
from claude_agent_sdk import ClaudeAgentOptions, CLIConnectionError, ProcessError

from runyard_runner import processes
from runyard_runner_claude.adapters.tape import Line, Tape
from runyard_runner_claude.adapters.transport import RecordingTransport


def program(folder: Path, body: str) -> Path:
    path = folder / "claude"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{body}\n")
    path.chmod(0o755)
    return path


def transport_of(folder: Path, body: str, tape: Tape) -> RecordingTransport:
    return RecordingTransport(
        ClaudeAgentOptions(cli_path=program(folder, body)),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "GIVEN": "1"},
        folder=folder,
        tape=tape,
    )


async def everything(transport: RecordingTransport, tape: Tape) -> tuple[list[Line], list[object]]:
    """All lines, and what of them the SDK got to see."""
    seen: list[object] = []

    async def see() -> None:
        async for message in transport.read_messages():
            seen.append(message)  # noqa: PERF401 - a comprehension would lose them to the error at the end

    with pytest.raises(ProcessError):
        await see()
    lines: list[Line] = []
    while line := await tape.take():
        lines.append(line)
    await transport.close()
    return lines, seen


async def test_the_environment_is_what_was_given_and_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNER_SECRET", "canary")
    tape = Tape()
    transport = transport_of(tmp_path, "print(json.dumps(dict(os.environ)))", tape)
    await transport.connect()
    ((line,), _) = await everything(transport, tape)
    assert set(line.raw) - {"LC_CTYPE"} == {"PATH", "GIVEN", processes.MARK}


async def test_the_process_leads_a_session_of_its_own(tmp_path: Path) -> None:
    tape = Tape()
    transport = transport_of(tmp_path, "print(json.dumps({'sid': os.getsid(0), 'pgid': os.getpgid(0)}))", tape)
    await transport.connect()
    pid = transport.pid
    ((line,), _) = await everything(transport, tape)
    assert line.raw == {"sid": pid, "pgid": pid}
    assert pid != os.getpid()


async def test_the_sdk_sees_the_control_protocol_only_and_the_tape_has_it_all(tmp_path: Path) -> None:
    body = 'print(\'{"type": "control_request"}\'); print(\'{"type": "assistant"}\'); print(\'stray print\'); print()'
    tape = Tape()
    transport = transport_of(tmp_path, body, tape)
    await transport.connect()
    lines, seen = await everything(transport, tape)
    assert seen == [{"type": "control_request"}]
    assert [line.raw for line in lines] == [
        {"type": "control_request"},
        {"type": "assistant"},
        {"type": "text", "text": "stray print"},
    ]


async def test_what_is_written_is_on_the_tape_and_reaches_the_process(tmp_path: Path) -> None:
    tape = Tape()
    transport = transport_of(tmp_path, "print(sys.stdin.readline(), end='')", tape)
    await transport.connect()
    await transport.write(json.dumps({"type": "user"}) + "\n")
    lines, _ = await everything(transport, tape)
    assert lines == [Line({"type": "user"}, "sent"), Line({"type": "user"})]


async def test_a_line_without_end_ends_the_process_instead_of_filling_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "split_lines", partial(processes.split_lines, limit=1_000_000))
    tape = Tape()
    transport = transport_of(tmp_path, "\nwhile True: sys.stdout.write('x' * 100_000)", tape)
    await transport.connect()
    lines, _ = await everything(transport, tape)
    assert lines == []
    assert "1000000 bytes" in transport.last_words


async def test_the_last_words_on_stderr_are_kept_without_the_agents_own_diagnostics(tmp_path: Path) -> None:
    body = "print('[claude-code:unrecognized_model] {}', file=sys.stderr); sys.exit('No such conversation')"
    tape = Tape()
    transport = transport_of(tmp_path, body, tape)
    await transport.connect()
    await everything(transport, tape)
    assert transport.last_words == "No such conversation"


async def test_a_program_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    transport = transport_of(tmp_path, "", Tape())
    (tmp_path / "claude").unlink()
    with pytest.raises(CLIConnectionError, match="cannot be started"):
        await transport.connect()


async def test_closing_a_program_that_ignores_everything_is_bounded_and_ends_it(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    body = f"{deaf}; print('{{}}', flush=True)\nwhile True: time.sleep(60)"
    tape = Tape()
    transport = transport_of(tmp_path, body, tape)
    await transport.connect()
    pid = transport.pid
    reading = asyncio.create_task(everything(transport, tape))
    assert await tape.take() == Line({"type": "text", "text": "{}"})
    reading.cancel()
    await asyncio.wait({reading})
    async with asyncio.timeout(5):
        await transport.close()
    assert pid is not None
    assert processes.start_time(pid) is None
    with pytest.raises(CLIConnectionError):
        await transport.write("{}\n")
