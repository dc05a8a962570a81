"""Stages on simulated time."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from mockserver.network.draws import Direction, Draws
from mockserver.network.flows import Flow, Item, Start

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mockserver.network.stages import Stage


class Simulated:
    """A stage's flow, and what it has given when."""

    def __init__(self, stage: Stage, seed: int = 1, client: str = "me", **options: Any) -> None:
        self.strikes: list[dict[str, Any]] = []
        draws = Draws(seed, client, 1, Direction.to_client, "fault")
        self.flow: Flow = stage.flow(Start(draws, 0.0, self.strikes.append, **options))
        self.given: list[tuple[float, Item]] = []
        self._now = 0.0

    def until(self, now: float) -> None:
        """Lets time go on, in the steps that the flow asks for."""
        for step in itertools.count():
            due = self.flow.due()
            if due is None or due > now:
                self._now = max(self._now, now)
                return
            before = len(self.given)
            self._now = max(self._now, due)
            while (item := self.flow.give(self._now)) is not None:
                self.given.append((self._now, item))
            assert len(self.given) > before or self.flow.due() != due, "It is due and gives nothing"
            assert step < 1_000_000

    def take(self, item: Item, now: float) -> None:
        """Something comes."""
        self.until(now)
        self.flow.take(item, now)
        self.until(now)

    def run(self, arrivals: Iterable[tuple[float, Item]], end: float = 1e9) -> Simulated:
        """All that comes, and time until the end."""
        for now, item in arrivals:
            self.take(item, now)
        self.until(end)
        return self

    @property
    def bytes(self) -> bytes:
        """What was given."""
        return b"".join(item for _, item in self.given if isinstance(item, bytes))

    @property
    def times(self) -> list[float]:
        """When."""
        return [now for now, _ in self.given]


def split(data: bytes, *lengths: int) -> list[bytes]:
    """The data in pieces of these lengths, over and over."""
    pieces = []
    lengths_again = itertools.cycle(lengths)
    while data:
        length = next(lengths_again)
        pieces.append(data[:length])
        data = data[length:]
    return pieces


def at_once(data: bytes, *lengths: int) -> list[tuple[float, Item]]:
    """Arrivals at time 0, in pieces of these lengths."""
    return [(0.0, piece) for piece in split(data, *lengths)]
