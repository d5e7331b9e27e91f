"""Dead letters: what could not be worked on, with the reason and the place where it stands."""

import json
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.errors import Error as NatsError

from runyard_events.errors import LogUnavailable
from runyard_events.ids import derived_id


async def bury(
    client: Client,
    *,
    consumer: str,
    stream: str,
    stream_seq: int,
    subject: str,
    reason: str,
    content: str | None = None,
) -> None:
    """Puts a reference to a message and the reason of its failure into the DLQ stream, once.

    `content` is the message itself where the stream will not keep it: a work queue forgets what is terminated.

    Raises:
        LogUnavailable: the server did not answer.
    """
    letter = {
        "consumer": consumer,
        "stream": stream,
        "streamSeq": stream_seq,
        "subject": subject,
        "reason": reason[:2000],
        "content": content,
        "at": datetime.now(UTC).isoformat(),
    }
    headers = {"Nats-Msg-Id": derived_id("dlq", consumer, stream, stream_seq)}
    try:
        await client.request(f"dlq.{consumer}", json.dumps(letter).encode(), timeout=5, headers=headers)
    except (NatsError, TimeoutError) as error:
        raise LogUnavailable(f"the dead letter queue does not answer: {error}") from error
