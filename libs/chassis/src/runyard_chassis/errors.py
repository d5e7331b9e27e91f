"""Every error of an app as `application/problem+json`: one shape, no stack trace, nothing of the request echoed."""

import json
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from runyard_chassis.problems import PROBLEM_MEDIA_TYPE, BadRequest, Invalid, Problem, phrase

_SLUGS = {422: "invalid-request"}
_LONGEST_FIELD = 200


class FieldError(BaseModel):
    """What is wrong with one field of a request; never the value itself."""

    field: str
    message: str
    code: str


class ProblemBody(BaseModel):
    """An error (RFC 9457). `type` is a stable slug that programs can compare."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(examples=["not-found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str | None = None
    errors: list[FieldError] | None = Field(default=None, description="Fields at fault, where there are any.")


def problem_response(problem: Problem) -> Response:
    """The problem as an HTTP answer."""
    body = json.dumps(problem.as_dict(), ensure_ascii=False, default=str)
    return Response(
        body.encode("utf-8", "replace"),
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type=PROBLEM_MEDIA_TYPE,
    )


def install_problem_handlers(app: FastAPI) -> None:
    """Makes the app answer its own and the framework's errors as problems, on HTTP and on WebSocket handshakes."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(WebSocketRequestValidationError, _on_invalid_request)


async def _on_problem(connection: HTTPConnection, error: Exception) -> Any:
    return await _answer(connection, cast("Problem", error))


async def _on_http_exception(connection: HTTPConnection, error: Exception) -> Any:
    return await _answer(connection, from_http_exception(cast("HTTPException", error)))


async def _on_invalid_request(connection: HTTPConnection, error: Exception) -> Any:
    errors = cast("RequestValidationError | WebSocketRequestValidationError", error).errors()
    return await _answer(connection, from_validation_errors(cast("list[dict[str, Any]]", list(errors))))


async def _answer(connection: HTTPConnection, problem: Problem) -> Response | None:
    response = problem_response(problem)
    if isinstance(connection, WebSocket):
        # Before the handshake: the client gets a real 401 or 404 instead of a socket that closes at once.
        await connection.send_denial_response(response)
        return None
    return response


def from_http_exception(error: HTTPException) -> Problem:
    """The framework's own errors (no such route, wrong method, body too large ...) as a problem."""
    status, title = error.status_code, phrase(error.status_code)
    slug = _SLUGS.get(status) or title.lower().replace(" ", "-").replace("'", "")
    detail = error.detail if error.detail not in {title, ""} else None
    return Problem(status, slug, title, detail, headers=error.headers)


def from_validation_errors(errors: list[dict[str, Any]]) -> Problem:
    """What pydantic found: 400 when the body is no JSON at all, 422 with the fields otherwise."""
    if any(error.get("type") == "json_invalid" for error in errors):
        return BadRequest("The body is not valid JSON.", type="invalid-json")
    fields = [
        FieldError(
            field=".".join(str(part) for part in error.get("loc", ()))[:_LONGEST_FIELD],
            message=str(error.get("msg", "invalid")).removeprefix("Value error, "),
            code=str(error.get("type", "invalid")),
        ).model_dump()
        for error in errors
    ]
    return Invalid("Some fields are missing or wrong.", errors=fields)


def problem_responses() -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says about every operation's errors."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "4XX": {"description": "The request cannot be served; the body says why.", "content": content},
        "5XX": {"description": "Our fault, or something we need is away.", "content": content},
    }


def problem_schemas() -> dict[str, Any]:
    """The components that `problem_responses()` refers to."""
    schema = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), "Problem": schema}
