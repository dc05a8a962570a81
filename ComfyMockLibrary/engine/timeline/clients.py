"""The clients' part of the story: connections and what came over them.

A client of this library tells it itself. Of all others the journals of the servers tell: sockets, messages, handshakes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.journal import brief
from ComfyMockLibrary.engine.timeline.model import Happening, Lane, Row, Span, Tone, packed
from ComfyMockLibrary.engine.timeline.requests import given_client_id, is_handshake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ComfyMockLibrary.engine.timeline.files import JournalFile
    from ComfyMockLibrary.engine.timeline.lives import LifeStory, ServerStory

Json = dict[str, Any]

MOST_FOREIGN_LANES = 12
"""How many clients that are not ours have lanes of their own."""
MOST_SOCKET_ROWS = 4

_STATES = {
    "connected": "connected",
    "disconnected": "disconnected",
    "reconnecting": "reconnecting",
    "reconnection_failed": "failed",
    "reconnection_aborted": "disconnected",
    "connection_failed": "failed",
}
"""The state of a connection after each of the client's own events."""

_TONES: dict[str, Tone] = {
    "connected": "good",
    "reconnected": "good",
    "disconnected": "bad",
    "reconnecting": "warn",
    "reconnection_failed": "bad",
    "reconnection_aborted": "warn",
    "connection_failed": "bad",
    "execution_error": "bad",
    "execution_interrupted": "warn",
}


_CLOSED = "closed by the client"
_WANTED = (_CLOSED, "reconnection asked for")
"""Causes of a disconnection that the client itself wanted."""


def client_lane(journal: JournalFile, end: float) -> Lane:
    """What is drawn of a client of this library."""
    happenings = list(client_happenings(journal))
    marks = tuple(each for each in happenings if each.tone != "quiet")
    ticks = tuple(each for each in happenings if each.tone == "quiet")
    rows = [Row("bars", tuple(_states(journal, end)))]
    if marks:
        rows.append(Row("marks", (), marks))
    if ticks:
        rows.append(Row("ticks", (), ticks))
    return Lane(str(journal.anchor["client"]), tuple(rows), str(journal.anchor["client_id"])[:8])


def client_happenings(journal: JournalFile) -> Iterator[Happening]:
    """All that a client of this library has seen."""
    who = str(journal.anchor["client"])
    for record in journal.records:
        if record["kind"] == "event":
            name = str(record["name"])
            yield Happening(record["at"], who, name, brief(record["data"]), _tone(record))
        elif record["kind"] == "journal_ended":
            yield Happening(record["at"], who, "journal ended early", record["why"], "bad")


def lives_seen(journal: JournalFile) -> set[str]:
    """The lives that a client has been connected to."""
    return {str(each["life_id"]) for each in journal.records if each.get("life_id")}


def _tone(record: Json) -> Tone:
    """What the client says of itself is loud, and bad news of its prompts."""
    if record["source"] == "server" and record["name"] not in ("execution_error", "execution_interrupted"):
        return "quiet"
    if record["data"].get("cause") in _WANTED:
        return "plain"
    return _TONES.get(record["name"], "quiet")


def _states(journal: JournalFile, end: float) -> Iterator[Span]:
    """Connection states one after the other, to the end of the picture, or until the client was closed."""
    state, start, why, is_closed = "connecting", journal.begun_at, "", False
    for record in journal.records:
        if record["kind"] != "event" or record["source"] != "client" or record["name"] not in _STATES:
            continue
        following = _STATES[record["name"]]
        if following != state:
            yield Span(start, record["at"], state, (state,), (state, why))
            state, start, why = following, record["at"], brief(record["data"])
        is_closed = record["data"].get("cause") == _CLOSED
    if not is_closed:
        yield Span(start, max(end, start), state, (state,), (state, why), is_open=True)


# Clients that are not ours


@dataclass
class ForeignClient:
    """A client as the server sees it."""

    name: str
    sockets: list[Span] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)


def foreign_clients(server: ServerStory, ours: set[str], end: float) -> list[ForeignClient]:
    """The clients of a server that are not ours."""
    clients: dict[str, ForeignClient] = {}
    for life in server.lives:
        _Sockets(life, ours, clients).read(end)
    return list(clients.values())


