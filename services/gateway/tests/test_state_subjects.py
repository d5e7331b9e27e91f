"""What the hub counts as an event of the rows is what the projection reads, or reads would wait for nothing."""

import pytest

from runyard_events.catalogue import FAMILIES
from runyard_gateway.projections.state import SUBJECTS, is_read

AGGREGATES = ("workspace.w", "session.s", "session.s.run.r", "preview.p", "team.t")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_subject_is_read_if_one_of_the_filters_lets_it_through(aggregate: str, family: str) -> None:
    subject = f"ev.tenant.{aggregate}.{family}"
    assert is_read(subject, family) is any(_lets_through(one, subject) for one in SUBJECTS)


def _lets_through(pattern: str, subject: str) -> bool:
    wanted, has = pattern.split("."), subject.split(".")
    return len(wanted) == len(has) and all(one in ("*", other) for one, other in zip(wanted, has, strict=True))
