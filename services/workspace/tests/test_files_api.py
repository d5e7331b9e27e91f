"""The routes of files and diffs: what a client sees."""

import base64
import os
import shutil
from pathlib import Path

import httpx
import pytest

from .conftest import Running, make_repository


@pytest.fixture
async def session(service: Running, tmp_path: Path) -> tuple[str, Path]:
    files: dict[str, str | bytes] = {
        "README.md": "# Hällo\n",
        "data.bin": bytes(range(256)),
        "big.txt": "line\n" * 1_000_000,
    }
    return await service.session_of(make_repository(tmp_path / "source", files))


async def get(service: Running, session: str, path: str, **headers: str) -> httpx.Response:
    return await service.http.get(f"/sessions/{session}/files/{path}", headers={**service.headers(), **headers})


async def put(service: Running, session: str, path: str, content: bytes, **headers: str) -> httpx.Response:
    return await service.http.put(
        f"/sessions/{session}/files/{path}", headers={**service.headers(), **headers}, content=content
    )


async def test_text_comes_as_text_and_bytes_as_base64(service: Running, session: tuple[str, Path]) -> None:
    text = (await get(service, session[0], "README.md")).json()
    assert (text["encoding"], text["content"], text["size"]) == ("utf-8", "# Hällo\n", 9)
    assert text["next_offset"] is None
    data = (await get(service, session[0], "data.bin")).json()
    assert data["encoding"] == "base64"
    assert base64.b64decode(data["content"]) == bytes(range(256))


async def test_a_large_file_comes_in_parts(service: Running, session: tuple[str, Path]) -> None:
    first = (await get(service, session[0], "big.txt")).json()
    assert len(first["content"]) == 1024 * 1024
    assert first["next_offset"] == 1024 * 1024
    last = (await get(service, session[0], f"big.txt?offset={5_000_000 - 5}")).json()
    assert (last["content"], last["next_offset"]) == ("line\n", None)
    few = (await get(service, session[0], "big.txt?offset=5&limit=4")).json()
    assert (few["content"], few["next_offset"]) == ("line", 9)


async def test_octets_come_as_they_are_with_ranges(service: Running, session: tuple[str, Path]) -> None:
    octets = {"Accept": "application/octet-stream"}
    whole = await get(service, session[0], "data.bin", **octets)
    assert whole.content == bytes(range(256))
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await get(service, session[0], "data.bin", Range="bytes=10-12", **octets)
    assert (part.status_code, part.content) == (206, b"\x0a\x0b\x0c")
    assert part.headers["content-range"] == "bytes 10-12/256"
    tail = await get(service, session[0], "data.bin", Range="bytes=-2", **octets)
    assert tail.content == b"\xfe\xff"
    for wrong in ("bytes=256-", "bytes=9-3"):
        answer = await get(service, session[0], "data.bin", Range=wrong, **octets)
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */256")
    ignored = await get(service, session[0], "data.bin", Range="lines=1-2", **octets)
    assert ignored.status_code == 200


async def test_a_file_is_written_and_read_back(service: Running, session: tuple[str, Path]) -> None:
    new = await put(service, session[0], "docs/a%20b.md", b"new\n")
    assert (new.status_code, new.json()["created"]) == (201, True)
    assert (session[1] / "docs" / "a b.md").read_text() == "new\n"
    body = b'{"content": "aGk=", "encoding": "base64"}'
    again = await put(service, session[0], "docs/a%20b.md", body, **{"Content-Type": "application/json"})
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert (session[1] / "docs" / "a b.md").read_text() == "hi"
    assert (await get(service, session[0], "docs/a%20b.md")).json()["etag"] == again.json()["etag"]


async def test_a_writer_can_guard_against_the_agent_s_changes(service: Running, session: tuple[str, Path]) -> None:
    tag = (await get(service, session[0], "README.md")).json()["etag"]
    written = await put(service, session[0], "README.md", b"mine", **{"If-Match": f'"{tag}"'})
    assert written.status_code == 200
    assert written.headers["etag"] == f'"{written.json()["etag"]}"'
    lost = await put(service, session[0], "README.md", b"late", **{"If-Match": f'"{tag}"'})
    assert (lost.status_code, lost.json()["type"]) == (412, "file-changed")
    only_new = await put(service, session[0], "README.md", b"x", **{"If-None-Match": "*"})
    assert only_new.status_code == 412
    odd = await put(service, session[0], "README.md", b"x", **{"If-Match": "unquoted"})
    assert odd.status_code == 400
    assert (session[1] / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/x", "/etc/passwd", "%2Fetc%2Fpasswd", "a/..%2f..%2fx",
        ".git", ".git/config", ".GIT/HEAD", "x/.git/y", "a//b", "%2e", "a/%2e/b", "trailing/",
    ],
)  # fmt: skip
async def test_a_path_trick_is_refused_for_reading_and_writing(
    service: Running, session: tuple[str, Path], path: str
) -> None:
    for answer in (await get(service, session[0], path), await put(service, session[0], path, b"x")):
        assert (answer.status_code, answer.json()["type"]) == (422, "path-refused"), path


