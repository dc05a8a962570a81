"""Each target with some inputs, other ones each time; ``run.py`` does it for as long as one likes."""

from __future__ import annotations

import random

import pytest
from run import fuzz
from targets import TARGETS

INPUTS = 200


@pytest.mark.parametrize("name", TARGETS)
def test_some_wrong_inputs_find_nothing(name: str) -> None:
    target = TARGETS[name]()
    try:
        outcome = fuzz(target, random.SystemRandom().randrange(10**6), inputs=INPUTS)
    finally:
        target.close()
    assert outcome.finding is None, f"{outcome}\n{outcome.finding}"
