"""Sealed secrets open for their owner, for what they were sealed for, and for nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from runyard_chassis.sealing import NotSealed, PrivateKey, PublicKey

KEY = PrivateKey.derive(SecretStr("a-master-secret-of-some-length"), "credentials")


@given(secret=st.text(max_size=300), context=st.text(max_size=50))
@settings(max_examples=30)
def test_what_is_sealed_opens_again(secret: str, context: str) -> None:
    sealed = PublicKey(KEY.public).seal(secret, context=context)
    assert KEY.open(sealed, context=context).get_secret_value() == secret
    assert sealed != PublicKey(KEY.public).seal(secret, context=context)


def test_the_key_follows_from_the_master_secret() -> None:
    assert PrivateKey.derive(SecretStr("a-master-secret-of-some-length"), "credentials").public == KEY.public
    assert PrivateKey.derive(SecretStr("a-master-secret-of-some-length"), "else").public != KEY.public


def test_it_opens_for_no_other_key_and_no_other_context_and_not_when_it_was_changed() -> None:
    sealed = PublicKey(KEY.public).seal("secret", context="team-a")
    other = PrivateKey.derive(SecretStr("another-master-secret"), "credentials")
    changed = sealed[:-3] + ("AAA" if not sealed.endswith("AAA") else "BBB")
    for key, text, context in (
        (other, sealed, "team-a"),
        (KEY, sealed, "team-b"),
        (KEY, changed, "team-a"),
        (KEY, "x1.AAAA", "team-a"),
        (KEY, "", "team-a"),
        (KEY, "ä", "team-a"),
    ):
        with pytest.raises(NotSealed):
            key.open(text, context=context)


@pytest.mark.parametrize("text", ["", "AAAA", "not base64 !"])
def test_something_else_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        PublicKey(text)
