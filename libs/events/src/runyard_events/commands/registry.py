"""Every command there is, by its name."""

from runyard_events.commands.payload import CommandPayload
from runyard_events.commands.preview import ControlPreview, CreatePreview, RevokeShare, SharePreview
from runyard_events.commands.runner import StartInSandbox, StartRun
from runyard_events.commands.sandbox import ControlSandbox, RecordMessages, SetSandboxRules
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
)

COMMANDS_BY_TYPE: dict[str, type[CommandPayload]] = {
    payload.TYPE: payload
    for payload in (
        ImportWorkspace,
        OpenWorktree,
        RemoveWorktree,
        PrepareSandbox,
        ReleaseSandbox,
        OpenPreviewTree,
        RemovePreviewTree,
        DetectProject,
        SetCredential,
        RemoveCredential,
        FetchWorkspace,
        PushSession,
        OpenPullRequest,
        CreateSession,
        DeleteSession,
        RequestRun,
        CancelRun,
        SteerRun,
        AnswerApproval,
        ControlSandbox,
        SetSandboxRules,
        RecordMessages,
        CreatePreview,
        ControlPreview,
        SharePreview,
        RevokeShare,
        StartRun,
        StartInSandbox,
    )
}
