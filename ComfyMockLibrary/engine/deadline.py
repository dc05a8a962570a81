"""The one poller and the one clock: everything that waits, waits here. Times are monotonic seconds."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")

SLICE = 0.1
"""Longest uninterrupted wait, in seconds: on Windows a wait cannot be interrupted by a test's timeout."""


def now() -> float:
    """The clock of all deadlines and journals: monotonic, in seconds, one for all processes of a machine."""
    return time.monotonic()


class Deadline:
    """A moment from which on a wait has taken too long."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._end = now() + timeout

    @property
    def remaining(self) -> float:
        """Seconds left, 0 if none."""
        return max(0.0, self._end - now())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining == 0.0


class Guard(threading.Condition):
    """A condition whose lock is never left taken, wherever the main thread is interrupted.

    Ctrl-C and the timeouts of tests raise between any two steps of Python code. ``threading.Condition`` takes its lock
    in a method that is Python code: raised right behind the taking, the exception leaves the lock taken for ever, and
    the next thread that wants it hangs. Here ``with`` gets the methods of the lock itself, which are no Python code.
    """

    def __init__(self) -> None:
        self._guard = threading.RLock()
        super().__init__(self._guard)

    @property
    def __enter__(self) -> Callable[[], bool]:
        return self._guard.__enter__

    @property
    def __exit__(self) -> Callable[..., None]:  # noqa: PLE0302 - what it returns takes the arguments
        return self._guard.__exit__

    def wait(self, timeout: float | None = None) -> bool:
        """As ever, but the lock is taken afterwards also if the wait was interrupted before it had quite begun."""
        try:
            return super().wait(timeout)
        finally:
            if not self._is_owned():  # type: ignore[attr-defined] # of the standard library, and not in its types
                self._guard.acquire()


def wait_until(
    look: Callable[[], Found | None],
    deadline: Deadline,
    condition: Guard | None = None,
    interval: float = SLICE,
) -> Found | None:
    """Looks until ``look`` finds something, at the latest once more at the deadline. None if it never did.

    ``look`` is called with the condition held, at first at once, then whenever the condition is notified, and each
    ``interval`` seconds for what notifies nobody.
    """
    condition = condition or Guard()
    with condition:
        while True:
            expired = deadline.expired
            found = look()
            if found is not None or expired:
                return found
            condition.wait(min(deadline.remaining, interval))


def pause(seconds: float) -> None:
    """Lets time pass because a test asks for it (a downtime, a settled recovery), never to be safe."""
    deadline = Deadline(seconds)
    while not deadline.expired:
        time.sleep(min(deadline.remaining, SLICE))
