"""The scripted model itself: from a conversation to the next answer, as a pure function of the request."""

import re
from dataclasses import dataclass, field
from itertools import takewhile

from runyard_llm_gateway.providers.scripted import script as steps
from runyard_llm_gateway.providers.scripted.conversation import Conversation, Said, tokens
from runyard_llm_gateway.providers.scripted.hands import Act, Hands
from runyard_llm_gateway.providers.scripted.offline import improvise
from runyard_llm_gateway.providers.scripted.scenarios import named

_RUNNING = re.compile(r"Process running with session ID (\d+)")
_NOT_STEPS = frozenset({"write_stdin", "ToolSearch", "tool_search", "wait_agent", "wait"})
_CODE_RUNNING = re.compile(r"Script running with cell ID (\w+)")
_SPAWNED = re.compile(r'"(?:agent_id|task_name)" ?: ?"([\w/-]+)"')
_CONTINUES = re.compile(r"\s*(?:continue\b|your response above was cut off)", re.IGNORECASE)
_WORD = re.compile(r"\S+\s*|\s+")
_BULK = 8192


@dataclass(frozen=True, slots=True)
class Text:
    """Assistant text in the pieces that it is streamed in."""

    pieces: tuple[str, ...]
    delay_ms: float = 0


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning, likewise."""

    pieces: tuple[str, ...]
    delay_ms: float = 0
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A tool use with its identifier."""

    call_id: str
    act: Act


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing for a while."""

    ms: float


@dataclass(frozen=True, slots=True)
class Break:
    """The connection breaks."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error: as the whole answer, or inside the stream when something came before it."""

    status: int
    message: str
    retry_after: int | None = None


Beat = Text | Thought | Call | Silence | Break | Failure


@dataclass(frozen=True, slots=True)
class Spent:
    """Token counts of an answer, computed from the sizes of what was read and written."""

    input: int
    cached: int
    output: int
    reasoning: int


@dataclass(frozen=True)
class Reply:
    """The next answer. `failure` stands for an answer that is only an HTTP error."""

    beats: tuple[Beat, ...] = ()
    failure: Failure | None = None
    lead_ms: float = 0
    spent: Spent = field(default=Spent(0, 0, 0, 0))

    @property
    def calls(self) -> tuple[Call, ...]:
        """The tool uses of this answer."""
        return tuple(beat for beat in self.beats if isinstance(beat, Call))


def reply_to(conversation: Conversation, now: float) -> Reply:
    """The model's next answer. `now` (epoch seconds) matters to failures with an `until` only."""
    try:
        beats = _Telling(conversation, now).beats()
    except steps.ScriptError as error:
        return Reply(failure=Failure(400, str(error)))
    silences = list(takewhile(lambda beat: isinstance(beat, Silence), beats))
    lead = sum(beat.ms for beat in silences if isinstance(beat, Silence))
    beats = beats[len(silences) :]
    if beats and isinstance(beats[0], Failure):
        return Reply(failure=beats[0], lead_ms=lead)
    return Reply(tuple(beats), lead_ms=lead, spent=spent_on(conversation, beats))


def spent_on(conversation: Conversation, beats: list[Beat]) -> Spent:
    """Token counts of an answer."""
    reasoning = sum(tokens(sum(map(len, beat.pieces))) for beat in beats if isinstance(beat, Thought))
    text = sum(tokens(sum(map(len, beat.pieces))) for beat in beats if isinstance(beat, Text))
    calls = sum(tokens(len(beat.act.arguments)) for beat in beats if isinstance(beat, Call))
    read, cached = tokens(conversation.size), tokens(conversation.cached_size)
    return Spent(read, min(cached, read), reasoning + text + calls, reasoning)


