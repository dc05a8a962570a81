"""Prompts: how long each waited and ran, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.timeline.model import Lane, Row, RowKind, Span, packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ComfyMockLibrary.engine.timeline.lives import LifeStory, ServerStory

Json = dict[str, Any]

MOST_ROWS = 8
MOST_NAMED_ROWS = 3
"""With more rows than this they are slim, and have no names."""


def prompt_lane(server: ServerStory) -> list[Lane]:
    spans = [span for life in server.lives for span in _prompts_of(life)]
    if not spans:
        return []
    extents = [Span(each[0].start, each[-1].end, "", (), (str(index),)) for index, each in enumerate(spans)]
    rows, left = packed(extents, MOST_ROWS)
    kind: RowKind = "bars" if len(rows) <= MOST_NAMED_ROWS else "slim"
    made = [Row(kind, tuple(part for each in row for part in spans[int(each.details[0])])) for row in rows]
    drawn = f"{len(spans) - len(left)} of " if left else ""
    return [Lane("prompts", tuple(made), f"{drawn}{len(spans)}")]


def _prompts_of(life: LifeStory) -> list[tuple[Span, ...]]:
    """Each prompt as one or two spans: waiting, running."""
    paths: dict[str, list[Json]] = {}
    for record in life.records:
        if record["kind"] == "prompt":
            paths.setdefault(str(record["prompt_id"]), []).append(record)
        elif record["kind"] == "queue_cleared":
            for prompt_id, path in paths.items():
                if path[-1]["state"] == "queued":
                    path.append({"at": record["at"], "state": "deleted", "prompt_id": prompt_id})
    return [_prompt_spans(life, prompt_id, path) for prompt_id, path in paths.items()]


def _prompt_spans(life: LifeStory, prompt_id: str, path: Sequence[Json]) -> tuple[Span, ...]:
    last = path[-1]
    client = next((each["client_id"] for each in path if each.get("client_id")), None)
    about = [f"prompt {prompt_id}", *([] if client is None else [f"of {client}"])]
    begun = next((each["at"] for each in path if each["state"] == "started"), None)
    if last["state"] in ("queued", "started"):
        is_open, end = life.ending == "open", life.end
        kind = "running" if is_open else "lost"
        fate = "not over yet" if is_open else "lost with its life"
    else:
        is_open, end, kind = False, last["at"], str(last["state"])
        fate = kind.removeprefix("execution_")
    waited_until = end if begun is None else begun
    spans = []
    if waited_until > path[0]["at"] or begun is None:
        names = (prompt_id[:8],) if begun is None else ()
        look = "waiting" if begun is not None or is_open else f"waiting-{'lost' if kind == 'lost' else 'deleted'}"
        spans.append(
            Span(path[0]["at"], waited_until, look, names, (*about, "waiting", fate), is_open and begun is None)
        )
    if begun is not None:
        spans.append(Span(begun, end, kind, (f"{prompt_id[:8]} {fate}", prompt_id[:8]), (*about, fate), is_open))
    return tuple(spans)
