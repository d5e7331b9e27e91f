"""A real provider: one connection pool, bodies and streams as they are, the caller's token replaced by the key."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from pydantic import SecretStr
from yarl import URL

from runyard_llm_gateway.providers.base import Answer, Headers, ModelCall, StreamBroken, Unreachable

# RFC 9110 7.6.1: about one connection only; and what is ours to say
_NOT_FORWARDED = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade host content-length expect accept-encoding authorization x-api-key api-key x-goog-api-key".split()
)
_NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-authenticate te trailer transfer-encoding upgrade content-length date server".split()
)
_BACKOFF_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how it wants to be addressed. `base` stands for the `version` of our paths, if any."""

    name: str
    base: str
    key: SecretStr | None
    key_header: str = "Authorization"
    version: str = "/v1"

    def headers(self) -> dict[str, str]:
        """The authorisation of a call; empty for endpoints without a key."""
        if self.key is None:
            return {}
        value = self.key.get_secret_value()
        return {self.key_header: f"Bearer {value}" if self.key_header == "Authorization" else value}


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, to the first byte, and between two bytes; tries after the first; a proxy."""

    connect: float = 10
    first_byte: float = 300
    idle: float = 300
    retries: int = 2
    proxy: str | None = None


class HttpProvider:
    """Sends calls to one endpoint."""

    scripted = False

    def __init__(self, endpoint: Endpoint, session: aiohttp.ClientSession, limits: Limits) -> None:
        self.name = endpoint.name
        self._endpoint = endpoint
        self._session = session
        self._limits = limits
        self._urls: dict[str, URL] = {}

    async def send(self, call: ModelCall) -> Answer:
        """Sends a call; tries again, a few times, only while nothing at all has come back."""
        attempt = 0
        while True:
            try:
                response = await self._request(call)
                break
            except TimeoutError as error:  # also aiohttp's own: it may be at work on the call, so not again
                raise Unreachable("the provider did not answer in time", status=504) from error
            except (aiohttp.ClientConnectionError, ConnectionError) as error:
                if attempt >= self._limits.retries:
                    raise Unreachable(f"the provider cannot be reached ({type(error).__name__})") from error
            except (aiohttp.ClientError, ValueError) as error:
                raise Unreachable(f"the provider's answer is not HTTP ({type(error).__name__})") from error
            await asyncio.sleep(_BACKOFF_SECONDS * 2**attempt)
            attempt += 1
        return Answer(response.status, self._returned(response), _pieces(response))

    async def _request(self, call: ModelCall) -> aiohttp.ClientResponse:
        request = self._session.request(
            call.method,
            self._url(call),
            data=call.body or None,
            headers=self._forwarded(call.headers),
            allow_redirects=False,
            proxy=self._limits.proxy,
        )
        if self._limits.first_byte >= self._limits.idle:
            return await request  # the session's own limit between two bytes comes first
        async with asyncio.timeout(self._limits.first_byte):
            return await request

    def _url(self, call: ModelCall) -> URL:
        path = call.path.removeprefix(self._endpoint.version)
        target = f"{path}?{call.query.decode('latin-1')}" if call.query else path
        url = self._urls.get(target)
        if url is None:
            url = URL(self._endpoint.base + target, encoded=True)
            if len(self._urls) < 64:  # noqa: PLR2004 - a caller may vary its query as it likes
                self._urls[target] = url
        return url

    def _forwarded(self, headers: Headers) -> list[tuple[str, str]]:
        kept = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers if name not in _NOT_FORWARDED
        ]
        kept.append(("Accept-Encoding", "identity"))  # so that usage can be read on the way
        kept += self._endpoint.headers().items()
        return kept

    def _returned(self, response: aiohttp.ClientResponse) -> Headers:
        key = self._endpoint.key.get_secret_value().encode() if self._endpoint.key else None
        return tuple(
            (name.lower(), value)
            for name, value in response.raw_headers
            if name.lower() not in _NOT_RETURNED and not (key and key in value)
        )

    def scrub(self, body: bytes) -> bytes:
        """A body without the key: some endpoints repeat in an error what they were sent."""
        if self._endpoint.key is None:
            return body
        return body.replace(self._endpoint.key.get_secret_value().encode(), b"[redacted]")


def open_session(limits: Limits, connections: int) -> aiohttp.ClientSession:
    """The pool that all providers share; to be called in the running loop, and closed at the end."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=30, ttl_dns_cache=60),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect, sock_read=limits.idle),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=256 * 1024,
        max_line_size=64 * 1024,
        max_field_size=64 * 1024,
    )


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    whole = False
    try:
        async for piece in response.content.iter_any():
            yield piece
        whole = True
    except TimeoutError as error:
        raise StreamBroken("the provider's stream went silent") from error
    except (aiohttp.ClientError, ConnectionError, ValueError) as error:
        raise StreamBroken("the provider's stream broke off") from error
    finally:
        if whole:
            response.release()
        else:
            response.close()
