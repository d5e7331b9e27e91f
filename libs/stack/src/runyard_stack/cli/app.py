"""All commands of `runyard`, and nothing imported that the typed one does not need."""

import typer

from runyard_stack.cli import agents, info, lifecycle, remotes, runs

app = typer.Typer(
    name="runyard",
    help="Runs coding agents on your repositories and keeps everything they do as a replayable event log.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command()(lifecycle.up)
app.command()(lifecycle.status)
app.command()(lifecycle.down)
for command in (runs.run, runs.replay, runs.runs, runs.cancel, runs.approve, runs.diff):
    app.command()(command)
app.command()(remotes.push)
app.add_typer(remotes.credential, name="credential")
app.add_typer(agents.agents, name="agents")
for command in (info.token, info.doctor, info.version, info.compose_config):
    app.command()(command)


def main() -> None:
    """Entry point."""
    app()
