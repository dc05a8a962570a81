"""Descriptions of what happens to the bytes of one direction. Times are seconds, sizes are bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from mockserver.network import flows
from mockserver.network.stalls import StallFlow

if TYPE_CHECKING:
    from mockserver.network.flows import Flow, Start

LONGEST_DRAW = 1 - 2**-20
"""Draws for distributions without an end are cut here: a delay has one."""

PARETO_SHAPE = 3.0


class Distribution(Enum):
    """How delays scatter."""

    fixed = "fixed"
    uniform = "uniform"
    normal = "normal"
    lognormal = "lognormal"
    pareto = "pareto"


@dataclass(frozen=True)
class Stage:
    """Something that happens to bytes."""

    def flow(self, start: Start) -> Flow:
        """A flow that does it, from its beginning."""
        raise NotImplementedError

    @property
    def draws(self) -> bool:
        """Whether chance plays a part."""
        return False


@dataclass(frozen=True)
class Latency(Stage):
    """Delays bytes, in order: nothing arrives before what was sent earlier."""

    delay: float
    jitter: float = 0.0
    """``uniform``: most that a delay is off; ``normal``: standard deviation; ``lognormal`` and ``pareto``: mean of what
    comes on top of ``delay``, mostly little and sometimes much."""

    distribution: Distribution = Distribution.uniform

    def __post_init__(self) -> None:
        """Raises ValueError if a time is negative."""
        _not_negative("A delay", self.delay)
        _not_negative("Jitter", self.jitter)

    def flow(self, start: Start) -> Flow:
        """Delays."""
        return flows.LatencyFlow(self if self.draws else Latency(self.delay), start)

    @property
    def draws(self) -> bool:
        """With jitter."""
        return self.jitter > 0 and self.distribution is not Distribution.fixed

    def delay_of(self, draw: float) -> float:
        """The delay that belongs to a draw in [0, 1)."""
        return max(0.0, self.delay + self.jitter * _scatter(self.distribution, min(draw, LONGEST_DRAW)))


def _scatter(distribution: Distribution, draw: float) -> float:
    if distribution is Distribution.uniform:
        return 2 * draw - 1
    if distribution is Distribution.pareto:  # Lomax: starts at 0, and has mean 1 for this scale
        return (PARETO_SHAPE - 1) * (math.pow(1 - draw, -1 / PARETO_SHAPE) - 1)
    if distribution is Distribution.fixed:
        return 0.0
    normal = NormalDist().inv_cdf(max(draw, 1 - LONGEST_DRAW))
    return normal if distribution is Distribution.normal else math.exp(normal - 0.5)


@dataclass(frozen=True)
class Bandwidth(Stage):
    """Lets so many bytes through in a second."""

    bytes_per_second: float

    def __post_init__(self) -> None:
        """Raises ValueError if nothing would ever get through."""
        if not 0 < self.bytes_per_second < math.inf:
            raise ValueError(f"A bandwidth is above 0 bytes per second, not {self.bytes_per_second}.")

    def flow(self, start: Start) -> Flow:
        """Slows down."""
        return flows.BandwidthFlow(self, start)


@dataclass(frozen=True)
class Slicer(Stage):
    """Writes bytes in small portions of ``size``, give or take up to ``variation``, with a ``delay`` after each."""

    size: int
    variation: int = 0
    delay: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError if a portion could be empty."""
        if not 0 <= self.variation < self.size:
            raise ValueError(f"A slice of {self.size} bytes cannot vary by {self.variation}: it has at least one byte.")
        _not_negative("A delay", self.delay)

    def flow(self, start: Start) -> Flow:
        """Slices."""
        return flows.SlicerFlow(self, start)

    @property
    def draws(self) -> bool:
        """With a variation."""
        return self.variation > 0


@dataclass(frozen=True)
class Stall(Stage):
    """Packet loss as an application sees it: bytes come late, and all of them come. ``loss`` is a share of 1."""

    loss: float

    def __post_init__(self) -> None:
        """Raises ValueError if the loss is no share."""
        if not 0 <= self.loss <= 1:
            raise ValueError(f"A loss is a share from 0 to 1, not {self.loss}.")

    def flow(self, start: Start) -> Flow:
        """Stalls."""
        return StallFlow(self, start)

    @property
    def draws(self) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class Hold(Stage):
    """A partition that heals: bytes and FIN wait until the fault ends; nothing is lost."""

    def flow(self, start: Start) -> Flow:
        """Holds."""
        return flows.HoldFlow(start)


@dataclass(frozen=True)
class Silence(Stage):
    """Half-open: bytes vanish while the connection stays. FIN passes only after the fault has ended."""

    def flow(self, start: Start) -> Flow:
        """Swallows."""
        return flows.SilenceFlow(start)


@dataclass(frozen=True)
class Cut(Stage):
    """Ends the connection after so many bytes of this direction; with 0 bytes at once, idle or not."""

    after: int
    ending: Literal["reset", "fin"] = "reset"

    def __post_init__(self) -> None:
        """Raises ValueError if the place is before the beginning."""
        if self.after < 0 or self.ending not in {"reset", "fin"}:
            raise ValueError(f"No connection can be cut after {self.after} bytes with {self.ending!r}.")

    def flow(self, start: Start) -> Flow:
        """Cuts."""
        return flows.CutFlow(self, start)


@dataclass(frozen=True)
class StopReading(Stage):
    """Reads no further at once, so that the kernel's buffers fill and the sender is stopped by TCP itself."""

    def flow(self, start: Start) -> Flow:
        """Stops."""
        return flows.StopReadingFlow(start)


@dataclass(frozen=True)
class SlowClose(Stage):
    """Delays the end of the connection (FIN), and no byte."""

    delay: float

    def __post_init__(self) -> None:
        """Raises ValueError if the time is negative."""
        _not_negative("A delay", self.delay)

    def flow(self, start: Start) -> Flow:
        """Delays the end."""
        return flows.SlowCloseFlow(self, start)


def _not_negative(what: str, seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{what} is at least 0 seconds, not {seconds}.")
