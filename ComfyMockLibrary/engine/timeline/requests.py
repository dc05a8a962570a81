"""Requests with their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from ComfyMockLibrary.engine.endpoint import split_target
from ComfyMockLibrary.engine.timeline.model import Happening, Tone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ComfyMockLibrary.engine.timeline.lives import ServerStory

Json = dict[str, Any]


def request_happenings(server: ServerStory) -> Iterator[Happening]:
    """Requests but for handshakes of websockets, which belong to their clients."""
    answers = {(life.number, each["request"]): each for life, each in server.records("answer")}
    for life, record in server.records("request"):
        if is_handshake(record):
            continue
        answer = answers.get((life.number, record["request"]))
        status = None if answer is None else answer["status"]
        how = "no answer" if answer is None or status is None else f"{status} after {answer['seconds'] * 1000:.3g} ms"
        tone: Tone = "quiet" if status is not None and status < 400 else "bad"
        yield Happening(
            record["at"], f"{server.name} life {life.number}", f"{record['method']} {record['path']}", how, tone
        )


def is_handshake(record: Json) -> bool:
    """Whether a request asks for a websocket."""
    path = split_target(str(record["path"]))[0]
    headers = {name.lower(): str(value).lower() for name, value in record["headers"].items()}
    return path in ("/ws", "/api/ws") and headers.get("upgrade") == "websocket"


def given_client_id(record: Json) -> str | None:
    """The ``clientId`` of a handshake."""
    return next(iter(parse_qs(split_target(str(record["path"]))[1]).get("clientId", [])), None)
