"""What a server's journals tell about its clients, whoever they are: requests, sockets, messages, attempts.

One list per server over all its lives, read from the journal files, so that a life that is frozen or gone tells as much
as one that runs. Times are monotonic seconds, the clock of all journals of a machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from ComfyMockLibrary.engine.deadline import Deadline, wait_until
from ComfyMockLibrary.engine.endpoint import split_target
from ComfyMockLibrary.engine.records import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import TypeVar

    from ComfyMockLibrary.engine.servers import MockServer

    Found = TypeVar("Found")
    Made = TypeVar("Made")

Json = dict[str, Any]

LOOK_INTERVAL = 0.01
"""Seconds between two looks at the journals while something is awaited."""


@dataclass(frozen=True)
class RecordedRequest:
    """An HTTP request with its answer, handshakes of websockets included."""

    life: int
    """Number of the life that got it, from 1."""
    number: int
    """Number of the request within its life."""
    at: float
    method: str
    path: str
    """Without its query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: str | None
    """Text of the body; None if there is none, it is longer than 256 KiB, or no text."""
    remote: str
    """host:port that it came from."""
    status: int | None = None
    """None if the answer never went out."""
    seconds: float | None = None
    """Time to the answer."""
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answer_body: str | None = None

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return None if self.body is None else json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def route(self) -> str:
        """The path without ``/api``: routes are the same with it."""
        return self.path.removeprefix("/api") if self.path.startswith("/api/") else self.path

    @property
    def is_handshake(self) -> bool:
        """Whether it asks for a websocket."""
        return self.route == "/ws" and self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def client_id(self) -> str | None:
        """The ``clientId`` of its query, or the ``client_id`` of its body."""
        if "clientId" in self.query:
            return self.query["clientId"]
        body = self.json if self.method == "POST" and self.route == "/prompt" else None
        client_id = body.get("client_id") if isinstance(body, dict) else None
        return client_id if isinstance(client_id, str) else None

    def __str__(self) -> str:
        """In one line, for failures."""
        answer = "no answer" if self.status is None else str(self.status)
        return f"{self.method} {self.path} ({answer}, life {self.life})"


@dataclass(frozen=True)
class RecordedSocket:
    """A websocket of a client."""

    life: int
    number: int
    """Number of the socket within its life."""
    at: float
    """When it opened."""
    client_id: str
    ordinal: int
    """Which socket of this client it is in its life."""
    remote: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of its handshake, by lower-case name."""
    flags: Any = None
    """Feature flags that the client has sent, if any."""
    closed_at: float | None = None
    """None while it is open."""
    code: int | None = None
    """Close code; None while it is open, or if its life ended first."""
    closed_by: str | None = None
    """``client`` or ``server`` whose close frame ended it, ``lost`` without one, ``life`` if its life ended first."""

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self.closed_at is None

    def __str__(self) -> str:
        """In one line, for failures."""
        how = "open" if self.is_open else f"closed by {self.closed_by} with {self.code}"
        return f"socket {self.number} of {self.client_id!r} in life {self.life}: {how}"


@dataclass(frozen=True)
class RecordedMessage:
    """A message on websockets, once for all its receivers."""

    life: int
    at: float
    direction: str
    """``sent`` by the server, or ``received`` from a client."""
    type: str
    """As on the wire; ``binary_1`` and so on, and ``text`` for what a client sent that has no type."""
    data: Any
    client_ids: tuple[str, ...]
    """Whom it went to, or who sent it."""


@dataclass(frozen=True)
class Attempt:
    """An attempt of a client to get a websocket."""

    at: float
    outcome: str
    """``connected``, ``refused`` (the server was down), ``unanswered``, or the HTTP status."""
    client_id: str | None = None
    life: int | None = None
    """None while the server was down."""

    @property
    def succeeded(self) -> bool:
        """Whether it has led to a websocket."""
        return self.outcome == "connected"


@dataclass(frozen=True)
class Outage:
    """From the loss of a client's websocket until it had one again."""

    client_id: str
    lost_at: float
    attempts: tuple[Attempt, ...]
    back_at: float | None
    """None as long as it is not back."""

    @property
    def delays(self) -> list[float]:
        """Seconds from the loss to the first attempt, and from each attempt to the next."""
        moments = [self.lost_at, *(attempt.at for attempt in self.attempts)]
        return [later - earlier for earlier, later in pairwise(moments)]


