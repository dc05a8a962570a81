"""The report card as one page with a picture of each outage. It loads nothing from anywhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ComfyMockLibrary.engine.pages import environment
from ComfyMockLibrary.engine.report.picture import picture
from ComfyMockLibrary.engine.report.text import seconds

if TYPE_CHECKING:
    from jinja2 import Environment

    from ComfyMockLibrary.engine.report.card import Card


def html(card: Card) -> str:
    """The page."""
    entries = [
        (
            entry,
            None
            if entry.course is None
            else picture(entry.course, f"What happened in the outage {entry.name}: {entry.did}"),
        )
        for entry in card.entries
    ]
    return _environment().get_template("report.html").render(card=card, entries=entries, seconds=seconds)


@cache
def _environment() -> Environment:
    return environment(Path(__file__).parent / "templates")
