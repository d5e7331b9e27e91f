"""Previews of a compose file: their images, their containers in their order, and what they are told."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runyard_orchestrator.adapters import preview_specs
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.adapters.preview_images import PreviewImages
from runyard_orchestrator.adapters.preview_projects import compose_project
from runyard_orchestrator.adapters.preview_specs import Made
from runyard_orchestrator.adapters.way_out import WayOut
from runyard_orchestrator.domain.compose import NotServed, Service
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.store.previews import PreviewKey
from runyard_sandbox.builds import Build, BuildFailed, Image
from runyard_sandbox.provisioner import BESIDE_LIMITS, PREVIEW_LIMITS

from .engine import MemoryEngine

KEY = PreviewKey("t", "p")
PAGE = "runyard-preview-p-1"
COMPOSE = """
services:
  web:
    build: {context: site, target: dev, args: {WORD: $WORD}}
    command: serve
    ports: [8000]
    env_file: web.env
    environment: {ONE: from-compose}
    volumes: [".:/app"]
    depends_on: {db: {condition: service_healthy}, prepare: {condition: service_completed_successfully}}
  db:
    image: db:1
    user: "70:70"
    volumes: ["data:/data"]
    healthcheck: {test: up}
  prepare: {image: prepare}
volumes: {data: }
"""


@dataclass
class MemoryBuilder:
    """Builds whatever it is told to; `holding` keeps builds waiting."""

    orders: list[Build] = field(default_factory=list[Build])
    images: dict[tuple[str, int, str], Image] = field(default_factory=dict[tuple[str, int, str], Image])
    holding: asyncio.Event = field(default_factory=asyncio.Event)

    async def build(self, order: Build) -> AsyncGenerator[str]:
        self.orders.append(order)
        yield f"building {order.part}"
        await self.holding.wait()
        image = Image(f"image-{order.part}", "5:5", (9999,), entrypoint=("entry",), command=("image",))
        self.images[order.owner_id, order.epoch, order.part] = image

    async def built(self, owner_id: str, epoch: int, of: str = "") -> Image | None:
        return self.images.get((owner_id, epoch, of))

    async def forget(self, owner_id: str, *, keep: int | None = None) -> None:
        self.images = {about: one for about, one in self.images.items() if about[0] != owner_id or about[1] == keep}


@dataclass
class Yard:
    """One preview's files, and what makes and runs its images."""

    path: Path
    builder: MemoryBuilder
    images: PreviewImages
    engine: MemoryEngine
    boxes: PreviewBoxes
    preview: Preview

    async def made(self) -> Made:
        ended = asyncio.Event()
        self.images.ended = lambda _: ended.set()
        self.builder.holding.set()
        assert await self.images.ready(KEY, self.preview) is None
        await ended.wait()
        made = await self.images.ready(KEY, self.preview)
        assert made is not None
        return made

    def be(self, name: str, **how: Any) -> None:
        self.engine.held[name].sandbox = replace(self.engine.held[name].sandbox, **how)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    for name, text in {
        "compose.yaml": COMPOSE,
        ".env": "WORD=hello\n",
        "web.env": "ONE=from-file\nTWO=$WORD-$ONE\n",
        "site/Dockerfile": "FROM x\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    async def tell(_key: PreviewKey, _preview: Preview, lines: AsyncIterator[str]) -> None:
        async for _ in lines:
            pass

    builder, engine = MemoryBuilder(), MemoryEngine()
    preview = Preview(
        status="starting",
        path=str(tmp_path),
        found="compose",
        generation=1,
        method="docker",
        port=5000,
        container_name=PAGE,
    )
    images = PreviewImages({"docker": builder}, tell, seconds=20)
    boxes = PreviewBoxes({"docker": engine}, {"docker": {"HOME": "/home/own"}}, WayOut("http://runyard:3128"))
    return Yard(tmp_path, builder, images, engine, boxes, preview)


async def test_every_service_has_an_image_of_its_own(yard: Yard) -> None:
    await yard.made()
    db, prepare, web = yard.builder.orders
    assert (web.within, web.target, web.arguments) == ("site", "dev", {"WORD": "hello"})
    assert [(one.within, one.steps) for one in (db, prepare)] == [(None, "FROM db:1\n"), (None, "FROM prepare\n")]
    assert [(one.part, one.epoch, one.owner_id) for one in yard.builder.orders] == [
        ("db", 1, "p"),
        ("prepare", 1, "p"),
        ("web", 1, "p"),
    ]


async def test_what_is_run_is_what_was_asked_for_when_its_images_were_begun(yard: Yard) -> None:
    assert await yard.images.ready(KEY, yard.preview) is None
    (yard.path / "compose.yaml").write_text("services: {web: {image: other, privileged: true}}")
    ended = asyncio.Event()
    yard.images.ended = lambda _: ended.set()
    yard.builder.holding.set()
    await ended.wait()
    made = await yard.images.ready(KEY, yard.preview)
    assert made is not None
    assert [one.name for one in made.project.services] == ["db", "prepare", "web"]
    await yard.images.leave(KEY)
    with pytest.raises(BuildFailed, match="Service web, `privileged`"):
        await yard.images.ready(KEY, replace(yard.preview, generation=2))


async def test_images_of_a_start_that_are_there_are_not_built_again(yard: Yard) -> None:
    await yard.made()
    await yard.images.leave(KEY)  # as after a restart of the service
    assert await yard.images.ready(KEY, yard.preview) is not None
    assert len(yard.builder.orders) == 3


async def test_what_the_page_needs_comes_first_and_is_waited_for(yard: Yard) -> None:
    made = await yard.made()
    assert await yard.boxes.provision(KEY, yard.preview, made) == "db"
    assert list(yard.engine.held) == [f"{PAGE}.1", f"{PAGE}.2"]
    yard.be(f"{PAGE}.1", healthy=True)
    assert await yard.boxes.provision(KEY, yard.preview, made) == "prepare"
    yard.engine.kill(f"{PAGE}.2", exit_code=0)
    assert await yard.boxes.provision(KEY, yard.preview, made) is None
    assert list(yard.engine.held) == [f"{PAGE}.1", f"{PAGE}.2", PAGE]
    found = await yard.boxes.named(list(yard.engine.held))
    assert {box.name: box.service for box in found} == {PAGE: None, f"{PAGE}.1": "db", f"{PAGE}.2": "prepare"}


async def test_each_is_told_what_is_its_own_and_no_more(yard: Yard) -> None:
    made = await yard.made()
    await yard.boxes.provision(KEY, yard.preview, made)
    yard.be(f"{PAGE}.1", healthy=True)
    yard.engine.kill(f"{PAGE}.2", exit_code=0)
    await yard.boxes.provision(KEY, yard.preview, made)
    db, _, web = yard.engine.specs
    assert (web.command, web.user, web.ports, web.limits) == (("entry", "serve"), "5:5", (8000,), PREVIEW_LIMITS)
    assert [(str(one.source), one.target) for one in web.mounts] == [(str(yard.path), "/app")]
    said = {name: web.env[name] for name in ("PORT", "ONE", "TWO", "HOME")}
    assert said == {"PORT": "8000", "ONE": "from-compose", "TWO": "hello-from-file", "HOME": "/home/own"}
    assert (db.command, db.user, db.ports, db.limits) == (None, "70:70", (), BESIDE_LIMITS)
    assert (db.scratch, db.mounts, db.health is not None) == (("/data",), (), True)
    assert not {"PORT", "ONE", "TWO"} & db.env.keys()
    for spec in (db, web):
        assert (spec.group, spec.read_only_root) == (PAGE, False)
        assert spec.env["NO_PROXY"] == spec.env["no_proxy"] == "runyard,localhost,127.0.0.1,::1,db,prepare,web"
    assert (db.alias, web.alias) == ("db", "web")
    assert db.neighbours == web.neighbours == ("db", "prepare", "web")


async def test_a_dockerfile_has_one_image_and_nobody_beside_it(yard: Yard) -> None:
    yard.preview = replace(yard.preview, found="dockerfile", folder="site")
    made = await yard.made()
    assert [(one.within, one.part) for one in yard.builder.orders] == [("site", "")]
    assert await yard.boxes.provision(KEY, yard.preview, made) is None
    (spec,) = yard.engine.specs
    assert (spec.ports, spec.command, spec.group, spec.alias) == ((9999,), None, None, None)
    assert "web" not in spec.env["NO_PROXY"]


async def test_the_last_lines_are_those_of_all(yard: Yard) -> None:
    made = await yard.made()
    await yard.boxes.provision(KEY, yard.preview, made)
    yard.be(f"{PAGE}.1", healthy=True)
    yard.engine.kill(f"{PAGE}.2", exit_code=0)
    await yard.boxes.provision(KEY, yard.preview, made)
    yard.engine.print(f"{PAGE}.1", "first")
    yard.engine.print(PAGE, "second")
    yard.engine.print(f"{PAGE}.2", "third")
    assert [one.text for one in await yard.boxes.tail(yard.preview)] == ["db | first", "second", "prepare | third"]


async def test_what_all_of_them_print_is_followed_until_the_last_has_ended(yard: Yard) -> None:
    made, heard = await yard.made(), list[str]()
    await yard.boxes.provision(KEY, yard.preview, made)
    yard.be(f"{PAGE}.1", healthy=True)
    yard.engine.print(f"{PAGE}.2", "first")
    yard.engine.kill(f"{PAGE}.2", exit_code=0)
    await yard.boxes.provision(KEY, yard.preview, made)

    async def listen() -> None:
        heard.extend([line async for line in yard.boxes.follow(yard.preview, tail=100)])

    listening = asyncio.create_task(listen())
    yard.engine.print(PAGE, "second")
    yard.engine.print(f"{PAGE}.1", "third")
    yard.engine.kill(PAGE)
    yard.engine.kill(f"{PAGE}.1")
    await asyncio.wait_for(listening, 10)
    assert sorted(heard) == ["db | third", "prepare | first", "second"]


@pytest.mark.parametrize("name", ["compose.yaml", ".env", "web.env"])
async def test_no_file_of_it_is_a_link(yard: Yard, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("WORD=of the host\nservices: {}\n")
    (yard.path / name).unlink()
    (yard.path / name).symlink_to(outside)
    if name == ".env":
        assert "host" not in repr((await compose_project(str(yard.path), "", None)).page.environment)
        return
    with pytest.raises(NotServed, match="no compose file" if name == "compose.yaml" else "there is no web.env"):
        await compose_project(str(yard.path), "", None)


async def test_a_service_can_be_asked_for_by_its_name(yard: Yard) -> None:
    assert (await compose_project(str(yard.path), "", "compose-db")).page.name == "db"
    assert (await compose_project(str(yard.path), "", "compose")).page.name == "web"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * 200_000])
async def test_what_is_no_text_or_too_large_is_refused(yard: Yard, content: bytes) -> None:
    (yard.path / "compose.yaml").write_bytes(content)
    with pytest.raises(NotServed, match=r"compose\.yaml is"):
        await compose_project(str(yard.path), "", None)


@pytest.mark.parametrize("port", ["0" * 5000, "000080" + "9" * 5000, "70000", "x"])
def test_a_port_that_is_none_is_not_taken_from_the_variables(port: str) -> None:
    service = Service(name="web", build=None, image="x", environment={"PORT": port})
    assert preview_specs.page_port(service, Image("sha256:1", None, ())) is None