class Evidence:
    """All that the journals of one server tell. Reads what is new whenever it is asked."""

    def __init__(self, server: MockServer) -> None:
        self._server = server
        self._files: dict[Path, _JournalFile] = {}
        self._made: dict[str, tuple[Any, list[Any]]] = {}

    def records(self, *kinds: str) -> list[tuple[int, Json]]:
        """Records of all lives in order of time, of these kinds or of all, each with the number of its life."""
        found: list[tuple[int, Json]] = []
        for life in self._server.lives:
            file = self._files.setdefault(life.journal_file, _JournalFile(life.journal_file))
            read = file.read()
            if read and read[-1]["kind"] == "journal_ended":
                raise RuntimeError(
                    f"What clients did in life {life.number} of the mock server {self._server.alias!r} is not known to "
                    f"the end, for its journal has ended early: {read[-1]['why']}. Make room for it, or give the "
                    f"server another --journal-limit. Journal: {shown(life.journal_file)}."
                )
            found.extend((life.number, each) for each in read if not kinds or each["kind"] in kinds)
        return found

    def requests(self) -> list[RecordedRequest]:
        """Every request, oldest first."""
        return self._unless_unchanged("requests", self._make_requests)

    def sockets(self, client_id: str | None = None) -> list[RecordedSocket]:
        """Every websocket, or every one of a client, oldest first."""
        sockets = self._unless_unchanged("sockets", self._make_sockets)
        return [each for each in sockets if client_id in (None, each.client_id)]

    def messages(self) -> list[RecordedMessage]:
        """Every message either way, oldest first."""
        return self._unless_unchanged("messages", self._make_messages)

    def attempts(self, client_id: str | None = None) -> list[Attempt]:
        """Attempts to get a websocket, oldest first.

        Attempts while the server was down are known where its port was watched, and then of nobody in particular.
        """
        answered = [
            Attempt(request.at, _outcome(request), request.query.get("clientId"), request.life)
            for request in self.requests()
            if request.is_handshake and client_id in (None, request.query.get("clientId"))
        ]
        refused = [Attempt(at, "refused") for at in self._server.refused_attempts]
        return sorted([*answered, *refused], key=lambda attempt: attempt.at)

    def outages(self, client_id: str | None = None) -> list[Outage]:
        """Every loss of a websocket with the attempts that came of it, oldest first.

        Without ``client_id`` all clients count as one, whatever ids they give.
        """
        sockets = self.sockets(client_id)
        attempts = self.attempts(client_id)
        found = []
        for position, socket in enumerate(sockets):
            if socket.closed_at is None or socket.closed_by == "client":
                continue
            following = next((each for each in sockets[position + 1 :] if each.at >= socket.closed_at), None)
            back_at = None if following is None else following.at
            made = [
                each for each in attempts if each.at >= socket.closed_at and (back_at is None or each.at <= back_at)
            ]
            found.append(Outage(socket.client_id, socket.closed_at, tuple(made), back_at))
        return found

    def wait_for(self, look: Callable[[], Found | None], timeout: float) -> Found | None:
        """Looks until something is found, at the latest once more when the time is over."""
        return wait_until(look, Deadline(timeout), interval=LOOK_INTERVAL)

    def _unless_unchanged(self, name: str, make: Callable[[], list[Made]]) -> list[Made]:
        """What was made last time, unless there are new records, or a life has ended."""
        state = (len(self.records()), *(life.is_running for life in self._server.lives))
        known = self._made.get(name)
        if known is None or known[0] != state:
            known = self._made[name] = (state, make())
        return known[1]

    def _make_requests(self) -> list[RecordedRequest]:
        answers = {(life, record["request"]): record for life, record in self.records("answer")}
        return [
            _request(life, record, answers.get((life, record["request"]))) for life, record in self.records("request")
        ]

    def _make_sockets(self) -> list[RecordedSocket]:
        closed = {(life, record["socket"]): record for life, record in self.records("socket_closed")}
        flags = {(life, record["socket"]): record["flags"] for life, record in self.records("feature_flags")}
        handshakes = {(each.life, each.remote): each.headers for each in self.requests() if each.is_handshake}
        return [
            self._socket(
                life,
                record,
                closed.get((life, record["socket"])),
                flags.get((life, record["socket"])),
                handshakes.get((life, record["remote"]), {}),
            )
            for life, record in self.records("socket_opened")
        ]

    def _make_messages(self) -> list[RecordedMessage]:
        owners = {(life, record["socket"]): record["client_id"] for life, record in self.records("socket_opened")}
        found = []
        for life, record in self.records("message_sent", "message_received"):
            if record["kind"] == "message_sent":
                receivers = tuple(owners[life, number] for number in record["sockets"] if (life, number) in owners)
                message = RecordedMessage(life, record["at"], "sent", record["type"], record.get("data"), receivers)
            else:
                kind, data = _typed(record["text"])
                sender = owners.get((life, record["socket"]), "")
                message = RecordedMessage(life, record["at"], "received", kind, data, (sender,))
            found.append(message)
        return found

    def _socket(
        self, life: int, opened: Json, closed: Json | None, flags: Any, headers: Mapping[str, str]
    ) -> RecordedSocket:
        ended_at = None if closed is None else closed["at"]
        if closed is None and not self._server.lives[life - 1].is_running:
            ended_at = self._files[self._server.lives[life - 1].journal_file].last_at
        return RecordedSocket(
            life=life,
            number=opened["socket"],
            at=opened["at"],
            client_id=opened["client_id"],
            ordinal=opened["ordinal"],
            remote=opened["remote"],
            headers=headers,
            flags=flags,
            closed_at=ended_at,
            code=None if closed is None else closed["code"],
            closed_by=closed["closed_by"] if closed is not None else None if ended_at is None else "life",
        )


