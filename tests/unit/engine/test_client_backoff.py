"""Delays between attempts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.types import BackoffStrategy

strategies = st.sampled_from(BackoffStrategy)
seconds = st.floats(0, 1e6)


def delays(backoff: Backoff, count: int = 5, seed: int = 1) -> list[float]:
    randomness = random.Random(seed)
    return [backoff.delay(attempt, randomness) for attempt in range(1, count + 1)]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (BackoffStrategy.exponential, [1, 2, 4, 8, 10]),
        (BackoffStrategy.linear, [1, 2, 3, 4, 5]),
        (BackoffStrategy.constant, [1, 1, 1, 1, 1]),
        (lambda attempt: attempt * 10.0 - 15.0, [0, 5, 10, 10, 10]),
    ],
)
def test_each_strategy_has_its_shape_up_to_the_longest_delay(strategy: BackoffStrategy, expected: list[float]) -> None:
    assert delays(Backoff(strategy, base_delay=1.0, max_delay=10.0)) == expected


@given(strategies, seconds, seconds, st.floats(0, 1), st.integers(1, 10_000), st.integers())
def test_no_delay_is_negative_or_longer_than_the_longest(
    strategy: BackoffStrategy, base: float, longest: float, jitter: float, attempt: int, seed: int
) -> None:
    assert 0 <= Backoff(strategy, base, longest, jitter).delay(attempt, random.Random(seed)) <= longest


@given(st.floats(0, 1), st.integers(), st.integers(1, 8))
def test_jitter_stays_within_its_share_of_the_delay(jitter: float, seed: int, attempt: int) -> None:
    plain = Backoff(base_delay=1.0, max_delay=1e9).delay(attempt, random.Random(seed))
    varied = Backoff(base_delay=1.0, max_delay=1e9, jitter=jitter).delay(attempt, random.Random(seed))
    assert plain * (1 - jitter) <= varied <= plain * (1 + jitter)


def test_jitter_varies_in_both_directions() -> None:
    varied = delays(Backoff(BackoffStrategy.constant, base_delay=1.0, jitter=0.5), count=100)
    assert min(varied) < 0.8
    assert max(varied) > 1.2


def test_the_same_seed_gives_the_same_delays_and_another_seed_others() -> None:
    backoff = Backoff(jitter=1.0)
    assert delays(backoff, seed=3) == delays(backoff, seed=3) != delays(backoff, seed=4)


def test_without_jitter_the_randomness_is_left_alone() -> None:
    randomness = random.Random(1)
    Backoff().delay(3, randomness)
    assert randomness.random() == random.Random(1).random()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"base_delay": -0.1}, "Delays cannot be negative"),
        ({"max_delay": -1.0}, "Delays cannot be negative"),
        ({"jitter": 1.1}, "give a number from 0 to 1"),
        ({"jitter": -0.1}, "give a number from 0 to 1"),
    ],
)
def test_settings_without_meaning_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Backoff(**wrong)  # type: ignore[arg-type]
