"""One error shape on HTTP and in command replies: RFC 9457 problem details."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

PROBLEM_MEDIA_TYPE = "application/problem+json"


# Python 3.11 still has the older phrases.
_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}


def phrase(status: int) -> str:
    """The status in words, as RFC 9110 has them."""
    if status in _PHRASES:
        return _PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


class Problem(Exception):  # the field's own name for it
    """What went wrong, fit to be shown to the caller.

    `type` is a stable slug that programs compare (`run-not-found`), `title` the same in words, `detail`
    says what is wrong this time. Further members (`errors`, `retry_after` ...) go along as they are. Never
    put a secret or an exception's text in one.
    """

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002  # RFC 9457's member
        title: str | None = None,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail or title or type)
        self.status = status
        self.type = type
        self.title = title or phrase(status)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    def as_dict(self) -> dict[str, Any]:
        """The problem's JSON members; this is also what a command's Reply carries."""
        body: dict[str, Any] = {"type": self.type, "title": self.title, "status": self.status}
        if self.detail is not None:
            body["detail"] = self.detail
        return {**self.extra, **body}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "Problem":
        """The problem that `as_dict` described, to be raised again on this side of a command."""
        rest = dict(body)
        status = int(rest.pop("status", 500))
        kind = str(rest.pop("type", "internal-error"))
        title, detail = rest.pop("title", None), rest.pop("detail", None)
        problem = Problem(status, kind, title, detail)
        problem.extra = rest
        return problem

    def with_headers(self, **headers: str) -> Self:
        """The same problem with HTTP headers (underscores become hyphens)."""
        self.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return self


class _Fixed(Problem):
    STATUS = 500
    TYPE = "internal-error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        type: str | None = None,  # noqa: A002
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(self.STATUS, type or self.TYPE, title, detail, headers=headers, **extra)


class BadRequest(_Fixed):
    """400: the request cannot be understood."""

    STATUS, TYPE = 400, "bad-request"


class Unauthorized(_Fixed):
    """401: no token, or not one that is good here."""

    STATUS, TYPE = 401, "unauthorized"

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="runyard"'}, **extra)


class Forbidden(_Fixed):
    """403: known, and not allowed."""

    STATUS, TYPE = 403, "forbidden"


class NotFound(_Fixed):
    """404: not there, or another tenant's (nobody can tell which)."""

    STATUS, TYPE = 404, "not-found"


class Conflict(_Fixed):
    """409: the thing is not in a state that allows it."""

    STATUS, TYPE = 409, "conflict"


class TooLarge(_Fixed):
    """413: more bytes than allowed."""

    STATUS, TYPE = 413, "content-too-large"


class Invalid(_Fixed):
    """422: understood, and wrong."""

    STATUS, TYPE = 422, "invalid-request"


class InternalError(_Fixed):
    """500: our fault; the log knows more under the request's id."""

    STATUS, TYPE = 500, "internal-error"


class Unavailable(_Fixed):
    """503: something it needs is away; try again."""

    STATUS, TYPE = 503, "unavailable"


class TimedOut(_Fixed):
    """504: something it needs did not answer in time."""

    STATUS, TYPE = 504, "timed-out"
