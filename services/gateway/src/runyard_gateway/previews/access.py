"""Who may see a preview now: the pass that a visitor brings, held against the rows."""

import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from runyard_events.stored import StoredEvent
from runyard_gateway.previews.passes import Holder, Pass, Passes

T = TypeVar("T")
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Seen:
    """A preview as the proxy needs it."""

    id: str
    tenant: str
    status: str
    port: int | None
    address: str | None
    framework: str | None
    message: str | None
    log_tail: tuple[str, ...]


class PreviewBook(Protocol):
    """The rows behind the proxy."""

    async def seen(self, preview_id: str) -> Seen | None:
        """A preview, whosoever it is."""
        ...

    async def share_expiry(self, preview_id: str, share_id: str) -> datetime | None:
        """Until when a share opens a preview; None: it does not, or not any more."""
        ...

    async def use_ticket(self, ticket: str, expires: datetime) -> bool:
        """Uses a link that opens once; False when it has been used."""
        ...


class _Remembered(Generic[T]):
    """Answers of the last moment, so that a page of a hundred files asks once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[Hashable, tuple[float, T]] = {}
        self._rows = 0

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        now = time.monotonic()
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        rows = self._rows
        found = await ask()
        if rows != self._rows:  # They were written meanwhile: this may be from before.
            return found
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = (now + self._seconds, found)
        return found

    def forget(self) -> None:
        self._rows += 1
        self._known.clear()


class Access:
    """Decides about visitors. What it was told is believed until rows are written anew, for `seconds` at most."""

    def __init__(self, book: PreviewBook, passes: Passes, *, seconds: float = 1.0) -> None:
        self._book = book
        self._passes = passes
        self._previews = _Remembered[Seen | None](seconds)
        self._shares = _Remembered[datetime | None](seconds)

    def written(self, events: Sequence[StoredEvent]) -> None:
        """The rows of these events are there: whoever was told that a preview has stopped must not see it."""
        if any(stored.address.aggregate == "preview" for stored in events):
            self._previews.forget()
            self._shares.forget()

    async def preview(self, preview_id: str) -> Seen | None:
        """The preview as it is about now."""
        return await self._previews.get(preview_id, lambda: self._book.seen(preview_id))

    async def admitted(self, preview_id: str, cookies: list[str]) -> Seen | None:
        """The preview, when one of a visitor's cookies opens it now."""
        for text in cookies:
            found = self._passes.read("cookie", text)
            if found is not None and found.pid == preview_id and (seen := await self._opened_by(found)) is not None:
                return seen
        return None

    async def enter(self, preview_id: str, path_kind: str, token: str) -> Pass | None:
        """The pass of a link that opens this preview now; one that opens once is used up by this."""
        found = self._passes.read("share" if path_kind == "share" else "open", token)
        if found is None or found.pid != preview_id or await self._opened_by(found) is None:
            return None
        if path_kind != "share" and not await self._book.use_ticket(found.jti, found.exp):
            return None
        return found

    def cookie(self, entered: Pass, expires: datetime) -> str:
        """The cookie of somebody who came in by a link."""
        holder = Holder(entered.tid, entered.pid, entered.sub, entered.share)
        return self._passes.mint("cookie", holder, expires)

    async def _opened_by(self, found: Pass) -> Seen | None:
        if found.share is not None:
            key: Any = (found.pid, found.share)
            share = found.share
            expires = await self._shares.get(key, lambda: self._book.share_expiry(found.pid, share))
            if expires is None or expires <= datetime.now(UTC):
                return None
        seen = await self.preview(found.pid)
        return seen if seen is not None and seen.tenant == found.tid else None
