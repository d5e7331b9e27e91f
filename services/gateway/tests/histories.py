"""Short histories that many tests begin with."""

from runyard_events.catalogue import (
    AnyPayload,
    AssistantDelta,
    AssistantFinal,
    CheckpointCreated,
    LlmCallCompleted,
    PreviewPrepared,
    PreviewReady,
    PreviewRequested,
    PreviewStarting,
    RunCompleted,
    RunDispatched,
    RunRequested,
    RunStarted,
    SandboxCreating,
    SandboxRequested,
    SandboxRules,
    SandboxRulesChanged,
    SandboxRunning,
    SandboxStats,
    SessionCreated,
    SessionReady,
    UiMessageUser,
    UiRunCompleted,
    UiRunStarted,
    WorkspaceImported,
    WorkspaceImportRequested,
)

URI = "https://github.com/psf/requests"


def imported() -> tuple[AnyPayload, ...]:
    """A workspace from the request to its files."""
    return (
        WorkspaceImportRequested(source_type="github", source_uri=URI, display_name="psf/requests"),
        WorkspaceImported(
            source_type="github",
            source_uri=URI,
            display_name="psf/requests",
            local_path="/workspaces/w/repo",
            head_commit="c0ffee",
            default_branch="main",
            size_bytes=1234,
        ),
    )


def opened(workspace: str, thread: str = "thread-1") -> tuple[AnyPayload, ...]:
    """A session from its creation to its files."""
    return (
        SessionCreated(workspace_id=workspace, runner_type="codex", thread_id=thread),
        SessionReady(repo_path="/workspaces/w/s", thread_id=thread, branch="runyard/s", base_commit="c0ffee"),
    )


def requested(workspace: str, prompt: str = "List the files") -> tuple[AnyPayload, ...]:
    """A run that was asked for and handed out."""
    return (
        RunRequested(prompt=prompt, workspace_id=workspace, runner_type="codex"),
        UiMessageUser(text=prompt),
        RunDispatched(runner_type="codex"),
    )


def worked(session: str, words: int = 3) -> tuple[AnyPayload, ...]:
    """What a runner writes up to the last word."""
    deltas = tuple(AssistantDelta(text_delta=f"word {number} ", message_id="m1") for number in range(words))
    return (
        RunStarted(runner_id="r1", attempt=1, native_thread_id="n1", model="scripted"),
        UiRunStarted(session_id=session),
        *deltas,
        AssistantFinal(text="word " * words, message_id="m1"),
    )


def completed() -> tuple[AnyPayload, ...]:
    """The end of a run: the lifecycle event is the last."""
    return (UiRunCompleted(), RunCompleted(duration_ms=1200))


def call(cost: float | None = 0.0125, model: str = "gpt-5") -> LlmCallCompleted:
    """A model call of 100 tokens in, 20 out."""
    return LlmCallCompleted(
        call_id="c1",
        api="responses",
        provider="openai",
        model=model,
        status="ok",
        streamed=True,
        input_tokens=100,
        output_tokens=20,
        cost_usd=cost,
        priced=cost is not None,
        latency_ms=12.5,
    )


def checkpoint() -> CheckpointCreated:
    """Two files changed."""
    return CheckpointCreated(
        commit="beef", ref="refs/runyard/r", parent="c0ffee", files_changed=2, insertions=7, deletions=1
    )


def contained(epoch: int = 1) -> tuple[AnyPayload, ...]:
    """A session's container from the request until it runs."""
    name = f"runyard-0a1b2c3d-{epoch}"
    return (
        SandboxRequested(epoch=epoch, method="docker", purpose="run", reason="prompt"),
        SandboxCreating(epoch=epoch, method="docker", name=name, image="runyard/runner:1", reason="prompt"),
        SandboxRunning(epoch=epoch, method="docker", name=name, native_id=f"c{epoch}", took_ms=210, reason="prompt"),
    )


def measured(cpu: float = 12.5) -> SandboxStats:
    """One measure of a container."""
    return SandboxStats(cpu_percent=cpu, memory_bytes=64 * 1024 * 1024)


def ruled(*hosts: str) -> SandboxRulesChanged:
    """A team's rules with these hosts to be reached."""
    return SandboxRulesChanged(rules=SandboxRules(enabled=True, egress=hosts), changed_by="ada")


def previewed(workspace: str, session: str | None = None, *, address: str = "127.0.0.1:5173") -> tuple[AnyPayload, ...]:
    """A preview from the request until its page answers."""
    return (
        PreviewRequested(workspace_id=workspace, session_id=session),
        PreviewPrepared(path="/w", framework="vite", name="Vite", serve="exec vite", branch="main", commit="c0ffee"),
        PreviewStarting(generation=1, method="docker", port=5173, container_name="runyard-preview-1"),
        PreviewReady(generation=1, address=address, took_ms=900),
    )
