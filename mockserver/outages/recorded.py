"""Finds in journals what a script waits for. Pure: records in, answers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mockserver.faults.events import Occurrence, is_expected
from mockserver.faults.kinds import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockserver.outages.outage import WaitFor

Record = dict[str, Any]

CLIENT_ID = "{client_id}"
"""Stands in a script for the clientId of the client that has connected last."""

PROMPT_ID = "{prompt_id}"
"""Stands in a script for the id of a prompt: the one queued last when the script first found it."""

_CONNECTIONS = {"socket_opened": "connected", "socket_closed": "disconnected"}


class Recorded:
    """What the journals of a server's lives have said so far, in the order in which it was said."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._owners: dict[int, str] = {}
        """Whose the sockets of the latest life are, by their numbers."""
        self._requests: dict[int, Record] = {}
        """Requests of the latest life by their numbers."""
        self._occurrences: list[list[Occurrence]] = []
        self._open: set[int] = set()
        self._latest: dict[str, str] = {}
        self._prompt_id: str | None = None
        """Which prompt the script is about, once it has found one: a client may queue the next one meanwhile."""

    def __len__(self) -> int:
        return len(self._records)

    @property
    def clients(self) -> int:
        """How many websockets are open in the latest life."""
        return len(self._open)

    def add(self, record: Record) -> None:
        """Takes the next record. The first one of a journal begins a life."""
        kind = record["kind"]
        if kind == "journal":
            self._owners, self._requests, self._open = {}, {}, set()
        elif kind == "socket_opened":
            self._owners[record["socket"]] = record["client_id"]
            self._open.add(record["socket"])
            self._latest[CLIENT_ID] = record["client_id"]
        elif kind == "socket_closed":
            self._open.discard(record["socket"])
        elif kind == "request":
            self._requests[record["request"]] = record
        elif kind == "prompt" and record["state"] == "queued":
            self._latest[PROMPT_ID] = record["prompt_id"]
        self._records.append(record)
        self._occurrences.append(list(self._occurrences_of(record)))

    def filled(self, part: Any) -> Any:
        """JSON values with ``{client_id}`` and ``{prompt_id}`` replaced by the client and the prompt they stand for."""
        if isinstance(part, str):
            return self._prompt_id if part == PROMPT_ID and self._prompt_id else self._latest.get(part, part)
        if isinstance(part, list):
            return [self.filled(each) for each in part]
        return {name: self.filled(each) for name, each in part.items()} if isinstance(part, dict) else part

    def find(self, wait: WaitFor, since: int) -> int | None:
        """The position behind the record that a script waits for, looked for from a position on."""
        if wait.clients is not None:
            return len(self) if self.clients >= wait.clients else None
        seen = 0
        for position in range(since, len(self)):
            seen += self._fits(wait, position)
            if seen == wait.nth:
                if wait.prompt_id == PROMPT_ID:
                    self._prompt_id = self.filled(PROMPT_ID)
                return position + 1
        return None

    def _fits(self, wait: WaitFor, position: int) -> bool:
        record = self._records[position]
        if wait.event is not None and wait.event.startswith("fault_"):
            return record["kind"] == wait.event and wait.fault in (None, record["fault"])
        if wait.event == "request" and (record["kind"] == "answer") != (wait.status is not None):
            return False
        if wait.status is not None and wait.status != record["status"]:
            return False
        event = self._event(wait)
        return any(is_expected(event, each) for each in self._occurrences[position])

    def _event(self, wait: WaitFor) -> Event:
        return Event(
            event=wait.event or "",
            node=wait.node,
            prompt_id=self.filled(wait.prompt_id),
            value=wait.value,
            client_id=self.filled(wait.client_id),
            method=wait.method,
            path=wait.path,
        )

    def _occurrences_of(self, record: Record) -> Iterator[Occurrence]:
        """What a record says has happened: once for each client that it concerns."""
        kind = record["kind"]
        if kind == "message_sent":
            owners = {self._owners.get(socket) for socket in record["sockets"]} or {None}
            for owner in owners:
                yield Occurrence(record["type"], owner, record.get("data", {}))
        elif kind in _CONNECTIONS:
            yield Occurrence(_CONNECTIONS[kind], record["client_id"])
        elif kind in ("request", "answer"):
            request = self._requests.get(record["request"])
            if request is not None:
                path, _, query = request["path"].partition("?")
                yield Occurrence("request", _client_of(query), {"method": request["method"], "path": path})


def _client_of(query: str) -> str | None:
    from urllib.parse import parse_qs

    return next(iter(parse_qs(query).get("clientId", ())), None)
