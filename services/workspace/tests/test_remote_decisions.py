"""Which credential is for which address, what a push came to, where a branch goes: decided without a remote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from runyard_events.catalogue import CredentialSet
from runyard_workspace.domain.credentials import Credential, NotACredential, credential_for, parse_host
from runyard_workspace.domain.remotes import (
    GitHubRepository,
    SyncFailed,
    github_repository,
    push_outcome,
    sync_failure,
)
from runyard_workspace.domain.sources import parse_source
from runyard_workspace.domain.takeover import verdict


def _stored(identifier: str, host: str) -> CredentialSet:
    return CredentialSet(credential_id=identifier, host=host, username="bot", sealed="x")


@pytest.mark.parametrize(
    ("scheme", "asked", "fits"),
    [
        ("https", "github.com", True),
        ("https", "GitHub.com:443", True),
        ("https", "github.com:8443", False),
        ("https", "github.com.evil.example", False),
        ("https", "evil-github.com", False),
        ("http", "github.com", False),
        ("ssh", "github.com", False),
        ("", "github.com", False),
    ],
)
def test_a_credential_is_for_its_own_host_over_tls(scheme: str, asked: str, fits: bool) -> None:  # noqa: FBT001
    assert Credential("github.com", "bot", SecretStr("s")).fits(scheme, asked) is fits


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost:9000", "[::1]:9000"])
def test_loopback_needs_no_tls(host: str) -> None:
    assert Credential(host, "bot", SecretStr("s")).fits("http", host)


def test_a_credential_shows_its_secret_to_nobody() -> None:
    credential = Credential("github.com", "bot", SecretStr("very-secret"))
    assert "very-secret" not in f"{credential!r} {credential}"
    assert credential.clean("fatal: https://bot:very-secret@github.com") == "fatal: https://bot:[redacted]@github.com"


@given(st.text(max_size=40))
def test_whatever_a_host_is_it_is_read_or_refused(text: str) -> None:
    try:
        host = parse_host(text)
    except NotACredential:
        return
    assert parse_host(host) == host
    assert not set(host) & set("/@?# \n\\")


def test_the_credential_set_last_is_used_and_only_for_addresses_that_can_carry_one() -> None:
    stored = [_stored("a", "github.com"), _stored("b", "github.com"), _stored("c", "example.com:8443")]
    for address, wanted in {
        "https://github.com/o/r": "b",
        "https://GITHUB.com:443/o/r.git": "b",
        "https://example.com:8443/r": "c",
        "https://example.com/r": None,
        "git@github.com:o/r": None,
        "ssh://git@github.com/o/r": None,
        "git://github.com/o/r": None,
        "https://[bad/r": None,
    }.items():
        found = credential_for(address, stored)
        assert (found.credential_id if found else None) == wanted, address


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("https://github.com/org/repo", GitHubRepository("github.com", "org", "repo")),
        ("https://github.com/org/repo.git/", GitHubRepository("github.com", "org", "repo")),
        ("git@github.com:org/my.repo.git", GitHubRepository("github.com", "org", "my.repo")),
        ("ssh://git@github.com:22/org/repo", GitHubRepository("github.com", "org", "repo")),
        ("https://ghe.example:8443/org/repo", GitHubRepository("ghe.example:8443", "org", "repo")),
        ("https://example.com/a/b/c", None),
        ("https://example.com/repo", None),
    ],
)
def test_a_repository_on_github_is_known_by_its_address(address: str, wanted: GitHubRepository | None) -> None:
    assert github_repository(parse_source("git", address)) == wanted


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("fatal: could not read Username for 'https://x': terminal prompts disabled", "auth_required"),
        ("fatal: Authentication failed for 'https://x/'", "auth_required"),
        ("git@x: Permission denied (publickey).", "auth_required"),
        ("fatal: unable to access 'https://x/': Could not resolve host: x", "unreachable"),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 503", "unreachable"),
        ("fatal: unable to access 'https://x/': SSL certificate problem: self-signed certificate", "unreachable"),
        ("fatal: repository 'https://x/' not found", "not_found"),
        ("error: RPC failed; curl 28 Operation too slow", "timeout"),
        ("fatal: something else", "failed"),
        ("", "failed"),
    ],
)
def test_why_git_gave_up_is_told_from_its_words(said: str, reason: str) -> None:
    assert sync_failure(said).reason == reason


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("*\tabc:refs/heads/x\t[new branch]", "pushed"),
        (" \tabc:refs/heads/x\t1..2", "pushed"),
        ("=\tabc:refs/heads/x\t[up to date]", "up_to_date"),
        ("!\tabc:refs/heads/x\t[rejected] (non-fast-forward)", "conflict"),
        ("!\tabc:refs/heads/x\t[rejected] (fetch first)", "conflict"),
        ("!\tabc:refs/heads/x\t[remote rejected] (cannot lock ref 'refs/heads/x': is at a but expected b)", "conflict"),
        ("", None),
    ],
)
def test_what_became_of_a_push_is_read_from_its_porcelain(line: str, wanted: str | None) -> None:
    assert push_outcome(f"To https://x/\n{line}\nDone") == wanted


def test_a_remote_s_refusal_keeps_its_words() -> None:
    refused = push_outcome("To x\n!\tabc:refs/heads/x\t[remote rejected] (protected branch hook declined)\nDone")
    assert isinstance(refused, SyncFailed)
    assert refused.reason == "rejected"
    assert "protected branch hook declined" in refused.message


_commits = st.sampled_from(["a", "b", "c", None])


@given(ours=_commits, theirs=_commits, agreed=_commits, forward=st.booleans())
def test_no_commit_of_others_is_ever_taken_off_a_branch(
    *, ours: str | None, theirs: str | None, agreed: str | None, forward: bool
) -> None:
    decided = verdict(ours=ours, theirs=theirs, agreed=agreed, forward=forward)
    if theirs is None or theirs == ours:
        assert decided == "nothing"
    if decided == "forward":
        assert forward or ours is None
    if decided == "rewritten":
        assert ours == agreed
