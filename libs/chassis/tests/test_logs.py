"""One JSON object per line, for our events and the libraries'."""

import io
import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import structlog

from runyard_chassis import configure_logging, get_logger, log_context, redact_also
from runyard_events.redact import Redactor

CANARY = "canary-5f0e2d7c9b1a"


@contextmanager
def logged(form: Literal["json", "console"]) -> Generator[io.StringIO]:
    """What is logged in this form; logging is as before afterwards."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("INFO", format=form, stream=stream, redactor=Redactor.for_secrets([CANARY], salt="s"))
    try:
        yield stream
    finally:
        structlog.configure(**before)
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def out() -> Generator[io.StringIO]:
    with logged("json") as stream:
        yield stream


@pytest.fixture
def console() -> Generator[io.StringIO]:
    with logged("console") as stream:
        yield stream


def fail(text: str) -> None:
    raise LookupError(text)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_line_with_the_ids_of_its_context(out: io.StringIO) -> None:
    with log_context(run_id="r1", session_id=None, tenant_id="t1"):
        get_logger("demo").info("run.started", attempt=2)
    get_logger("demo").info("after")
    first, second = lines(out)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "run.started",
        "attempt": 2,
        "run_id": "r1",
        "tenant_id": "t1",
        "level": "info",
        "logger": "demo",
    }
    assert "run_id" not in second


def test_a_library_s_line_has_the_same_shape(out: io.StringIO) -> None:
    with log_context(run_id="r1"):
        logging.getLogger("uvicorn.error").warning("port %d", 80)
    (line,) = lines(out)
    assert (line["event"], line["level"], line["logger"], line["run_id"]) == (
        "port 80",
        "warning",
        "uvicorn.error",
        "r1",
    )


def test_an_exception_is_part_of_its_line(out: io.StringIO) -> None:
    try:
        fail("gone")
    except LookupError:
        get_logger().exception("failed")
    (line,) = lines(out)
    assert "LookupError: gone" in line["exception"]


def test_lines_below_the_level_are_left_out(out: io.StringIO) -> None:
    get_logger("demo").debug("quiet")
    logging.getLogger("uvicorn.access").info("GET /?token=secret")
    logging.getLogger("nats").debug("quiet")
    assert out.getvalue() == ""


def test_secrets_are_replaced_wherever_they_stand(out: io.StringIO) -> None:
    with log_context(header=CANARY):
        try:
            fail(CANARY)
        except LookupError:
            get_logger("x").exception("with " + CANARY, inner={"deep": [CANARY]}, error=ValueError(CANARY))
    logging.getLogger("nats").error("password %s", CANARY)
    logging.getLogger("x").error("key", extra={"key": CANARY})
    logging.getLogger("x").error("%s", "sk-ant-" + "api03-" + "x" * 30)
    assert len(lines(out)) == 4
    assert CANARY not in out.getvalue()
    assert "sk-ant-api03" not in out.getvalue()


def test_a_secret_that_comes_up_later_is_replaced_from_then_on(out: io.StringIO) -> None:
    redact_also("learned-0a1b2c3d4e5f")
    get_logger("demo").info("signed.in", url="https://bot:learned-0a1b2c3d4e5f@example.com", other=CANARY)
    logging.getLogger("library").warning("with learned-0a1b2c3d4e5f")
    assert "learned-0a1b2c3d4e5f" not in out.getvalue()
    assert CANARY not in out.getvalue()
    assert out.getvalue().count("[redacted]") == 3


def test_the_console_form_is_for_people(console: io.StringIO) -> None:
    get_logger("demo").info("run.started", run_id="r1")
    assert "run.started" in console.getvalue()
    assert not console.getvalue().startswith("{")


def test_a_traceback_on_the_console_tells_no_secrets_and_no_local_variables(console: io.StringIO) -> None:
    local = {"authorization": "local-0a1b2c3d4e5f"}
    try:
        fail(f"no {CANARY} here")
    except LookupError:
        get_logger("demo").exception("run.failed")
        logging.getLogger("library").exception("as well")
    assert console.getvalue().count("LookupError: no [redacted] here") == 2
    assert local["authorization"] not in console.getvalue()
