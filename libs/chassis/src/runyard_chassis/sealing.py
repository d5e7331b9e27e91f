"""Secrets on their way to the one service that may use them: whoever has the public key seals, its owner opens.

X25519 with a key of its own for each secret, HKDF-SHA256, AES-256-GCM. What a secret is for is part of the
seal (`context`): one that was sealed for another team, host or name does not open.
"""

import base64
import os
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from runyard_chassis.tokens import derive_key

_PREFIX = "x1."
_KEY, _NONCE = 32, 12


class NotSealed(ValueError):
    """It cannot be opened: not sealed with this key, for something else, or damaged."""


class PublicKey:
    """Seals secrets that only the owner of the private key can open."""

    def __init__(self, encoded: str) -> None:
        """Takes the key as its owner gives it out.

        Raises:
            ValueError: it is none.
        """
        self._raw = _decode(encoded)
        self._key = X25519PublicKey.from_public_bytes(self._raw)

    def seal(self, secret: str, *, context: str) -> str:
        """The secret as text that says nothing about it but its length."""
        own = X25519PrivateKey.generate()
        public = own.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        nonce = os.urandom(_NONCE)
        sealed = _cipher(own.exchange(self._key), public, self._raw).encrypt(nonce, secret.encode(), context.encode())
        return _PREFIX + _encode(public + nonce + sealed)


class PrivateKey:
    """Opens what was sealed with its public key."""

    def __init__(self, raw: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(raw)
        self._public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def derive(cls, secret: SecretStr, label: str) -> Self:
        """The key for one purpose out of a master secret, always the same."""
        return cls(bytes.fromhex(derive_key(secret, label, length=_KEY)))

    @property
    def public(self) -> str:
        """What others seal with."""
        return _encode(self._public)

    def open(self, sealed: str, *, context: str) -> SecretStr:
        """The secret.

        Raises:
            NotSealed: it was not sealed for this key and this context.
        """
        try:
            raw = _decode(sealed.removeprefix(_PREFIX))
            public, nonce, text = raw[:_KEY], raw[_KEY : _KEY + _NONCE], raw[_KEY + _NONCE :]
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(public))
            return SecretStr(_cipher(shared, public, self._public).decrypt(nonce, text, context.encode()).decode())
        except (ValueError, InvalidTag) as error:
            raise NotSealed("The secret cannot be opened.") from error


def _cipher(shared: bytes, public: bytes, owner: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), _KEY, salt=None, info=b"runyard seal 1" + public + owner).derive(shared))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
