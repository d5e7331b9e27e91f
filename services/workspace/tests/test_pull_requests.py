"""Pull requests for what sessions have pushed, on an API as strict as GitHub's."""

from pathlib import Path
from typing import Any

import pytest

from runyard_events import Reply
from runyard_events.catalogue import (
    BranchPushed,
    BranchPushFailed,
    PullRequestOpened,
)
from runyard_events.commands import (
    OpenPullRequest,
    RemoveCredential,
)

from .conftest import Running, git
from .remote_servers import TOKEN, GitHubServer, GitServer
from .remote_service import said, worked


async def _propose(service: Running, workspace: str, session: str, **more: Any) -> Reply:
    wanted: dict[str, Any] = {"title": "A title", "body": "Why", **more}
    return await service.ask(OpenPullRequest(workspace_id=workspace, session_id=session, **wanted))


async def test_a_pull_request_is_opened_once_for_what_was_pushed(
    remote: Running, server: GitServer, repository: Path, github: GitHubServer
) -> None:
    workspace, session = await worked(remote, server, repository)
    opened = await _propose(remote, workspace, session, draft=True)
    assert opened.ok, opened.problem
    branch = opened.result["branch"]
    assert opened.result["number"] == 7
    assert opened.result["url"] == "https://github.example/org/repo/pull/7"
    (made,) = github.pulls
    assert (made["head"]["ref"], made["base"]["ref"], made["title"], made["body"], made["draft"]) == (
        branch, "main", "A title", "Why", True,
    )  # fmt: skip
    assert git(server.bare("org/repo"), "log", "-1", "--format=%s", branch) == "A title"
    again = await _propose(remote, workspace, session)
    assert again.result["url"] == opened.result["url"]
    assert again.result["existed"]
    events = await said(remote, session)
    assert [type(one) for one in events] == [BranchPushed, PullRequestOpened]
    assert (events[1].number, events[1].base, events[1].draft) == (7, "main", True)


ANSWERS: list[tuple[Any, str]] = [
    ((401, {}, {"message": "Bad credentials"}), "auth-required"),
    ((403, {}, {"message": "Resource not accessible by personal access token"}), "auth-required"),
    ((403, {"X-RateLimit-Remaining": "0"}, {"message": "API rate limit exceeded"}), "rejected"),
    ((429, {"Retry-After": "60"}, {"message": "slow down"}), "rejected"),
    ((404, {}, {"message": "Not Found"}), "not-found"),
    ((422, {}, {"message": "Validation Failed", "errors": [{"message": "No commits between"}]}), "rejected"),
    ((422, {}, {"message": "Validation Failed", "errors": ["A pull request already exists"]}), "unreachable"),
    ((500, {}, "<html>"), "unreachable"),
    ((201, {}, "no json"), "unreachable"),
    ((201, {}, {"number": "x"}), "unreachable"),
    ((301, {"Location": "http://evil.example/repos/org/repo/pulls"}, ""), "rejected"),
]


@pytest.mark.parametrize(("answer", "slug"), ANSWERS)
async def test_what_github_answers_is_told_in_our_words(
    *, remote: Running, server: GitServer, repository: Path, github: GitHubServer, answer: Any, slug: str
) -> None:
    workspace, session = await worked(remote, server, repository)
    github.answer = answer
    refused = await _propose(remote, workspace, session)
    assert refused.problem
    assert refused.problem.type == f"sync-{slug}", refused
    assert TOKEN not in str(refused)
    events = await said(remote, session)
    assert [type(one) for one in events] == [BranchPushed, BranchPushFailed]


async def test_without_a_credential_or_a_base_there_is_no_pull_request(
    remote: Running, server: GitServer, repository: Path, github: GitHubServer
) -> None:
    workspace, session = await worked(remote, server, repository)
    refused = await _propose(remote, workspace, session, base="no-such-branch")
    assert refused.problem
    assert refused.problem.type == "sync-rejected"
    await remote.ask(RemoveCredential(credential_id="c1"))
    refused = await _propose(remote, workspace, session)
    assert refused.problem
    assert refused.problem.type == "sync-auth-required"
    local = await remote.import_local(repository)
    other, _ = await remote.open_session(local)
    refused = await _propose(remote, local, other)
    assert refused.problem
    assert refused.problem.type == "pull-requests-unsupported"
