"""Every stream, consumer and bucket of the product, declared here and nowhere else.

`ensure_topology` makes the server agree with this file; running it twice changes nothing.
"""

import json
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from runyard_events.errors import EventError, LogUnavailable
from runyard_events.leases import BUCKET as LEASES
from runyard_events.leases import LEASE_SECONDS

_S = 1_000_000_000
DAY = 24 * 3600 * _S

COMMANDS = "COMMANDS"
EVENTS = "EVENTS"
DLQ = "DLQ"
OUTPUTS = "outputs"
OUTPUT_BYTES = 48 * 1024 * 1024
"""Of one output that a container may have kept."""

COMMAND_ACK_WAIT_SECONDS = 15
MAX_DELIVER = 5
MAX_CONSUMERS = 100_000
"""Of one stream. A server that is told nothing stops at 1,000 (NATS 2.15): that many catch-up readers of two seconds
each, or sessions with a sandbox."""

_COMMAND_CONSUMERS = {
    "orchestrator": "cmd.orchestrator.>",
    "workspace": "cmd.workspace.>",
    "runner-codex": "cmd.runner.codex.>",
    "runner-claude": "cmd.runner.claude.>",
}
_SHARED_CONSUMERS = {
    # One service for every agent that speaks a protocol which several agents speak.
    "runner-acp": ["cmd.runner.opencode.>", "cmd.runner.droid.>", "cmd.runner.gemini.>"],
}
_EFFECT_CONSUMERS = {
    "workspace-effects": ["ev.*.session.*.run.*.lifecycle"],
    "orchestrator-process": [
        "ev.*.session.*.lifecycle",
        "ev.*.session.*.effect",
        "ev.*.session.*.run.*.lifecycle",
    ],
}


def runner_of(runner_type: str) -> str:
    """What the service that works on runs of this type is called behind `runner-`: `acp` for opencode."""
    subject = f"cmd.runner.{runner_type}.>"
    shared = (name for name, subjects in _SHARED_CONSUMERS.items() if subject in subjects)
    return next(shared, runner_type).removeprefix("runner-")


def streams(replicas: int = 1) -> dict[str, dict[str, Any]]:
    """The streams as the server's API takes them."""
    shared = {
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "allow_direct": True,
        "max_consumers": MAX_CONSUMERS,
    }
    return {
        EVENTS: {
            **shared,
            "subjects": ["ev.>"],
            "retention": "limits",
            "compression": "s2",
            "deny_delete": True,
            "allow_atomic": True,
            "duplicate_window": 120 * _S,
        },
        COMMANDS: {
            **shared,
            "subjects": ["cmd.>"],
            "retention": "workqueue",
            # Bounded: a queue that nobody works off refuses further commands instead of filling the disk.
            "max_msgs": 100_000,
            "max_msg_size": 4 * 1024 * 1024,
            "duplicate_window": 120 * _S,
        },
        DLQ: {**shared, "subjects": ["dlq.>"], "retention": "limits", "max_age": 30 * DAY},
        f"KV_{LEASES}": {
            **shared,
            "subjects": [f"$KV.{LEASES}.>"],
            "max_msgs_per_subject": 1,
            "max_age": LEASE_SECONDS * _S,
            # A rollup of one key could be one of the whole bucket.
            "allow_rollup_hdrs": False,
            "deny_delete": True,
            "duplicate_window": LEASE_SECONDS * _S,
        },
        f"OBJ_{OUTPUTS}": {
            **shared,
            "subjects": [f"$O.{OUTPUTS}.C.>", f"$O.{OUTPUTS}.M.>"],
            "allow_rollup_hdrs": True,
        },
    }


def consumers() -> dict[str, list[dict[str, Any]]]:
    """The durable pull consumers by stream."""
    common = {
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "max_ack_pending": 256,
        "max_waiting": 64,
    }
    commands = [
        {
            **common,
            "durable_name": name,
            "filter_subject": subject,
            "ack_wait": COMMAND_ACK_WAIT_SECONDS * _S,
            # A run's start command comes back for as long as the runner wants to take it up.
            "max_deliver": -1 if name.startswith("runner-") else MAX_DELIVER,
        }
        for name, subject in _COMMAND_CONSUMERS.items()
    ]
    commands += [
        {
            **common,
            "durable_name": name,
            "filter_subjects": subjects,
            "ack_wait": COMMAND_ACK_WAIT_SECONDS * _S,
            "max_deliver": -1,
        }
        for name, subjects in _SHARED_CONSUMERS.items()
    ]
    effects = [
        {
            **common,
            "durable_name": name,
            "filter_subjects": subjects,
            "ack_wait": 30 * _S,
            "max_deliver": MAX_DELIVER,
        }
        for name, subjects in _EFFECT_CONSUMERS.items()
    ]
    return {COMMANDS: commands, EVENTS: effects}