class _Telling:
    """How far the conversation has come, and what is said and done next."""

    def __init__(self, conversation: Conversation, now: float) -> None:
        self._conversation = conversation
        self._now = now
        self._hands = Hands(conversation.offers, conversation.folder)
        self._delay = 0.0
        self._beats: list[Beat] = []

    def beats(self) -> list[Beat]:
        start, results, steering = self._position()
        if (poll := self._poll()) is not None:
            return [self._call(poll)]
        script = self._script(start, results)
        answer, last = steps.answer_after(script, len(results))
        told = self._loads()
        for step in answer:
            if not told or steps.calls_of(step):
                self._tell(step)
        if last and steering:
            self._add(f" Meanwhile you said: {steering}")
        if not self._beats:
            self._add("The script is done.")
        return self._beats

    def _position(self) -> tuple[Said | None, list[Said], str]:
        """The prompt that counts, the results of its steps so far, and what was said in between."""
        said = self._conversation.said
        prompts = [i for i, entry in enumerate(said) if entry.is_prompt]
        if not prompts:
            return None, [], ""
        at = prompts[-1]
        if steps.directive(said[at].words) is None and (scripted := self._unfinished(prompts)) is not None:
            return said[scripted], self._results(scripted), said[at].words
        return said[at], self._results(at), ""

    def _unfinished(self, prompts: list[int]) -> int | None:
        """An earlier script that the last prompt only steers (in mid-turn) or resumes ("Continue ...")."""
        said = self._conversation.said
        for at in reversed(prompts[:-1]):
            if steps.directive(said[at].words) is None:
                continue
            if any(entry.interrupts for entry in said[at:]):
                return None
            steered = said[prompts[-1] - 1].role in ("call", "result")
            resumed = _CONTINUES.match(said[prompts[-1]].words) is not None
            return at if steered or resumed else None
        return None

    def _results(self, at: int) -> list[Said]:
        said = self._conversation.said[at:]
        return [entry for entry in said if entry.role == "result" and self._tool_of(entry) not in _NOT_STEPS]

    def _tool_of(self, result: Said) -> str:
        return result.name or self._conversation.call_named(result.call_id)

    def _poll(self) -> Act | None:
        """What Codex has left running is waited for: a command in the background, a sub-agent."""
        last = self._conversation.said[-1] if self._conversation.said else None
        if last is None or last.role != "result":
            return None
        if found := _RUNNING.search(last.text):
            return self._hands.poll(int(found[1]))
        if found := _CODE_RUNNING.search(last.text):
            return self._hands.poll_code(found[1])
        if self._tool_of(last) == "spawn_agent" and (found := _SPAWNED.search(last.text)):
            return self._hands.wait_for(found[1])
        return None

    def _loads(self) -> bool:
        """Whether the last answer only loaded a tool: what it said before its call is not said again."""
        calls = [entry for entry in self._conversation.said if entry.role == "call"]
        return (
            bool(calls)
            and calls[-1].name in ("ToolSearch", "tool_search")
            and self._conversation.said[-1].role != "assistant"
        )

    def _script(self, start: Said | None, results: list[Said]) -> steps.Script:
        text = start.words if start else ""
        found = steps.directive(text)
        if found is None:
            found = {"steps": improvise(self._conversation, text, results)}
        return _parsed(found)

    def _tell(self, step: steps.Step) -> None:  # noqa: C901 - one line per kind of step
        match step:
            case steps.Pace():
                self._delay = step.delay_ms
            case steps.Say():
                self._add(step.say)
            case steps.Tokens():
                self._delay = self._delay if step.delay_ms is None else step.delay_ms
                self._beats.append(Text(tuple(f"word{i} " for i in range(step.tokens)), self._delay))
            case steps.Bulk():
                full, rest = divmod(step.bytes, _BULK)
                pieces = ("x" * _BULK,) * full + (("x" * rest,) if rest else ())
                self._beats.append(Text(pieces, self._delay))
            case steps.Think():
                if self._conversation.thinks:
                    self._beats.append(Thought(tuple(_WORD.findall(step.think)), self._delay, step.raw))
            case steps.Hang():
                self._beats.append(Silence(step.hang_ms))
            case steps.Cut() if self._due(step.until):
                self._beats.append(Break())
            case steps.Fail() if self._due(step.until):
                self._beats.append(Failure(step.error, step.message, step.retry_after))
            case _:
                for use in steps.calls_of(step):
                    self._use(use)

    def _due(self, until: float | None) -> bool:
        return until is None or self._now < until

    def _use(self, step: steps.Step) -> None:
        act = self._hands.load(step) or self._hands.do(step)
        if act is None:
            kind = type(step).__name__.lower()
            self._add(f"(No offered tool can carry out the step {kind!r}.) ")
        else:
            self._beats.append(self._call(act))

    def _call(self, act: Act) -> Call:
        number = sum(isinstance(beat, Call) for beat in self._beats)
        return Call(f"call_{self._conversation.digest[:20]}{number:04d}", act)

    def _add(self, text: str) -> None:
        """Text goes on where text has just been: two messages in a row would be two answers."""
        pieces = tuple(_WORD.findall(text))
        last = self._beats[-1] if self._beats else None
        if isinstance(last, Text) and last.delay_ms == self._delay:
            self._beats[-1] = Text(last.pieces + pieces, self._delay)
        else:
            self._beats.append(Text(pieces, self._delay))


def _parsed(found: object) -> steps.Script:
    if isinstance(found, str):
        return steps.parse(named(found))
    return steps.parse(found)  # pyright: ignore[reportArgumentType] - a dict by `directive`