class _JournalFile:
    """A journal file that grows. A last line without its end is left for the next look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._records: list[Json] = []

    @property
    def last_at(self) -> float:
        """When the last record was made: nothing is known of the life after that."""
        at: float = self._records[-1]["at"]
        return at

    def read(self) -> Sequence[Json]:
        """All records."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                new = file.read()
        except OSError:
            return self._records
        whole, newline, _ = new.rpartition(b"\n")
        self._records += [
            self._record(number, line) for number, line in enumerate(whole.splitlines(), len(self._records) + 1)
        ]
        self._position += len(whole) + len(newline)
        return self._records

    def _record(self, number: int, line: bytes) -> Json:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or not {"at", "kind"} <= record.keys():
            raise RuntimeError(
                f"{shown(self._path)} is damaged: line {number} is no record. Nobody but the mock server may write to "
                "its journal; run again."
            )
        return record


def is_same_prompt(one: RecordedRequest, other: RecordedRequest) -> bool:
    """Whether two requests queue the same workflow."""
    return _graph(one) is not None and _graph(one) == _graph(other)


def _graph(request: RecordedRequest) -> Any:
    body = request.json
    return body.get("prompt") if isinstance(body, dict) else None


def sent_prompts(requests: Iterable[RecordedRequest]) -> list[RecordedRequest]:
    """The requests that queue a prompt."""
    return [each for each in requests if (each.method, each.route) == ("POST", "/prompt")]


def _request(life: int, asked: Json, answered: Json | None) -> RecordedRequest:
    path, query = split_target(asked["path"])
    return RecordedRequest(
        life=life,
        number=asked["request"],
        at=asked["at"],
        method=asked["method"],
        path=path,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers={name.lower(): value for name, value in asked["headers"].items()},
        body=asked["body"],
        remote=asked["remote"],
        status=None if answered is None else answered["status"],
        seconds=None if answered is None else answered["seconds"],
        answer_headers={} if answered is None else answered["headers"],
        answer_body=None if answered is None else answered["body"],
    )


def _outcome(handshake: RecordedRequest) -> str:
    if handshake.status is None:
        return "unanswered"
    return "connected" if handshake.status == 101 else str(handshake.status)


def _typed(text: str | None) -> tuple[str, Any]:
    """Type and data of what a client has sent, if it is a message as ComfyUI has them."""
    if text is None:
        return "binary", None
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return "text", text
    if isinstance(message, dict) and isinstance(message.get("type"), str):
        return message["type"], message.get("data")
    return "text", text
