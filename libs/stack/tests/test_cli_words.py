"""Small decisions of the commands: repositories, approvals, bills, pace, findings."""

import asyncio
import os
import signal
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runyard_stack import doctor
from runyard_stack.cli.approvals import Ask, ask_decision
from runyard_stack.cli.banner import banner
from runyard_stack.cli.imports import is_current
from runyard_stack.cli.interrupts import Interrupts
from runyard_stack.cli.repository import Repository, repository
from runyard_stack.cli.runs import age
from runyard_stack.cli.watch import bill, paced
from runyard_stack.embedded.errors import EmbeddedError
from runyard_stack.errors import StackError
from runyard_stack.layout import Layout
from runyard_stack.servers import Existing
from runyard_stack.state import State


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_a_folder_inside_a_repository_means_the_repository(checkout: Path) -> None:
    (checkout / "deep").mkdir()
    found = repository(str(checkout / "deep"))
    assert found.source_type == "local"
    assert found.source_uri == str(checkout.resolve())
    assert found.head
    assert not found.changed
    (checkout / "new.txt").touch()
    assert repository(str(checkout)).changed


@pytest.mark.parametrize(
    ("text", "kind", "uri"),
    [
        ("https://github.com/psf/requests", "github", "https://github.com/psf/requests"),
        ("git@github.com:psf/requests.git", "github", "git@github.com:psf/requests.git"),
        ("psf/requests", "github", "https://github.com/psf/requests"),
        ("ssh://git@example.org/x.git", "git", "ssh://git@example.org/x.git"),
    ],
)
def test_an_address_is_taken_as_it_is(text: str, kind: str, uri: str) -> None:
    assert repository(text) == Repository(kind, uri)  # pyright: ignore[reportArgumentType]


def test_what_is_no_repository_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"is not a Git repository.*\n.*git init"):
        repository(str(tmp_path))
    with pytest.raises(StackError, match="does not exist"):
        repository(str(tmp_path / "nothing" / "at" / "all"))


def test_a_copy_of_another_commit_is_not_used_again() -> None:
    workspace = {"source_uri": "/repo", "status": "ready", "head_commit": "a"}
    assert is_current(workspace, Repository("local", "/repo", head="a"))
    assert not is_current(workspace, Repository("local", "/repo", head="b"))
    assert not is_current(workspace | {"status": "failed"}, Repository("local", "/repo", head="a"))
    assert is_current(workspace, Repository("git", "/repo"))
    assert not is_current(workspace, Repository("git", "/other"))


def typed(*answers: str) -> Ask:
    remaining = iter(answers)

    def answer(_prompt: str) -> str:
        return next(remaining)

    return answer


def test_an_approval_is_asked_until_the_answer_is_one() -> None:
    approval = {"options": ["accept", "decline", "cancel"], "askKind": "command"}
    assert ask_decision(approval, typed("", "what", "a")) == {"decision": "accept"}
    assert ask_decision(approval, typed("s", "Decline")) == {"decision": "decline"}
    assert ask_decision({"options": ["accept_for_session"]}, typed("s")) == {"decision": "accept_for_session"}


def test_a_question_is_answered_by_number_or_in_words() -> None:
    approval = {
        "askKind": "question",
        "questions": [
            {"id": "q1", "question": "Which?", "options": [{"label": "Left"}, {"label": "Right"}]},
            {"id": "q2", "question": "Why?"},
        ],
    }
    answers = ask_decision(approval, typed("2", "because"))
    assert answers == {"decision": "accept", "answers": {"q1": "Right", "q2": "because"}}


def test_a_bill_says_what_was_paid_and_when_nothing_was() -> None:
    usage = {"calls": 2, "input_tokens": 1200, "output_tokens": 30}
    assert bill({"usage": usage, "cost_usd": 0.0123}) == "1,200 tokens in, 30 out · $0.0123"
    assert "not known" in bill({"usage": usage, "cost_usd": None})
    assert "no cost: the scripted offline model" in bill({"usage": usage, "cost_usd": 0.0, "scripted": True})
    assert bill({}) == ""


