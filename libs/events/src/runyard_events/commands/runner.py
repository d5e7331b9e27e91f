"""What a runner is asked for."""

from typing import ClassVar

from runyard_events.catalogue import ApprovalPolicy
from runyard_events.commands.payload import CommandPayload


class StartRun(CommandPayload):
    """Everything a runner needs to begin a run; its subject ends in the runner's type."""

    TYPE: ClassVar[str] = "runner.start"
    SUBJECT: ClassVar[str] = "cmd.runner.{runner_type}.start"
    session_id: str
    run_id: str
    workspace_id: str
    runner_type: str
    prompt: str
    thread_id: str
    native_thread_id: str | None = None
    working_directory: str
    approval_policy: ApprovalPolicy = "never"
    model: str | None = None
    time_limit_seconds: int = 3600


class StartInSandbox(StartRun):
    """The same for the runner inside a session's own sandbox; only that session may take it off the queue."""

    TYPE: ClassVar[str] = "sandbox.start"
    SUBJECT: ClassVar[str] = "cmd.sandbox.{session_id}.start"
