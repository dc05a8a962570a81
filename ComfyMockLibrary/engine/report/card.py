"""The report card as data: one entry for each outage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ComfyMockLibrary.engine.report.course import Course
    from ComfyMockLibrary.engine.report.habits import Habits
    from ComfyMockLibrary.engine.report.judge import Judgement
    from mockserver.outages.outage import Outage


@dataclass(frozen=True)
class Entry:
    """What one outage has shown."""

    outage: Outage
    judgement: Judgement
    seconds: float = 0.0
    """How long it took."""

    course: Course | None = None
    """What happened; None where the outage was not tried."""

    @property
    def name(self) -> str:
        """Name of the outage."""
        return self.outage.name

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return self.judgement.verdict

    @property
    def did(self) -> str:
        """What the client did, in one line."""
        return "; ".join(self.judgement.did)

    @property
    def is_failure(self) -> bool:
        """Whether the outage was not survived."""
        return self.judgement.verdict == "not survived"

    def as_json(self) -> dict[str, Any]:
        """As a JSON object. Times are in seconds."""
        judgement = self.judgement
        return {
            "outage": self.name,
            "title": self.outage.title,
            "verdict": judgement.verdict,
            "did": list(judgement.did),
            "noticed_after": _rounded(judgement.noticed_after),
            "attempts": judgement.attempts,
            "back_after": _rounded(judgement.back_after),
            "job": judgement.job or None,
            "advice": judgement.advice or None,
            "expected": self.outage.expectation.words,
            "reports": self.outage.reports,
            "seconds": round(self.seconds, 3),
            "output": list(self.course.words) if self.course is not None else [],
        }


@dataclass(frozen=True)
class Card:
    """A whole report card."""

    client: str
    """Its command, or what the user calls it."""

    habits: Habits
    entries: Sequence[Entry]
    made_at: str
    """Date and time, ISO 8601."""

    made_with: str
    """Versions of what made it."""

    @property
    def is_good(self) -> bool:
        """Whether no outage was failed."""
        return not any(each.is_failure for each in self.entries)

    def count(self, verdict: str) -> int:
        """How many outages have this verdict."""
        return sum(each.verdict == verdict for each in self.entries)

    @property
    def summary(self) -> str:
        """The sum in one line."""
        counts = [(self.count(word), word) for word in ("survived", "not survived", "not applicable")]
        return ", ".join(f"{count} {word}" for count, word in counts if count)

    def as_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "client": self.client,
            "habits": str(self.habits),
            "made_at": self.made_at,
            "made_with": self.made_with,
            "survived": self.count("survived"),
            "not_survived": self.count("not survived"),
            "not_applicable": self.count("not applicable"),
            "outages": [each.as_json() for each in self.entries],
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
