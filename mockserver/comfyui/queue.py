"""Queue and history of prompts: pure, in memory, without clock or I/O."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Json = dict[str, Any]

HISTORY_LIMIT = 10_000


class QueueItem(NamedTuple):
    """A prompt in the queue. Ordered by number, then by prompt id."""

    number: float
    prompt_id: str
    prompt: Json
    extra_data: Json
    outputs: list[str]

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        """Whether it runs before the other one. Never compares prompts, which have no order."""
        return self[:2] < other[:2]

    @property
    def client_id(self) -> str | None:
        """Who owns the prompt, if anybody. What is no string names an owner whom no socket can be."""
        client_id = self.extra_data.get("client_id") if isinstance(self.extra_data, dict) else None
        if client_id is None or isinstance(client_id, str):
            return client_id
        return f"{type(client_id).__name__} {client_id!r}"


class PromptQueue:
    """Waiting prompts as a heap, and the one that runs.

    ``on_change`` is called wherever the real server broadcasts a status.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.running: QueueItem | None = None
        self._waiting: list[QueueItem] = []
        self._on_change = on_change
        self._next_number = 0

    @property
    def remaining(self) -> int:
        """Prompts that wait or run."""
        return len(self._waiting) + (self.running is not None)

    @property
    def waiting(self) -> list[QueueItem]:
        """Waiting prompts in heap order, which is how ``/queue`` lists them."""
        return list(self._waiting)

    def take_number(self) -> int:
        """Draws the next number of the server-wide counter. Rejected prompts use one up too."""
        number = self._next_number
        self._next_number += 1
        return number

    def put(self, item: QueueItem) -> None:
        """Queues a prompt.

        Raises TypeError if the heap puts it under one with the same number and id: the real server queues it then
        without a status, and answers 500 (recorded).
        """
        heapq.heappush(self._waiting, item)
        position = next(position for position, waiting in enumerate(self._waiting) if waiting is item)
        if position > 0:
            tuple.__lt__(item, self._waiting[(position - 1) // 2])
        self._on_change()

    def take(self) -> QueueItem | None:
        """Makes the first waiting prompt the running one. None if there is none."""
        if not self._waiting:
            return None
        self.running = heapq.heappop(self._waiting)
        self._on_change()
        return self.running

    def finish(self) -> None:
        """Ends the running prompt. Its history entry must be written before."""
        self.running = None
        self._on_change()

    def clear(self) -> None:
        """Removes all waiting prompts."""
        self._waiting = []
        self._on_change()

    def delete(self, prompt_id: str) -> bool:
        """Removes a waiting prompt. False, and no status, if it does not wait.

        The real server empties the queue to delete the only waiting prompt, and so sends two statuses for it.
        """
        for position, item in enumerate(self._waiting):
            if item.prompt_id == prompt_id:
                if len(self._waiting) == 1:
                    self.clear()
                else:
                    del self._waiting[position]
                    heapq.heapify(self._waiting)
                self._on_change()
                return True
        return False


class History:
    """Finished prompts, oldest first, at most ``HISTORY_LIMIT``."""

    def __init__(self) -> None:
        self._entries: dict[str, Json] = {}

    def add(self, prompt_id: str, entry: Json) -> None:
        """Adds a finished prompt. A prompt id that is known keeps its place and gets the new entry."""
        if len(self._entries) >= HISTORY_LIMIT:
            del self._entries[next(iter(self._entries))]
        self._entries[prompt_id] = entry

    def get(self, prompt_id: str) -> Json:
        """The entry under its id, or an empty object."""
        return {prompt_id: self._entries[prompt_id]} if prompt_id in self._entries else {}

    def list(self, max_items: int | None = None, offset: int = -1) -> Json:
        """Entries, oldest first: the last ``max_items``, or with an offset that many from there on.

        A negative offset counts as absent. With an offset, at least one entry is given even for ``max_items=0``, as the
        real server does.
        """
        entries = list(self._entries.items())
        if offset < 0:
            offset = 0 if max_items is None else max(0, len(entries) - max_items)
        end = None if max_items is None else offset + max(1, max_items)
        return dict(entries[offset:end])

    def delete(self, prompt_ids: Iterable[str]) -> None:
        """Forgets these prompts; unknown ids are no error."""
        for prompt_id in prompt_ids:
            self._entries.pop(prompt_id, None)

    def clear(self) -> None:
        """Forgets every prompt."""
        self._entries = {}
