"""What a command leads to: events, or a refusal. Pure and total; a command that is done already leads to nothing.

A decision may rest on a state that is behind the log. What it decides is guarded by compare-and-set, so
a wrong yes never gets written; a no is looked at again with the newest state before it is given out.
"""

from dataclasses import dataclass

from runyard_events import commands as asked
from runyard_events.catalogue import (
    ApprovalResolved,
    RunApprovalResolved,
    RunCancelled,
    RunCancelRequested,
    RunRequested,
    RunSteerRequested,
    SessionCreated,
    SessionDeleted,
    UiMessageUser,
    UiRunCancelled,
)
from runyard_events.ids import derived_id
from runyard_orchestrator.domain.facts import Decision, Planned, Refusal
from runyard_orchestrator.domain.run import Run
from runyard_orchestrator.domain.state import State


@dataclass(frozen=True, slots=True)
class Limits:
    """What a caller may ask for."""

    time_limit_seconds: int = 3600
    longest_time_limit_seconds: int = 24 * 3600
    longest_queue: int = 100


@dataclass(frozen=True, slots=True)
class Sender:
    """Who asks, and with which command."""

    actor: str | None
    command_id: str


KEY_REUSED = Refusal(422, "idempotency-key-reused", "This idempotency key was used before with another request.")
NO_SESSION = Refusal(404, "session-not-found", "There is no such session.")
NO_RUN = Refusal(404, "run-not-found", "There is no such run.")
NO_APPROVAL = Refusal(404, "approval-not-found", "The run has no such approval.")
RUN_ENDED = Refusal(409, "run-ended", "The run has ended.")
NOT_RUNNING = Refusal(409, "run-not-running", "The run has not started yet.")
CANCELLING = Refusal(409, "run-cancelling", "The run is being cancelled.")
ANSWERED = Refusal(409, "approval-answered", "The approval has been answered already; the first answer counts.")


def create_session(state: State, command: asked.CreateSession, sender: Sender) -> Decision:
    """A new session; the same request once more leads to nothing."""
    session = state.session
    if session.status != "absent":
        return () if session.request_hash == command.request_hash else KEY_REUSED
    created = SessionCreated(
        workspace_id=command.workspace_id,
        runner_type=command.runner_type,
        thread_id=derived_id("thread", command.session_id),
        approval_policy=command.approval_policy,
        model=command.model,
        title=command.title,
        created_by=sender.actor,
        idempotency_key=command.idempotency_key,
        request_hash=command.request_hash,
    )
    return (Planned(created),)


def delete_session(state: State, _command: asked.DeleteSession, sender: Sender) -> Decision:
    """The session's end; its runs and its worktree follow (see `owed`)."""
    match state.session.status:
        case "absent":
            return NO_SESSION
        case "deleted":
            return ()
        case _:
            return (Planned(SessionDeleted(deleted_by=sender.actor)),)


def request_run(state: State, command: asked.RequestRun, sender: Sender, limits: Limits) -> Decision:
    """A run that is accepted; that it waits or becomes the active one follows from it (see `owed`)."""
    session, run_id = state.session, command.run_id
    known = state.run(run_id)
    if known.status != "absent":
        return () if known.request_hash == command.request_hash else KEY_REUSED
    refusal = _no_more_runs(state, limits)
    if refusal is not None:
        return refusal
    requested = RunRequested(
        prompt=command.prompt,
        workspace_id=session.workspace_id,
        runner_type=session.runner_type,
        approval_policy=session.approval_policy,
        model=session.model,
        time_limit_seconds=_time_limit(command.time_limit_seconds, limits),
        requested_by=sender.actor,
        idempotency_key=command.idempotency_key,
        request_hash=command.request_hash,
    )
    return (Planned(requested, run_id), prompt_line(command))


def cancel_run(state: State, command: asked.CancelRun, sender: Sender) -> Decision:
    """The end of a run that no runner has begun, a request to the runner of one that is under way."""
    run = state.run(command.run_id)
    if sender.command_id in run.handled:
        return ()
    match run.status:
        case "absent":
            return NO_RUN
        case "cancelling" | "cancelled":
            return ()
        case "completed" | "error":
            return RUN_ENDED
        case "queued" | "dispatched":
            return cancellation(command.run_id, requested_by=sender.actor, reason=command.reason)
        case "running" | "waiting_approval":
            asked_to_stop = RunCancelRequested(requested_by=sender.actor, reason=command.reason)
            return (Planned(asked_to_stop, command.run_id),)


def steer_run(state: State, command: asked.SteerRun, sender: Sender) -> Decision:
    """Words for a turn that is under way; the runner passes them on when the agent can take them."""
    run = state.run(command.run_id)
    if sender.command_id in run.handled:
        return ()
    refusal = _not_at_work(run)
    if refusal is not None:
        return refusal
    return (
        Planned(UiMessageUser(text=command.text, steering=True), command.run_id),
        Planned(RunSteerRequested(text=command.text, requested_by=sender.actor), command.run_id),
    )


def answer_approval(state: State, command: asked.AnswerApproval, sender: Sender) -> Decision:
    """The first answer to what the agent asked."""
    run = state.run(command.run_id)
    if sender.command_id in run.handled:
        return ()
    approval = run.approvals.get(command.approval_id)
    if approval is None:
        return NO_RUN if run.status == "absent" else NO_APPROVAL
    if approval.decision is not None:
        return ANSWERED
    refusal = _not_at_work(run)
    if refusal is not None:
        return refusal
    if command.decision not in approval.options:
        choices = ", ".join(approval.options)
        return Refusal(422, "answer-not-offered", f"The agent takes one of: {choices}.")
    answer = {
        "approval_id": command.approval_id,
        "decision": command.decision,
        "answers": command.answers,
        "message": command.message,
        "resolved_by": sender.actor,
    }
    return (
        Planned(ApprovalResolved.model_validate(answer), command.run_id),
        Planned(RunApprovalResolved.model_validate(answer), command.run_id),
    )


def prompt_line(command: asked.RequestRun) -> Planned:
    """What the person said, as the first line of the run's transcript."""
    return Planned(UiMessageUser(text=command.prompt), command.run_id)


def cancellation(run_id: str, *, requested_by: str | None = None, reason: str | None = None) -> tuple[Planned, ...]:
    """The end of a run that nobody works on."""
    return (
        Planned(UiRunCancelled(message=reason), run_id),
        Planned(RunCancelled(requested_by=requested_by, reason=reason), run_id),
    )


def _no_more_runs(state: State, limits: Limits) -> Refusal | None:
    match state.session.status:
        case "absent" | "deleted":
            return NO_SESSION
        case "creating":
            return Refusal(409, "session-not-ready", "The session's worktree is still being made.")
        case "failed":
            return Refusal(409, "session-failed", "The session could not be made and takes no prompts.")
        case "ready" if len(state.waiting) >= limits.longest_queue:
            return Refusal(429, "queue-full", f"{limits.longest_queue} runs are waiting in this session already.")
        case "ready":
            return None


def _not_at_work(run: Run) -> Refusal | None:
    match run.status:
        case "absent":
            return NO_RUN
        case "queued" | "dispatched":
            return NOT_RUNNING
        case "cancelling":
            return CANCELLING
        case "completed" | "error" | "cancelled":
            return RUN_ENDED
        case "running" | "waiting_approval":
            return None


def _time_limit(wanted: int | None, limits: Limits) -> int:
    if wanted is None or wanted < 1:
        return limits.time_limit_seconds
    return min(wanted, limits.longest_time_limit_seconds)
