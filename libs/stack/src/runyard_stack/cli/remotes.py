"""`runyard push`, and `runyard credential set | list | remove`."""

import sys
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from runyard_stack.cli.api import Api, ApiError, find_target
from runyard_stack.cli.screen import err, out, problems_explained
from runyard_stack.errors import StackError

credential = typer.Typer(help="What Git signs in with at your hosts.", no_args_is_help=True)

SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="A session's id, or the beginning of one.")]
HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="github.com, or host:port.")]


def push(
    session: SessionArgument,
    *,
    branch: Annotated[str | None, typer.Option(help="Another branch than the session's own.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="For what is not committed yet.")] = None,
    pull_request: Annotated[
        str | None, typer.Option("--pull-request", metavar="TITLE", help="Ask on GitHub for the merge.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="The branch to merge into.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Open the pull request as a draft.")] = False,
) -> None:
    """Push what a session has worked out to its remote. Exit code 1 when nothing was pushed."""
    with problems_explained():
        if pull_request and branch:
            raise StackError("A pull request is for the session's own branch.", "Leave --branch out.")
        api = Api(find_target())
        path = f"/api/sessions/{find_session(api, session)}"
        with err.status("Pushing ..."), conflicts_explained():
            if pull_request:
                asked = {"title": pull_request, "body": message or "", "base": base, "draft": draft}
                done = api.post(f"{path}/pull-request", asked)
            else:
                done = api.post(f"{path}/push", {"branch": branch, "message": message})
        _tell(done)


def _tell(done: dict[str, Any]) -> None:
    for name in done["left_out"]:
        err.print(f"Left out, because it is too large or no plain file: {name}", style="yellow", markup=False)
    already = " already" if done["up_to_date"] else ""
    err.print(f"✓ {done['commit'][:8]} is{already} on {done['branch']}", markup=False)
    out.print(done.get("url") or done["branch"], markup=False)


@contextmanager
def conflicts_explained() -> Generator[None]:
    """A conflict with the remote ends with the files that both sides have changed."""
    try:
        yield
    except ApiError as error:
        if error.type != "sync-conflict":
            raise
        files = ", ".join(str(name) for name in error.problem.get("files") or ())
        changed = f"Both sides changed: {files}. " if files else ""
        remedy = f"{changed}Push to another branch with --branch, or let the agent merge."
        raise StackError(error.message, remedy) from error


def find_session(api: Api, wanted: str) -> str:
    """The full id of a session.

    Raises:
        StackError: there is none, or several begin like this.
    """
    try:
        return str(uuid.UUID(wanted))
    except ValueError:
        found = [one for one in api.pages("/api/sessions", limit=200) if str(one["session_id"]).startswith(wanted)]
    if len(found) != 1:
        which = "No session begins" if not found else f"{len(found)} sessions begin"
        raise StackError(f"{which} with {wanted!r}.", "`runyard runs` lists what there is.")
    return str(found[0]["session_id"])


@credential.command("set")
def set_credential(
    host: HostArgument,
    *,
    username: Annotated[str, typer.Option(help="Most hosts take any name with a token.")] = "x-access-token",
) -> None:
    """Store a token for a host; it is asked for, or read from standard input, and never shown again."""
    with problems_explained():
        secret = _read_secret(host)
        if not secret:
            raise StackError("Nothing was given.", "Type the token, or pipe it in.")
        api = Api(find_target())
        path = f"/api/teams/{api.team}/credentials"
        identifier = next((one["credential_id"] for one in _for_host(api, host)), None) or str(uuid.uuid4())
        stored = api.put(f"{path}/{identifier}", {"host": host, "username": username, "secret": secret})
        err.print(f"✓ Stored for {stored['host']}", markup=False)


@credential.command("list")
def list_credentials() -> None:
    """List hosts that there is something stored for."""
    with problems_explained():
        api = Api(find_target())
        for one in api.get(f"/api/teams/{api.team}/credentials")["items"]:
            out.print(f"{one['host']}  {one['username']}  {one['credential_id']}", markup=False)


@credential.command("remove")
def remove_credential(host: HostArgument) -> None:
    """Forget what is stored for a host."""
    with problems_explained():
        api = Api(find_target())
        found = _for_host(api, host)
        if not found:
            raise StackError(f"Nothing is stored for {host}.", "`runyard credential list` says for which hosts.")
        for one in found:
            api.delete(f"/api/teams/{api.team}/credentials/{one['credential_id']}")
        err.print(f"✓ Nothing is stored for {host} any more", markup=False)


def _for_host(api: Api, host: str) -> list[dict[str, Any]]:
    wanted = host.lower().removesuffix(":443")
    return [one for one in api.get(f"/api/teams/{api.team}/credentials")["items"] if one["host"] == wanted]


def _read_secret(host: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"Token for {host}", hide_input=True, default="", show_default=False, err=True)).strip()
    return sys.stdin.readline().strip()
