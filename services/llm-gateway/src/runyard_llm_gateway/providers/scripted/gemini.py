"""Gemini's `generateContent`, as gemini-cli and Google's SDKs read it."""

from collections.abc import Iterator
from typing import Any

from runyard_llm_gateway.api_errors import google_error
from runyard_llm_gateway.json_values import items, mapping, objects
from runyard_llm_gateway.providers.base import ModelCall
from runyard_llm_gateway.providers.scripted.conversation import (
    Conversation,
    Offer,
    Said,
    digest_of,
    joined,
    tokens,
)
from runyard_llm_gateway.providers.scripted.frames import (
    BadRequest,
    Frame,
    Snap,
    Wait,
    compact,
    failure_text,
    need_messages,
    paced,
)
from runyard_llm_gateway.providers.scripted.model import (
    Beat,
    Break,
    Call,
    Failure,
    Reply,
    Silence,
    Spent,
    Text,
    Thought,
)

_SUBJECT = "Thinking"
"""Summaries of Gemini's thoughts begin with one in bold, and gemini-cli takes it out."""


class GenerateContent:
    """The dialect of `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`."""

    def read(self, call: ModelCall) -> Conversation:
        """The conversation of a request."""
        body = call.parsed
        said = [Said("system", _text(mapping(body.get("systemInstruction"))))]
        for content in need_messages(body, "contents"):
            if not isinstance(content, dict):
                raise BadRequest("contents: each must be an object")
            said += _said(mapping(content))
        tools = objects(body.get("tools"))
        thinking = mapping(mapping(body.get("generationConfig")).get("thinkingConfig"))
        return Conversation(
            said=tuple(said),
            offers={offer.name: offer for tool in tools for offer in _offers(tool)},
            model=call.model,
            stream=call.stream,
            digest=digest_of(call.body),
            size=sum(len(entry.text) for entry in said) + len(compact(tools)),
            thinks=thinking.get("includeThoughts") is True,
            options={"array": not call.stream and call.path.endswith(":streamGenerateContent")},
        )

    def frames(self, conversation: Conversation, reply: Reply) -> Iterator[Frame]:
        """The chunks of a streamed answer: each is an answer of its own, the last one says why it ends."""
        for beat in reply.beats:
            match beat:
                case Silence():
                    yield Wait(beat.ms)
                case Break():
                    yield Snap()
                    return
                case Failure():
                    yield _data(google_error(beat.status, failure_text(beat)))
                    return
                case Call():
                    yield _data(_answer(conversation, [_call(beat)]))
                case Text() | Thought():
                    # a thought comes whole, so that its subject does
                    pieces = beat.pieces if isinstance(beat, Text) else ("".join(beat.pieces),)
                    parts = (_words(piece, beat) for piece in pieces)
                    yield from paced((_data(_answer(conversation, [part])) for part in parts), beat.delay_ms)
        yield _data(_answer(conversation, [{"text": ""}], reply.spent))

    def whole(self, conversation: Conversation, reply: Reply) -> dict[str, Any] | list[dict[str, Any]]:
        """The answer; in an array where it was asked for as a stream, but not as one of events."""
        parts = [part for beat in reply.beats if (part := _part(beat)) is not None]
        answer = _answer(conversation, parts, reply.spent)
        return [answer] if conversation.options["array"] else answer

    def error(self, status: int, message: str) -> dict[str, Any]:
        """Google's error shape."""
        return google_error(status, message)


def count_tokens(call: ModelCall) -> dict[str, int]:
    """The answer of `:countTokens`: the same measure as the usage of an answer.

    What is counted is `contents`, or a whole request under `generateContentRequest`.
    """
    whole = mapping(call.parsed.get("generateContentRequest")) or call.parsed
    asked = ModelCall(api=call.api, path=call.path, body=call.body, parsed=whole, model=call.model)
    return {"totalTokens": tokens(GenerateContent().read(asked).size)}


def _text(content: dict[str, Any]) -> str:
    return "\n".join(str(part["text"]) for part in objects(content.get("parts")) if "text" in part)


def _said(content: dict[str, Any]) -> list[Said]:
    """Results first: what a person says beside them came after them."""
    role = "assistant" if content.get("role") == "model" else "user"
    entries: list[Said] = []
    texts: list[str] = []
    for part in objects(content.get("parts")):
        match part:
            case {"functionCall": dict()}:
                call = mapping(part["functionCall"])
                name = str(call.get("name", ""))
                entries.append(Said("call", compact(call.get("args") or {}), str(call.get("id") or name), name))
            case {"functionResponse": dict()}:
                result = mapping(part["functionResponse"])
                name, response = str(result.get("name", "")), mapping(result.get("response"))
                told = response.get("output", response.get("error"))
                text = told if isinstance(told, str) else compact(response)
                entries.append(Said("result", text, str(result.get("id") or name), name))
            case {"text": text} if part.get("thought") is not True:
                texts.append(joined(text))
            case _:
                pass
    said = [Said(role, text) for text in texts]
    return said + entries if role == "assistant" else entries + said


def _offers(tool: dict[str, Any]) -> Iterator[Offer]:
    for declared in objects(items(tool.get("functionDeclarations"))):
        schema = mapping(declared.get("parametersJsonSchema") or declared.get("parameters"))
        yield Offer(str(declared.get("name", "")), properties=tuple(mapping(schema.get("properties"))))


def _part(beat: Beat) -> dict[str, Any] | None:
    match beat:
        case Text() | Thought():
            return _words("".join(beat.pieces), beat)
        case Call():
            return _call(beat)
        case _:
            return None


def _words(text: str, beat: Text | Thought) -> dict[str, Any]:
    if isinstance(beat, Text):
        return {"text": text}
    return {"text": f"**{_SUBJECT}**\n\n{text}", "thought": True}


def _call(beat: Call) -> dict[str, Any]:
    given = beat.act.input
    arguments = given if isinstance(given, dict) else {"input": given}
    return {"functionCall": {"id": beat.call_id, "name": beat.act.offer.name, "args": arguments}}


def _answer(conversation: Conversation, parts: list[dict[str, Any]], spent: Spent | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    answer: dict[str, Any] = {"candidates": [candidate]}
    if spent is not None:
        candidate["finishReason"] = "STOP"
        answer["usageMetadata"] = {
            "promptTokenCount": spent.input,
            "cachedContentTokenCount": spent.cached,
            "candidatesTokenCount": spent.output - spent.reasoning,  # Gemini counts thoughts apart
            "thoughtsTokenCount": spent.reasoning,
            "totalTokenCount": spent.input + spent.output,
        }
    return answer | {"modelVersion": conversation.model, "responseId": conversation.digest[:24]}


def _data(body: dict[str, Any]) -> bytes:
    return f"data: {compact(body)}\n\n".encode()
