"""The two documents of NATS's auth callout: what the server asks, and what it is answered.

Source: NATS ADR-26 (auth callout). Documents are JWTs signed with Ed25519 keys in NATS's own encoding.
"""

import base64
import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import nkeys
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

_AUDIENCE = "nats-authorization-request"
_MOST_SUBSCRIPTIONS = 64
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


class NotOurs(Exception):
    """Not a request of a server."""


@dataclass(frozen=True, slots=True)
class Knock:
    """Somebody wants to connect: the key that the server made for him, and what he presents."""

    user_key: str
    server_id: str
    user: str
    password: str


def read_knock(document: bytes) -> Knock:
    """Takes a server's request apart, once its signature is seen to be that of the server that it names.

    Raises:
        NotOurs: it is no such request, or an old one.
    """
    try:
        signed, _, signature = document.decode().rpartition(".")
        claims: dict[str, Any] = json.loads(_decode(signed.partition(".")[2]))
        about: dict[str, Any] = claims["nats"]
        server = str(about["server_id"]["id"])
        if claims["iss"] != server or not server.startswith("N") or claims["aud"] != _AUDIENCE:
            raise NotOurs("it is not of a server")
        if float(claims["exp"]) < time.time():
            raise NotOurs("it is too old")
        VerifyKey(_raw_key(server)).verify(signed.encode(), _decode(signature))
        presented: dict[str, Any] = about.get("connect_opts", {})
        return Knock(
            user_key=str(about["user_nkey"]),
            server_id=server,
            user=str(presented.get("user", "")),
            password=str(presented.get("pass", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, BadSignatureError) as error:
        raise NotOurs(str(error)) from error


class Issuer:
    """Signs answers with the account key that the server's configuration names."""

    def __init__(self, seed: str) -> None:
        self._key: Any = nkeys.from_seed(bytearray(seed.encode()))
        self.public_key: str = self._key.public_key.decode()

    def let_in(self, knock: Knock, *, name: str, account: str, permissions: dict[str, Any], expires: float) -> bytes:
        """The user that he becomes, until `expires` (seconds of Unix time)."""
        rights = {"pub": permissions["publish"], "sub": permissions["subscribe"]}
        limits = {"subs": _MOST_SUBSCRIPTIONS, "data": -1, "payload": -1}
        about = {**rights, **limits, "type": "user", "version": 2}
        user = self._sign({"sub": knock.user_key, "name": name, "aud": account, "exp": int(expires), "nats": about})
        return self._answer(knock, {"jwt": user})

    def refuse(self, knock: Knock, why: str) -> bytes:
        """He stays outside; `why` is for the server's log."""
        return self._answer(knock, {"error": why})

    def _answer(self, knock: Knock, content: dict[str, Any]) -> bytes:
        about = {**content, "type": "authorization_response", "version": 2}
        return self._sign({"sub": knock.user_key, "aud": knock.server_id, "nats": about}).encode()

    def _sign(self, claims: dict[str, Any]) -> str:
        complete = {"jti": uuid4().hex, "iat": int(time.time()), "iss": self.public_key, **claims}
        signed = f"{_encode(json.dumps(_HEADER).encode())}.{_encode(json.dumps(complete).encode())}"
        return f"{signed}.{_encode(self._key.sign(signed.encode()))}"


def _raw_key(public_key: str) -> bytes:
    """The key in an nkey: between its kind (one byte) and its checksum (two)."""
    return base64.b32decode(public_key + "=" * (-len(public_key) % 8))[1:-2]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
