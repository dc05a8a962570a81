"""Faults: when each waited, was active and struck, in which life."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.journal import brief
from ComfyMockLibrary.engine.timeline.model import Happening, Lane, Row, Span, Tone, packed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ComfyMockLibrary.engine.timeline.lives import LifeStory, ServerStory

Json = dict[str, Any]

MOST_ROWS = 6
_ROOM_FOR_A_NAME = 0.1
"""Share of the axis that a fault has for itself, however short it is."""


def kinds_of_faults(records: Sequence[Json]) -> dict[str, str]:
    return {each["fault"]: each["description"]["fault"] for each in records if each["kind"] == "fault_set"}


@dataclass
class _FaultStory:
    name: str
    kind: str
    set_at: float
    description: Json
    begun_at: float | None = None
    ended_at: float | None = None
    ended: str = ""
    strikes: list[Happening] = field(default_factory=list)

    @property
    def marks(self) -> list[Happening]:
        """What is drawn of one that does not last: it is only there when it strikes."""
        return [] if self.begun_at is not None else self.strikes


def fault_lane(server: ServerStory, end: float) -> list[Lane]:
    stories = [story for life in server.lives for story in _faults_of(server, life)]
    if not stories:
        return []
    room = (end - server.lives[0].start) * _ROOM_FOR_A_NAME
    spans = {_extent(story, room): story for story in stories}
    rows, left = packed(spans, MOST_ROWS)
    made = []
    for row in rows:
        told = [spans[each] for each in row]
        bars = tuple(bar for story in told for bar in _fault_spans(story))
        made.append(Row("marks", bars, tuple(mark for story in told for mark in story.marks)))
        strikes = tuple(strike for story in told if story.begun_at is not None for strike in story.strikes)
        if strikes:
            made.append(Row("ticks", (), strikes))
    hidden = tuple(mark for each in left for mark in (*spans[each].marks, *spans[each].strikes))
    if hidden:
        made.append(Row("ticks", (), hidden))
    return [Lane("faults", tuple(made), str(len(stories)) if len(stories) > 1 else "")]


def _faults_of(server: ServerStory, life: LifeStory) -> list[_FaultStory]:
    found: dict[str, _FaultStory] = {}
    done: list[_FaultStory] = []
    who = f"{server.name} life {life.number}"
    for record in life.records:
        kind = record["kind"]
        if kind == "fault_set":
            if record["fault"] in found:
                done.append(found[record["fault"]])
            description = record["description"]
            story = _FaultStory(str(record["fault"]), str(description["fault"]), record["at"], description)
            found[record["fault"]] = story
        elif kind in ("fault_begun", "fault_struck", "fault_ended") and record["fault"] in found:
            story = found[record["fault"]]
            if kind == "fault_begun":
                story.begun_at = record["at"]
            elif kind == "fault_struck":
                story.strikes.append(fault_happening(who, record))
            else:
                story.ended_at, story.ended = record["at"], str(record["reason"])
    stories = [*done, *found.values()]
    for story in stories:
        if story.ended_at is None:
            story.ended_at, story.ended = life.end, "with its life"
    return stories


def _extent(story: _FaultStory, room: float) -> Span:
    """From when it was set to its end, with room for its name, and with what tells it from others."""
    end = max(story.ended_at or story.set_at, story.set_at + room)
    return Span(story.set_at, end, story.name, (), (str(id(story)),))


def _fault_spans(story: _FaultStory) -> Iterator[Span]:
    ended_at = story.ended_at or story.set_at
    about = (
        f"{story.name}: {_described(story.description)}",
        "struck once" if len(story.strikes) == 1 else f"struck {len(story.strikes)} times",
        f"ended: {story.ended}",
    )
    begun_at = story.begun_at
    waited_until = begun_at if begun_at is not None else ended_at
    if waited_until > story.set_at:
        yield Span(story.set_at, waited_until, "fault-waiting", (story.name,) if begun_at is None else (), about)
    if begun_at is not None:
        yield Span(begun_at, ended_at, "fault-active", (story.name,), about)


def fault_happening(who: str, record: Json) -> Happening:
    kind, fault = record["kind"], str(record["fault"])
    more = {name: value for name, value in record.items() if name not in ("at", "kind", "fault", "seed", "strike")}
    if kind == "fault_set":
        return Happening(record["at"], who, f"{fault} set", _described(record["description"]), "plain")
    tone: Tone = "fault" if kind == "fault_struck" else "plain"
    return Happening(record["at"], who, f"{fault} {kind.removeprefix('fault_')}", brief(more), tone)


def _described(description: Json) -> str:
    return brief({name: value for name, value in description.items() if name != "id"})
