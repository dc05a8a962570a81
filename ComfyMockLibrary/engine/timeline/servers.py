"""A server's part of the story: what is drawn of it, and all that happened to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ComfyMockLibrary.engine.timeline.faults import fault_happening, fault_lane
from ComfyMockLibrary.engine.timeline.lives import life_spans
from ComfyMockLibrary.engine.timeline.model import Happening, Lane, Row, Tone
from ComfyMockLibrary.engine.timeline.prompts import prompt_lane
from ComfyMockLibrary.engine.timeline.requests import request_happenings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ComfyMockLibrary.engine.timeline.lives import ServerStory

_PROMPT_TONES: dict[str, Tone] = {
    "success": "good",
    "execution_error": "bad",
    "crashed": "bad",
    "execution_interrupted": "warn",
}


def server_lanes(server: ServerStory, end: float) -> list[Lane]:
    """What is drawn of a server itself."""
    where = "" if server.port is None else f"port {server.port}"
    lives = Row("bars", tuple(life_spans(server)))
    lanes = [Lane(server.name, (lives,), where if where != server.name else "", begins_group=True)]
    if server.attempts:
        marks = tuple(Happening(at, server.name, "attempt", "refused", "warn") for at in server.attempts)
        lanes.append(Lane("attempts", (Row("marks", (), marks),), "while down"))
    lanes += fault_lane(server, end)
    lanes += prompt_lane(server)
    ticks = tuple(request_happenings(server))
    if ticks:
        lanes.append(Lane("requests", (Row("ticks", (), ticks),), str(len(ticks))))
    return lanes


def server_happenings(server: ServerStory) -> Iterator[Happening]:
    """All that happened to a server, but for its websockets and their messages."""
    for life in server.lives:
        who = f"{server.name} life {life.number}"
        yield Happening(life.start, who, "began", f"pid {life.pid}, id {life.life_id}")
        if life.ready_at is not None:
            yield Happening(life.ready_at, who, "ready", f"port {life.port}")
        for frozen, thawed in life.frozen:
            yield Happening(frozen, who, "frozen", tone="warn")
            if thawed < life.end:
                yield Happening(thawed, who, "went on")
        if life.stopping_at is not None:
            yield Happening(life.stopping_at, who, "stopping")
        if life.ended is not None:
            yield Happening(life.end, who, "ended", life.ended, "bad" if life.ending == "crashed" else "warn")
    for at in server.attempts:
        yield Happening(at, server.name, "attempt", "refused: it was down", "warn")
    for life, record in server.records("fault_set", "fault_begun", "fault_struck", "fault_ended"):
        yield fault_happening(f"{server.name} life {life.number}", record)
    for life, record in server.records("prompt", "queue_cleared"):
        who = f"{server.name} life {life.number}"
        if record["kind"] == "queue_cleared":
            yield Happening(record["at"], who, "queue cleared", tone="warn")
        else:
            state = str(record["state"])
            yield Happening(
                record["at"], who, f"prompt {state}", str(record["prompt_id"]), _PROMPT_TONES.get(state, "plain")
            )
    for life, record in server.records("journal_ended"):
        yield Happening(record["at"], f"{server.name} life {life.number}", "journal ended early", record["why"], "bad")
    yield from request_happenings(server)
