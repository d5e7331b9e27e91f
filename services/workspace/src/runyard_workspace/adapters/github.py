"""Pull requests by GitHub's REST API.

Source: https://docs.github.com/en/rest/pulls/pulls (version 2022-11-28).
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from runyard_workspace.domain.credentials import Credential
from runyard_workspace.domain.remotes import GitHubRepository, SyncFailed

API_VERSION = "2022-11-28"
PUBLIC = "https://api.github.com"
_CREATED, _MOVED, _UNPROCESSABLE = 201, (301, 307, 308), 422
_EXISTS = "already exists"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request; `existed` when it was there before it was asked for."""

    number: int
    url: str
    base: str
    draft: bool
    existed: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be merged, and where."""

    title: str
    body: str
    head: str
    base: str
    draft: bool


class GitHub:
    """Opens pull requests. `api` is for an installation of its own; else it follows from the repository's host."""

    def __init__(self, api: str | None, *, seconds: float = 30.0) -> None:
        self._api = api.rstrip("/") if api else None
        self._seconds = seconds

    def knows(self, repository: GitHubRepository) -> bool:
        """Whether it is known where the API for this host is."""
        return self._api is not None or repository.host == "github.com"

    async def open(self, repository: GitHubRepository, credential: Credential, wanted: Proposal) -> PullRequest:
        """Opens a pull request, or returns the one that is open already.

        Raises:
            SyncFailed: GitHub does not want it, or cannot be reached.
        """
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {credential.secret.get_secret_value()}",
            "User-Agent": "runyard",
            "X-GitHub-Api-Version": API_VERSION,
        }
        place = f"{self._api or PUBLIC}/repos/{quote(repository.owner)}/{quote(repository.name)}/pulls"
        body = {
            "title": wanted.title, "body": wanted.body, "head": wanted.head, "base": wanted.base, "draft": wanted.draft,
        }  # fmt: skip
        try:
            async with httpx.AsyncClient(headers=headers, timeout=self._seconds) as client:
                answer = await _send(client, "POST", place, json=body)
                if answer.status_code == _CREATED:
                    return _read(answer.json())
                if answer.status_code == _UNPROCESSABLE and _EXISTS in answer.text:
                    return await _existing(client, place, repository, wanted)
        except httpx.TimeoutException as error:
            raise SyncFailed("timeout", "GitHub's API") from error
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise SyncFailed("unreachable", credential.clean(f"GitHub's API: {type(error).__name__}")) from error
        raise _refused(answer, credential)


async def _existing(
    client: httpx.AsyncClient, place: str, repository: GitHubRepository, wanted: Proposal
) -> PullRequest:
    query = {"head": f"{repository.owner}:{wanted.head}", "base": wanted.base, "state": "open"}
    answer = await _send(client, "GET", place, params=query)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    if not found:
        raise SyncFailed("rejected", "GitHub says that there is a pull request, but does not name it")
    return _read(found[0], existed=True)


async def _send(client: httpx.AsyncClient, method: str, url: str, **more: Any) -> httpx.Response:
    """One request; where the repository has another name by now, once more there, if that is the same server."""
    answer = await client.request(method, url, **more)
    if answer.status_code in _MOVED:
        target = answer.headers.get("location", "")
        if urlsplit(target)[:2] == urlsplit(url)[:2]:
            return await client.request(method, target, **({} if "params" in more else more))
    return answer


def _read(body: dict[str, Any], *, existed: bool = False) -> PullRequest:
    return PullRequest(
        number=int(body["number"]),
        url=str(body["html_url"]),
        base=str(body["base"]["ref"]),
        draft=bool(body.get("draft", False)),
        existed=existed,
    )


def _refused(answer: httpx.Response, credential: Credential) -> SyncFailed:
    detail = credential.clean(_words(answer))
    match answer.status_code:
        case 401:
            return SyncFailed("auth_required", detail)
        case 403 | 429 if _limited(answer):
            return SyncFailed("rejected", f"GitHub takes no more requests for now: {detail}")
        case 403:
            return SyncFailed("auth_required", detail)
        case 404:
            return SyncFailed("not_found", f"or the credential may not open pull requests there: {detail}")
        case status if status >= 500:  # noqa: PLR2004 - the server's own errors
            return SyncFailed("unreachable", detail)
        case _:
            return SyncFailed("rejected", detail)


def _limited(answer: httpx.Response) -> bool:
    return answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers


def _words(answer: httpx.Response) -> str:
    """What GitHub says: its message and, where there are some, those of the single errors."""
    try:
        body: dict[str, Any] = answer.json()
        errors: list[dict[str, Any] | str] = body.get("errors") or []
        said: list[Any] = [body.get("message")]
        said += [one.get("message") if isinstance(one, dict) else one for one in errors]
        return "; ".join(str(each) for each in said if each)[:500]
    except (ValueError, AttributeError, TypeError):
        return f"HTTP {answer.status_code}"