def test_a_replay_keeps_the_pauses_divided_by_its_speed() -> None:
    events: list[dict[str, Any]] = [
        {"at": "2026-01-01T00:00:00.000Z"},
        {"at": "2026-01-01T00:00:04.000Z"},
        {"no": "time"},
        {"at": "2026-01-01T00:00:02.000Z"},
    ]
    slept: list[float] = []
    assert list(paced(events, 2, slept.append)) == events
    assert slept == [2.0]
    assert list(paced(events, 0, slept.append)) == events
    assert slept == [2.0]


def test_ages_are_in_the_largest_unit_that_fits() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert age("2026-01-01T23:59:30Z", now) == "30 s"
    assert age("2026-01-01T23:30:00Z", now) == "30 min"
    assert age("2026-01-01T20:00:00Z", now) == "4 h"
    assert age("2025-12-20T00:00:00Z", now) == "13 d"
    assert age("2026-01-02T00:00:05Z", now) == "0 s"


def test_the_first_ctrl_c_asks_and_the_second_one_leaves() -> None:
    asked = threading.Event()
    interrupts = Interrupts(asked.set)
    with interrupts.caught():
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(5)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_at_a_question_ends_the_question() -> None:
    interrupts = Interrupts(lambda: None)
    with interrupts.caught(), interrupts.answering(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not interrupts.asked


def test_the_banner_names_everything_that_a_newcomer_needs(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    state = State(
        pid=1,
        phase="ready",
        started_at=datetime.now(UTC),
        port_base=9100,
        processes=False,
        addresses={"gateway": "http://127.0.0.1:9101", "workspace": "http://127.0.0.1:9110"},
        event_log="nats://127.0.0.1:9111",
        database="127.0.0.1:9103",
        model_source="the scripted offline model",
    )
    text = banner(layout, state, "the-token", 1.25)
    for words in (
        "ready (1.2 s)",
        "http://127.0.0.1:9101",
        "workspace 9110",
        "nats://127.0.0.1:9111",
        "127.0.0.1:9103",
        "the-token",
        "scripted",
        " run --repo .",
    ):
        assert words in text


@pytest.fixture
def layout(free_layout: Layout) -> Layout:
    return free_layout


async def test_a_machine_that_has_everything_is_found_well(layout: Layout) -> None:
    findings = await doctor.examine(layout, {})
    assert not [finding for finding in findings if finding.state == "broken"]
    assert {"Python", "Git", "data", "disk", "nats-server", "PostgreSQL", "ports", "models"} <= {
        finding.name for finding in findings
    }


def test_what_is_missing_comes_with_a_remedy(layout: Layout, tmp_path: Path) -> None:
    def absent() -> Path:
        raise EmbeddedError("nats-server is not installed.", "Run `make install`.")

    (tmp_path / "file").touch()
    broken = [
        doctor.python((3, 9, 1)),
        doctor.git(None),
        doctor.git("git version 1.8.3"),
        doctor.disk(1000),
        doctor.binary("nats-server", absent),
        doctor.data_folder(Layout(tmp_path / "file" / "home")),
    ]
    assert all(finding.state == "broken" and finding.remedy for finding in broken)
    assert doctor.disk(2**30).state == "warning"
    assert doctor.git("git version 2.39.5 (Apple Git-154)").words == "2.39.5"


async def test_taken_ports_are_found_before_a_start(layout: Layout) -> None:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", layout.port("nats"))
    finding = doctor.ports(layout, Existing())
    assert finding.state == "broken"
    assert str(layout.port("nats")) in finding.words
    assert doctor.ports(layout, Existing(nats_url="nats://elsewhere")).state == "ok"
    server.close()
    await server.wait_closed()
    assert (await doctor.server("event log", f"nats://127.0.0.1:{layout.port('nats')}")).state == "broken"
    assert (await doctor.server("database", "nowhere")).state == "broken"
