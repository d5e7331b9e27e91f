"""Lines of output behind the time they were printed at, as Docker and Kubernetes give them."""

import re
from datetime import datetime

from runyard_sandbox.provisioner import LogLine

STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)Z ?(.*)", re.DOTALL)


def log_line(text: str) -> LogLine:
    """The line behind its time; a line without one is taken as it is."""
    found = STAMPED.match(text)
    return LogLine(moment(found[1]), found[2]) if found else LogLine(None, text)


def moment(stamp: str) -> datetime:
    """Nanoseconds, as far as a datetime holds them; UTC."""
    whole, _, fraction = stamp.partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")
