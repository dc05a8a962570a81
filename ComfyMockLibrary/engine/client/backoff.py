"""How long to wait before each reconnection attempt. Pure: randomness is seeded, the clock stays outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ComfyMockLibrary.types import BackoffStrategy, DelayFunction

if TYPE_CHECKING:
    import random

_MAX_DOUBLINGS = 64


@dataclass(frozen=True)
class Backoff:
    """Delays in seconds, by the number of the attempt.

    ``jitter`` is the share of the delay, 0 to 1, by which it varies at random in either direction. No delay is longer
    than ``max_delay``, jitter included.
    """

    strategy: BackoffStrategy | DelayFunction = BackoffStrategy.exponential
    base_delay: float = 0.1
    max_delay: float = 2.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.base_delay < 0 or self.max_delay < 0:
            raise ValueError(f"Delays cannot be negative: base_delay={self.base_delay}, max_delay={self.max_delay}.")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter={self.jitter} is no share of the delay; give a number from 0 to 1, such as 0.3.")

    def delay(self, attempt: int, randomness: random.Random) -> float:
        """Seconds to wait before an attempt, counted from 1."""
        delay = min(self._plain_delay(attempt), self.max_delay)
        if self.jitter:
            delay *= randomness.uniform(1 - self.jitter, 1 + self.jitter)
        return max(0.0, min(delay, self.max_delay))

    def _plain_delay(self, attempt: int) -> float:
        if self.strategy is BackoffStrategy.exponential:
            return self.base_delay * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS)
        if self.strategy is BackoffStrategy.linear:
            return self.base_delay * attempt
        if self.strategy is BackoffStrategy.constant:
            return self.base_delay
        return self.strategy(attempt)
