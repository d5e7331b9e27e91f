"""Which hosts a rule names."""

import pytest

from runyard_sandbox.allowlist import allows


@pytest.mark.parametrize(
    ("rule", "host", "port", "expected"),
    [
        ("git.example", "git.example", 443, True),
        ("git.example", "GIT.example.", 80, True),
        ("git.example", "git.example", 22, False),
        ("git.example", "a.git.example", 443, False),
        ("git.example", "evilgit.example", 443, False),
        ("*.example", "a.example", 443, True),
        ("*.example", "a.b.example", 443, True),
        ("*.example", "example", 443, False),
        ("*.example", ".example", 443, False),
        ("*.example", "a.example.evil", 443, False),
        ("*.example:8443", "a.example", 8443, True),
        ("*.example:8443", "a.example", 443, False),
        ("git.example:22", "git.example", 22, True),
        ("10.0.0.1:80", "10.0.0.1", 80, True),
        ("[fd00::1]:443", "fd00::1", 443, True),
        ("fd00::1", "fd00::1", 443, True),
        ("*", "git.example", 443, False),
        ("", "", 443, False),
        (":443", "", 443, False),
        ("git.example:http", "git.example", 80, False),
    ],
)
def test_a_rule_names_its_hosts_and_ports_and_no_others(rule: str, host: str, port: int, *, expected: bool) -> None:
    assert allows([rule], host, port) is expected


def test_no_rule_allows_nothing() -> None:
    assert not allows([], "git.example", 443)


def test_any_of_the_rules_is_enough() -> None:
    assert allows(["a.example", " *.b.example "], "c.b.example", 443)
