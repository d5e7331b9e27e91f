"""Health, readiness, metrics and the one shape of errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel, SecretStr
from starlette.responses import StreamingResponse

from runyard_chassis import Conflict, Problem, ServiceSettings, create_app

SECRET = "canary-7f3a9c"


class Body(BaseModel):
    name: str
    size: int


@pytest.fixture
def app() -> FastAPI:
    app = create_app("gateway", settings=ServiceSettings(max_body_bytes=1000))

    @app.post("/things/{thing}")
    async def make(thing: str, body: Body) -> Body:
        return body

    @app.get("/find")
    async def find(limit: Annotated[int, Query(le=10)]) -> int:
        return limit

    @app.get("/refuse")
    async def refuse() -> None:
        raise Conflict("It has ended.", type="run-ended", run_id="r1")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, headers={"X-Tea": "green"})

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError(SECRET)

    @app.get("/token")
    async def token() -> dict[str, str]:
        return {"never": "read"}

    return app


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app)


def test_health_is_the_contract_s_answer(client: TestClient) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_ready_names_what_works() -> None:
    async def works() -> None:
        return None

    answer = TestClient(create_app("x", ready={"nats": works})).get("/ready")
    assert answer.json() == {"status": "ok", "checks": {"nats": "ok"}}


def test_ready_names_what_fails_hangs_or_says_no_and_hides_why() -> None:
    async def works() -> bool:
        return True

    async def breaks() -> None:
        raise ConnectionError(f"postgresql://user:{SECRET}@host")

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def refuses() -> bool:
        return False

    checks = {"a": works, "b": breaks, "c": hangs, "d": refuses}
    answer = TestClient(create_app("x", ready=checks, check_timeout=0.01)).get("/ready")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "not-ready"
    assert answer.json()["detail"] == "Not ready: b, c, d."
    assert answer.json()["checks"] == {"a": "ok", "b": "failing", "c": "timed out", "d": "failing"}
    assert SECRET not in answer.text


def test_metrics_count_by_route_template_and_never_by_path(client: TestClient) -> None:
    for n in range(3):
        client.post(f"/things/{n}", json={"name": "x", "size": 1})
    client.get("/nowhere/1")
    text = client.get("/metrics").text
    assert 'http_requests_total{method="POST",route="/things/{thing}",status="200"} 3.0' in text
    assert 'http_requests_total{method="GET",route="(unmatched)",status="404"} 1.0' in text
    assert "http_request_duration_seconds_bucket" in text
    assert "nowhere" not in text


def test_apps_share_no_metrics() -> None:
    first, second = TestClient(create_app("a")), TestClient(create_app("b"))
    first.get("/health")
    assert 'route="/health"' not in second.get("/metrics").text


PROBLEMS = {
    "a refusal of ours": ("GET", "/refuse", None, 409, "run-ended"),
    "no such route": ("GET", "/nowhere", None, 404, "not-found"),
    "another method": ("DELETE", "/find", None, 405, "method-not-allowed"),
    "a framework error": ("GET", "/teapot", None, 418, "im-a-teapot"),
    "a body that is no JSON": ("POST", "/things/1", b"{", 400, "invalid-json"),
    "a missing body": ("POST", "/things/1", b"", 422, "invalid-request"),
    "a wrong body": ("POST", "/things/1", b'{"name": 1, "size": "canary-7f3a9c"}', 422, "invalid-request"),
    "a wrong query": ("GET", "/find?limit=canary-7f3a9c", None, 422, "invalid-request"),
    "a body too large": ("POST", "/things/1", b"x" * 1001, 413, "content-too-large"),
    "an error of ours": ("GET", "/crash", None, 500, "internal-error"),
}


@pytest.mark.parametrize("case", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_every_error_is_a_problem_that_echoes_nothing(
    client: TestClient, case: tuple[str, str, bytes | None, int, str]
) -> None:
    method, path, body, status, kind = case
    answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem = answer.json()
    assert problem["type"] == kind
    assert problem["status"] == status
    assert problem["title"]
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text


def test_a_wrong_request_names_the_fields(client: TestClient) -> None:
    errors = client.post("/things/1", json={"size": "many"}).json()["errors"]
    assert [(error["field"], error["code"]) for error in errors] == [
        ("body.name", "missing"),
        ("body.size", "int_parsing"),
    ]


def test_a_problem_keeps_its_own_members_and_headers(client: TestClient) -> None:
    assert client.get("/refuse").json()["run_id"] == "r1"
    assert client.get("/teapot").headers["x-tea"] == "green"
    assert client.put("/refuse").headers["allow"] == "GET"


def test_a_problem_survives_the_way_through_a_dictionary() -> None:
    problem = Conflict("It has ended.", type="run-ended", run_id="r1")
    assert Problem.from_dict(problem.as_dict()).as_dict() == problem.as_dict()


def test_a_body_in_chunks_without_a_length_is_limited_too(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    answer = client.post("/things/1", content=chunks())
    assert answer.status_code == 413
    assert answer.json()["type"] == "content-too-large"


def test_a_body_of_exactly_the_limit_is_taken(client: TestClient) -> None:
    body = json.dumps({"name": "", "size": 1}).encode()
    body = json.dumps({"name": "x" * (1000 - len(body)), "size": 1}).encode()
    assert len(body) == 1000
    assert client.post("/things/1", content=body, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("offered", ["a b", "x" * 65, "", "<script>"])
def test_an_odd_request_id_is_replaced(client: TestClient, offered: str) -> None:
    answer = client.get("/health", headers={"X-Request-Id": offered})
    assert answer.headers["x-request-id"] not in {"", offered}


def test_a_safe_request_id_is_kept(client: TestClient) -> None:
    assert client.get("/health", headers={"X-Request-Id": "abc-1.2_Z"}).headers["x-request-id"] == "abc-1.2_Z"


@pytest.mark.parametrize("path", ["/things/%00", "/find?limit=%00"])
def test_a_nul_character_is_refused_before_it_reaches_a_database(client: TestClient, path: str) -> None:
    answer = client.post(path, json={"name": "x", "size": 1})
    assert answer.status_code == 400
    assert answer.json()["type"] == "bad-request"


def test_openapi_describes_problems_for_every_operation(app: FastAPI) -> None:
    document = app.openapi()
    for path in document["paths"].values():
        for operation in path.values():
            schema = operation["responses"]["4XX"]["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
    assert document["components"]["schemas"]["Problem"]["required"] == ["type", "title", "status"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert document["components"]["schemas"]["FieldError"]


async def test_an_error_in_the_middle_of_an_answer_is_not_passed_on_as_its_end() -> None:
    app = create_app("x")

    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError

    @app.get("/half")
    async def answer_half() -> StreamingResponse:
        return StreamingResponse(half())

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        with pytest.raises(RuntimeError):
            await client.get("/half")


def test_settings_hide_the_key_in_their_text() -> None:
    assert SECRET not in repr(ServiceSettings(jwt_secret_key=SecretStr(SECRET)))
