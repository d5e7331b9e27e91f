"""What an image says of its user, which may be anything."""

import pytest

from runyard_sandbox.docker.images import user_named


@pytest.mark.parametrize(
    ("named", "user"),
    [
        ("1000", "1000:1000"),
        ("1000:50", "1000:50"),
        ("0", None),
        ("1000:0", None),
        ("node", None),
        ("", None),
        ("9" * 5000, None),
        ("00", None),
    ],
)
def test_a_user_is_a_number_that_is_not_root_s(named: str, user: str | None) -> None:
    assert user_named(named) == user
