"""What a server's journals tell about its clients, whoever they are: requests, sockets, messages, attempts.

One list per server over all its lives, read from the journal files, so that a life that is frozen or gone tells as much
as one that runs. Times are monotonic seconds, the clock of all journals of a machine.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
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

    from ComfyMockLibrary.engine.servers import Life, MockServer

    Found = TypeVar("Found")
    Made = TypeVar("Made")

Json = dict[str, Any]

Span = tuple[float, float]
"""From when to when."""

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
    """Text of the body; None if there is none, it is longer than 256 KiB, no text, or an upload of files."""
    remote: str
    """host:port that it came from."""
    digest: str | None = None
    """SHA-256 of a body that is longer than 256 KiB."""
    status: int | None = None
    """None if the answer never went out."""
    seconds: float | None = None
    """Time to the answer."""
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""
    answer_body: str | None = None

    @cached_property
    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        return _as_json(self.body)

    @cached_property
    def answer_json(self) -> Any:
        """The body of the answer as JSON; None if it is none."""
        return _as_json(self.answer_body)

    @property
    def route(self) -> str:
        """The path without ``/api``: routes are the same with it."""
        return route_of(self.path)

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
        return f"socket {self.number} of {self.client_id!r} in life {self.life}: {self._state}"

    @property
    def _state(self) -> str:
        if self.is_open:
            return "open"
        if self.closed_by == "life":
            return "ended with its life"
        if self.closed_by == "lost":
            return "lost without a close frame"
        return f"closed by the {self.closed_by} with {self.code}"


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

    def __str__(self) -> str:
        """In a few words, for failures."""
        return "refused while the server was down" if self.life is None else f"{self.outcome} in life {self.life}"


@dataclass(frozen=True)
class ConnectionLoss:
    """From the loss of a client's websocket until it had one again."""

    client_id: str
    lost_at: float
    attempts: tuple[Attempt, ...]
    back_at: float | None
    """None as long as it is not back."""

    blind_spans: tuple[Span, ...] = ()
    """When attempts are made that nobody sees."""

    unwatched_spans: tuple[Span, ...] = ()
    """Those of them in which the server was down and nobody watched its port at all."""

    @property
    def was_unwatched(self) -> bool:
        """Whether the server was down since the loss without anybody who watched its port."""
        return any(end > self.lost_at for _, end in self.unwatched_spans)

    @property
    def moments(self) -> list[float]:
        """When it was lost, and when each attempt was made."""
        return [self.lost_at, *(attempt.at for attempt in self.attempts)]

    @property
    def delays(self) -> list[float]:
        """Seconds from the loss to the first attempt, and from each attempt to the next."""
        return [later - earlier for earlier, later in pairwise(self.moments)]


