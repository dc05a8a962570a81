"""Draws a timeline as HTML: a whole page, or a part for a page such as Robot's log. Loads nothing from anywhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.pages import environment
from ComfyMockLibrary.engine.timeline.layout import MARK, PILL, WIDTHS, draw

if TYPE_CHECKING:
    from jinja2 import Environment

    from ComfyMockLibrary.engine.timeline.model import Timeline

MOST_LISTED = 1000
"""How many happenings the list has: the first and the last ones of more."""

_LEGEND = (
    (("life-open", "life-stopped"), "server runs"),
    (("life-crashed",), "server runs, until it crashes"),
    (("stopping",), "stopping"),
    (("frozen",), "frozen"),
    (("down",), "down"),
    (("connected",), "connected"),
    (("broken",), "connected, until it breaks off"),
    (("left",), "closed by the client"),
    (("connecting",), "connecting"),
    (("reconnecting",), "reconnecting"),
    (("disconnected",), "disconnected"),
    (("failed",), "failed"),
    (("waiting",), "prompt waits"),
    (("success",), "prompt succeeds"),
    (("execution_error", "crashed"), "prompt fails"),
    (("execution_interrupted",), "prompt is interrupted"),
    (("lost", "waiting-lost"), "prompt is lost"),
    (("fault-waiting",), "fault waits"),
    (("fault-active",), "fault is active"),
)
"""Kinds of spans that look the same, and what they mean."""


def page(timeline: Timeline, title: str = "Timeline") -> str:
    """A page of its own."""
    return _environment().get_template("page.html").render(title=title, **_facts(timeline))


def fragment(timeline: Timeline, title: str = "Timeline") -> str:
    """A part for any page; it brings its style along and leaves all else alone.

    It is one line: what takes Robot's log to Allure makes line breaks of others, in the style and the drawing too.
    """
    html = _environment().get_template("timeline.html").render(title=title, **_facts(timeline))
    head, style, rest = html.strip().partition("</style>")
    return f"{head.replace(chr(10), ' ')}{style}{rest.replace(f'>{chr(10)}<', '><').replace(chr(10), '&#10;')}"


def _facts(timeline: Timeline) -> dict[str, Any]:
    happenings = timeline.happenings
    half = MOST_LISTED // 2
    skipped = max(0, len(happenings) - MOST_LISTED)
    listed = happenings if not skipped else (*happenings[:half], *happenings[-half:])
    kinds = {span.kind for lane in timeline.lanes for row in lane.rows for span in row.spans}
    return {
        "timeline": timeline,
        "drawing": draw(timeline),
        "listed": listed,
        "skipped": skipped,
        "skipped_after": half,
        "legend": [(group[0], text) for group, text in _LEGEND if kinds.intersection(group)],
        "widths": list(WIDTHS),
        "mark_half": -MARK / 2,
        "pill": PILL,
    }


@cache
def _environment() -> Environment:
    return environment(Path(__file__).parent / "templates")
