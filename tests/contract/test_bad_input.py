"""Whatever a request holds: the answer is what the OpenAPI document says, an error is a problem, never a 500.

The requests are made from each service's own document; half of them name things that are really there.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error  # pyright: ignore[reportUnknownVariableType]

from runyard_stack.services import PARTS, Part, load_build, load_settings_class

from .conftest import Product

EXAMPLES = 12
Request: TypeAlias = Case[Any]
BY_NAME = {part.name: part for part in PARTS}
PROBLEM = "application/problem+json"
FOR_CONTAINERS = "/api/container-webhooks/"
# What keeps its state, so that the things of the other requests stay there.
KEPT = {("DELETE", "/api/sessions/{session_id}")}
ANSWERS_BEFORE_THE_END = {"/api/workspaces/import", "/api/sessions", "/api/agents/spawn"}
# Of the connection and not of the request: what makes no sense here is refused before there is a request to answer.
FRAMING = {
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
# What a remote has refused is worth remembering.
REFUSALS_ARE_EVENTS = {
    "/api/workspaces/{workspace_id}/fetch",
    "/api/sessions/{session_id}/push",
    "/api/sessions/{session_id}/pull-request",
}

bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)


def document(name: str) -> Any:
    """The requests that a service's OpenAPI document allows, and those that it does not."""
    part: Part = BY_NAME[name]
    app = load_build(part)(load_settings_class(part)(environment="test")).app
    return schemathesis.openapi.from_dict(app.openapi())


gateway = document("gateway")
workspace = document("workspace")
orchestrator = document("orchestrator")
llm_gateway = document("llm-gateway")
runner = document("runner-claude")


@pytest.fixture
def turns() -> Iterator[int]:
    """Counts the requests of one operation."""
    return itertools.count()


def name_real_things(case: Request, ids: dict[str, str]) -> None:
    """Puts ids of the product's own things where the path wants them."""
    if (case.method.upper(), case.path) in KEPT:
        return
    for name in case.path_parameters or {}:
        if name in ids:
            case.path_parameters[name] = ids[name]


def check(case: Request, product: Product, service: str, turn: int) -> None:
    """Sends a request and looks at its answer."""
    if turn % 2:
        name_real_things(case, product.ids[service])
    is_write = case.method.upper() not in {"GET", "HEAD", "OPTIONS"}
    before = product.last_sequence() if is_write and service == "gateway" else None
    for name in [name for name in case.headers or () if name.lower() in FRAMING]:
        del case.headers[name]
    headers = {**(case.headers or {}), **product.headers}
    if case.path.startswith(FOR_CONTAINERS):
        headers |= product.headers_of_container(str((case.path_parameters or {}).get("session_id")))
        case.query = {name: value for name, value in (case.query or {}).items() if name != "wait"}
    answer = case.call(base_url=product.urls[service], headers=headers, timeout=30)
    case.validate_response(answer, checks=[not_a_server_error])
    if answer.status_code >= httpx.codes.BAD_REQUEST:
        is_problem(answer.headers, answer.content, answer.status_code)
        if before is not None and case.path not in ANSWERS_BEFORE_THE_END | REFUSALS_ARE_EVENTS:
            assert product.last_sequence() == before, "a refused request left something behind"
    elif is_write:
        product.is_busy = True


def is_problem(headers: Any, content: bytes, status: int) -> None:
    """RFC 9457, with a type to compare, and nothing of our inside."""
    kind = headers["content-type"]
    assert (kind[0] if isinstance(kind, list) else kind) == PROBLEM
    body = json.loads(content)
    assert body["status"] == status
    assert body["type"]
    assert body["title"]
    assert "Traceback" not in content.decode()


@gateway.parametrize()
@bounded
def test_the_gateway_answers_any_request(case: Request, product: Product, turns: Iterator[int]) -> None:
    check(case, product, "gateway", next(turns))


@workspace.parametrize()
@bounded
def test_the_workspace_service_answers_any_request(case: Request, product: Product, turns: Iterator[int]) -> None:
    check(case, product, "workspace", next(turns))


@orchestrator.parametrize()
@bounded
def test_the_orchestrator_answers_any_request(case: Request, product: Product, turns: Iterator[int]) -> None:
    check(case, product, "orchestrator", next(turns))


@llm_gateway.parametrize()
@bounded
def test_the_llm_gateway_answers_any_request(case: Request, product: Product, turns: Iterator[int]) -> None:
    check(case, product, "llm-gateway", next(turns))


@runner.parametrize()
@bounded
def test_a_runner_answers_any_request(case: Request, product: Product, turns: Iterator[int]) -> None:
    check(case, product, "runner-claude", next(turns))
