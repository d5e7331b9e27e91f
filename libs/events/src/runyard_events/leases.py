"""Leases: who works on a run right now. A lease that is not renewed is gone after its time to live.

The lease tells liveness; what a holder may still write is fenced by the log itself (compare-and-set
on the run's lifecycle), so a holder that lost its lease without knowing cannot end a run twice.
"""

import json
from dataclasses import dataclass

from nats.errors import Error as NatsError
from nats.js.errors import KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from runyard_events.errors import LogUnavailable

BUCKET = "leases"
LEASE_SECONDS = 12
RENEW_SECONDS = 4


@dataclass(frozen=True, slots=True)
class Lease:
    """A run's lease as it stands: its holder and the revision that fences the next renewal."""

    run_id: str
    holder: str
    revision: int


class Leases:
    """The bucket of leases."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def acquire(self, run_id: str, holder: str) -> Lease | None:
        """The lease, or None while another holder has it.

        Raises:
            LogUnavailable: the server did not answer.
        """
        try:
            revision = await self._bucket.create(run_id, _value(holder))
        except KeyWrongLastSequenceError:
            return None
        except (NatsError, TimeoutError) as error:
            raise LogUnavailable(f"leases do not answer: {error}") from error
        return Lease(run_id, holder, revision)

    async def renew(self, lease: Lease) -> Lease | None:
        """The lease with its time running anew, or None when it is lost to somebody else or expired.

        Raises:
            LogUnavailable: the server did not answer.
        """
        try:
            revision = await self._bucket.update(lease.run_id, _value(lease.holder), last=lease.revision)
        except KeyWrongLastSequenceError:
            return None
        except (NatsError, TimeoutError) as error:
            raise LogUnavailable(f"leases do not answer: {error}") from error
        return Lease(lease.run_id, lease.holder, revision)

    async def release(self, lease: Lease) -> None:
        """Gives the lease back; one that is lost already stays as it is."""
        try:
            await self._bucket.delete(lease.run_id, last=lease.revision)
        except (NatsError, TimeoutError):
            return

    async def holder(self, run_id: str) -> str | None:
        """Who holds a run's lease now, or None; one that names nobody is none: a container writes its own.

        Raises:
            LogUnavailable: the server did not answer.
        """
        try:
            entry = await self._bucket.get(run_id)
        except (KeyNotFoundError, KeyDeletedError):
            return None
        except (NatsError, TimeoutError) as error:
            raise LogUnavailable(f"leases do not answer: {error}") from error
        return _holder(entry.value or b"")


def _holder(value: bytes) -> str | None:
    try:
        named = json.loads(value)["holder"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return named if isinstance(named, str) else None


def _value(holder: str) -> bytes:
    return json.dumps({"holder": holder}).encode()