class Evidence:
    """All that the journals of one server tell. Reads what is new whenever it is asked."""

    def __init__(self, server: MockServer) -> None:
        self._server = server
        self._files: dict[Path, _JournalFile] = {}
        self._lives: list[tuple[Life, _JournalFile, bool]] = []
        """All lives at the latest look, each with its journal as it was then, and whether that is all there will be."""
        self._made: dict[str, tuple[Any, list[Any]]] = {}

    def records(self, *kinds: str) -> list[tuple[int, Json]]:
        """Records of all lives in order of time, of these kinds or of all, each with the number of its life."""
        self._look()
        return self._known(*kinds)

    def _look(self) -> None:
        """Reads what is new. What is made of it must not read on: a socket is not open whose end came meanwhile."""
        lives = []
        for life in list(self._server.lives):
            has_ended = not life.is_running  # before its journal is read, or its last words could be missed
            lives.append((life, self._news(life.journal_file), has_ended))
        self._lives = lives

    def _known(self, *kinds: str) -> list[tuple[int, Json]]:
        """Records as they were at the latest look."""
        for life, journal, _ in self._lives:
            self._require_whole(life, journal)
        return [(life.number, record) for life, journal, _ in self._lives for record in journal.records(*kinds)]

    def _require_whole(self, life: Life, journal: _JournalFile) -> None:
        ended = journal.records("journal_ended")
        if ended:
            raise RuntimeError(
                f"What clients did in life {life.number} of the mock server {self._server.alias!r} is not known to "
                f"the end, for its journal has ended early: {ended[-1]['why']}. Make room for it, or give the "
                f"server another --journal-limit. Journal: {shown(life.journal_file)}."
            )

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
            for request in self._handshakes()
            if client_id in (None, request.query.get("clientId"))
        ]
        refused = [Attempt(record["at"], "refused") for record in self._seen_from_outside("connection_attempt")]
        return sorted([*answered, *refused], key=lambda attempt: attempt.at)

    def losses(self, client_id: str | None = None) -> list[ConnectionLoss]:
        """Every loss of a websocket with the attempts that came of it, oldest first.

        Without ``client_id`` all clients count as one, whatever ids they give.
        """
        sockets = self.sockets(client_id)
        attempts = self.attempts(client_id)
        unwatched, blind = self._unseen()
        losses = [
            replace(
                _loss(socket, socket.closed_at, sockets[position + 1 :], attempts),
                blind_spans=blind,
                unwatched_spans=unwatched,
            )
            for position, socket in enumerate(sockets)
            if socket.closed_at is not None and socket.closed_by != "client"
        ]
        return sorted(losses, key=lambda loss: loss.lost_at)

    def wait_for(self, look: Callable[[], Found | None], timeout: float) -> Found | None:
        """Looks until something is found, at the latest once more when the time is over."""
        return wait_until(look, Deadline(timeout), interval=LOOK_INTERVAL)

    def _news(self, path: Path) -> _JournalFile:
        """A journal as it is now."""
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = _JournalFile(path)
        file.read()
        return file

    def _seen_from_outside(self, kind: str) -> Sequence[Json]:
        """What this library has seen of the server, over all its lives."""
        return self._news(self._server.outside_file).records(kind) if self._server.lives else ()

    def _unseen(self) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        """When the server was down and nobody watched its port, and when nobody saw who came, for whatever reason.

        A watch begins a little after a life has ended, and is over a little before the next one can have the port.
        """
        begun = {record["number"]: record["at"] for record in self._seen_from_outside("life_begun")}
        watched = {record["at"] for record in self._seen_from_outside("watch_begun")}
        seen = sorted([*begun.values(), *watched])
        told = self._told_to_end()

        def until_seen(at: float) -> Span:
            position = bisect_right(seen, at)
            return at, seen[position] if position < len(seen) else float("inf")

        downtimes = [
            until_seen(max(journal.deaf_from(told.get(life.life_id, ())), begun.get(life.number, 0.0)))
            for life, journal, has_ended in self._lives
            if has_ended
        ]
        let_go = [until_seen(record["at"]) for record in self._seen_from_outside("watch_over")]
        return tuple(span for span in downtimes if span[1] not in watched), (*downtimes, *let_go)

    def _told_to_end(self) -> Mapping[str, Sequence[float]]:
        """When each life was told to end, by life id."""
        told: defaultdict[str, list[float]] = defaultdict(list)
        for order in self._seen_from_outside("order"):
            if order["order"].startswith("SIG"):
                told[order["life_id"]].append(order["at"])
        return told

    def _unless_unchanged(self, name: str, make: Callable[[], list[Made]]) -> list[Made]:
        """What was made last time, unless there are new records, or a life has ended."""
        self._look()
        state = [(len(journal), has_ended) for _, journal, has_ended in self._lives]
        known = self._made.get(name)
        if known is None or known[0] != state:
            known = self._made[name] = (state, make())
        return known[1]

    def _handshakes(self) -> list[RecordedRequest]:
        return self._unless_unchanged("handshakes", lambda: [each for each in self.requests() if each.is_handshake])

    def _make_requests(self) -> list[RecordedRequest]:
        answers = {(life, record["request"]): record for life, record in self._known("answer")}
        return [
            _request(life, record, answers.get((life, record["request"]))) for life, record in self._known("request")
        ]

    def _make_sockets(self) -> list[RecordedSocket]:
        closed = {(life, record["socket"]): record for life, record in self._known("socket_closed")}
        flags = {(life, record["socket"]): record["flags"] for life, record in self._known("feature_flags")}
        headers = self._headers_of_sockets()
        return [
            self._socket(
                life,
                record,
                closed.get((life, record["socket"])),
                flags.get((life, record["socket"])),
                headers.get((life, record["socket"]), {}),
            )
            for life, record in self._known("socket_opened")
        ]

    def _headers_of_sockets(self) -> dict[tuple[int, int], Mapping[str, str]]:
        """Headers of handshakes by life and socket. A client's port may come again, so the latest one before counts."""
        asked: dict[tuple[int, str], Mapping[str, str]] = {}
        found: dict[tuple[int, int], Mapping[str, str]] = {}
        for life, record in self._known("request", "socket_opened"):
            if record["kind"] == "request":
                asked[life, record["remote"]] = record["headers"]
            else:
                found[life, record["socket"]] = _by_lower_name(asked.get((life, record["remote"]), {}))
        return found

    def _make_messages(self) -> list[RecordedMessage]:
        owners = {(life, record["socket"]): record["client_id"] for life, record in self._known("socket_opened")}
        found = []
        for life, record in self._known("message_sent", "message_received"):
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
        ended_at = self._end_of(life) if closed is None else closed["at"]
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

    def _end_of(self, number: int) -> float | None:
        """When a life has ended: at its last sign, or when it was told to, if that was later. None while it runs."""
        life, journal, has_ended = self._lives[number - 1]
        if not has_ended:
            return None
        return max([journal.last_at, *self._told_to_end().get(life.life_id, ())])


