"""Fuzzes whatever takes input from outside, for a time: ``python tests/fuzz/run.py --seconds 600 http websocket``.

Prints how many inputs each target took. What a target finds is printed with its input, which ``--seed`` and ``--first``
make again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

FOLDER = Path(__file__).parent
if __name__ == "__main__":
    sys.path += [str(FOLDER.parent / "acceptance"), str(FOLDER)]

from targets import TARGETS, Finding  # noqa: E402

if TYPE_CHECKING:
    from targets import Target


@dataclass(frozen=True)
class Outcome:
    """What a target took, and what that has found."""

    name: str
    inputs: int
    seconds: float
    seed: int
    finding: Finding | None = None

    def __str__(self) -> str:
        found = "nothing found" if self.finding is None else f"FOUND by --seed {self.seed} --first {self.inputs - 1}"
        return f"{self.name:12}{self.inputs:12,}{self.inputs / self.seconds:12,.0f}{self.seconds:10.0f}   {found}"


def fuzz(target: Target, seed: int, *, seconds: float = inf, inputs: float = inf, first: int = 0) -> Outcome:
    """Hands inputs to a target until the time is over, it had so many, or one has found something.

    Each input has draws of its own.
    """
    began, number = time.monotonic(), first
    while True:
        try:
            target.one(random.Random(f"{seed} {number}"))
        except Finding as finding:
            return Outcome(target.name, number + 1, time.monotonic() - began, seed, finding)
        number += 1
        passed = time.monotonic() - began
        if passed >= seconds or number - first >= inputs:
            return Outcome(target.name, number - first, passed, seed)


def main() -> int:
    """Fuzzes target after target, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for each (default: %(default)g)")
    parser.add_argument("--inputs", type=int, default=inf, metavar="N", help="end after so many (default: no end)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="(default: a random one)"
    )
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first input (default: 0)")
    given = parser.parse_args()
    if unknown := [each for each in given.targets if each not in TARGETS]:
        parser.error(f"there is no target {unknown[0]!r}; give some of {', '.join(TARGETS)}")
    outcomes = []
    print(f"{'target':12}{'inputs':>12}{'a second':>12}{'seconds':>10}   seed {given.seed}")
    for name in given.targets or TARGETS:
        target = TARGETS[name]()
        try:
            outcomes.append(fuzz(target, given.seed, seconds=given.seconds, inputs=given.inputs, first=given.first))
        finally:
            target.close()
        print(outcomes[-1], flush=True)
        for note, count in sorted(target.notes.items()):
            print(f"    {count:6} times status 500: {note}")
        if outcomes[-1].finding is not None:
            print(outcomes[-1].finding, flush=True)
    return 1 if any(each.finding is not None for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
