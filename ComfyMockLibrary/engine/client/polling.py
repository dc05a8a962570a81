"""When to ask over HTTP while no websocket can be had. Pure: the clock is handed in."""

from __future__ import annotations

from typing import Any


class Polling:
    """Times of the requests, and what of their answers is news."""

    def __init__(self, interval: float | None) -> None:
        """``interval`` in seconds; None never asks."""
        self._interval = interval
        self._next_at: float | None = None
        self._last_status: Any = None

    @property
    def due_at(self) -> float:
        """When to ask next; infinity for never."""
        return float("inf") if self._next_at is None else self._next_at

    def begin(self, now: float) -> None:
        """There is no websocket any more."""
        if self._interval is not None and self._next_at is None:
            self._next_at = now
            self._last_status = None

    def end(self) -> None:
        """There is a websocket again, or nobody tries to get one."""
        self._next_at = None

    def takes_turn(self, now: float) -> bool:
        """Whether it is time to ask; if so the next time is set."""
        if self._next_at is None or self._interval is None or now < self._next_at:
            return False
        self._next_at = now + self._interval
        return True

    def is_news(self, status: Any) -> bool:
        """Whether a status differs from the last one since the websocket was lost."""
        news = status != self._last_status
        self._last_status = status
        return bool(news)
