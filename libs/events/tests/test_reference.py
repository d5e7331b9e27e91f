"""What integrators are given describes what is really sent."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from runyard_events import encode
from runyard_events.catalogue import BY_TYPE
from runyard_events.reference.__main__ import documents
from runyard_events.reference.asyncapi import asyncapi
from runyard_events.reference.json_schema import event_schema

sys.path.insert(0, str(Path(__file__).parent))
from examples import envelope

FOLDER = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize("name", sorted(documents()))
def test_the_published_reference_is_current(name: str) -> None:
    assert (FOLDER / name).read_text() == documents()[name], "run `make schemas`"


def test_every_event_is_valid_by_the_schema_and_by_no_other_variant() -> None:
    validator = Draft202012Validator(event_schema())
    for name in BY_TYPE:
        validator.validate(json.loads(encode(envelope(name))))


def test_every_reference_inside_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()
    for reference in references(document):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in found, reference
            found = found[part]


def references(value: Any) -> list[str]:
    return re.findall(r'"\$ref": "([^"]+)"', json.dumps(value))
