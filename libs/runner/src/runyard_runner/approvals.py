"""Which stored approval an agent's ask belongs to. Pure.

After a take-up the agent asks again what it had asked before. The same question (kind and detail) is
the same approval, with the answer that it may have got in the meantime; each stored one is used once.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from runyard_events.ids import derived_id
from runyard_runner.adapter import Ask, Decision
from runyard_runner.state import Approval


def fingerprint(ask: Ask) -> str:
    """A stable digest of what is asked: kind, detail and questions, without any id."""
    content = {"kind": ask.kind, "detail": ask.detail, "questions": ask.questions}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Bound:
    """An ask and its approval. `known`: it stands in the log already; `decision`: it is answered already."""

    approval_id: str
    fingerprint: str
    known: bool
    decision: Decision | None = None


@dataclass(slots=True)
class Approvals:
    """The asks of one attempt at a run."""

    run_id: str
    inherited: dict[str, Approval]
    """Approvals of earlier attempts that no ask of this one has claimed."""
    keys: dict[str, str] = field(default_factory=dict[str, str])
    """Approval id -> the agent's key, for those that wait for an answer."""
    _made: int = 0

    @classmethod
    def after(cls, run_id: str, approvals: Mapping[str, Approval]) -> "Approvals":
        """The asks of a new attempt, with what earlier ones have left."""
        return cls(run_id, dict(approvals), _made=len(approvals))

    def bind(self, ask: Ask) -> Bound:
        """The approval of this ask: an inherited one with the same fingerprint, else a new one."""
        print_ = fingerprint(ask)
        found = next((one for one in self.inherited.values() if one.fingerprint == print_), None)
        if found is None:
            self._made += 1
            bound = Bound(derived_id(self.run_id, "approval", print_, self._made), print_, known=False)
        else:
            del self.inherited[found.approval_id]
            bound = Bound(found.approval_id, print_, known=True, decision=found.decision)
        if bound.decision is None:
            self.keys[bound.approval_id] = ask.key
        return bound

    def answered(self, approval_id: str, decision: Decision) -> str | None:
        """The agent's key for an answer, or None when the agent does not wait for it (any more)."""
        if approval_id in self.inherited:
            known = self.inherited[approval_id]
            self.inherited[approval_id] = Approval(approval_id, known.fingerprint, decision)
        return self.keys.pop(approval_id, None)

    def withdrawn(self, key: str) -> str | None:
        """The approval whose ask the agent took back, or None when it had been answered."""
        approval_id = next((one for one, waiting in self.keys.items() if waiting == key), None)
        if approval_id is not None:
            del self.keys[approval_id]
        return approval_id
