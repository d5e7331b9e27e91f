"""Variables of compose files, and the files that they are from."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard_orchestrator.domain.compose import NotServed
from runyard_orchestrator.domain.compose.variables import interpolated, variables

ENV = {"TAG": "1.2", "EMPTY": "", "PORT": "9000"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$TAG-${TAG}", "1.2-1.2"),
        ("${NO:-a}${NO-b}${EMPTY:-c}${EMPTY-d}", "abc"),
        ("${TAG:+yes}${NO:+no}${EMPTY+empty}${EMPTY:+no}", "yesempty"),
        ("${NO:-${ALSO:-$TAG}}", "1.2"),
        ("${TAG:?needed}${EMPTY?needed}", "1.2"),
        ("$$TAG $${TAG}", "$TAG ${TAG}"),
        ("{}}", "{}}"),
    ],
)
def test_variables_are_put_in_as_compose_does(text: str, value: str) -> None:
    assert interpolated(text, ENV) == value


@pytest.mark.parametrize("text", ["${NO:?}", "${", "${TAG", "$1", "${TAG!x}", "${TAG:}", "${NO:-" * 20, "$"])
def test_malformed_variables_are_refused(text: str) -> None:
    with pytest.raises(NotServed):
        interpolated(text, ENV)


def test_a_file_of_variables_is_read_as_compose_does() -> None:
    text = """
        # comment
        A=1 # comment
        export B = two words
        C='$A "x"'
        D="a\\n${A}\\$A"
        E="first
        second"
        F=a#b
        G:yes
        TAG
        UNKNOWN
        H=
    """
    assert variables(textwrap.dedent(text), ENV) == {
        "A": "1",
        "B": "two words",
        "C": '$A "x"',
        "D": "a\n1$A",
        "E": "first\nsecond",
        "F": "a#b",
        "G": "yes",
        "TAG": "1.2",
        "H": "",
    }


@pytest.mark.parametrize("text", ['A="x', "=x", "a b c", "\n".join(f"A{n}=x" for n in range(3000))])
def test_a_broken_or_huge_file_of_variables_is_refused(text: str) -> None:
    with pytest.raises(NotServed):
        variables(text, {})


def test_variables_that_grow_with_each_line_are_refused() -> None:
    with pytest.raises(NotServed, match="too long"):
        variables("A=xxxxxxxx\n" + "A=$A$A\n" * 40, {})


@given(st.text("ab$ {}\\'\"#\n", max_size=30))
def test_what_is_written_with_doubled_dollars_comes_out_as_it_was(text: str) -> None:
    assert interpolated(text.replace("$", "$$"), ENV) == text


def test_a_file_s_variables_are_not_made_large_by_one_another() -> None:
    with pytest.raises(NotServed, match="longer"):
        variables("A=" + "a" * 30_000 + "\n" + "".join(f"B{n}=x$A\n" for n in range(100)), {})
