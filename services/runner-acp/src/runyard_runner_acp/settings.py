"""Settings of runner-acp."""

from pathlib import Path

from pydantic import AliasChoices, Field

from runyard_runner.settings import RunnerSettings


class Settings(RunnerSettings):
    """Beside those of every runner: how agents are installed and which model they use."""

    port: int = Field(default=9112, ge=0, le=65535)
    model: str | None = Field(default="gpt-5.5", validation_alias=AliasChoices("ACP_MODEL", "model"))
    """Of sessions that name none, but for Gemini CLI's."""
    gemini_model: str = "gemini-2.5-pro"
    """Of Gemini CLI's sessions that name none."""
    acp_install_seconds: float = Field(default=600, gt=0)
    """How long npm may take to install an agent."""
    acp_installs: Path | None = None
    """Where agents are installed; below the agents folder unless said otherwise."""
    acp_bundled: Path | None = None
    """Where an image has its agents; said there. Nothing is installed then, and no other place is looked at."""

    def model_of(self, runner_type: str) -> str | None:
        return self.gemini_model if runner_type == "gemini" else self.model

    @property
    def installs(self) -> Path:
        """The folder of installed agents."""
        return self.acp_bundled or self.acp_installs or self.agents_root / ".installed"