async def test_links_devices_and_folders_are_refused(service: Running, session: tuple[str, Path]) -> None:
    (session[1] / "link").symlink_to("/etc/passwd")
    (session[1] / "out").symlink_to("/etc")
    (session[1] / "folder").mkdir()
    os.mkfifo(session[1] / "pipe")
    for path in ("link", "out/passwd", "folder", "pipe"):
        for answer in (
            await get(service, session[0], path),
            await get(service, session[0], path, Accept="application/octet-stream"),
            await put(service, session[0], path, b"x"),
        ):
            assert (answer.status_code, answer.json()["type"]) == (409, "not-a-file"), path
    missing = await get(service, session[0], "none/at/all")
    assert (missing.status_code, missing.json()["type"]) == (404, "file-not-found")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"content": 1}', b'{"content": "x", "more": 1}', b'{"content": "\xff"}',
     b'{"content": "not base64!", "encoding": "base64"}', b'{"content": "\\ud800"}'],
)  # fmt: skip
async def test_a_body_that_is_no_content_is_refused(service: Running, session: tuple[str, Path], body: bytes) -> None:
    answer = await put(service, session[0], "README.md", body, **{"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert (session[1] / "README.md").read_text() == "# Hällo\n"


async def test_too_much_at_once_is_refused(service: Running, session: tuple[str, Path]) -> None:
    answer = await put(service, session[0], "huge.bin", b"x" * (17 * 1024**2))
    assert (answer.status_code, answer.json()["type"]) == (413, "content-too-large")
    assert not (session[1] / "huge.bin").exists()


async def test_a_list_is_paged_and_leaves_ignored_files_out(service: Running, session: tuple[str, Path]) -> None:
    (session[1] / ".gitignore").write_text("*.log\n")
    (session[1] / "x.log").write_text("x")
    url = f"/sessions/{session[0]}/files"
    page = (await service.http.get(f"{url}?limit=2", headers=service.headers())).json()
    assert [one["path"] for one in page["items"]] == [".gitignore", "README.md"]
    rest = (await service.http.get(f"{url}?after={page['next_after']}", headers=service.headers())).json()
    assert [one["path"] for one in rest["items"]] == ["big.txt", "data.bin"]
    assert rest["items"][0] == {"path": "big.txt", "type": "file", "size": 5_000_000, "addressable": True}
    everything = (await service.http.get(f"{url}?ignored=true", headers=service.headers())).json()
    assert "x.log" in [one["path"] for one in everything["items"]]
    for query in ("limit=0", "limit=100000", "path=../x", "path=/etc", "path=.git", "ignored=maybe"):
        answer = await service.http.get(f"{url}?{query}", headers=service.headers())
        assert answer.status_code == 422, query


async def test_names_that_are_no_text_do_not_break_the_list(service: Running, session: tuple[str, Path]) -> None:
    os.close(os.open(os.fsencode(session[1]) + b"/bad\xff", os.O_CREAT | os.O_WRONLY))
    (session[1] / "new\nline").write_text("x")
    answer = await service.http.get(f"/sessions/{session[0]}/files", headers=service.headers())
    items = {one["path"]: one for one in answer.json()["items"]}
    assert not items["bad\\xff"]["addressable"]
    assert not items["new\nline"]["addressable"]
    for path in ("new%0Aline", "a%00b"):
        assert (await get(service, session[0], path)).status_code in (400, 404)
    diff = (await service.http.get(f"/sessions/{session[0]}/diff", headers=service.headers())).json()
    assert {one["path"] for one in diff["files"]} == {"bad\\xff", "new\nline"}


@pytest.mark.parametrize("query", ["from=nonsense", "to=base", "to=nonsense", "from=worktree"])
async def test_a_diff_is_between_base_runs_and_worktree(
    service: Running, session: tuple[str, Path], query: str
) -> None:
    answer = await service.http.get(f"/sessions/{session[0]}/diff?{query}", headers=service.headers())
    assert answer.status_code == 422


async def test_a_file_too_large_for_a_diff_is_named(service: Running, session: tuple[str, Path]) -> None:
    with (session[1] / "model.bin").open("wb") as file:
        file.truncate(21 * 1024**2)
    (session[1] / "README.md").write_text("changed\n")
    diff = (await service.http.get(f"/sessions/{session[0]}/diff", headers=service.headers())).json()
    assert diff["skipped"] == ["model.bin"]
    assert [one["path"] for one in diff["files"]] == ["README.md"]
    assert (diff["from"], diff["to"], diff["truncated"]) == ("base", "worktree", False)


@pytest.mark.parametrize("query", ["files", "diff"])
async def test_files_that_go_before_the_rows_know_of_it_are_told_as_gone(
    service: Running, session: tuple[str, Path], query: str
) -> None:
    head = _admin(service, session[0]) / "HEAD"
    head.unlink()
    answer = await service.http.get(f"/sessions/{session[0]}/{query}", headers=service.headers())
    assert (answer.status_code, answer.json()["type"]) == (503, "worktree-failed")

    shutil.rmtree(head.parent)
    answer = await service.http.get(f"/sessions/{session[0]}/{query}", headers=service.headers())
    assert (answer.status_code, answer.json()["type"]) == (404, "worktree-removed")


def _admin(service: Running, session: str) -> Path:
    """What the repository itself keeps about a session's worktree."""
    (folder,) = service.root.glob(f"*/repo/.git/worktrees/{session}")
    return folder
