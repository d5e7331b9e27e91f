"""Keys and passwords of one stack, made at its first start and kept in its data folder."""

import contextlib
import os
import secrets
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nkeys
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runyard_stack.errors import StackError

KEY_BYTES = 48
PASSWORD_BYTES = 24


def _key() -> str:
    return secrets.token_urlsafe(KEY_BYTES)


def _password() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)


def _seed() -> str:
    return nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_ACCOUNT).decode()


def _id() -> str:
    return str(uuid.uuid4())


class Credentials(BaseModel):
    """What only this stack knows. `version` is of the file's format."""

    model_config = ConfigDict(extra="forbid")

    version: int = 1
    jwt_secret_key: str = Field(default_factory=_key)
    postgres_superuser_password: str = Field(default_factory=_password)
    postgres_password: str = Field(default_factory=_password)
    nats_passwords: dict[str, str] = Field(default_factory=dict)
    nats_issuer_seed: str = Field(default_factory=_seed)
    """Of the key that signs what the containers of sessions may do."""
    credentials_key: str = Field(default_factory=_key)
    """Of the workspace service alone: it opens what teams sign in with at their Git hosts."""
    redaction_salt: str = Field(default_factory=_password)
    tenant_id: str = Field(default_factory=_id)
    admin_id: str = Field(default_factory=_id)

    @property
    def installation(self) -> str:
        """Names this stack's containers among those of others on the same engine."""
        return self.tenant_id[:8]


def nats_issuer(credentials: Credentials) -> str:
    """The public key that belongs to the issuer's seed."""
    key: Any = nkeys.from_seed(bytearray(credentials.nats_issuer_seed.encode()))
    return str(key.public_key.decode())


def load_credentials(path: Path, nats_users: Iterable[str] = ()) -> Credentials:
    """The credentials of this data folder; what is missing is made and written.

    Raises:
        StackError: the file cannot be read as what was written.
    """
    credentials = read_credentials(path)
    created = credentials is None
    credentials = credentials or Credentials()
    missing = [user for user in nats_users if user not in credentials.nats_passwords]
    for user in missing:
        credentials.nats_passwords[user] = _password()
    if created or missing or not credentials.model_fields_set >= {"nats_issuer_seed", "credentials_key"}:
        _write(path, credentials)
    return credentials


def read_credentials(path: Path) -> Credentials | None:
    """The credentials of this data folder, or None before its first start."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StackError(
            f"{path} cannot be read: {error.strerror}.", "It belongs to the user who ran `runyard up`."
        ) from error
    try:
        return Credentials.model_validate_json(content)
    except ValidationError as error:
        # Without its input: the file holds nothing but secrets.
        problems = "; ".join(item["msg"] for item in error.errors(include_input=False, include_url=False))
        raise StackError(
            f"{path} is damaged: {problems}.",
            "Restore it from a backup. Without it the database password is lost; moving the whole folder "
            "away starts a new, empty stack.",
        ) from None


def _write(path: Path, credentials: Credentials) -> None:
    """Replace the file in one step; it is 0600 from its first byte."""
    scratch = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        scratch.unlink()
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(credentials.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
