"""Measures how long things take: ``python tests/benchmarks/run.py``. No test: nothing passes or fails.

Rows of one group are measured in turns, so that whatever else the machine does hits them alike, and their ratio to the
group's first row says more than their milliseconds. A row is a generator in ``rows.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("aiohttp", "pillow", "psutil", "robotframework", "websocket-client")


@dataclass
class Measured:
    """What came of one row."""

    group: str
    name: str
    unit: str
    to_reach: str
    values: list[float] = field(default_factory=list)

    def summary(self, first: Measured) -> dict[str, Any]:
        """As the JSON file has it."""
        from_best = sorted(self.values, reverse=self.unit.endswith("/s"))  # of a rate, more is better
        return {
            "group": self.group,
            "name": self.name,
            "unit": self.unit,
            "to_reach": self.to_reach,
            "rounds": len(self.values),
            "median": round(statistics.median(self.values), 3),
            "best": round(from_best[0], 3),
            "p95": round(from_best[int(len(from_best) * 0.95)], 3),
            "ratio": round(statistics.median(self.values) / statistics.median(first.values), 3),
        }


def main() -> None:
    """Measures, prints a table, and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", help="groups to measure (default: all)")
    parser.add_argument("--rounds", type=int, help="rounds of each row (default: as many as its group has)")
    parser.add_argument("--markdown", action="store_true", help="print a table for a document instead")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks.json")
    arguments = parser.parse_args()

    # What is measured is a start as users have it: from bytecode. The first round writes it, and does not count.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.chdir(ROOT)
    from rows import GROUPS

    unknown = set(arguments.groups) - set(GROUPS)
    if unknown:
        parser.error(f"there is no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    report: dict[str, Any] = {"machine": _machine(), "rows": []}
    _print_machine(report["machine"])
    for name in arguments.groups or GROUPS:
        rounds, rows = GROUPS[name]
        measured = [Measured(name, row.measure.__doc__ or "", row.unit, row.to_reach) for row in rows]
        _measure(measured, [row.measure() for row in rows], arguments.rounds or rounds)
        report["rows"] += [each.summary(measured[0]) for each in measured]
    report["machine"]["load_after"] = _load()
    (_print_markdown if arguments.markdown else _print_table)(report["rows"])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\nLoad before {report['machine']['load_before']}, after {report['machine']['load_after']}.")


def _measure(measured: list[Measured], rows: list[Iterator[float]], rounds: int) -> None:
    try:
        for number in range(rounds + 1):
            for each, row in zip(measured, rows, strict=True):
                value = next(row)
                if number > 0:
                    each.values.append(value)
    finally:
        for row in rows:
            row.close()  # type: ignore[attr-defined]


def _machine() -> dict[str, Any]:
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "load_before": _load(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _load() -> float | None:
    """Processes that wanted to run, on average of the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _print_machine(machine: dict[str, Any]) -> None:
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    print(f"{machine['system']}, {machine['cores']} cores of {machine['processor']}")
    print(f"Python {machine['python']}, {packages}")


def _print_table(rows: list[dict[str, Any]]) -> None:
    for group, members in groupby(rows, key=lambda row: row["group"]):
        print(f"\n{group:<58} {'median':>9} {'best':>9} {'p95':>9}      ratio  to reach")
        for row in members:
            figures = " ".join(f"{row[key]:>9.2f}" for key in ("median", "best", "p95"))
            line = f"  {row['name']:<56} {figures} {row['unit']:<4} {row['ratio']:>6.2f}  {row['to_reach']}"
            print(line.rstrip())


def _print_markdown(rows: list[dict[str, Any]]) -> None:
    print("\n| group | what | median | best | p95 | ratio | to reach |\n|---|---|---|---|---|---|---|")
    for row in rows:
        figures = " | ".join(f"{row[key]:.2f} {row['unit']}" for key in ("median", "best", "p95"))
        print(f"| {row['group']} | {row['name']} | {figures} | {row['ratio']:.2f} | {row['to_reach']} |")


if __name__ == "__main__":
    main()
