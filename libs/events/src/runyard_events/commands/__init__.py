"""Commands: what services ask of each other. A work queue keeps them until somebody has carried them out.

A command is not history; what happened because of it is. Whoever needs an answer names an inbox in
`reply_to`, and gets a `Reply` when the events of the command stand in the log.
"""

from runyard_events.commands.bus import CommandBus
from runyard_events.commands.envelope import Command, P, Reply, ReplyProblem, command, decode_command
from runyard_events.commands.payload import CommandPayload
from runyard_events.commands.preview import ControlPreview, CreatePreview, PreviewAction, RevokeShare, SharePreview
from runyard_events.commands.registry import COMMANDS_BY_TYPE
from runyard_events.commands.runner import StartInSandbox, StartRun
from runyard_events.commands.sandbox import ControlSandbox, RecordMessages, SandboxAction, SetSandboxRules
from runyard_events.commands.session import (
    AnswerApproval,
    CancelRun,
    CreateSession,
    DeleteSession,
    RequestRun,
    SteerRun,
)
from runyard_events.commands.workspace import (
    DetectProject,
    FetchWorkspace,
    ImportWorkspace,
    OpenPreviewTree,
    OpenPullRequest,
    OpenWorktree,
    PrepareSandbox,
    PushSession,
    ReleaseSandbox,
    RemoveCredential,
    RemovePreviewTree,
    RemoveWorktree,
    SetCredential,
    credential_context,
)

__all__ = [
    "COMMANDS_BY_TYPE",
    "AnswerApproval",
    "CancelRun",
    "Command",
    "CommandBus",
    "CommandPayload",
    "ControlPreview",
    "ControlSandbox",
    "CreatePreview",
    "CreateSession",
    "DeleteSession",
    "DetectProject",
    "FetchWorkspace",
    "ImportWorkspace",
    "OpenPreviewTree",
    "OpenPullRequest",
    "OpenWorktree",
    "P",
    "PrepareSandbox",
    "PreviewAction",
    "PushSession",
    "RecordMessages",
    "ReleaseSandbox",
    "RemoveCredential",
    "RemovePreviewTree",
    "RemoveWorktree",
    "Reply",
    "ReplyProblem",
    "RequestRun",
    "RevokeShare",
    "SandboxAction",
    "SetCredential",
    "SetSandboxRules",
    "SharePreview",
    "StartInSandbox",
    "StartRun",
    "SteerRun",
    "command",
    "credential_context",
    "decode_command",
]
