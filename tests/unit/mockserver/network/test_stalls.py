"""The model of packet loss, against what real loss was measured to do to messages."""

from __future__ import annotations

import pytest
from simulated import Simulated, at_once
from wired import pattern

from mockserver.network.stages import Stall
from mockserver.network.stalls import FIRST_TIMEOUT

MESSAGES = 20_000
GAP = 0.02
SEEDS = range(5)


def delays(loss: float, seed: int) -> list[float]:
    """How late messages of 100 bytes come that are sent each 20 ms."""
    simulated = Simulated(Stall(loss), seed)
    simulated.run([(number * GAP, b"%0100d" % number) for number in range(MESSAGES)])
    assert simulated.bytes == b"".join(b"%0100d" % number for number in range(MESSAGES))
    return [now - number * GAP for number, now in enumerate(completed(simulated))]


def completed(simulated: Simulated) -> list[float]:
    """When each message of 100 bytes was complete."""
    times: list[float] = []
    offset = 0
    for now, item in simulated.given:
        assert isinstance(item, bytes)
        offset += len(item)
        times += [now] * (offset // 100 - len(times))
    return times


# Measured on Linux 6.18 with nftables, four runs each: late 0.8-3.8, 6-19, 24-37 %; p99 0.2-130, 99-564, 520-1380 ms.
@pytest.mark.parametrize(
    ("loss", "late", "p99"),
    [(0.01, (0.8, 3.8), (0.2, 130)), (0.05, (6, 19), (99, 564)), (0.1, (24, 37), (520, 1380))],
)
def test_messages_are_as_late_as_under_real_loss(
    loss: float, late: tuple[float, float], p99: tuple[float, float]
) -> None:
    runs = [delays(loss, seed) for seed in SEEDS]
    shares = [100 * sum(delay > 0.005 for delay in run) / MESSAGES for run in runs]
    worst = [1000 * sorted(run)[int(0.99 * MESSAGES)] for run in runs]
    assert late[0] <= sum(shares) / len(shares) <= late[1], (shares, worst)
    assert p99[0] <= sum(worst) / len(worst) <= p99[1], (shares, worst)


def test_a_lost_message_comes_with_the_next_one_that_gets_through() -> None:
    simulated = Simulated(Stall(0.01))
    simulated.run([(number * GAP, b"%0100d" % number) for number in range(2000)])
    first = simulated.strikes[0]["offset"] // 100
    times = completed(simulated)
    assert times[first] == times[first + 1] == pytest.approx((first + 1) * GAP)


def test_a_lone_lost_message_comes_after_200_ms_or_a_doubling_of_it() -> None:
    waits = []
    for seed in range(300):
        simulated = Simulated(Stall(0.3), seed).run([(0.0, b"x")])
        if simulated.strikes:
            waits.append(round(simulated.times[0] / FIRST_TIMEOUT))
    assert set(waits) <= {1, 3, 7, 15}
    assert waits.count(1) > waits.count(3) > waits.count(7)


def test_even_total_loss_deletes_nothing() -> None:
    simulated = Simulated(Stall(1.0)).run([(0.0, b"x")])
    assert simulated.times == [pytest.approx(15 * FIRST_TIMEOUT)]


def test_no_loss_is_no_delay() -> None:
    assert set(delays(0.0, 1)) == {0.0}


def test_bulk_is_lost_by_segments() -> None:
    data = pattern(1_000_000)
    simulated = Simulated(Stall(0.05)).run(at_once(data, 65536))
    assert simulated.bytes == data
    assert all(strike["offset"] % 1460 == 0 for strike in simulated.strikes)
    assert 20 < len(simulated.strikes) < 50


def test_connecting_takes_a_second_more_for_a_lost_syn() -> None:
    waits = set()
    for seed in range(200):
        simulated = Simulated(Stall(0.2), seed, is_new=True).run([(0.0, b"x")])
        syns = [strike for strike in simulated.strikes if "syn" in strike]
        assert simulated.times[0] >= 2 ** len(syns) - 1
        waits.add(len(syns))
    assert {0, 1, 2} <= waits
    assert all(not Simulated(Stall(0.9), seed).strikes for seed in range(20))  # not on one that was open before


def test_the_same_seed_stalls_the_same_50_times() -> None:
    arrivals = [(number * GAP, b"%0100d" % number) for number in range(300)]
    runs = [Simulated(Stall(0.1)).run(arrivals) for _ in range(50)]
    assert runs[0].strikes
    assert all(run.strikes == runs[0].strikes and run.given == runs[0].given for run in runs)
    assert Simulated(Stall(0.1), seed=2).run(arrivals).strikes != runs[0].strikes
    assert Simulated(Stall(0.1), client="you").run(arrivals).strikes != runs[0].strikes


def test_what_an_application_wrote_is_a_segment_of_its_own() -> None:
    arrivals = [(0.0, b"%0100d" % number) for number in range(2000)]
    written, read = (Simulated(Stall(0.05), whole_writes=each).run(arrivals) for each in (True, False))
    assert 70 < len(written.strikes) < 160
    assert len(read.strikes) < 20
