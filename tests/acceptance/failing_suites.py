"""Suites whose tests must all fail, each with the message that its documentation says, a sentence a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from robot_run import run_robot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PLACEHOLDERS = {
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": "PROMPT",
    r"\b[0-9a-f]{32}\b": "CLIENT",
    r"\b[0-9a-f]{12}\b": "LIFE",
    r"\b(pid|process) \d+": r"\1 PID",
    r"(127\.0\.0\.1:|\b[Pp]ort )\d+": r"\1PORT",
    r"\d+\.\d{3} s (ago|before)": r"TIME \1",
    r"after \d+\.\d{3} s": "after TIME",
    r"timestamp=\d+": "timestamp=TIME",
    r"by process PID \(.*?\)\.": "by process PID (COMMAND).",
    r"usage: .*? \[options\]": "USAGE",
    r"\b\d\d+ events since": "MANY events since",
    r"position \d\d+": "position MANY",
    r"delays (of|were) [\d., s]+ s": r"delays \1 TIMES",
    r"base=[\d.]+ s": "base=TIME",
    r"(needed|has made|active, struck) \d+": r"\1 MANY",
}


def should_fail_as_documented(
    directory: Path, suite: str, *options: str, environment: Mapping[str, str] | None = None
) -> None:
    """Runs tests, all of which must fail, and compares their messages with their documentation."""
    run = run_robot(directory, suite, *options, environment=environment)
    assert run.tests, run.printed
    failures = {name: test.message if test.status == "FAIL" else test.status for name, test in run.tests.items()}
    documented = {name: test.documentation for name, test in run.tests.items()}
    assert as_one_text(failures) == as_one_text(documented)


def as_one_text(messages: dict[str, str]) -> str:
    """Messages by test, a sentence or an event a line, without what differs from run to run."""
    return "\n\n".join("\n    ".join([name, *sentences(message)]) for name, message in messages.items())


def sentences(message: str) -> list[str]:
    text = " ".join(message.split())
    for pattern, placeholder in PLACEHOLDERS.items():
        text = re.sub(pattern, placeholder, text)
    return re.split(r"(?<=[.;]) (?=\w)", text)
