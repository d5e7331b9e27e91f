"""Documents that want to be more than a compose file."""

import pytest

from runyard_orchestrator.domain.compose import NotServed, parse
from runyard_orchestrator.domain.compose.document import load


def _bomb(merging: str) -> str:
    return "a0: &a0 {x: y}\n" + "".join(
        f"a{n}: &a{n} " + (merging.format(", ".join([f"*a{n - 1}"] * 10))) + "\n" for n in range(1, 12)
    )


@pytest.mark.timeout(60)  # each takes half a second at most; without limits some would take hours
@pytest.mark.parametrize(
    "text",
    [
        _bomb("[{}]"),
        _bomb("{{<<: [{}]}}"),
        "services: " + "[" * 2000,
        "services: " + "{a: " * 100 + "}" * 100,
        "a: &a [*a]",
        "a: &a\n  <<: *a",
        "a: *b",
        "#" * 200_000,
        "services: {" + ", ".join(f"a{n}: x" for n in range(11_000)) + "}",
        "services: !!python/object/apply:os.system ['true']",
        "a: 1\n---\nb: 2",
        "a: {b: 1, b: 2}",
        "a: 1\na: 2",
        "[1]",
        "",
        "a: [",
        "? [a]\n: b",
        "services: {web: {image: x}}\ninclude: [../other.yaml]",
        "services: [a]",
        "services: {web: x}",
        "services: {runyard: {image: x}}",
        "services: {localhost: {image: x}}",
        "services: {'a,b': {image: x}}",
        "services: {'a b': {image: x}}",
        "services: {'': {image: x}}",
        "services: {web: {image: !!binary aGVsbG8=}}",
        "services: {web: {image: x, x-a: !!bool foo}}",
        "services: {web: {image: x, x-a: !!int ''}}",
        "services: {web: {image: x, x-a: !!timestamp x}}",
        f"services: {{web: {{image: x, x-a: !!float '{'1:' * 400}1'}}}}",
        'services: {web: {build: {dockerfile_inline: "FROM \\ud800"}}}',
        'services: {web: {image: x, volumes: ["\\ud800:/x"]}}',
        f"x: &x '{'a' * 32_000}$$'\nservices: {{web: {{image: x, command: [{', '.join(['*x'] * 19_000)}]}}}}",
        f"services: {{web: {{image: x, command: [{','.join(['a$V'] * 19_000)}]}}}}",
        f"services: {{web: {{image: x, volumes: [{','.join(f'/v{n}' for n in range(31))}]}}}}",
        f"services: {{web: {{image: x, tmpfs: [{','.join(f'/v{n}' for n in range(31))}]}}}}",
        f"services: {{web: {{image: x, env_file: [{','.join(['a'] * 11)}]}}}}",
        f"services: {{web: {{image: x, healthcheck: {{test: a, interval: {'9' * 400}h}}}}}}",
        "services: {s0: {image: x}, "
        + ", ".join(f"s{n}: {{image: x, depends_on: [s{n - 1}]}}" for n in range(1, 2500))
        + ", web: {image: x, ports: [80], depends_on: [s2499]}}",
        "services: {Runyard: {image: x}}",
        "services: {LOCALHOST: {image: x}}",
        "services: {}",
        "\0",
    ],
)
def test_a_hostile_or_broken_document_is_refused_at_once(text: str) -> None:
    with pytest.raises(NotServed):
        parse(text, {})


@pytest.mark.parametrize("path", ["/" + "a" * 30_000, "/" + "a" * 100])
def test_what_is_said_of_a_refusal_is_short(path: str) -> None:
    with pytest.raises(NotServed) as refusal:
        parse(f"services: {{web: {{build: {path}}}}}", {})
    assert len(str(refusal.value)) < 1000
    assert path[:100] in str(refusal.value)


def test_a_service_is_looked_at_once_a_second_at_most() -> None:
    check = parse("services: {web: {image: x, healthcheck: {test: a, interval: 1ms}}}", {}).page.check
    assert check is not None
    assert check.every == 1.0


def test_only_texts_come_out_of_a_document() -> None:
    assert load("a: 0777\nb: on\nc: 22:22\nd: 2020-01-01\ne: ~\nf: true\n<<: {g: 1.0}") == {
        "a": "0777",
        "b": "on",
        "c": "22:22",
        "d": "2020-01-01",
        "e": None,
        "f": "true",
        "g": "1.0",
    }
