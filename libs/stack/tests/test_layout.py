"""Folders, ports, credentials and the lock of a stack."""

import fcntl
import json
import stat
from pathlib import Path

import pytest

from runyard_stack.credentials import load_credentials, read_credentials
from runyard_stack.errors import StackError
from runyard_stack.layout import OFFSETS, Layout, layout_from_environment
from runyard_stack.state import is_locked, only_stack_on, read_state


def test_the_data_folder_is_the_users_and_not_the_current_directorys() -> None:
    layout = layout_from_environment({"XDG_DATA_HOME": "/data"})
    assert layout.home == Path("/data/runyard")
    assert layout_from_environment({}).home == Path.home() / ".local/share/runyard"


def test_one_base_shifts_all_ports_together() -> None:
    layout = layout_from_environment({"RUNYARD_HOME": "/x", "RUNYARD_PORT_BASE": "9300"})
    assert layout.address("gateway") == "http://127.0.0.1:9301"
    assert layout.port("nats") == 9311
    assert len({layout.port(name) for name in OFFSETS}) == len(OFFSETS)


@pytest.mark.parametrize("base", ["http", "80", "65530", "-1", "9100.5", "²"])
def test_a_port_base_that_is_no_usable_number_is_explained(base: str) -> None:
    with pytest.raises(StackError, match="a number from 1024 to 65523"):
        layout_from_environment({"RUNYARD_PORT_BASE": base})


def test_a_data_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"cannot be used: .*\n.*RUNYARD_HOME"):
        Layout(tmp_path / "file" / "home").create()


def test_credentials_are_made_once_and_kept_closed(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    assert read_credentials(path) is None
    first = load_credentials(path, ["gateway"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_credentials(path, ["gateway"]) == first
    assert len(first.jwt_secret_key) >= 32


def test_a_new_service_gets_a_password_and_the_others_keep_theirs(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    before = load_credentials(path, ["gateway"])
    after = load_credentials(path, ["gateway", "memory"])
    assert after.nats_passwords["gateway"] == before.nats_passwords["gateway"]
    assert after.nats_passwords["memory"]
    assert after.tenant_id == before.tenant_id


def test_damaged_credentials_are_explained_without_showing_them(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    content = json.loads(load_credentials(path).model_dump_json()) | {"version": "canary-secret"}
    path.write_text(json.dumps(content))
    with pytest.raises(StackError, match="damaged") as caught:
        load_credentials(path)
    assert "canary-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_second_stack_on_one_folder_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with (
        only_stack_on(layout),
        pytest.raises(StackError, match=r"already runs on .*pid \d+.*\n.*runyard down"),
        only_stack_on(layout),
    ):
        pass
    assert not is_locked(layout.lock)
    with only_stack_on(layout):
        assert is_locked(layout.lock)


def test_one_that_looks_is_not_taken_for_a_stack_by_another_that_looks(tmp_path: Path) -> None:
    lock = Layout(tmp_path).lock
    lock.write_text("1\n")
    with lock.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_locked(lock)


def test_a_state_file_without_a_running_stack_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"pid": 1}')
    assert read_state(Layout(tmp_path)) is None
