"""(f) Memory of the idle stack with NATS and PostgreSQL, and the time from a warm start to ready.

Goals: under 400 MB (proportional set size, so shared pages count once) and under 5 s. The floor is the bare NATS and
PostgreSQL of the same stack.
"""

import json
import time

import psutil
from stack_under_test import StackUnderTest, running_stack

SETTLE_SECONDS = 3


def tree(stack: StackUnderTest) -> dict[str, int]:
    """Proportional set size in bytes by program, of the supervisor and all its descendants."""
    root = psutil.Process(json.loads((stack.home / "state.json").read_text())["pid"])
    sizes: dict[str, int] = {}
    for process in [root, *root.children(recursive=True)]:
        sizes[process.name()] = sizes.get(process.name(), 0) + process.memory_full_info().pss
    return sizes


def main() -> None:
    """Measures one warm stack."""
    with running_stack() as stack:
        time.sleep(SETTLE_SECONDS)
        sizes = tree(stack)
        ready = stack.ready_seconds
    total = sum(sizes.values()) / 2**20
    servers = sum(size for name, size in sizes.items() if "nats" in name or "postgres" in name) / 2**20
    print(
        f"(f) idle stack {total:.0f} MB (NATS and PostgreSQL {servers:.0f} MB, ratio {total / servers:.1f}; "
        f"goal < 400), "
        f"warm start to ready {ready:.1f} s (goal < 5)"
    )


if __name__ == "__main__":
    main()
