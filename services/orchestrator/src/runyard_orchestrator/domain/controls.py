"""What a person's wish for a sandbox leads to: events, or a refusal. Carrying it out follows from the events."""

from runyard_events.catalogue import (
    Payload,
    SandboxDeleted,
    SandboxPaused,
    SandboxRequested,
    SandboxRules,
    SandboxRulesChanged,
    SandboxStopped,
)
from runyard_events.commands import SandboxAction
from runyard_orchestrator.domain.facts import Refusal
from runyard_orchestrator.domain.rules import EXTERNAL, Installation, leads_out
from runyard_orchestrator.domain.sandbox import FOR_GOOD
from runyard_orchestrator.domain.situation import Situation

Wish = tuple[Payload, ...] | Refusal

NO_SESSION = Refusal(404, "session-not-found", "There is no such session.")
NOT_READY = Refusal(409, "session-not-ready", "The session is not ready for a container.")
SWITCHED_OFF = Refusal(409, "sandboxes-off", "Containers are switched off, here or for this team.")
REQUIRED = Refusal(
    403,
    "sandboxes-required",
    "Everything runs in containers here, in those of the installation's runtime: `enabled: false`, `process_fallback: "
    "true` and another `runtime` are not to be had.",
)
EXTERNALLY = Refusal(409, "sandbox-external", "This session's container is run by somebody else.")
NONE_THERE = Refusal(409, "sandbox-absent", "The session has no container.")
NOT_RUNNING = Refusal(409, "sandbox-not-running", "The session's container is not running.")
CANNOT_PAUSE = Refusal(409, "sandbox-cannot-pause", "Containers of this kind cannot be paused; stop it instead.")
IN_USE = Refusal(409, "sandbox-in-use", "A run is worked on in the container; cancel it first, or wait for its end.")

WITHOUT_PAUSE: frozenset[str] = frozenset({"dokploy"})
"""Methods whose platform can only stop a container."""


def control(at: Situation, action: SandboxAction, actor: str | None) -> Wish:
    """Whether and how an action is recorded; one that is done already leads to nothing."""
    refusal = _not_at_all(at)
    if refusal is not None:
        return refusal
    match action:
        case "create" | "start":
            return _started(at, actor)
        case "stop":
            return _stopped(at)
        case "pause":
            return _paused(at)
        case "delete":
            return _deleted(at)


def change_rules(
    installation: Installation, known: SandboxRules | None, wanted: SandboxRules, actor: str | None
) -> Wish:
    """A team's rules, if they are others than before and the installation lets a team have them."""
    if leads_out(installation, wanted):
        return REQUIRED
    if wanted == (known or SandboxRules()):
        return ()
    return (SandboxRulesChanged(rules=wanted, changed_by=actor),)


def _not_at_all(at: Situation) -> Refusal | None:
    match at.session:
        case "absent" | "deleted":
            return NO_SESSION
        case "creating" | "failed":
            return NOT_READY
        case "ready":
            return EXTERNALLY if at.runner_type == EXTERNAL else None


def _started(at: Situation, actor: str | None) -> Wish:
    box = at.sandbox
    if not at.rules.enabled:
        return SWITCHED_OFF
    if box.status in ("requested", "creating", "running"):
        return ()
    # One at rest is started again if it still can be, else it gets a successor; that shows when it is looked at.
    epoch = box.epoch if box.status in ("paused", "stopped") and box.reason not in FOR_GOOD else box.epoch + 1
    method = at.installation.method
    return (SandboxRequested(epoch=epoch, method=method, purpose="user", reason="user", requested_by=actor),)


def _stopped(at: Situation) -> Wish:
    match at.sandbox.status:
        case "absent" | "deleted" | "error":
            return NONE_THERE
        case "stopped":
            return ()
        case _ if at.occupied:
            return IN_USE
        case _:
            return (SandboxStopped(epoch=at.sandbox.epoch, reason="user"),)


def _paused(at: Situation) -> Wish:
    match at.sandbox.status:
        case "paused":
            return ()
        case "running" if at.sandbox.method in WITHOUT_PAUSE:
            return CANNOT_PAUSE
        case "running" if at.occupied:
            return IN_USE
        case "running":
            return (SandboxPaused(epoch=at.sandbox.epoch, reason="user"),)
        case _:
            return NOT_RUNNING


def _deleted(at: Situation) -> Wish:
    match at.sandbox.status:
        case "absent":
            return NONE_THERE
        case "deleted":
            return ()
        case _ if at.occupied:
            return IN_USE
        case _:
            return (SandboxDeleted(epoch=at.sandbox.epoch, reason="user"),)
