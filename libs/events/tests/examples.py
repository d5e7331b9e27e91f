# ruff: noqa: E501 - one example per line is easier to compare than to wrap
"""One example of every payload in its current version, from which golden files of new versions are made.

python libs/events/tests/examples.py      # writes golden files that are missing, never changes one
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runyard_events import Envelope, Scope, encode, stamp
from runyard_events.catalogue import BY_TYPE

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
_USAGE = {
    "inputTokens": 1000,
    "outputTokens": 50,
    "cachedInputTokens": 800,
    "cacheWriteTokens": 10,
    "reasoningTokens": 20,
}
_APPROVAL = {
    "approvalId": "a1",
    "askKind": "command",
    "title": "Run a command",
    "detail": {"command": "rm -r build"},
    "options": ["accept", "decline"],
    "questions": [],
}
_RESOLVED = {
    "approvalId": "a1",
    "decision": "accept",
    "answers": None,
    "message": "go on",
    "resolvedBy": "u1",
}

EXAMPLES: dict[str, Any] = {
    "workspace.import_requested": {"sourceType": "github", "sourceUri": "https://example.com/org/repo", "displayName": "org/repo", "requestedBy": "u1", "idempotencyKey": "k", "requestHash": "h"},
    "workspace.import_progress": {"phase": "Receiving objects", "percent": 42, "message": None},
    "workspace.imported": {"sourceType": "github", "sourceUri": "https://example.com/org/repo", "displayName": "org/repo", "localPath": "/workspaces/w/repo", "headCommit": "c0ffee", "defaultBranch": "main", "sizeBytes": 1024},
    "workspace.import_failed": {"reason": "not_found", "message": "There is no repository at this address."},
    "worktree.opened": {"workspaceId": "w", "path": "/workspaces/w/sessions/s", "branch": "runyard/s", "baseCommit": "c0ffee"},
    "worktree.failed": {"workspaceId": "w", "reason": "not_found", "message": "The workspace is gone."},
    "worktree.removed": {"workspaceId": "w"},
    "checkpoint.created": {"commit": "c0ffee", "ref": "refs/runyard/sessions/s/runs/r", "parent": "beef", "filesChanged": 1, "insertions": 2, "deletions": 3, "skippedFiles": 1},
    "checkpoint.failed": {"reason": "disk_full", "message": "No space left."},
    "worktree.commits_taken": {"workspaceId": "w", "branch": "runyard/s", "commit": "c0ffee", "previous": "beef", "rewritten": False},
    "worktree.commits_refused": {"workspaceId": "w", "branch": "runyard/s", "reason": "conflict", "message": "The branch was moved meanwhile.", "commit": "c0ffee", "ref": "refs/runyard/sessions/s/diverged"},
    "session.created": {"workspaceId": "w", "runnerType": "codex", "threadId": "t", "approvalPolicy": "on-request", "model": "m", "title": "A session", "createdBy": "u1", "idempotencyKey": "k", "requestHash": "h"},
    "session.ready": {"repoPath": "/workspaces/w/sessions/s", "threadId": "t", "branch": "runyard/s", "baseCommit": "c0ffee"},
    "session.failed": {"reason": "worktree", "message": "The workspace is gone."},
    "session.run_queued": {"queuedRunId": "r", "position": 1},
    "session.run_activated": {"activeRunId": "r"},
    "session.run_dequeued": {"dequeuedRunId": "r"},
    "session.deleted": {"deletedBy": "u1"},
    "run.requested": {"prompt": "hello", "workspaceId": "w", "runnerType": "codex", "approvalPolicy": "never", "model": None, "timeLimitSeconds": 3600, "requestedBy": "u1", "idempotencyKey": "k", "requestHash": "h"},
    "run.dispatched": {"runnerType": "codex", "method": "docker", "reason": None},
    "run.started": {"runnerId": "runner-1", "attempt": 1, "nativeThreadId": "n", "model": "m"},
    "run.resumed": {"runnerId": "runner-2", "attempt": 2, "nativeThreadId": "n", "reason": "the runner had died"},
    "run.thread_bound": {"nativeThreadId": "n"},
    "run.cancel_requested": {"requestedBy": "u1", "reason": "too slow"},
    "run.steer_requested": {"text": "in English, please", "requestedBy": "u1"},
    "run.approval_requested": {**_APPROVAL, "fingerprint": "f"},
    "run.approval_resolved": _RESOLVED,
    "run.completed": {"durationMs": 1500, "usage": _USAGE, "finalText": "Done."},
    "run.error": {"reason": "runner_lost", "message": "The runner died.", "durationMs": 1500, "usage": None},
    "run.cancelled": {"requestedBy": "u1", "reason": None, "durationMs": 1500, "usage": None},
    "ui.run.started": {"sessionId": "s"},
    "ui.run.completed": {},
    "ui.run.error": {"message": "The runner died.", "reason": "runner_lost"},
    "ui.run.cancelled": {"message": None},
    "ui.message.user": {"text": "hello", "steering": False},
    "ui.message.assistant.delta": {"textDelta": "Hel", "messageId": "m1"},
    "ui.message.assistant.final": {"text": "Hello", "format": "markdown", "messageId": "m1", "interrupted": False},
    "ui.reasoning.delta": {"textDelta": "I should", "itemId": "i1"},
    "ui.reasoning.final": {"text": "I should look.", "itemId": "i1"},
    "ui.tool.call": {"toolName": "shell", "input": {"command": "ls"}, "callId": "c1", "category": "command", "parentCallId": None},
    "ui.tool.arguments.delta": {"textDelta": '{"comm', "callId": "c1"},
    "ui.tool.output.delta": {"textDelta": "README.md\n", "callId": "c1"},
    "ui.tool.result": {"toolName": "shell", "output": "README.md\n", "callId": "c1", "status": "completed", "exitCode": 0, "durationMs": 12, "truncated": False, "outputRef": None, "outputBytes": 10},
    "ui.file.changed": {"path": "NOTES.md", "change": "add", "diff": "@@ -0,0 +1 @@\n+hello\n", "movedTo": None, "callId": "c1"},
    "ui.diff.updated": {"diff": "diff --git a/NOTES.md b/NOTES.md\n"},
    "ui.plan.updated": {"steps": [{"text": "look", "status": "completed"}], "explanation": None},
    "ui.usage.updated": {"scope": "turn", **_USAGE, "contextWindow": 258400},
    "ui.approval.requested": _APPROVAL,
    "ui.approval.resolved": _RESOLVED,
    "ui.subagent.started": {"subagentId": "x", "description": "look around", "callId": "c1"},
    "ui.subagent.ended": {"subagentId": "x", "status": "completed", "summary": "nothing there"},
    "ui.error": {"message": "The model is overloaded.", "code": "overloaded", "willRetry": True},
    "ui.retry": {"message": "Trying again", "attempt": 1, "delayMs": 500},
    "ui.notice": {"level": "info", "message": "The scripted offline model answers."},
    "raw.received": {"method": "turn/started", "params": {"threadId": None}},
    "raw.sent": {"id": 1, "method": "turn/interrupt"},
    "llm.call.completed": {"callId": "l1", "api": "responses", "provider": "openai", "model": "m", "status": "ok", "httpStatus": 200, "error": None, "streamed": True, "scripted": False, "inputTokens": 1000, "outputTokens": 50, "cachedInputTokens": 800, "cacheWriteTokens": None, "reasoningTokens": 20, "costUsd": 0.0012, "priced": True, "latencyMs": 812.5, "firstTokenMs": 203.1},
    "sandbox.requested": {"epoch": 1, "method": "docker", "purpose": "run", "reason": "prompt", "requestedBy": "u1"},
    "sandbox.creating": {"epoch": 1, "method": "docker", "name": "runyard-s-1", "image": "runyard/runner-codex:0.1.0", "runtime": "runsc", "reason": "prompt"},
    "sandbox.running": {"epoch": 1, "method": "docker", "name": "runyard-s-1", "nativeId": "abc", "tookMs": 320, "warm": False, "reason": "prompt"},
    "sandbox.paused": {"epoch": 1, "reason": "user"},
    "sandbox.stopped": {"epoch": 1, "reason": "idle"},
    "sandbox.error": {"epoch": 1, "reason": "out_of_memory", "message": "The container used more than 2 GB.", "exitCode": 137, "logTail": ["Killed"]},
    "sandbox.deleted": {"epoch": 1, "reason": "session_deleted"},
    "sandbox.stats": {"cpuPercent": 12.5, "memoryBytes": 104857600, "memoryLimitBytes": 2147483648, "diskBytes": 4096, "processes": 7, "receivedBytes": 1000, "sentBytes": 2000},
    "sandbox.logged": {"lines": ["ready"], "dropped": 0},
    "sandbox.egress_denied": {"host": "example.com", "port": 443, "count": 3},
    "team.sandbox_rules_changed": {"rules": {"enabled": True, "processFallback": False, "egress": ["example.com"], "idleStopSeconds": 900, "runtime": None}, "changedBy": "u1"},
    "preview.requested": {"workspaceId": "w", "sessionId": "s", "branch": None, "command": None, "framework": None, "requestedBy": "u1", "idempotencyKey": "k", "requestHash": "h"},
    "preview.prepared": {"path": "/workspaces/w/sessions/s", "framework": "vite", "name": "Vite", "install": "npm install", "build": None, "serve": "npx vite --host 0.0.0.0 --port $PORT", "branch": None, "commit": None, "folder": ""},
    "preview.starting": {"generation": 1, "method": "docker", "port": 5000, "containerName": "runyard-preview-p-1"},
    "preview.ready": {"generation": 1, "address": "127.0.0.1:5000", "tookMs": 2500},
    "preview.failed": {"generation": 1, "reason": "exited", "message": "It ended by itself.", "exitCode": 1, "logTail": ["SyntaxError"]},
    "preview.stopped": {"generation": 1, "reason": "user"},
    "preview.shared": {"shareId": "h1", "expiresAt": "2026-01-03T00:00:00Z", "sharedBy": "u1"},
    "preview.share_revoked": {"shareId": "h1", "revokedBy": "u1"},
    "preview.deleted": {"deletedBy": "u1"},
    "team.credential_set": {"credentialId": "c1", "host": "github.com", "username": "bot", "sealed": "x", "setBy": "u1"},
    "team.credential_removed": {"credentialId": "c1", "removedBy": "u1"},
    "workspace.fetched": {"branches": {"main": "c0ffee"}},
    "workspace.sync_failed": {"reason": "unreachable", "message": "The remote does not answer."},
    "branch.pushed": {"workspaceId": "w", "branch": "runyard/s", "commit": "c0ffee"},
    "branch.push_failed": {"workspaceId": "w", "branch": "runyard/s", "reason": "conflict", "message": "The remote branch has moved on.", "files": ["README.md"]},
    "branch.pull_request_opened": {"workspaceId": "w", "branch": "runyard/s", "base": "main", "number": 7, "url": "https://example.com/org/repo/pull/7", "draft": False},
}  # fmt: skip


def envelope(event_type: str) -> Envelope:
    """The example in a complete envelope, always the same."""
    model = BY_TYPE[event_type]
    scope = Scope.run("00000000-0000-4000-8000-000000000001", "s", "r")
    return stamp(
        model.model_validate(EXAMPLES[event_type]),
        scope=scope,
        source="runner-codex.1",
        seq=7,
        provider="codex",
        at=AT,
        correlation_id="corr",
    )


def golden_path(event_type: str, version: int) -> Path:
    """Where the golden file of a version of a type is kept."""
    return GOLDEN / f"{event_type}.v{version}.json"


if __name__ == "__main__":
    for name in EXAMPLES:
        path = golden_path(name, BY_TYPE[name].VERSION)
        if not path.exists():
            path.write_text(json.dumps(json.loads(encode(envelope(name))), indent=1) + "\n")
