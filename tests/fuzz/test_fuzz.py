"""Each target for a moment, with other inputs each time; ``run.py`` does it for as long as one likes."""

from __future__ import annotations

import random

import pytest
from run import fuzz
from targets import TARGETS

SECONDS = 2.0


@pytest.mark.parametrize("name", TARGETS)
def test_a_moment_of_wrong_inputs_finds_nothing(name: str) -> None:
    target = TARGETS[name]()
    try:
        outcome = fuzz(target, SECONDS, seed=random.SystemRandom().randrange(10**6))
    finally:
        target.close()
    assert outcome.finding is None, f"{outcome}\n{outcome.finding}"
    assert outcome.inputs > 10
