"""A small agent without a process, for tests and benchmarks: it plays a script.

The script is made from the `AgentStart`, so that a resumed turn can differ. It may also run a real
child process (`Spawn`), to see that nothing of it survives.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from runyard_events.catalogue import (
    AssistantDelta,
    AssistantFinal,
    ToolCall,
    ToolOutputDelta,
    ToolResult,
    Usage,
)
from runyard_runner.adapter import AgentFailed, AgentStart, Ask, Decision, Native, TurnEnd
from runyard_runner.processes import Child, spawn


@dataclass(frozen=True, slots=True)
class Say:
    """Speak `tokens` words, one delta each, `delay` seconds apart."""

    tokens: int = 50
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class UseTool:
    """Call a tool that prints `output`; `finished` False leaves it open."""

    output: str = "done\n"
    finished: bool = True


@dataclass(frozen=True, slots=True)
class AskFor:
    """Ask, and wait for the answer; the next words tell what it was."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a child process of the turn."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hang:
    """Do nothing until interrupted; `deaf` not even then."""

    deaf: bool = False


@dataclass(frozen=True, slots=True)
class Break:
    """Fail as a broken agent does."""

    message: str = "broken"


Step = Say | UseTool | AskFor | Spawn | Hang | Break
Script = Callable[[AgentStart], Sequence[Step]]


@dataclass(slots=True)
class StubAgent:
    """Plays `script` in every turn; `starts` keeps what it was started with."""

    script: Script = lambda _: [Say()]
    name: str = "stub"
    starts: list[AgentStart] = field(default_factory=list[AgentStart])
    turns: list["StubTurn"] = field(default_factory=list["StubTurn"])

    async def start(self, start: AgentStart) -> "StubTurn":
        self.starts.append(start)
        turn = StubTurn(start, self.script(start))
        self.turns.append(turn)
        return turn

    async def close(self) -> None:
        for turn in self.turns:
            await turn.close(kill=True)


class StubTurn:
    """One scripted turn."""

    def __init__(self, start: AgentStart, steps: Sequence[Step]) -> None:
        self._start = start
        self._steps = steps
        self._interrupted = asyncio.Event()
        self._answers: dict[str, asyncio.Future[Decision]] = {}
        self._said: list[str] = []
        self.steered: list[str] = []
        self.children: list[Child] = []
        self.closed = False

    @property
    def process_group(self) -> int | None:
        return self.children[0].pid if self.children else None

    async def __aiter__(self) -> AsyncIterator[Native]:
        yield Native(raw={"method": "thread"}, thread=self._start.native_thread_id or f"native-{self._start.run_id}")
        for number, step in enumerate(self._steps):
            async for native in self._play(number, step):
                yield native
            if self._interrupted.is_set():
                yield Native(raw={"method": "end"}, end=TurnEnd(status="interrupted"))
                return
        usage = Usage(input_tokens=10, output_tokens=len(self._said))
        text = "".join(self._said)
        yield Native(raw={"method": "end"}, end=TurnEnd(status="completed", usage=usage, final_text=text))

    async def answer(self, key: str, decision: Decision) -> None:
        self._answers[key].set_result(decision)

    async def steer(self, text: str) -> bool:
        self.steered.append(text)
        return True

    async def interrupt(self) -> None:
        self._interrupted.set()

    async def close(self, *, kill: bool = False) -> None:  # noqa: ARG002 - its children never outlive it
        self.closed = True
        for child in self.children:
            await child.stop(grace=0.5)

    async def _play(self, number: int, step: Step) -> AsyncIterator[Native]:
        match step:
            case Say(tokens, delay):
                async for native in self._say(f"m{number}", tokens, delay):
                    yield native
            case UseTool(output, finished):
                for native in _tool(f"t{number}", output, finished=finished):
                    yield native
            case AskFor(ask):
                self._answers[ask.key] = asyncio.get_running_loop().create_future()
                yield Native(raw={"method": "ask", "id": ask.key}, ask=ask)
                decision = await self._answers[ask.key]
                text = f"answer: {decision.kind}"
                yield Native(raw={"method": "said", "text": text}, neutral=(AssistantFinal(text=text),))
            case Spawn(argv):
                child = await spawn(argv, cwd=self._start.cwd, env=self._start.env, folder=self._start.home.parent)
                self.children.append(child)
                yield Native(raw={"method": "spawned", "pid": child.pid})
            case Hang(deaf):
                await (asyncio.Event() if deaf else self._interrupted).wait()
            case Break(message):
                raise AgentFailed(message)

    async def _say(self, message: str, tokens: int, delay: float) -> AsyncIterator[Native]:
        words = [f"word{count} " for count in range(tokens)]
        for word in words:
            if delay:
                await asyncio.sleep(delay)
            yield Native(
                raw={"method": "delta", "item": message, "delta": word, "at": time.time()},
                neutral=(AssistantDelta(text_delta=word, message_id=message),),
            )
            if self._interrupted.is_set():
                return
        self._said += words
        text = "".join(words)
        final = AssistantFinal(text=text, message_id=message)
        yield Native(raw={"method": "message", "item": message, "text": text}, neutral=(final,))


def _tool(call: str, output: str, *, finished: bool) -> list[Native]:
    begun = ToolCall(tool_name="shell", input={"command": "true"}, call_id=call, category="command")
    natives = [
        Native(raw={"method": "tool", "item": call}, neutral=(begun,)),
        Native(raw={"method": "output"}, neutral=(ToolOutputDelta(text_delta=output[:100], call_id=call),)),
    ]
    if finished:
        result = ToolResult(tool_name="shell", output=output, call_id=call, exit_code=0)
        natives.append(Native(raw={"method": "result", "output": output}, neutral=(result,)))
    return natives