def foreign_lanes(clients: Sequence[ForeignClient]) -> list[Lane]:
    """What is drawn of them: the sockets that the server had with each."""
    lanes = []
    for client in clients[:MOST_FOREIGN_LANES]:
        rows, _ = packed(client.sockets, MOST_SOCKET_ROWS)
        made = [Row("bars", tuple(row)) for row in rows]
        loud = tuple(each for each in client.happenings if each.tone != "quiet")
        ticks = tuple(each for each in client.happenings if each.tone == "quiet")
        if loud:
            made.append(Row("marks", (), loud))
        if ticks:
            made.append(Row("ticks", (), ticks))
        count = len(client.sockets)
        lanes.append(Lane(_short(client.name), tuple(made), "1 socket" if count == 1 else f"{count} sockets"))
    rest = clients[MOST_FOREIGN_LANES:]
    if rest:
        marks = [each for client in rest for each in client.happenings]
        lanes.append(Lane(f"{len(rest)} more", (Row("ticks", (), tuple(marks)),), "clients"))
    return lanes


class _Sockets:
    """Reads the websockets of one life."""

    def __init__(self, life: LifeStory, ours: set[str], clients: dict[str, ForeignClient]) -> None:
        self._life = life
        self._ours = ours
        self._clients = clients
        self._opened: dict[int, tuple[ForeignClient, Json]] = {}
        self._given = {
            str(each["remote"]): given_client_id(each)
            for each in life.records
            if each["kind"] == "request" and is_handshake(each)
        }
        self._statuses = {each["request"]: each["status"] for each in life.records if each["kind"] == "answer"}

    def read(self, end: float) -> None:
        """Adds sockets and happenings to the clients."""
        for record in self._life.records:
            kind = record["kind"]
            if kind == "request":
                self._request(record)
            elif kind == "socket_opened":
                self._open(record)
            elif kind == "socket_closed" and record["socket"] in self._opened:
                self._close(record)
            elif kind == "message_received" and record["socket"] in self._opened:
                client, _ = self._opened[record["socket"]]
                self._happened(client, record, f"sent {_type_of(record.get('text'))}", f"{record['length']} bytes")
            elif kind == "message_sent":
                self._message(record)
        is_open = self._life.ending == "open"
        for client, opened in self._opened.values():
            until = end if is_open else self._life.end
            fate = "open" if is_open else "its life ended"
            client.sockets.append(
                self._span(opened, until, "connected" if is_open else "broken", fate, is_open=is_open)
            )

    def _client(self, client_id: str, remote: str) -> ForeignClient | None:
        if client_id in self._ours:
            return None
        name = client_id if self._given.get(remote, client_id) == client_id else "without an id"
        return self._clients.setdefault(name, ForeignClient(name))

    def _request(self, record: Json) -> None:
        """A handshake that did not lead to a websocket."""
        status = self._statuses.get(record["request"])
        if status == 101 or not is_handshake(record):
            return
        client_id = given_client_id(record)
        if client_id in self._ours:
            return
        client = self._clients.setdefault(client_id or "without an id", ForeignClient(client_id or "without an id"))
        how = "no answer" if status is None else str(status)
        self._happened(client, record, "handshake failed", how, "bad")

    def _open(self, record: Json) -> None:
        client = self._client(str(record["client_id"]), str(record["remote"]))
        if client is not None:
            self._opened[record["socket"]] = client, record
            self._happened(
                client, record, "socket opened", f"socket {record['socket']} from {record['remote']}", "good"
            )

    def _close(self, record: Json) -> None:
        client, opened = self._opened.pop(record["socket"])
        by = {"client": "closed by the client", "server": "closed by the server"}.get(record["closed_by"], "lost")
        code = "" if record["code"] is None else f", code {record['code']}"
        kind = {"client": "left", "server": "connected"}.get(record["closed_by"], "broken")
        client.sockets.append(self._span(opened, record["at"], kind, f"{by}{code}"))
        tone: Tone = "plain" if record["closed_by"] == "client" else "bad"
        self._happened(client, record, "socket closed", f"socket {record['socket']} {by}{code}", tone)

    def _message(self, record: Json) -> None:
        clients = {id(found[0]): found[0] for number in record["sockets"] if (found := self._opened.get(number))}
        for client in clients.values():
            name = str(record["type"])
            tone: Tone = "bad" if name == "execution_error" else "quiet"
            self._happened(client, record, f"got {name}", brief(record.get("data") or {}), tone)

    def _happened(self, client: ForeignClient, record: Json, what: str, details: str, tone: Tone = "quiet") -> None:
        client.happenings.append(Happening(record["at"], _short(client.name), what, details, tone))

    def _span(self, opened: Json, end: float, kind: str, fate: str, *, is_open: bool = False) -> Span:
        about = (f"socket {opened['socket']} of life {self._life.number}, client {opened['client_id']}", fate)
        return Span(opened["at"], end, kind, (f"socket {opened['socket']}",), about, is_open)


def _type_of(text: str | None) -> str:
    """The type of a message that a client has sent, if it has one."""
    if text is None:
        return "binary message"
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return "text"
    kind = message.get("type") if isinstance(message, dict) else None
    return kind if isinstance(kind, str) else "text"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:10]}…{name[-8:]}"