async def ensure_topology(client: Client, *, replicas: int = 1) -> None:
    """Creates what is missing and updates what differs.

    Raises:
        LogUnavailable: the server does not answer, or has no JetStream.
        EventError: the server refuses a declaration.
    """
    for name, config in streams(replicas).items():
        await _ensure(client, f"$JS.API.STREAM.%s.{name}", {"name": name, **config})
    for stream, declared in consumers().items():
        for config in declared:
            request = {"stream_name": stream, "config": config, "action": ""}
            subject = f"$JS.API.CONSUMER.CREATE.{stream}.{config['durable_name']}"
            single = config.get("filter_subject")
            answer = await _ask(client, f"{subject}.{single}" if single else subject, request)
            _check(answer, str(config["durable_name"]))


def sandbox_durable(session_id: str) -> str:
    """The durable consumer that the runner in a session's own sandbox pulls from."""
    return f"sandbox-{session_id}"


def sandbox_consumer(session_id: str) -> dict[str, Any]:
    """Its declaration. It is there as long as the session has a sandbox, and hands out this session's starts only."""
    return {
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "max_ack_pending": 16,
        "max_waiting": 8,
        "durable_name": sandbox_durable(session_id),
        "filter_subject": _sandbox_subject(session_id),
        "ack_wait": COMMAND_ACK_WAIT_SECONDS * _S,
        "max_deliver": -1,
    }


async def ensure_sandbox_queue(client: Client, session_id: str) -> None:
    """Declares the consumer of a session's sandbox; one that is there stays as it is.

    Raises:
        LogUnavailable: the server does not answer.
        EventError: the server refuses.
    """
    config = sandbox_consumer(session_id)
    subject = f"$JS.API.CONSUMER.CREATE.{COMMANDS}.{config['durable_name']}.{config['filter_subject']}"
    answer = await _ask(client, subject, {"stream_name": COMMANDS, "config": config, "action": ""})
    _check(answer, str(config["durable_name"]))


async def empty_sandbox_queue(client: Client, session_id: str) -> None:
    """Drops the starts that wait for a session's sandbox.

    Raises:
        LogUnavailable, EventError: as `ensure_sandbox_queue`.
    """
    subject = f"$JS.API.STREAM.PURGE.{COMMANDS}"
    _check(await _ask(client, subject, {"filter": _sandbox_subject(session_id)}), COMMANDS)


async def remove_sandbox_queue(client: Client, session_id: str) -> None:
    """Removes the consumer of a session's sandbox and what waits there; one that is gone stays gone.

    Raises:
        LogUnavailable, EventError: as `ensure_sandbox_queue`.
    """
    await empty_sandbox_queue(client, session_id)
    durable = sandbox_durable(session_id)
    answer = await _ask(client, f"$JS.API.CONSUMER.DELETE.{COMMANDS}.{durable}", {})
    if answer.get("error", {}).get("err_code") != _NO_SUCH_CONSUMER:
        _check(answer, durable)


async def sandbox_queues(client: Client) -> set[str]:
    """The sessions whose sandbox has a consumer.

    Raises:
        LogUnavailable, EventError: as `ensure_sandbox_queue`.
    """
    names: list[str] = []
    while True:
        answer = await _ask(client, f"$JS.API.CONSUMER.NAMES.{COMMANDS}", {"offset": len(names)})
        _check(answer, COMMANDS)
        page: list[str] = answer["consumers"] or []
        names += page
        if not page or len(names) >= answer["total"]:
            prefix = sandbox_durable("")
            return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def _sandbox_subject(session_id: str) -> str:
    return f"cmd.sandbox.{session_id}.start"


async def _ensure(client: Client, subject: str, config: dict[str, Any]) -> None:
    answer = await _ask(client, subject % "CREATE", config)
    if answer.get("error", {}).get("err_code") == _STREAM_NAME_IN_USE:
        answer = await _ask(client, subject % "UPDATE", config)
    _check(answer, str(config["name"]))


_STREAM_NAME_IN_USE = 10058
_NO_SUCH_CONSUMER = 10014


async def _ask(client: Client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        message = await client.request(subject, json.dumps(body).encode(), timeout=10)
    except (NatsError, TimeoutError) as error:
        raise LogUnavailable(f"JetStream does not answer: {error}") from error
    return json.loads(message.data)


def _check(answer: dict[str, Any], name: str) -> None:
    if "error" in answer:
        raise EventError(f"cannot declare {name}: {answer['error'].get('description')}")
