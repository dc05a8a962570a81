"""Draws: functions of what they are for, and of nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mockserver.network.draws import Direction, Draws

STREAM = (7, "me", 1, Direction.to_client, "latency")


def test_a_draw_depends_on_no_other() -> None:
    forwards = [Draws(*STREAM).at(k) for k in range(100)]
    once = Draws(*STREAM)
    assert [once.at(k) for k in reversed(range(100))][::-1] == forwards


@pytest.mark.parametrize("place", range(5), ids=["seed", "client", "connection", "direction", "fault"])
def test_each_value_gives_a_stream_of_its_own(place: int) -> None:
    other = list(STREAM)
    other[place] = (8, "you", 2, Direction.to_server, "stall")[place]
    assert [Draws(*STREAM).at(k) for k in range(4)] != [Draws(*other).at(k) for k in range(4)]  # type: ignore[arg-type]


def test_values_do_not_run_into_each_other() -> None:
    one = Draws(1, "a", 11, Direction.to_client, "f").at(0)
    assert one != Draws(1, "a1", 1, Direction.to_client, "f").at(0)


def test_draws_are_even() -> None:
    draws = [Draws(*STREAM).at(k) for k in range(10_000)]
    assert all(0 <= draw < 1 for draw in draws)
    tenths = [sum(tenth / 10 <= draw < (tenth + 1) / 10 for draw in draws) for tenth in range(10)]
    assert all(850 < count < 1150 for count in tenths)


def test_any_process_draws_the_same() -> None:
    program = "from mockserver.network.draws import *;print(Draws(7, 'me', 1, Direction.to_client, 'latency').at(3))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(other.stdout) == Draws(*STREAM).at(3)


def test_a_client_id_may_be_any_text() -> None:
    assert 0 <= Draws(1, "\udcff ä", 1, Direction.to_client, "f").at(0) < 1
