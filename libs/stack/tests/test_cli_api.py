"""The command's side of the API: problems, retries, pages, streams that break and go on."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from runyard_stack.cli.api import Api, ApiError, Target, find_target
from runyard_stack.cli.follow import TERMINAL, follow
from runyard_stack.cli.runs import find_run
from runyard_stack.cli.sse import Message
from runyard_stack.errors import StackError

RUN = "2f9a695e-be39-5b81-ad22-ed7527625a42"


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(_seconds: float) -> None:
        return

    monkeypatch.setattr(time, "sleep", at_once)


def an_api(answer: Callable[[httpx.Request], httpx.Response]) -> Api:
    return Api(Target("http://gateway", "token"), httpx.MockTransport(answer))


def test_a_problem_becomes_its_words_and_keeps_its_type() -> None:
    problem = {"type": "/problems/run-not-found", "detail": "There is no such run."}
    api = an_api(lambda _: httpx.Response(404, json=problem))
    with pytest.raises(ApiError, match="There is no such run") as caught:
        api.get("/api/runs/x")
    assert (caught.value.status, caught.value.type) == (404, "run-not-found")


@pytest.mark.parametrize(("status", "remedy"), [(401, "runyard token"), (503, "runyard doctor"), (404, "")])
def test_a_refusal_names_the_remedy(status: int, remedy: str) -> None:
    with pytest.raises(ApiError) as caught:
        an_api(lambda _: httpx.Response(status, text="<html>")).get("/")
    assert remedy in caught.value.remedy
    assert str(status) in caught.value.message


def test_a_write_is_sent_again_under_the_same_key_when_the_connection_breaks() -> None:
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) < 3:
            raise httpx.ConnectError("refused")
        return httpx.Response(201, json={"run_id": RUN})

    assert an_api(answer).post("/api/sessions/s/prompt", {"prompt": "x"}) == {"run_id": RUN}
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_an_api_that_stays_away_is_named() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(StackError, match=r"http://gateway does not answer.*\n.*runyard status"):
        an_api(answer).get("/api/runs")


def test_a_listing_is_read_page_by_page() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        cursor = int(request.url.params.get("cursor", "0"))
        return httpx.Response(200, json={"items": [{"n": cursor}], "next_cursor": cursor + 1 if cursor < 2 else None})

    assert [item["n"] for item in an_api(answer).pages("/api/runs")] == [0, 1, 2]


class Pieces:
    """A stream that breaks: each connection gives the next piece, or an error."""

    def __init__(self, *pieces: list[Message] | Exception) -> None:
        self.pieces = list(pieces)
        self.asked: list[str | None] = []

    def stream(self, path: str, last_id: str | None) -> Iterator[Message]:  # noqa: ARG002
        self.asked.append(last_id)
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        for message in piece:
            if message.data == "break":
                raise httpx.ReadError("broken")
            yield message


def of(number: int, kind: str = "ui.notice") -> Message:
    return Message(f'{{"type":"{kind}","n":{number}}}', str(number))


def test_a_stream_that_breaks_goes_on_after_the_last_event_seen() -> None:
    lost: list[int] = []
    api = Pieces(
        [of(1), of(2), Message("break")],
        httpx.ConnectError("refused"),
        ApiError(503, {}),
        [of(3)],
        [of(4, "run.completed"), of(5)],
    )
    seen = [event["n"] for event in follow(api, "/events", TERMINAL, lambda: lost.append(1))]
    assert seen == [1, 2, 3, 4]
    assert api.asked == [None, "2", "2", "2", "3"]
    assert len(lost) == 3


def test_a_stream_that_is_refused_is_not_asked_for_again() -> None:
    api = Pieces(ApiError(404, {"detail": "There is no such run."}))
    with pytest.raises(ApiError, match="no such run"):
        list(follow(api, "/events", TERMINAL))


def test_a_note_about_the_stream_is_no_event() -> None:
    api = Pieces([Message("{}", None, "gap"), of(9, "run.error")])
    assert [event["n"] for event in follow(api, "/events", TERMINAL)] == [9]


def test_a_stream_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    api = Pieces(httpx.ConnectError("refused"), httpx.ConnectError("refused"), httpx.ConnectError("refused"))
    with pytest.raises(StackError, match="out of reach"):
        list(follow(api, "/events", TERMINAL))


def runs_api(*ids: str) -> Api:
    return an_api(lambda _: httpx.Response(200, json={"items": [{"run_id": one} for one in ids], "next_cursor": None}))


def test_a_run_is_found_by_the_beginning_of_its_id() -> None:
    api = runs_api(RUN, "31ff878b-b6c3-5cc9-9a86-0319c339b24f")
    assert find_run(api, "2f9a") == RUN
    assert find_run(api, "last") == RUN
    assert find_run(api, RUN) == RUN
    with pytest.raises(StackError, match="No run begins with 'f'"):
        find_run(api, "f")
    with pytest.raises(StackError, match="2 runs begin with ''"):
        find_run(api, "")
    with pytest.raises(StackError, match="no runs yet"):
        find_run(runs_api(), "last")


def test_another_stack_is_named_by_the_environment() -> None:
    target = find_target({"RUNYARD_URL": "http://there:1/", "RUNYARD_TOKEN": "t"})
    assert target == Target("http://there:1", "t")


def test_without_a_stack_or_a_token_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"No stack runs on .*\n.*runyard up.*RUNYARD_URL"):
        find_target({"RUNYARD_HOME": str(tmp_path)})
    with pytest.raises(StackError, match=r"no token .*\n.*RUNYARD_TOKEN"):
        find_target({"RUNYARD_HOME": str(tmp_path), "RUNYARD_URL": "http://there"})
