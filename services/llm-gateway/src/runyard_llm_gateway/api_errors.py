"""Errors as the four APIs spell them: as a body, and inside a stream that has already begun."""

import json
from typing import Any

from runyard_llm_gateway.providers.base import Api

_OPENAI = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def openai_error(status: int, message: str) -> dict[str, Any]:
    """An error as OpenAI's APIs send it."""
    kind = _OPENAI.get(status, "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def anthropic_error(status: int, message: str) -> dict[str, Any]:
    """An error as Anthropic's API sends it."""
    return {"type": "error", "error": {"type": _ANTHROPIC.get(status, "api_error"), "message": message}}


def google_error(status: int, message: str) -> dict[str, Any]:
    """An error as Google's APIs send it."""
    return {"error": {"code": status, "message": message, "status": _GOOGLE.get(status, "INTERNAL")}}


def error_of(api: Api, status: int, message: str) -> dict[str, Any]:
    """An error as the API that was called spells it."""
    match api:
        case "messages" | "count_tokens":
            return anthropic_error(status, message)
        case "generate_content" | "gemini_count_tokens":
            return google_error(status, message)
        case _:
            return openai_error(status, message)


def error_body(api: Api, status: int, message: str) -> bytes:
    """The body of an error answer."""
    return json.dumps(error_of(api, status, message)).encode()


def error_event(api: Api, message: str) -> bytes:
    """A server-sent event that tells the reader of a stream that it ends here unfinished.

    The official SDKs raise on each of these; Codex and Claude Code try again.
    """
    if api == "messages":
        return f"event: error\ndata: {json.dumps(anthropic_error(502, message))}\n\n".encode()
    if api == "responses":
        # the documented fields, and the nested object that the API sends and the SDK raises on
        documented = {"type": "error", "code": "server_error", "message": message, "param": None}
        data = {**documented, "sequence_number": 0, **openai_error(502, message)}
        return f"event: error\ndata: {json.dumps(data)}\n\n".encode()
    return f"data: {json.dumps(error_of(api, 502, message))}\n\n".encode()
