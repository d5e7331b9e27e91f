"""A service's own connection to the event log."""

from nats.aio.client import Client

from runyard_chassis.settings import ServiceSettings
from runyard_events.connection import connect


async def connect_service(name: str, settings: ServiceSettings) -> Client:
    """Connects as the settings say; `name` is the service's, by which the server tells connections apart.

    Raises:
        LogUnavailable: the server does not answer, or refuses.
    """
    password = settings.nats_password.get_secret_value() if settings.nats_password else None
    return await connect(settings.nats_url, service=name, user=settings.nats_user, password=password)
