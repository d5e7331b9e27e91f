"""Byte ranges of a file (RFC 9110, section 14): one range per request."""

import re
from dataclasses import dataclass

from runyard_chassis import Problem

OCTETS = "application/octet-stream"
LARGEST = 64 * 1024**2
_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")


@dataclass(frozen=True, slots=True)
class Range:
    """A part of a file. `partial` is what the answer must say about itself."""

    offset: int
    length: int
    partial: bool = False


def parse_range(header: str | None, size: int) -> Range:
    """The part of a file of `size` bytes that a request wants; a header of another kind is ignored.

    Raises:
        Problem: 416, nothing of the file is in the range; 413, the whole file is more than one answer may hold.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match["first"] or match["last"]):
        if size > LARGEST:
            raise Problem(
                413,
                "content-too-large",
                None,
                f"The file has {size} bytes: ask for parts of at most {LARGEST} with a Range header.",
            )
        return Range(0, LARGEST)
    if not match["first"]:
        first = max(0, size - int(match["last"]))
        last = size - 1
    else:
        first = int(match["first"])
        last = min(int(match["last"]), size - 1) if match["last"] else size - 1
    if first >= size or last < first:
        raise Problem(
            416,
            "range-not-satisfiable",
            None,
            f"The file has {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Range(first, min(last - first + 1, LARGEST), partial=True)
