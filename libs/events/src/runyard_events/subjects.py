"""Where events live: subjects are tenant, aggregate and family, never the type and never the version.

ev.<tenant>.workspace.<workspace>.<family>
ev.<tenant>.session.<session>.<family>
ev.<tenant>.session.<session>.run.<run>.<family>
ev.<tenant>.preview.<preview>.<family>
ev.<tenant>.team.<tenant>.<family>
"""

from dataclasses import dataclass

from runyard_events.catalogue import Family
from runyard_events.errors import Malformed

_AGGREGATE_TOKENS = 5
_RUN_TOKENS = 7


def workspace_subject(tenant: str, workspace: str, family: str) -> str:
    """The subject of a workspace's events; `*` and `>` may stand for any part when reading."""
    return f"ev.{tenant}.workspace.{workspace}.{family}"


def session_subject(tenant: str, session: str, family: str) -> str:
    """The subject of a session's own events (not those of its runs)."""
    return f"ev.{tenant}.session.{session}.{family}"


def run_subject(tenant: str, session: str, run: str, family: str) -> str:
    """The subject of a run's events."""
    return f"ev.{tenant}.session.{session}.run.{run}.{family}"


def session_everything(tenant: str, session: str) -> str:
    """All events of a session and of all its runs."""
    return f"ev.{tenant}.session.{session}.>"


def run_everything(tenant: str, session: str, run: str) -> str:
    """All events of a run."""
    return f"ev.{tenant}.session.{session}.run.{run}.>"


@dataclass(frozen=True, slots=True)
class Address:
    """A subject taken apart. `aggregate_id` is the run's id on a run's subject."""

    tenant_id: str
    aggregate: str
    aggregate_id: str
    family: str
    session_id: str | None = None
    run_id: str | None = None


def parse(subject: str) -> Address:
    """Takes a subject of the event log apart.

    Raises:
        Malformed: the subject is not one of this contract.
    """
    tokens = subject.split(".")
    if tokens[0] != "ev" or len(tokens) not in (_AGGREGATE_TOKENS, _RUN_TOKENS):
        raise Malformed(f"not a subject of the event log: {subject}")
    if len(tokens) == _RUN_TOKENS:
        _, tenant, _, session, _, run, family = tokens
        return Address(tenant, "run", run, family, session, run)
    _, tenant, aggregate, identifier, family = tokens
    return Address(tenant, aggregate, identifier, family, identifier if aggregate == "session" else None)


@dataclass(frozen=True, slots=True)
class Scope:
    """The aggregate that an event is about, and therefore where it is kept."""

    tenant_id: str
    aggregate: str
    aggregate_id: str
    session_id: str | None = None
    run_id: str | None = None

    @classmethod
    def workspace(cls, tenant: str, workspace: str) -> "Scope":
        """The scope of a workspace."""
        return cls(tenant, "workspace", workspace)

    @classmethod
    def session(cls, tenant: str, session: str) -> "Scope":
        """The scope of a session."""
        return cls(tenant, "session", session, session)

    @classmethod
    def preview(cls, tenant: str, preview: str) -> "Scope":
        """The scope of a preview."""
        return cls(tenant, "preview", preview)

    @classmethod
    def team(cls, tenant: str) -> "Scope":
        """The scope of what a team has decided for itself."""
        return cls(tenant, "team", tenant)

    @classmethod
    def run(cls, tenant: str, session: str, run: str) -> "Scope":
        """The scope of a run."""
        return cls(tenant, "run", run, session, run)

    def subject(self, family: Family | str) -> str:
        """The subject of this aggregate's events of one family."""
        if self.run_id is not None and self.session_id is not None:
            return run_subject(self.tenant_id, self.session_id, self.run_id, family)
        return f"ev.{self.tenant_id}.{self.aggregate}.{self.aggregate_id}.{family}"
