"""Settings of the Claude runner."""

from pydantic import AliasChoices, Field

from runyard_runner.settings import RunnerSettings


class Settings(RunnerSettings):
    """A runner's settings, with `CLAUDE_MODEL` as the model of sessions that name none."""

    port: int = Field(default=9104, ge=0, le=65535)
    model: str | None = Field(default=None, validation_alias=AliasChoices("CLAUDE_MODEL", "model"))
    """Without one Claude chooses its own default."""
    claude_max_retries: int = Field(default=6, ge=0, le=20)
    """Failed model calls that Claude repeats, with growing pauses; 6 outlast a restart of llm-gateway."""
