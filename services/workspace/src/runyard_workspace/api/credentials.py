"""What a team signs in with at its hosts, as far as it may be seen, and the key that a secret is sealed with."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict
from starlette.requests import HTTPConnection

from runyard_chassis import AdminDep
from runyard_workspace.handlers.credentials import Credentials
from runyard_workspace.views import Views

router = APIRouter(prefix="/credentials", tags=["credentials"])


class SealingKey(BaseModel):
    """The public half of the key that opens stored secrets."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"public_key": "xwQ0…"}]})
    public_key: str


class CredentialView(BaseModel):
    """A credential without its secret, which is never shown."""

    model_config = ConfigDict(from_attributes=True)
    credential_id: str
    host: str
    username: str
    set_by: str | None
    set_at: datetime


class CredentialList(BaseModel):
    """All of a team."""

    items: list[CredentialView]


def credentials_of(connection: HTTPConnection) -> Credentials:
    """The credentials, as the service put them on the app when it started."""
    found = connection.app.state.credentials
    if not isinstance(found, Credentials):
        raise TypeError("the service has not started")
    return found


def views_of(connection: HTTPConnection) -> Views:
    """The rows, as the service put them on the app when it started."""
    found = connection.app.state.views
    if not isinstance(found, Views):
        raise TypeError("the service has not started")
    return found


@router.get("/key", summary="The key that secrets are sealed with")
async def sealing_key(caller: AdminDep, credentials: Annotated[Credentials, Depends(credentials_of)]) -> SealingKey:
    _ = caller
    return SealingKey(public_key=credentials.public_key)


@router.get("", summary="A team's credentials, without their secrets")
async def list_credentials(caller: AdminDep, views: Annotated[Views, Depends(views_of)]) -> CredentialList:
    found = await views.credentials(caller.tenant)
    return CredentialList(items=[CredentialView.model_validate(one) for one in found])