class _JournalFile:
    """A journal file that grows. A last line without its end is left for the next look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._records: list[Json] = []
        self._by_kind: dict[str, list[Json]] = {}

    def __len__(self) -> int:
        return len(self._records)

    @property
    def last_at(self) -> float:
        """When the last record was made: nothing is known of the life after that. 0 without any."""
        at: float = self._records[-1]["at"] if self._records else 0.0
        return at

    def deaf_from(self, told: Sequence[float]) -> float:
        """From when on a life that has ended, and was told to at these moments, may have listened no more."""
        stopping: list[float] = [record["at"] for record in self.records("life") if record["state"] == "stopping"]
        return min([*stopping, *told] or [self.last_at])

    def records(self, *kinds: str) -> Sequence[Json]:
        """The records that were read, of these kinds or of all."""
        if len(kinds) == 1:
            return self._by_kind.get(kinds[0], ())
        return [each for each in self._records if each["kind"] in kinds] if kinds else self._records

    def read(self) -> None:
        """Reads what is new. Without a file there is nothing."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                new = file.read()
        except OSError:
            return
        whole, newline, _ = new.rpartition(b"\n")
        count = len(self._records)
        records = [self._record(line, number) for number, line in enumerate(whole.splitlines(), start=count + 1)]
        try:
            self._records += records
            for record in records:
                self._by_kind.setdefault(record["kind"], []).append(record)
            self._position += len(whole) + len(newline)
        except BaseException:  # interrupted: the next look takes them all
            del self._records[count:]
            self._by_kind = {}
            for record in self._records:
                self._by_kind.setdefault(record["kind"], []).append(record)
            raise

    def _record(self, line: bytes, number: int) -> Json:
        try:
            record = json.loads(line)
        except (RecursionError, ValueError):
            record = None
        if not isinstance(record, dict) or not {"at", "kind"} <= record.keys():
            raise RuntimeError(
                f"{shown(self._path)} is damaged: line {number} is no record. Nobody but the mock "
                "server may write to its journal; run again."
            )
        return record


def route_of(path: str) -> str:
    """A path without ``/api``: routes are the same with it."""
    return path.removeprefix("/api") if path.startswith("/api/") else path


def workflow_of(request: RecordedRequest) -> str | None:
    """A name for the workflow that a request queues, the same for the same one; None if it queues none."""
    if request.digest is not None:
        return request.digest
    prompt = request.json.get("prompt") if isinstance(request.json, dict) else None
    return None if prompt is None else json.dumps(prompt, sort_keys=True)


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
        headers=_by_lower_name(asked["headers"]),
        body=asked["body"],
        remote=asked["remote"],
        digest=asked.get("digest"),
        status=None if answered is None else answered["status"],
        seconds=None if answered is None else answered["seconds"],
        answer_headers={} if answered is None else _by_lower_name(answered["headers"]),
        answer_body=None if answered is None else answered["body"],
    )


def _loss(
    lost: RecordedSocket, closed_at: float, later: Sequence[RecordedSocket], attempts: Sequence[Attempt]
) -> ConnectionLoss:
    """What came of the loss of a websocket, among the sockets that opened after it.

    A server may notice the end of a websocket only after its client has noticed, and is back.
    """
    successor = next((each for each in later if _succeeds(each, lost, closed_at)), None)
    back_at = None if successor is None else successor.at
    if back_at is None or back_at >= closed_at:
        made = [each for each in attempts if closed_at <= each.at and (back_at is None or each.at <= back_at)]
    else:
        made = [each for each in attempts if lost.at < each.at <= back_at and each.client_id == lost.client_id]
    return ConnectionLoss(lost.client_id, min([closed_at, *(each.at for each in made)]), tuple(made), back_at)


def _succeeds(socket: RecordedSocket, lost: RecordedSocket, closed_at: float) -> bool:
    if socket.at >= closed_at:
        return True
    return socket.client_id == lost.client_id and (socket.closed_at is None or socket.closed_at > closed_at)


def _by_lower_name(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _as_json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (RecursionError, ValueError):
        return None


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
