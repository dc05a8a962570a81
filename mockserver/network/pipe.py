"""A one-way pipe: bytes and marks go in, through flows, and come out when they are due."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockserver.network.flows import Flow, Item

HIGH_WATER = 256 * 1024
"""Bytes held in a pipe from which on nothing more is to be read into it."""

LOW_WATER = 128 * 1024
"""Bytes held in a pipe down from which reading goes on."""


class Pipe:
    """Keeps the order of what it is fed. Whoever feeds it has to stop while ``is_full``."""

    def __init__(self, sink: Callable[[Item], None], on_change: Callable[[], None]) -> None:
        """``sink`` takes what comes out; ``on_change`` is called after anything has gone in or come out."""
        self.is_full = False
        self._sink = sink
        self._on_change = on_change
        self._flows: list[Flow] = []
        self._ready: deque[Item] = deque()
        self._is_blocked = False
        self._is_pumping = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """Bytes that are in the pipe."""
        waiting = sum(len(item) for item in self._ready if isinstance(item, bytes))
        return waiting + sum(flow.held for flow in self._flows)

    @property
    def is_idle(self) -> bool:
        """Whether it does nothing and holds nothing, not even a mark: it can be taken away."""
        return not self._flows and not self._ready

    @property
    def is_blocked(self) -> bool:
        """Whether the sink takes nothing at present."""
        return self._is_blocked

    def feed(self, item: Item) -> None:
        """Puts the next item in."""
        if self._is_open_pipe():
            self._sink(item)
            return
        self._pass_on(0, item, self._loop.time())
        self._pump()

    def _is_open_pipe(self) -> bool:
        """Whether what goes in comes out at once: without faults there is nothing to reckon."""
        return not (self._flows or self._ready or self._is_blocked or self._is_pumping or self.is_full)

    def block(self) -> None:
        """Lets nothing out until ``unblock``."""
        self._is_blocked = True

    def unblock(self) -> None:
        """Lets out what is ready, and what follows."""
        self._is_blocked = False
        self._pump()

    def set_flows(self, flows: Sequence[Flow]) -> None:
        """Goes on with these flows: some of the present ones, and new ones at the end.

        What was held by one that is taken away goes on through those behind it, before anything that came later.
        """
        now = self._loop.time()
        for index in reversed(range(len(self._flows))):
            if self._flows[index] not in flows:
                released = self._flows.pop(index).release()
                for item in released:
                    self._pass_on(index, item, now)
        self._flows += [flow for flow in flows if flow not in self._flows]
        self._pump()

    def discard(self) -> None:
        """Forgets everything that is held."""
        for flow in self._flows:
            flow.release()
        self._ready.clear()

    def _pass_on(self, index: int, item: Item, now: float) -> None:
        if index < len(self._flows):
            self._flows[index].take(item, now)
        else:
            self._ready.append(item)

    def _pump(self) -> None:
        if self._is_pumping:  # the sink feeds, blocks or empties the very pipe that it takes from
            return
        self._is_pumping = True
        try:
            self._move(self._loop.time())
            while self._ready and not self._is_blocked:
                self._sink(self._ready.popleft())
                self._move(self._loop.time())
        finally:
            self._is_pumping = False
        self._set_timer()
        held = self.held
        stopped = any(flow.stops_reading for flow in self._flows)
        self.is_full = stopped or held >= HIGH_WATER or (self.is_full and held > LOW_WATER)
        self._on_change()

    def _move(self, now: float) -> None:
        for index, flow in enumerate(self._flows):
            while (item := flow.give(now)) is not None:
                self._pass_on(index + 1, item, now)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = min((due for flow in self._flows if (due := flow.due()) is not None), default=None)
        if due is not None:
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._pump()

    def close(self) -> None:
        """Forgets everything, for good."""
        self.discard()
        self._flows.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
