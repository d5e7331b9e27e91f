"""What a team signs in with at its Git hosts. The secret is sealed here and can be read nowhere again."""

import re
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, ConfigDict, Field, SecretStr, StringConstraints

from runyard_chassis import AdminDep
from runyard_events.commands import RemoveCredential, SetCredential, credential_context
from runyard_gateway.api.dependencies import GatewayDep
from runyard_gateway.api.fields import Body, Id, Line, View, one_line
from runyard_gateway.api.teams import OwnTeam

router = APIRouter(prefix="/api/teams/{team_id}/credentials", tags=["teams"], dependencies=[OwnTeam])

_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:(?P<port>[0-9]{1,5}))?")
_PORTS = range(1, 65536)
_HTTPS = 443


def _host(text: str) -> str:
    match = _HOST.fullmatch(text)
    if match is None or int(match["port"] or _HTTPS) not in _PORTS:
        raise ValueError("a host is a name like github.com, with a port where it is not 443")
    return text.lower().removesuffix(f":{_HTTPS}")


def _secret(given: SecretStr) -> SecretStr:
    one_line(given.get_secret_value())
    return given


class Credential(Body):
    """A user name and a token (or password) for HTTPS at one host."""

    model_config = ConfigDict(
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"host": "github.com", "username": "bot", "secret": "a token"}]},
    )
    host: Annotated[str, StringConstraints(min_length=1, max_length=260), AfterValidator(_host)]
    username: Line = Field(default="x-access-token", description="GitHub takes any name with a token.")
    secret: Annotated[SecretStr, Field(min_length=1, max_length=4096), AfterValidator(_secret)]


class CredentialView(View):
    """A credential without its secret, which is never shown."""

    credential_id: Id
    host: str
    username: str
    set_by: str | None = None
    set_at: datetime | None = None


class CredentialList(View):
    """All of a team."""

    items: list[CredentialView]


@router.get("", summary="A team's credentials, without their secrets", response_model=CredentialList)
async def list_credentials(request: Request, caller: AdminDep, gateway: GatewayDep) -> Response:
    return await gateway.workspace.pass_on(request, caller, "/credentials")


@router.put("/{credential_id}", summary="Store what Git signs in with at a host")
async def put_credential(
    credential_id: UUID, body: Credential, caller: AdminDep, gateway: GatewayDep, response: Response
) -> CredentialView:
    key = await gateway.workspace.sealing_key(caller)
    identifier = str(credential_id)
    context = credential_context(caller.tenant, identifier, body.host, body.username)
    wanted = SetCredential(
        credential_id=identifier,
        host=body.host,
        username=body.username,
        secret=key.seal(body.secret.get_secret_value(), context=context),
    )
    written = await gateway.commands.answered(caller, wanted)
    written.mark(response)
    return CredentialView.model_validate({**written.result, "set_by": caller.user})


@router.delete("/{credential_id}", status_code=204, summary="Forget a credential")
async def delete_credential(credential_id: UUID, caller: AdminDep, gateway: GatewayDep, response: Response) -> None:
    written = await gateway.commands.answered(caller, RemoveCredential(credential_id=str(credential_id)))
    written.mark(response)
