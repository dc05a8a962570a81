"""The report card for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ComfyMockLibrary.engine.pages import harmless

if TYPE_CHECKING:
    from ComfyMockLibrary.engine.report.card import Card, Entry

_HEAD = ("outage", "verdict", "noticed", "tries", "back", "job", "what the client did")


def text(card: Card) -> str:
    """A table with a line of advice below each outage that was not survived."""
    rows = [_row(entry) for entry in card.entries]
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(len(_HEAD) - 1)]
    lines = [f"Report card of {harmless(card.client)}", f"It {card.habits}.", "", _line(_HEAD, widths)]
    for entry, row in zip(card.entries, rows, strict=True):
        lines.append(_line(row, widths))
        if entry.judgement.advice:
            lines.append(f"{'':{widths[0]}}  > {entry.judgement.advice}")
    return "\n".join([*lines, "", f"{card.summary}.", f"{card.made_at}, {card.made_with}"]) + "\n"


def line_of(entry: Entry) -> str:
    """One outage in a line, for progress."""
    return f"{_shown(entry.verdict)}: {entry.did}" if entry.did else _shown(entry.verdict)


def facts(entry: Entry) -> str:
    """The numbers of an outage in a line; empty if there are none."""
    judgement = entry.judgement
    known = {
        "noticed after": seconds(judgement.noticed_after),
        "attempts": "" if judgement.attempts is None else str(judgement.attempts),
        "back after": seconds(judgement.back_after),
        "its job": judgement.job,
    }
    return ", ".join(f"{name}: {value}" for name, value in known.items() if value)


def seconds(value: float | None) -> str:
    """A time as the card shows it; empty if there is none."""
    if value is None:
        return ""
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _row(entry: Entry) -> tuple[str, ...]:
    judgement = entry.judgement
    return (
        entry.name,
        _shown(entry.verdict),
        seconds(judgement.noticed_after),
        "" if judgement.attempts is None else str(judgement.attempts),
        seconds(judgement.back_after),
        judgement.job,
        entry.did,
    )


def _shown(verdict: str) -> str:
    return verdict.upper() if verdict == "not survived" else verdict


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
    return "  ".join([*cells, row[-1]]).rstrip()
