"""How a session is opened, prompted and interrupted: over ACP, over gemini-cli's, over Droid's own protocol."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from runyard_events.catalogue import Notice
from runyard_runner.adapter import AgentFailed, AgentStart, Native
from runyard_runner.json_rpc import JsonRpc, Marks, RpcError
from runyard_runner_acp.acp import PROMPT, AcpTranslator
from runyard_runner_acp.dialect import Translator
from runyard_runner_acp.droid import DroidTranslator

LOST = "The earlier conversation could not be opened again; the agent starts without it."
TOLD = "(The earlier conversation of this session could not be opened again: look at the files for what was done.)\n\n"


class Talk:
    """Requests whose answers are needed before the turn begins; all that is said meanwhile is yielded."""

    def __init__(self, peer: JsonRpc) -> None:
        self.peer = peer
        self.record = peer.messages()
        self.result: Mapping[str, Any] = {}
        self.thread = ""
        self.lost = False

    async def ask(self, method: str, params: Mapping[str, Any]) -> AsyncIterator[Native]:
        """Ends when the answer is there, in `result`. Raises `RpcError` when the agent refuses."""
        number = await self.peer.begin(method, params)
        async for direction, message in self.record:
            yield Native(raw=message, direction=direction)
            if direction == "received" and "method" not in message and str(message.get("id")) == number:
                if "error" in message:
                    raise RpcError(method, message["error"])
                self.result = message.get("result") or {}
                return
        raise AgentFailed("The agent ended before its session was open.", reason="start_failed")


class Dialect(Protocol):
    """One way to talk to an agent."""

    @property
    def marks(self) -> Marks:
        """What every message carries."""
        ...

    @property
    def always_asks(self) -> bool:
        """Whether the agent cannot be set not to ask."""
        ...

    def translator(self, cwd: str) -> Translator:
        """For one turn."""
        ...

    def open(self, talk: Talk, start: AgentStart) -> AsyncIterator[Native]:
        """Opens or resumes the session's thread; `talk.thread` is its id then."""
        ...

    async def prompt(self, talk: Talk, text: str) -> None:
        """Begins the turn."""
        ...

    async def interrupt(self, talk: Talk) -> None:
        """Asks the agent to stop the turn."""
        ...


async def resumed(talk: Talk, known: str | None, method: str, params: Mapping[str, Any]) -> AsyncIterator[Native]:
    """Tries to open a known thread; one that cannot be opened is said to be lost."""
    if known is None:
        return
    try:
        async for native in talk.ask(method, params):
            yield native
    except RpcError:
        talk.lost = True
        yield Native(raw=None, neutral=(Notice(level="warning", message=LOST),))
    else:
        talk.thread = known


class Acp:
    """The Agent Client Protocol, version 1."""

    always_asks = False

    def __init__(self) -> None:
        version = {"jsonrpc": "2.0"}
        self.marks: Marks = {"request": version, "notification": version, "response": version}

    def translator(self, cwd: str) -> Translator:
        return AcpTranslator(cwd)

    async def open(self, talk: Talk, start: AgentStart) -> AsyncIterator[Native]:
        # The agent works on the files itself: it is in the session's folder.
        nothing = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
        async for native in talk.ask("initialize", {"protocolVersion": 1, "clientCapabilities": nothing}):
            yield native
        able: Mapping[str, Any] = talk.result.get("agentCapabilities") or {}
        if (key := self.key(start)) is not None:
            async for native in talk.ask("authenticate", key):
                yield native
        # `load` tells the whole conversation again, `resume` does not.
        how = "session/resume" if "resume" in (able.get("sessionCapabilities") or {}) else "session/load"
        place: dict[str, Any] = {"cwd": str(start.cwd), "mcpServers": []}
        known = start.native_thread_id
        async for native in resumed(talk, known, how, {"sessionId": known, **place}):
            yield native
        if not talk.thread:
            async for native in talk.ask("session/new", place):
                yield native
            talk.thread = talk.result["sessionId"]

    def key(self, start: AgentStart) -> Mapping[str, Any] | None:  # noqa: ARG002 - most are told in their settings
        """What the agent is to authenticate with before it opens a session."""
        return None

    async def prompt(self, talk: Talk, text: str) -> None:
        words = [{"type": "text", "text": text}]
        await talk.peer.begin("session/prompt", {"sessionId": talk.thread, "prompt": words}, PROMPT)

    async def interrupt(self, talk: Talk) -> None:
        await talk.peer.notify("session/cancel", {"sessionId": talk.thread})


class Gemini(Acp):
    """ACP, with the run's token as the key of Gemini's API; it is taken out of the record like every secret.

    An old conversation is told again after it is said to be open, and nothing marks the end of that. Its mode that asks
    for nothing is only for repositories whose own settings and hooks are trusted; none are.
    """

    always_asks = True

    def key(self, start: AgentStart) -> Mapping[str, Any] | None:
        return {"methodId": "gemini-api-key", "_meta": {"api-key": start.run_token}}

    async def open(self, talk: Talk, start: AgentStart) -> AsyncIterator[Native]:
        async for native in super().open(talk, start):
            yield native
        # Asked something without effect until nothing of the past comes before the answer any more.
        past = talk.thread == start.native_thread_id
        while past:
            past = False
            async for native in talk.ask("session/set_mode", {"sessionId": talk.thread, "modeId": "default"}):
                past = past or (native.raw or {}).get("method") == "session/update"
                yield native


class Droid:
    """Droid's own protocol; its ACP wants a login."""

    always_asks = False

    def __init__(self) -> None:
        version = {"jsonrpc": "2.0", "factoryApiVersion": "1.0.0"}
        self.marks: Marks = {
            "request": {**version, "type": "request"},
            "notification": {**version, "type": "notification"},
            "response": {**version, "type": "response"},
        }

    def translator(self, cwd: str) -> Translator:
        return DroidTranslator(cwd)

    async def open(self, talk: Talk, start: AgentStart) -> AsyncIterator[Native]:
        known = start.native_thread_id
        async for native in resumed(talk, known, "droid.load_session", {"sessionId": known}):
            yield native
        if not talk.thread:
            wanted = {
                "machineId": "runyard",
                "cwd": str(start.cwd),
                "modelId": DROID_MODEL,
                "autonomyLevel": "high" if start.approval_policy == "never" else "off",
                "interactionMode": "auto",
            }
            async for native in talk.ask("droid.initialize_session", wanted):
                yield native
            talk.thread = talk.result["sessionId"]

    async def prompt(self, talk: Talk, text: str) -> None:
        await talk.peer.begin("droid.add_user_message", {"text": text}, PROMPT)

    async def interrupt(self, talk: Talk) -> None:
        await talk.peer.begin("droid.interrupt_session", {})


DROID_MODEL = "custom:Runyard-0"
"""Droid's name of the first model in its settings, by that model's display name."""
