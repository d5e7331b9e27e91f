"""The package's front door."""

import subprocess
import sys

import pytest

import runyard_chassis


@pytest.mark.parametrize("name", runyard_chassis.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(runyard_chassis, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = runyard_chassis.Nothing


def test_minting_a_token_loads_no_web_framework_and_no_database() -> None:
    code = (
        "import sys; from runyard_chassis import Tokens; Tokens('k' * 32).mint(tenant='t', user='u'); "
        "print([m for m in ('fastapi', 'sqlalchemy', 'nats', 'faststream') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
