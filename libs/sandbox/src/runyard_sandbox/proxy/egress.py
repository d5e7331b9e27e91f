"""The way out: `CONNECT` and plain HTTP requests of sandboxes, each decided before anything is connected."""

import logging
from collections.abc import Sequence

from runyard_sandbox.proxy.addresses import Forbidden, NoSuchHost, resolve
from runyard_sandbox.proxy.config import Network, Target
from runyard_sandbox.proxy.decisions import Decisions, Question, Undecided
from runyard_sandbox.proxy.opening import TooLong, first_bytes
from runyard_sandbox.proxy.piping import End, connect
from runyard_sandbox.proxy.requests import HEAD_END, LONGEST_HEAD, Head, Malformed, parse

_HEAD_SECONDS = 15.0
_WHO = "407 Proxy Authentication Required"
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_log = logging.getLogger("runyard.proxy")


class Refusal(Exception):
    """What the sandbox is told instead of a connection."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status

    def answer(self) -> bytes:
        """As a response. Some clients (Git) show their credential only when they are asked for it."""
        body = f"runyard: {self}\n".encode()
        head = f"HTTP/1.1 {self.status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        if self.status == _WHO:
            head += 'Proxy-Authenticate: Basic realm="runyard"\r\n'
        return head.encode() + b"X-Runyard-Egress: refused\r\nConnection: close\r\n\r\n" + body


class Egress:
    """Takes connections of sandboxes and leads the allowed ones out."""

    def __init__(
        self,
        decisions: Decisions,
        *,
        by_pass: bool,
        private: Sequence[Network],
        never: Sequence[Network],
        idle_seconds: float,
    ) -> None:
        self._decisions = decisions
        self._by_pass = by_pass
        self._private = private
        self._never = never
        self._idle_seconds = idle_seconds

    async def serve(self, end: End) -> None:
        """One connection, from its head to the joining of both sides."""
        try:
            data, rest = await first_bytes(end, HEAD_END, longest=LONGEST_HEAD, seconds=_HEAD_SECONDS)
            other, head = await self._lead(end.peer, data)
        except Refusal as refusal:
            self._refuse(end, refusal)
        except TooLong:
            self._refuse(end, Refusal("431 Request Header Fields Too Large", "the head of the request is too long"))
        except Malformed as error:
            self._refuse(end, Refusal("400 Bad Request", str(error)))
        except OSError:
            end.transport.abort()
        else:
            if head.tunnel:
                end.transport.write(_ESTABLISHED)
            other.transport.write(head.first + rest)
            end.join(other, self._idle_seconds)

    async def _lead(self, peer: str, data: bytes) -> tuple[End, Head]:
        head = parse(data)
        where = f"{head.host}:{head.port}"
        if self._by_pass and head.shown is None:
            raise Refusal(_WHO, "say whose sandbox you are: the address in HTTPS_PROXY has it")
        question = Question(peer, head.host, head.port, head.shown if self._by_pass else None)
        try:
            allowed = await self._decisions.allows(question)
        except Undecided as error:
            _log.warning("undecided: %s to %s: %s", peer, where, error)
            raise Refusal("503 Service Unavailable", f"nobody could say whether {where} is allowed") from None
        if not allowed:
            _log.info("denied: %s to %s", peer, where)
            raise Refusal("403 Forbidden", f"{where} is not allowed for this sandbox")
        return await self._connect(peer, head), head

    async def _connect(self, peer: str, head: Head) -> End:
        try:
            addresses = await resolve(head.host, head.port, private=self._private, never=self._never)
        except Forbidden:
            _log.warning("forbidden address: %s to %s", peer, head.host)
            raise Refusal("403 Forbidden", f"{head.host} leads to an address that no sandbox may reach") from None
        except NoSuchHost:
            raise Refusal("502 Bad Gateway", f"{head.host} is not known") from None
        for address in addresses:
            try:
                return await connect(Target(host=address, port=head.port))
            except OSError:
                continue
        raise Refusal("502 Bad Gateway", f"{head.host}:{head.port} does not answer")

    @staticmethod
    def _refuse(end: End, refusal: Refusal) -> None:
        end.transport.write(refusal.answer())
        end.transport.close()
