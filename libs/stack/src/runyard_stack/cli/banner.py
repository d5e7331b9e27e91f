"""What `runyard up` says once everything is ready."""

import shutil
import sys
from pathlib import Path

from runyard_stack.layout import Layout
from runyard_stack.state import State

EXAMPLE_PROMPT = "List the files and add a NOTES.md that says what this is"


def banner(layout: Layout, state: State, token: str, seconds: float | None = None) -> str:
    """Addresses, token and the next command to type."""
    took = f" ({seconds:.1f} s)" if seconds is not None else ""
    api = state.addresses["gateway"]
    rows = {
        "API": f"{api}   (documentation: {api}/docs)",
        "Services": ", ".join(
            f"{name} {address.rpartition(':')[2]}" for name, address in state.addresses.items() if name != "gateway"
        ),
        "Event log": state.event_log,
        "Database": state.database,
        "Data": str(layout.home),
        "Models": state.model_source,
        "Sandboxes": state.sandboxes,
        "Token": f"{token}\n             valid for 24 hours; `{command()} token` prints another one",
    }
    table = "\n".join(f"  {name:<10} {value}" for name, value in rows.items())
    return (
        f"\nRunyard is ready{took}.\n\n{table}\n\n"
        f'Next, in a second terminal:\n\n  {command()} run --repo . --runner codex "{EXAMPLE_PROMPT}"\n'
    )


def command() -> str:
    """How to type this command: as the documentation does where uv is there, else by its path."""
    if shutil.which("uv") and not shutil.which("runyard"):
        return "uv run --no-sync runyard"
    if shutil.which("runyard"):
        return "runyard"
    own = Path(sys.executable).with_name("runyard")
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)
