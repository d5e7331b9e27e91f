"""What the orchestrator can be told about sandboxes; environment names are the fields' names in capitals."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

_GUIDE = "docs/guides/dokploy-and-kubernetes.md"
_ELSEWHERE = ("sandbox_shared_folder", "sandbox_proxy_token")
_NEEDS = {
    "dokploy": (
        *("dokploy_url", "dokploy_api_key", "dokploy_network", "dokploy_shared_folder", "dokploy_read_only_folder"),
        *("sandbox_user", *_ELSEWHERE),
    ),
    "kubernetes": ("kubernetes_claim", *_ELSEWHERE),
}
GIT_HOSTS = ("github.com", "*.github.com", "*.githubusercontent.com", "gitlab.com", "bitbucket.org")


class SandboxSettings(BaseSettings):
    """Settings of sandboxes."""

    sandbox: Literal["off", "docker", "dokploy", "kubernetes"] = "off"
    """Where agents run: beside the services, or each session in a container of its own."""
    sandbox_installation: str = Field(default="runyard", pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Names our containers among those of others on the same engine."""
    sandbox_default: bool = True
    """Whether a team that has decided nothing has its runs in containers."""
    sandbox_required: bool = False
    """Whether no team may switch its containers off, fall back to plain processes or choose another runtime."""
    sandbox_process_fallback: bool = False
    """Whether a run whose container cannot be had goes to a plain process, where a team has decided nothing."""
    sandbox_image: str = "runyard/runner-{runner}:latest"
    """The runner's image; `{runner}` is what drives the session's agent: codex, claude or acp."""
    sandbox_images: dict[str, str] = Field(default_factory=dict[str, str])
    """Others, by runner type (JSON)."""
    sandbox_preview_image: str = "runyard/preview:latest"
    sandbox_proxy_image: str | None = None
    """Of the proxy between containers and everything else; None: a runner's."""
    sandbox_runtime: str | None = None
    """The container runtime, for example `runsc`."""
    sandbox_user: str | None = Field(default=None, pattern=r"^[1-9]\d*:[1-9]\d*$")
    """`uid:gid` inside; None: the stack's own unless that is root, else 10001:10001."""

    sandbox_memory_mb: int = Field(default=2048, ge=128)
    sandbox_cpus: float = Field(default=1.0, gt=0)
    sandbox_processes: int = Field(default=256, ge=16)

    sandbox_idle_seconds: int = Field(default=900, ge=10)
    """A container in which nothing has run for this long is stopped; the next prompt starts it again."""
    sandbox_archive_seconds: float = Field(default=7 * 24 * 3600, gt=0)
    """A container at rest for this long is removed; files and thread stay."""
    sandbox_token_days: float = Field(default=7, gt=0)
    """How long a session's token is good for; a container at rest past half of it is made anew."""
    sandbox_restarts: int = Field(default=3, ge=0)
    """Containers that one run may lose before it is given up."""
    sandbox_backoff_seconds: float = Field(default=1.0, ge=0)
    sandbox_engine_seconds: float = Field(default=120, gt=0)
    """How long a run waits for an engine that does not answer."""
    sandbox_create_seconds: float = Field(default=60, gt=0)
    """How long a Docker engine may take to make or to start one container; then that has failed, and another one is
    made in its place."""
    sandbox_lease_grace_seconds: float = Field(default=180, gt=0)
    """As `lease_grace_seconds`, for runs in containers: one that is replaced takes longer to come back. A container
    whose runner takes no run for as long is replaced."""
    sandbox_health_seconds: float = Field(default=30, gt=0)
    """Between two looks at whether the runner in a container still moves; after three without it is replaced."""
    sandbox_disk_seconds: float = Field(default=60, gt=0)
    """Between two looks at how much of the disk a container takes with its folders."""
    sandbox_at_once: int = Field(default=4, ge=1)
    """Containers made at the same time."""
    sandbox_pool: int = Field(default=0, ge=0)
    """Containers of new sessions that are made before their first prompt."""

    sandbox_rest_file: Path | None = None
    """While this file is there, all of the installation is being taken down: as it ends, this service brings its
    sandboxes to rest, and whatever it could not say of them it says at its next start. None: they always go on."""

    sandbox_egress: str = " ".join(GIT_HOSTS)
    """Hosts that may be reached where a team has decided nothing: `host`, `*.host` or `host:port`, by blanks. The
    package registries that a team uses belong here or into its rules."""
    sandbox_private_networks: str = ""
    """Private networks that allowed hosts may be in (a mirror or Git server of the house), by blanks."""
    sandbox_subnets: str = "10.213.0.0/16"
    """Where the networks of sessions are taken from."""
    sandbox_subnet_prefix: int = Field(default=29, ge=24, le=29)

    sandbox_environment: dict[str, str] = Field(default_factory=lambda: {"CODEX_SANDBOX_TYPE": "danger-full-access"})
    """What runners in containers are told besides (JSON); the container is the sandbox, the agent needs none."""

    agents_root: Path = Path("/var/lib/runyard/agents")
    """Agents' folders in containers are below `sandbox` there, one per session."""

    docker_host: str | None = None
    """The engine; None: the local socket."""
    sandbox_nats_url: str = "nats://runyard:4222"
    """Our services as containers see them: the proxy's ports."""
    sandbox_llm_gateway_url: str = "http://runyard:8086"
    sandbox_app_url: str = "http://runyard:8080"
    sandbox_proxy_url: str = "http://runyard:3128"
    """Everything outside, as containers see it."""
    sandbox_service_network: str | None = None
    """Compose: the engine's network where the proxy finds the services by name. None: they are on this host."""
    sandbox_relay_folder: Path | None = None
    """A folder that the proxy shares; by sockets in it it reaches this host's services. None: below `agents_root`."""
    sandbox_relay_volume: str | None = None
    """Compose: the engine's volume that the relay folder is."""
    llm_gateway_url: str = "http://127.0.0.1:9108"
    gateway_url: str = "http://127.0.0.1:9101"
    orchestrator_url: str = "http://127.0.0.1:9109"

    sandbox_proxy_token: SecretStr = SecretStr("")
    """What the proxy shows with its questions where it is not this service that starts it (Dokploy, Kubernetes)."""
    sandbox_shared_folder: Path | None = None
    """A folder whose storage the platform mounts too (Dokploy, Kubernetes); worktrees and agents' folders are in it."""
    dokploy_url: str | None = None
    dokploy_api_key: SecretStr = SecretStr("")
    dokploy_network: str | None = None
    dokploy_shared_folder: str | None = None
    """Where Dokploy's hosts have the shared folder."""
    dokploy_read_only_folder: str | None = None
    """Where they have it mounted read-only besides: Dokploy's own mounts are always writable."""
    dokploy_accept_unhardened: bool = False
    """Whether containers with a writable root, all default capabilities, no limit of processes and one network for
    all of them will do; Dokploy has no others."""
    kubernetes_namespace: str = "runyard"
    kubernetes_claim: str | None = None
    """The claim of the storage that the shared folder is on."""
    kubernetes_proxy_service: str = "runyard-proxy"
    """The proxy's Service; `deploy/kubernetes/proxy.yaml` makes it."""
    kubernetes_service_host: str | None = None
    """The API server; every pod is told."""
    kubernetes_service_port: int = 443
    kubernetes_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Where the pod has the token of its service account and the authority of the API server."""

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """The hosts of `sandbox_egress`."""
        return tuple(self.sandbox_egress.replace(",", " ").split())

    @model_validator(mode="after")
    def _sandboxes_have_what_they_need(self) -> Self:
        """Said at the start: later it would be the end of every run."""
        if self.sandbox_required and (self.sandbox == "off" or self.sandbox_process_fallback):
            raise ValueError("SANDBOX_REQUIRED needs a SANDBOX that is not off, and no SANDBOX_PROCESS_FALLBACK")
        missing = [name.upper() for name in _NEEDS.get(self.sandbox, ()) if _is_empty(getattr(self, name))]
        if missing:
            raise ValueError(f"SANDBOX={self.sandbox} needs {', '.join(missing)} ({_GUIDE})")
        if self.sandbox == "dokploy":
            self._suit_dokploy()
        if self.sandbox == "kubernetes" and self.kubernetes_service_host is None:
            raise ValueError(
                f"SANDBOX=kubernetes needs KUBERNETES_SERVICE_HOST, which every pod has: this is none ({_GUIDE})"
            )
        shared = self.sandbox_shared_folder
        if self.sandbox in _NEEDS and shared and not self.agents_root.is_relative_to(shared):
            raise ValueError(f"AGENTS_ROOT ({self.agents_root}) has to be in SANDBOX_SHARED_FOLDER ({shared})")
        return self

    def _suit_dokploy(self) -> None:
        if not self.dokploy_accept_unhardened:
            raise ValueError(
                "SANDBOX=dokploy needs DOKPLOY_ACCEPT_UNHARDENED=true: its containers have a writable root, all "
                f"default capabilities, no limit of processes, and one network for all of them ({_GUIDE})"
            )
        if self.sandbox_runtime is not None:
            raise ValueError("SANDBOX_RUNTIME cannot be kept by Dokploy, which has no runtime per application")


def _is_empty(value: object) -> bool:
    return not (value.get_secret_value() if isinstance(value, SecretStr) else value)
