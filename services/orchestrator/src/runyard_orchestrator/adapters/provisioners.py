"""The provisioner that the settings ask for."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from runyard_chassis.tokens import derive_key
from runyard_orchestrator.adapters.homes import owner_of
from runyard_orchestrator.settings import Settings
from runyard_sandbox import Provisioner
from runyard_sandbox.docker import DockerProvisioner, DockerSettings, Forward, NetworkSettings
from runyard_sandbox.provisioner import Purpose
from runyard_sandbox.shared import SharedFolder

NATS_INSIDE, LLM_INSIDE, APP_INSIDE = 4222, 8086, 8080
_DECISIONS = 8087
PROXY_PODS = {"app.kubernetes.io/component": "runyard-proxy"}
PAGE_READERS = {"runyard/reads-previews": "true"}
"""Pods of the gateway and of this service, in Kubernetes: they open pages of previews."""


def provisioner_of(settings: Settings) -> Provisioner | None:
    """What makes containers here; None where sandboxes are off.

    Raises:
        ValueError: an address of ours names no host and port.
    """
    match settings.sandbox:
        case "off":
            return None
        case "docker":
            return DockerProvisioner(_docker(settings))
        case "dokploy":
            return _dokploy(settings)
        case "kubernetes":
            return _kubernetes(settings)


def decisions_token(settings: Settings) -> str:
    """What the proxy shows when it asks whether a connection is allowed."""
    if told := settings.sandbox_proxy_token.get_secret_value():
        return told
    return derive_key(settings.jwt_secret_key, "egress")


def _docker(settings: Settings) -> DockerSettings:
    return DockerSettings(
        installation=settings.sandbox_installation,
        images=_images(settings),
        proxy_image=settings.sandbox_proxy_image or settings.sandbox_image.replace("{runner}", "codex"),
        network=NetworkSettings(
            forwards=(
                _forward(NATS_INSIDE, settings.nats_url),
                _forward(LLM_INSIDE, settings.llm_gateway_url),
                _forward(APP_INSIDE, settings.gateway_url),
            ),
            decisions=_forward(_DECISIONS, settings.orchestrator_url),
            decisions_token=decisions_token(settings),
            relay_folder=settings.sandbox_relay_folder or settings.agents_root / "relay",
            relay_volume=settings.sandbox_relay_volume,
            service_network=settings.sandbox_service_network,
            subnets=settings.sandbox_subnets,
            private_networks=tuple(settings.sandbox_private_networks.replace(",", " ").split()),
            prefix=settings.sandbox_subnet_prefix,
            # Beside other containers the gateway is another one, and finds previews at this service's own name.
            page_host="0.0.0.0" if settings.sandbox_service_network else "127.0.0.1",  # noqa: S104
            page_address=urlsplit(settings.orchestrator_url).hostname if settings.sandbox_service_network else None,
        ),
        base_url=settings.docker_host,
        start_seconds=settings.sandbox_create_seconds,
        disk_seconds=settings.sandbox_disk_seconds,
        user=owner_of(settings.sandbox_user),
    )


def _forward(port: int, url: str) -> Forward:
    """A port inside that leads to the service at this address."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{url} names no host and port, so containers cannot be led there")
    return Forward(port, parts.hostname, parts.port)


def _dokploy(settings: Settings) -> Provisioner:
    from runyard_sandbox.dokploy import DokployProvisioner, DokploySettings  # noqa: PLC0415 - most have none

    return DokployProvisioner(
        DokploySettings(
            address=settings.dokploy_url or "",
            api_key=settings.dokploy_api_key.get_secret_value(),
            installation=settings.sandbox_installation,
            images=_images(settings),
            network=settings.dokploy_network or "",
            shared=_shared(settings),
            shared_there=PurePosixPath(settings.dokploy_shared_folder or ""),
            shared_read_only_there=PurePosixPath(settings.dokploy_read_only_folder or ""),
            image_user=owner_of(settings.sandbox_user),
            accept_unhardened=settings.dokploy_accept_unhardened,
        )
    )


def _kubernetes(settings: Settings) -> Provisioner:
    from runyard_sandbox.kubernetes import KubernetesProvisioner, KubernetesSettings, Reach  # noqa: PLC0415
    from runyard_sandbox.kubernetes.settings import in_cluster  # noqa: PLC0415

    return KubernetesProvisioner(
        KubernetesSettings(
            cluster=in_cluster(
                settings.kubernetes_service_host or "", settings.kubernetes_service_port, settings.kubernetes_account
            ),
            namespace=settings.kubernetes_namespace,
            installation=settings.sandbox_installation,
            images=_images(settings),
            reach=Reach(service=settings.kubernetes_proxy_service, proxy=PROXY_PODS, callers=PAGE_READERS),
            claim=settings.kubernetes_claim,
            shared=_shared(settings),
            user=owner_of(settings.sandbox_user),
        )
    )


def _images(settings: Settings) -> Mapping[Purpose, str]:
    """Of what names none itself: an agent's container is always told its runner's."""
    return {"preview": settings.sandbox_preview_image}


def _shared(settings: Settings) -> SharedFolder | None:
    return SharedFolder(settings.sandbox_shared_folder) if settings.sandbox_shared_folder else None


__all__ = ["decisions_token", "provisioner_of"]
