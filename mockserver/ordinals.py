"""Counts what each client has had, without growing with every client that there has ever been."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REMEMBERED = 10_000
"""How many clients are remembered that have nothing open: one that stays away while as many others come counts from 1
again. What an outage needs is far below that, what a load test with ever new client ids makes is far above."""


class Ordinals:
    """The next ordinal of each client, from 1."""

    def __init__(self, present: Callable[[], Iterable[str]], remembered: int = REMEMBERED) -> None:
        """``present`` gives the clients that have something open: they are never forgotten."""
        self._present = present
        self._remembered = remembered
        self._counts: dict[str, int] = {}
        """Whose turn was longest ago comes first."""
        self._full_at = 2 * remembered

    def __len__(self) -> int:
        """How many clients it knows."""
        return len(self._counts)

    def next(self, client: str) -> int:
        """Counts one more of a client."""
        number = self._counts.pop(client, 0) + 1
        if len(self._counts) >= self._full_at:
            self._forget()
        self._counts[client] = number
        return number

    def _forget(self) -> None:
        """All at once, as it takes a look at everybody who is present."""
        present = set(self._present())
        for client in list(islice(self._counts, len(self._counts) - self._remembered)):
            if client not in present:
                del self._counts[client]
        self._full_at = len(self._counts) + self._remembered
