"""A stack of a module's own, with the `settings` that the module asks for; its API is the one of every test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Stack


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest,
    data_folder_of_module: Path,
    new_stack: Callable[..., "Stack"],
    settings: dict[str, str],
) -> Iterator["Stack"]:
    processes = request.config.getoption("--stack") == "processes"
    one = new_stack(data_folder_of_module, processes=processes, **settings)
    one.up()
    yield one
    one.down()


@pytest.fixture(scope="module")
def token(stack: "Stack") -> str:
    return stack.token()
