"""Folders are removed whatever is in them, by a service that is not root."""

import ctypes
import os
import resource
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from runyard_chassis.folders import remove_folder

EXCHANGE = 2
"""`RENAME_EXCHANGE` of Linux: two names change places at once."""
NOBODY = 65534

CLOSED = {"read-only": 0o500, "no-entry": 0o000, "blind": 0o400, "deep/er": 0o500}


def close_and_remove(root: Path) -> bool:
    for name, mode in CLOSED.items():
        (root / name / "inner").mkdir(parents=True)
        (root / name / "inner" / "file").write_text("x")
        (root / name / "inner").chmod(mode)
        (root / name).chmod(mode)
    (root / "deep").chmod(0o500)
    remove_folder(root)
    return not root.exists()


def as_nobody(work: Callable[[], bool]) -> bool:
    """Does something in a child process to which permissions mean something."""
    child = os.fork()
    if child == 0:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def test_folders_without_permissions_are_opened_up_and_removed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if os.getuid() != 0:
            assert close_and_remove(Path(folder) / "tree")
            return
        os.chown(folder, NOBODY, NOBODY)
        assert as_nobody(lambda: close_and_remove(Path(folder) / "tree"))


def test_what_is_not_there_is_removed_already_and_a_link_is_removed_itself(tmp_path: Path) -> None:
    remove_folder(tmp_path / "nothing")
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_folder(tmp_path / "link")
    assert (tmp_path / "kept").is_dir()
    assert not (tmp_path / "link").is_symlink()


def test_folders_nested_without_end_are_removed_with_few_of_them_open(tmp_path: Path) -> None:
    """A container may leave such behind; whoever recurses into it does not get to its end."""
    here = Path.cwd()
    (tmp_path / "tree").mkdir()
    os.chdir(tmp_path / "tree")
    for _ in range(5000):
        Path("d").mkdir()
        os.chdir("d")
    os.chdir(here)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 100, hard))
    try:
        remove_folder(tmp_path / "tree")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not (tmp_path / "tree").exists()


def remove_while_swapped(root: Path) -> bool:
    """A closed folder is opened up while its parent changes places with a link to a folder of the host."""
    exchange = ctypes.CDLL(None).renameat2
    for number in range(200):
        host, tree, link = (root / f"{name}{number}" for name in ("host", "tree", "link"))
        (host / "closed").mkdir(parents=True)
        (host / "closed" / "precious").write_text("of the host")
        (tree / "a" / "closed").mkdir(parents=True)
        (tree / "a" / "closed").chmod(0o000)
        link.symlink_to(host)
        over = threading.Event()

        def swap(one: bytes = bytes(tree / "a"), other: bytes = bytes(link), over: threading.Event = over) -> None:
            while not over.is_set():
                exchange(-100, one, -100, other, EXCHANGE)

        swapping = threading.Thread(target=swap)
        swapping.start()
        with suppress(OSError):  # it may not get to the end of what changes all the time
            remove_folder(tree)
        over.set()
        swapping.join()
        if not (host / "closed" / "precious").exists():
            return False
    return True


def test_what_is_swapped_for_a_link_while_it_is_removed_is_not_followed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if os.getuid() != 0:
            assert remove_while_swapped(Path(folder))
            return
        os.chown(folder, NOBODY, NOBODY)
        assert as_nobody(lambda: remove_while_swapped(Path(folder)))


def test_a_folder_that_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(PermissionError):
        remove_folder(tmp_path / "tree")
