"""`runyard run`, `replay`, `runs`, `cancel`, `approve` and `diff`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from runyard_stack.cli.api import Api, find_target
from runyard_stack.cli.imports import import_repository
from runyard_stack.cli.repository import repository
from runyard_stack.cli.screen import err, out, problems_explained
from runyard_stack.cli.transcript import clean
from runyard_stack.cli.watch import Watch, finish, leave, run_diff, show_diff
from runyard_stack.errors import StackError

SHORT = 8
RUNS_SHOWN = 20
PROMPT_WIDTH = 60
COLUMNS = ("run", "status", "agent", "age", "cost", "prompt")

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or `last`.")]
Json = Annotated[bool, typer.Option("--json", help="Print the events as JSON lines.")]


def run(
    prompt: Annotated[str, typer.Argument(help="What the agent is to do.")],
    *,
    repo: Annotated[str, typer.Option(help="A folder, an address to clone from, or org/repo of GitHub.")] = ".",
    runner: Annotated[str, typer.Option(help="codex, claude, opencode, droid or gemini.")] = "codex",
    session: Annotated[str | None, typer.Option(help="Go on in this session instead of a new one.")] = None,
    ask: Annotated[bool, typer.Option("--ask", help="Let the agent ask before it leaves its sandbox.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Import the repository anew.")] = False,
    model: Annotated[str | None, typer.Option(help="The model to use; the runner's own by default.")] = None,
    as_json: Json = False,
) -> None:
    """Give an agent a prompt and watch it work. Ctrl-C asks it to stop. Exit code 0, 1 or 130 (cancelled)."""
    with problems_explained():
        api = Api(find_target())
        session_id = session or _new_session(api, repo, runner, fresh=fresh, ask=ask, model=model)
        run_id = str(api.post(f"/api/sessions/{session_id}/prompt", {"prompt": prompt})["run_id"])
        err.print(f"run {run_id}  session {session_id}", style="dim")
        code = Watch(api, run_id, as_json=as_json).until_end()
        if not as_json:
            finish(api, run_id)
            err.print(
                f"Show it again: runyard replay {run_id[:SHORT]}   Go on: runyard run --session {session_id} ...",
                style="dim",
            )
        leave(code)


def _new_session(api: Api, repo: str, runner: str, *, fresh: bool, ask: bool, model: str | None) -> str:
    workspace = import_repository(api, repository(repo), fresh=fresh)
    body: dict[str, Any] = {"workspace_id": workspace, "runner_type": runner}
    if ask:
        body["approval_policy"] = "on-request"
    if model:
        body["model"] = model
    with err.status("Opening a session with a working tree of its own ..."):
        return str(api.post("/api/sessions", body)["session_id"])


def replay(
    run_id: RunArgument,
    *,
    speed: Annotated[float, typer.Option(min=0, help="1 is as it happened, 10 ten times as fast, 0 at once.")] = 0,
    as_json: Json = False,
) -> None:
    """Show a run again from the log; one that still goes on is followed to its end."""
    with problems_explained():
        api = Api(find_target())
        full = find_run(api, run_id)
        leave(Watch(api, full, as_json=as_json, speed=speed).until_end())


def runs(*, everything: Annotated[bool, typer.Option("--all", help="Every run, not only the newest.")] = False) -> None:
    """List runs, newest first."""
    with problems_explained():
        api = Api(find_target())
        items = list(api.pages("/api/runs")) if everything else api.get("/api/runs", limit=RUNS_SHOWN)["items"]
        if not items:
            err.print('No runs yet. Start one: runyard run --repo . "..."', markup=False)
            return
        rows = [COLUMNS, *(_row(item) for item in items)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            out.print("  ".join(cells).rstrip(), markup=False)


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    cost = item.get("cost_usd")
    paid = "" if cost is None else f"${float(cost):.4f}"
    prompt = " ".join(clean(str(item.get("prompt", ""))).split())
    return (
        str(item["run_id"])[:SHORT],
        str(item["status"]),
        str(item.get("runner_type", "")),
        age(str(item["created_at"])),
        "scripted" if item.get("scripted") else paid,
        prompt if len(prompt) <= PROMPT_WIDTH else f"{prompt[: PROMPT_WIDTH - 1]}…",
    )


def age(at: str, now: datetime | None = None) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = int(((now or datetime.now(UTC)) - datetime.fromisoformat(at)).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def cancel(run_id: RunArgument) -> None:
    """Ask a run to stop."""
    with problems_explained():
        api = Api(find_target())
        full = find_run(api, run_id)
        api.post(f"/api/runs/{full}/cancel")
        err.print(f"Asked run {full} to stop; `runyard replay {full[:SHORT]}` shows how it ends.")


def approve(
    run_id: RunArgument,
    approval_id: Annotated[str, typer.Argument(metavar="APPROVAL", help="The id that the run printed.")],
    *,
    decline: Annotated[bool, typer.Option("--decline", help="Say no.")] = False,
    for_session: Annotated[bool, typer.Option("--for-session", help="Say yes for the whole session.")] = False,
    message: Annotated[str | None, typer.Option(help="A word to the agent.")] = None,
) -> None:
    """Answer what a run asks."""
    with problems_explained():
        api = Api(find_target())
        full = find_run(api, run_id)
        decision = "decline" if decline else "accept_for_session" if for_session else "accept"
        body = {"decision": decision} | ({"message": message} if message else {})
        api.post(f"/api/runs/{full}/approvals/{approval_id}", body)
        err.print(f"Answered: {decision.replace('_', ' ')}.")


def diff(run_id: RunArgument) -> None:
    """Show what a run changed."""
    with problems_explained():
        api = Api(find_target())
        full = find_run(api, run_id)
        found = run_diff(api, api.get(f"/api/runs/{full}"))
        if not found.get("patch"):
            err.print("The run changed no files.")
        show_diff(found)


def find_run(api: Api, text: str) -> str:
    """The one run that a person means.

    Raises:
        StackError: none, or several.
    """
    if text == "last":
        newest = api.get("/api/runs", limit=1)["items"]
        if not newest:
            raise StackError("There are no runs yet.", 'Start one: runyard run --repo . "..."')
        return str(newest[0]["run_id"])
    if len(text) == 36:  # noqa: PLR2004 - a whole UUID
        return text
    found = [run_id for item in api.pages("/api/runs", limit=200) if (run_id := str(item["run_id"])).startswith(text)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise StackError(f"No run begins with {text!r}.", "`runyard runs --all` lists them.")
    raise StackError(f"{len(found)} runs begin with {text!r}.", "Give more of its id.")
