"""What Claude keeps on disk for a session, and the run's token while the run lasts."""

import json
import shlex
import uuid
from dataclasses import dataclass
from pathlib import Path

from runyard_runner_claude.native import Json, objects, optional_text, text


@dataclass(frozen=True, slots=True)
class Opening:
    """How the native thread is opened: one of the two, or neither when the id is no UUID."""

    resume: str | None = None
    session_id: str | None = None
    lost: bool = False
    """There was a thread to resume and its transcript is gone."""


@dataclass(frozen=True, slots=True)
class Home:
    """A session's folder during a run. Nothing of it lies in the repository or in the user's own `~/.claude`."""

    folder: Path
    run_id: str

    @property
    def config(self) -> Path:
        return self.folder / ".claude"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def _token(self) -> Path:
        # One for each run: a run that is being let go of must not take the next one's away.
        return self.folder / f".token-{_plain(self.run_id)}"

    @property
    def _grants(self) -> Path:
        return self.folder / "grants.json"

    def prepare(self, run_token: str) -> None:
        """Make the folders and leave the run's token where `key_helper` finds it; a lost run's is removed."""
        for folder in (self.folder, self.config, self.temporary):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left_over in self.folder.glob(".token-*"):
            left_over.unlink(missing_ok=True)
        self._token.touch(mode=0o600)
        self._token.write_text(run_token)

    def forget_token(self) -> None:
        """The run is over and so is the use of its token."""
        self._token.unlink(missing_ok=True)

    @property
    def key_helper(self) -> str:
        """The command by which Claude learns its key; unlike a variable, its commands do not inherit it."""
        return f"cat {shlex.quote(str(self._token))}"

    def opening(self, thread_id: str, native_thread_id: str | None) -> Opening:
        """Resume what is on disk (also of a run that died unbound), else begin under our own id."""
        wanted = native_thread_id or thread_id
        if any(self.config.glob(f"projects/*/{_plain(wanted)}.jsonl")):
            return Opening(resume=wanted)
        return Opening(session_id=wanted if _is_uuid(wanted) else None, lost=native_thread_id is not None)

    def grants(self) -> list[Json]:
        """The permission updates that were accepted for the session."""
        try:
            return objects(json.loads(self._grants.read_text()))
        except (OSError, ValueError):
            return []

    def add_grants(self, updates: list[Json]) -> None:
        """Keep what was accepted for the session, for its later runs."""
        known = self.grants()
        known += [update for update in updates if update not in known]
        partial = self._grants.with_suffix(".partial")
        partial.write_text(json.dumps(known))
        partial.replace(self._grants)


def allow_rules(updates: list[Json]) -> list[str]:
    """Permission updates as rules of Claude's settings: `Bash(npm test *)`."""
    return [
        _rule(text(rule.get("toolName")), optional_text(rule.get("ruleContent")))
        for update in updates
        if update.get("type") == "addRules" and update.get("behavior") == "allow"
        for rule in objects(update.get("rules"))
    ]


def accepted_mode(updates: list[Json]) -> str | None:
    """The last permission mode among the updates."""
    modes = [optional_text(update.get("mode")) for update in updates if update.get("type") == "setMode"]
    return modes[-1] if modes else None


def _rule(tool: str, content: str | None) -> str:
    if content is None:
        return tool
    for character in ("\\", "(", ")"):
        content = content.replace(character, f"\\{character}")
    return f"{tool}({content})"


def _plain(name: str) -> str:
    return "".join(character for character in name if character.isalnum() or character in "-_")


def _is_uuid(value: str) -> bool:
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True
