"""A client's record: append-only events, and the cursor from which waits look on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine.deadline import Guard, now
from ComfyMockLibrary.engine.records import RecordFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ComfyMockLibrary.types import EventSource


_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Event:
    """Something that a client saw."""

    index: int
    """Position in the client's journal, from 0."""

    name: str
    """What happened: a connection event such as ``reconnected``, or the type of a server message."""

    source: EventSource
    """``client`` for its own connection state, ``server`` for a message."""

    data: Mapping[str, Any]
    """The message's data, or facts about the connection."""

    at: float
    """When it was received: monotonic seconds."""

    client: str
    """Alias of the client."""

    life_id: str | None = None
    """Life of the mock server that it came from; None if there was none, or for servers that have no life id."""

    wall: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    """The same moment on the wall clock."""

    def __str__(self) -> str:
        return f"{self.name} {brief(self.data)}".strip()


class EventJournal:
    """The events of one client. All access is guarded by ``condition``, which each new event notifies."""

    def __init__(self, client: str, client_id: str, file: Path | None = None) -> None:
        self.condition = Guard()
        self.cursor = 0
        self.file = file
        """Where it is kept, if anywhere."""
        self._client = client
        self._events: list[Event] = []
        party = {"party": "client", "client": client, "client_id": client_id}
        self._file = None if file is None else RecordFile(file, party)

    def __len__(self) -> int:
        return len(self._events)

    @property
    def lost(self) -> str | None:
        """Why the file does not have the latest events, if it has not."""
        file = self._file  # another thread may close it
        return None if file is None else file.lost

    @property
    def __enter__(self) -> Callable[[], bool]:
        return self.condition.__enter__

    @property
    def __exit__(self) -> Callable[..., None]:  # noqa: PLE0302 - what it returns takes the arguments
        return self.condition.__exit__

    def append(
        self, name: str, source: EventSource, data: Mapping[str, Any], life_id: str | None, at: float | None = None
    ) -> Event:
        """Adds an event and wakes whoever waits for one. ``at`` is when it happened; now if left out."""
        with self.condition:
            event = Event(len(self._events), name, source, data, now() if at is None else at, self._client, life_id)
            self._events.append(event)
            if self._file is not None:
                fields = {"index": event.index, "name": name, "source": source, "data": data, "life_id": life_id}
                self._file.write(event.at, "event", fields)
            self.condition.notify_all()
            return event

    def since(self, position: int) -> list[Event]:
        """The events from a position on."""
        with self.condition:
            return self._events[position:]

    def set_cursor(self) -> None:
        """Moves the cursor behind the last event: waits look only at what comes from now on."""
        with self.condition:
            self.cursor = len(self._events)

    def move_cursor(self, position: int) -> None:
        """Moves the cursor forward to a position; it never goes back."""
        with self.condition:
            self.cursor = max(self.cursor, position)

    def close(self) -> None:
        """Closes the journal's file."""
        with self.condition:
            if self._file is not None:
                self._file.close()
                self._file = None


def brief(data: Mapping[str, Any]) -> str:
    """Data in a line: what tells one event from another. What is nested deeper or wider is left to the journal."""
    return " ".join(f"{name}={_cut(value)}" for name, value in _flat(data))


def _flat(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields by dotted path, as a wait takes them; only objects with a single field are gone into."""
    for name, value in data.items():
        if isinstance(value, Mapping) and len(value) == 1:
            for path, inner in _flat(value):
                yield f"{name}.{path}", inner
        else:
            yield name, value


def _cut(value: object) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return "{…}" if value else "{}"
    if isinstance(value, list):
        return "[…]" if value else "[]"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
