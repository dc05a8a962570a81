"""Lets the threads of a process and of all its children be quick and slow by turns: ``jitter.py PID``.

In each turn, of 10 to 200 ms, every third thread gets processor time only when nobody else wants it (``SCHED_IDLE``).
On a busy machine that makes anything late that may be late, and lets what is nearly always first come second: a race
that shows once in thousands of even runs shows in a few. Ends when stdin does, and leaves the threads as they were.

Linux, and a user who may let a thread be quick again (``CAP_SYS_NICE``).
"""

from __future__ import annotations

import os
import random
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORTEST, LONGEST = 0.010, 0.200
"""Seconds that a turn lasts."""
SLOW_SHARE = 1 / 3


def threads_below(pid: int) -> Iterator[int]:
    """The ids of all threads of the children of a process, of theirs, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, IndexError):  # has ended
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    family = list(children.get(pid, ()))
    for each in family:
        family += children.get(each, ())
        if each != os.getpid():
            with suppress(OSError):
                yield from [int(thread.name) for thread in Path(f"/proc/{each}/task").iterdir()]


def let_be(policy: int, thread: int) -> None:
    """Gives a thread a scheduling policy, if it has not ended."""
    with suppress(ProcessLookupError):
        os.sched_setscheduler(thread, policy, os.sched_param(0))


def main() -> None:
    """Takes turns until stdin ends."""
    pid = int(sys.argv[1])
    chance = random.Random()
    os.nice(-10)
    while not select.select([sys.stdin], [], [], chance.uniform(SHORTEST, LONGEST))[0]:
        for thread in threads_below(pid):
            let_be(os.SCHED_IDLE if chance.random() < SLOW_SHARE else os.SCHED_OTHER, thread)
    for thread in threads_below(pid):
        let_be(os.SCHED_OTHER, thread)


if __name__ == "__main__":
    main()
