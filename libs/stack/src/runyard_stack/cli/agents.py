"""`runyard agents`, and `runyard agents install NAME`: those that come from npm, at their first use or before."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from runyard_stack.cli.screen import err, out, problems_explained
from runyard_stack.errors import StackError
from runyard_stack.layout import layout_from_environment

if TYPE_CHECKING:
    from runyard_runner_acp.adapters.installs import Installs

agents = typer.Typer(help="The agents, and which of them are installed.", invoke_without_command=True)

BUNDLED = ("codex", "claude")


@agents.callback()
def listed(context: typer.Context) -> None:
    """List the agents that `runyard run --runner` takes."""
    if context.invoked_subcommand is not None:
        return
    from runyard_runner_acp.adapters.configurations import CONFIGURATIONS  # noqa: PLC0415

    installs = _installs()
    for name in BUNDLED:
        out.print(f"{name:<10} comes with Runyard")
    for name, agent in CONFIGURATIONS.items():
        state = "installed" if installs.program(agent) else "is installed at its first use"
        out.print(f"{name:<10} {agent.version:<10} {state}")


@agents.command()
def install(name: Annotated[str, typer.Argument(metavar="NAME", help="opencode, droid or gemini.")]) -> None:
    """Install an agent from npm ahead of its first use; containers have theirs by `make images AGENTS=NAME`."""
    from runyard_runner.adapter import AgentFailed  # noqa: PLC0415
    from runyard_runner_acp.adapters.configurations import CONFIGURATIONS  # noqa: PLC0415

    async def go() -> None:
        async for words in _installs().install(CONFIGURATIONS[name]):
            err.print(words)

    with problems_explained():
        if name not in CONFIGURATIONS:
            raise StackError(f"No agent {name} is installed from npm.", f"One of: {', '.join(CONFIGURATIONS)}")
        try:
            asyncio.run(go())
        except AgentFailed as failed:
            raise StackError(f"{name} was not installed.", str(failed)) from failed
    out.print(f"{name} is ready.")


def _installs() -> "Installs":
    from runyard_runner_acp.adapters.installs import Installs  # noqa: PLC0415

    layout = layout_from_environment()
    layout.create()
    return Installs(layout.agents / "runner-acp" / ".installed")
