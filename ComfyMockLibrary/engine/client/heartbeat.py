"""When to ping, and when silence means that the server is gone. Pure: the clock is handed in."""

from __future__ import annotations


class Heartbeat:
    """Watches one connection: a ping each ``interval`` seconds; any byte received within ``timeout`` answers it."""

    def __init__(self, interval: float | None, timeout: float, now: float) -> None:
        """``interval`` None watches nothing."""
        self.timeout = timeout
        self._interval = interval
        self._next_ping = float("inf") if interval is None else now + interval
        self._unanswered_since: float | None = None

    @property
    def due_at(self) -> float:
        """When to look again; infinity for never."""
        if self._unanswered_since is None:
            return self._next_ping
        return min(self._next_ping, self._unanswered_since + self.timeout)

    def received(self) -> None:
        """Something came from the server: it is alive."""
        self._unanswered_since = None

    def is_dead(self, now: float) -> bool:
        """Whether a ping had waited too long for an answer at a moment. All that had come by then must be reported."""
        return self._unanswered_since is not None and now >= self._unanswered_since + self.timeout

    def needs_ping(self, now: float) -> bool:
        """Whether a ping is due."""
        return now >= self._next_ping

    def pinged(self, now: float) -> None:
        """A ping has gone out: the silence that counts begins behind it."""
        if self._interval is not None:
            self._next_ping = now + self._interval
        if self._unanswered_since is None:
            self._unanswered_since = now
