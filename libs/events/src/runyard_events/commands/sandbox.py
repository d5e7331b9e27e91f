"""What the orchestrator is asked for about sandboxes: containers of sessions and the rules of a team for them."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from runyard_events.catalogue import SandboxRules
from runyard_events.commands.payload import CommandPayload

SandboxAction = Literal["create", "start", "stop", "pause", "delete"]


class ControlSandbox(CommandPayload):
    """A person's wish for a session's sandbox; the orchestrator brings it about."""

    TYPE: ClassVar[str] = "orchestrator.control-sandbox"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.control-sandbox"
    session_id: str
    action: SandboxAction


class SetSandboxRules(CommandPayload):
    """A team's rules, whole: what is not given goes back to the installation's."""

    TYPE: ClassVar[str] = "orchestrator.set-sandbox-rules"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.set-sandbox-rules"
    rules: SandboxRules


class RecordMessages(CommandPayload):
    """What a container that speaks HTTP or WebSocket instead of NATS says about its session's active run.

    Each message is `{"id", "type", "payload"}`: a `ui.*` type of the catalogue, or one of `run.started`,
    `run.completed`, `run.error`, `run.cancelled`. A message id that was recorded before is passed over.
    Without a `run_id` it is the session's active run. Reply: `accepted` (count), `run_id`, `seq`.
    """

    TYPE: ClassVar[str] = "orchestrator.record-messages"
    SUBJECT: ClassVar[str] = "cmd.orchestrator.record-messages"
    session_id: str
    run_id: str = ""
    epoch: int
    messages: tuple[dict[str, Any], ...] = Field(max_length=200)
