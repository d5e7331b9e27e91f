"""The users of the embedded NATS server: one for each service, and one that declares the streams."""

from runyard_events.permissions import SERVICES, permissions_for
from runyard_stack.credentials import Credentials
from runyard_stack.embedded.nats import NatsUser

STACK = "stack"
NATS_USERS = (STACK, *SERVICES)


def nats_users(credentials: Credentials) -> list[NatsUser]:
    """Every service with the permissions of its own subjects; `stack` may do everything."""
    return [
        NatsUser(
            user=name,
            password=credentials.nats_passwords[name],
            permissions=None if name == STACK else permissions_for(name),
        )
        for name in NATS_USERS
    ]
