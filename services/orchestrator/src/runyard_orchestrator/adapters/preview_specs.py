"""What each container of a preview is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runyard_orchestrator.domain.compose import Check, ImageBuild, Project, Service
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.domain.preview_upkeep import part_name, shell_command
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox import Health, Mount, Spec
from runyard_sandbox.builds import Build, Image
from runyard_sandbox.provisioner import BESIDE_LIMITS, PREVIEW_LIMITS

_ENVIRONMENT = {
    "BROWSER": "none",
    "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1",
    "NEXT_TELEMETRY_DISABLED": "1",
    "ASTRO_TELEMETRY_DISABLED": "1",
    "NUXT_TELEMETRY_DISABLED": "1",
    "GATSBY_TELEMETRY_DISABLED": "1",
    "npm_config_update_notifier": "false",
    "npm_config_fund": "false",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
"""Says to the usual tools: nobody watches, report to nobody."""
_HIGHEST_PORT = 65535
_NO_PROXY = ("NO_PROXY", "no_proxy")


@dataclass(frozen=True, slots=True)
class Made:
    """What is run in images that were built for a start, and those images by service."""

    project: Project
    images: Mapping[str, Image]


def builds_of(key: PreviewKey, preview: Preview, project: Project) -> list[Build]:
    """The images of a start, one for each service."""
    return [_build(Path(preview.path or ""), one, key, preview.generation) for one in project.services]


def _build(path: Path, service: Service, key: PreviewKey, epoch: int) -> Build:
    # An image that is only named gets our labels as well, by which it is known and removed.
    made = service.build or ImageBuild(None, steps=f"FROM {service.image}\n")
    return Build(
        folder=path,
        within=made.context,
        dockerfile=made.dockerfile,
        steps=made.steps,
        target=made.target,
        arguments=made.arguments,
        part=service.name,
        tenant_id=key.tenant_id,
        owner_id=key.preview_id,
        epoch=epoch,
    )


def specs_of(
    key: PreviewKey, preview: Preview, made: Made | None, told: Mapping[str, str]
) -> list[tuple[Service | None, Spec]]:
    """In the order in which they are started, the page last. `told` is what all of them are told besides."""
    told = {**_ENVIRONMENT, **told}
    if made is None:
        return [(None, _plain(key, preview, told))]
    if made.project.beside:
        # One another they reach directly: the proxy knows none of them.
        names = ",".join(one.name for one in made.project.services)
        told |= {name: f"{told[name]},{names}" for name in _NO_PROXY if name in told}
    beside = [
        (one, _of_image(key, preview, made, one, told, number))
        for number, one in enumerate(made.project.beside, start=1)
    ]
    page = made.project.page
    return [*beside, (page, _of_image(key, preview, made, page, told))]


def _plain(key: PreviewKey, preview: Preview, told: Mapping[str, str]) -> Spec:
    """In the provisioner's own image, or none at all, with the files where they are."""
    path, in_box = preview.path or "", preview.method != "process"
    return Spec(
        name=preview.container_name or "",
        purpose="preview",
        tenant_id=key.tenant_id,
        owner_id=key.preview_id,
        epoch=preview.generation,
        image=None,
        command=shell_command(preview),
        env={**told, **_at(preview)},
        mounts=_mounts(path, path) if in_box else (),
        working_directory=path,
        limits=PREVIEW_LIMITS,
        ports=(preview.port or 0,),
    )


def _of_image(  # noqa: PLR0917 - a container, and which
    key: PreviewKey, preview: Preview, made: Made, service: Service, told: Mapping[str, str], number: int = 0
) -> Spec:
    """A service's container; `number` is its own among those that the page needs, 0 the page's."""
    name, image = preview.container_name or "", made.images[service.name]
    at = {} if number else _at(preview, page_port(service, image))
    mounts = [mount for one in service.binds for mount in _mounts(preview.path or "", one.target, one.read_only)]
    return Spec(
        name=part_name(name, number) if number else name,
        purpose="preview",
        tenant_id=key.tenant_id,
        owner_id=key.preview_id,
        epoch=preview.generation,
        image=image.native_id,
        command=service.words(image.entrypoint),
        env={**told, **at, **service.environment},
        mounts=tuple(mounts),
        volumes=service.volumes,
        scratch=service.scratch,
        group=name if service.name else None,
        alias=service.name or None,
        neighbours=tuple(one.name for one in made.project.services if one.name),
        working_directory=service.working_directory,
        user=service.user or image.user,
        # Ordinary images write where they like; nothing of it outlives the container.
        read_only_root=False,
        limits=BESIDE_LIMITS if number else PREVIEW_LIMITS,
        ports=() if number else (int(at["PORT"]),),
        health=_health(service.check) if service.check else None,
    )


def _health(check: Check) -> Health:
    return Health(
        check.test,
        every_seconds=check.every,
        timeout_seconds=check.timeout,
        retries=check.retries,
        start_seconds=check.start,
    )


def page_port(service: Service, image: Image) -> int | None:
    """The first port that the service names, else the only one that its image does, else what it is told itself."""
    if service.ports:
        return service.ports[0]
    if len(image.ports) == 1:
        return image.ports[0]
    said = service.environment.get("PORT", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 6 and 0 < int(said) <= _HIGHEST_PORT else None  # noqa: PLR2004


def _at(preview: Preview, port: int | None = None) -> dict[str, str]:
    """Where its page is to be; without a port that is known, on one of its own."""
    host = "127.0.0.1" if preview.method == "process" else "0.0.0.0"  # noqa: S104 - its own network
    return {"PORT": str(port or preview.port or 0), "HOST": host}


def _mounts(path: str, target: str, read_only: bool = False) -> tuple[Mount, ...]:  # noqa: FBT001, FBT002
    """The files, and over themselves what they say of their repository: an agent's Git outside would believe that."""
    pointer = f"{path}/.git"
    files = Mount(Path(path), target, read_only)
    return (files, Mount(Path(pointer), f"{target}/.git", read_only=True)) if Path(pointer).is_file() else (files,)
