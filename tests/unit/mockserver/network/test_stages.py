"""What each stage does to bytes, on simulated time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some
from simulated import Simulated, at_once, split
from wired import pattern

from mockserver.network.flows import Mark
from mockserver.network.stages import (
    Bandwidth,
    Cut,
    Distribution,
    Hold,
    Latency,
    Silence,
    Slicer,
    SlowClose,
    Stage,
    Stall,
    StopReading,
)

LOSSLESS = [
    Latency(0.05),
    Latency(0.05, 0.05),
    Latency(0.01, 0.02, Distribution.normal),
    Latency(0.01, 0.02, Distribution.lognormal),
    Latency(0.01, 0.02, Distribution.pareto),
    Bandwidth(50_000),
    Bandwidth(250),
    Slicer(100),
    Slicer(7, 6, 0.001),
    Stall(0.1),
    Stall(1.0),
    SlowClose(0.5),
    Cut(1_000_000),
]
HOLDING = [Hold(), StopReading()]
DATA = pattern(9000)


@pytest.mark.parametrize("stage", LOSSLESS, ids=str)
@given(
    lengths=some.lists(some.integers(1, 5000), min_size=1, max_size=5),
    gap=some.sampled_from([0.0, 0.001, 0.02, 0.3]),
    taken_away=some.none() | some.integers(0, 20),
)
def test_no_byte_is_lost_or_reordered_also_when_it_is_taken_away(
    stage: Stage, lengths: list[int], gap: float, taken_away: int | None
) -> None:
    pieces = split(DATA, *lengths)
    simulated = Simulated(stage)
    for number, piece in enumerate(pieces[:taken_away]):
        simulated.take(piece, number * gap)
    if taken_away is not None:
        released = b"".join(item for item in simulated.flow.release() if isinstance(item, bytes))
        assert simulated.bytes + released == b"".join(pieces[:taken_away])
        assert simulated.flow.held == 0
        return
    assert simulated.flow.held == len(DATA) - len(simulated.bytes)
    simulated.take(Mark.CLOSE, len(pieces) * gap)
    simulated.until(1e9)
    assert simulated.bytes == DATA
    assert simulated.given[-1][1] is Mark.CLOSE
    assert simulated.times == sorted(simulated.times)
    assert simulated.flow.held == 0


def test_latency_is_added_to_each_byte() -> None:
    simulated = Simulated(Latency(0.05)).run([(1.0, b"a"), (1.01, b"b"), (2.0, Mark.END)])
    assert simulated.given == [(1.05, b"a"), (pytest.approx(1.06), b"b"), (2.05, Mark.END)]


@pytest.mark.parametrize("distribution", list(Distribution), ids=lambda each: each.value)
def test_jitter_is_distributed_as_said(distribution: Distribution) -> None:
    stage = Latency(1.0, 0.1, distribution)
    delays = sorted(stage.delay_of((k + 0.5) / 10_000) for k in range(10_000))
    mean, median = sum(delays) / len(delays), delays[5000]
    assert all(0 <= delay < 10 for delay in delays)
    match distribution:
        case Distribution.fixed:
            assert set(delays) == {1.0}
        case Distribution.uniform:
            assert (round(delays[0], 2), round(median, 2), round(delays[-1], 2)) == (0.9, 1.0, 1.1)
        case Distribution.normal:
            assert median == pytest.approx(1.0, abs=0.001)
            assert delays[8413] == pytest.approx(1.1, abs=0.001)
        case Distribution.lognormal | Distribution.pareto:
            assert mean == pytest.approx(1.1, abs=0.005)
            assert delays[0] >= 1.0
            assert median < mean


def test_jitter_never_reorders() -> None:
    simulated = Simulated(Latency(0.1, 0.1)).run([(number * 0.02, b"%04d" % number) for number in range(500)])
    assert simulated.bytes == b"".join(b"%04d" % number for number in range(500))
    late = [now - number * 0.02 for number, now in enumerate(simulated.times)]
    assert min(late) < 0.05
    assert 0.15 < max(late) <= 0.2 + 1e-9


@pytest.mark.parametrize("stage", [Latency(0.1, 0.1), Slicer(50, 30, 0.01), Stall(0.1)], ids=str)
def test_draws_do_not_depend_on_how_bytes_are_read(stage: Stage) -> None:
    data = pattern(100_000)
    whole, halves, small = (
        Simulated(stage).run(at_once(data, *lengths)) for lengths in ((100_000,), (1460, 1000), (7, 300, 1461, 5000))
    )
    assert whole.strikes == halves.strikes == small.strikes
    assert _when(whole) == _when(halves) == _when(small)


def _when(simulated: Simulated) -> list[float]:
    """When each segment's first byte was given; where slices end."""
    times: list[float] = []
    offset = 0
    for now, item in simulated.given:
        assert isinstance(item, bytes)
        times += [now] * (-(-(offset + len(item)) // 1460) - -(-offset // 1460))
        offset += len(item)
    return times if isinstance(simulated.flow, type(Simulated(Latency(0.1)).flow)) else []


def test_slices_end_at_the_same_places_however_bytes_are_read() -> None:
    data = pattern(10_000)
    ends = []
    for lengths in ((10_000,), (333, 1000)):
        offset, found = 0, set()
        for _, item in Simulated(Slicer(50, 30)).run(at_once(data, *lengths)).given:
            assert isinstance(item, bytes)
            offset += len(item)
            found.add(offset)
        ends.append(found)
    assert ends[0] <= ends[1]
    assert len(ends[1] - ends[0]) <= 20  # where a read ends, what there is goes out


def test_slices_have_their_sizes_and_pauses() -> None:
    simulated = Simulated(Slicer(50, 10, 0.01)).run(at_once(DATA, len(DATA)))
    sizes = [len(item) for _, item in simulated.given if isinstance(item, bytes)][:-1]
    assert (min(sizes), max(sizes)) == (40, 60)
    pauses = {round(later - earlier, 9) for earlier, later in zip(simulated.times, simulated.times[1:], strict=False)}
    assert pauses == {0.01}


def test_bandwidth_lets_bytes_through_in_portions_of_10_ms() -> None:
    simulated = Simulated(Bandwidth(10_000)).run(at_once(DATA, 2000))
    assert simulated.times[-1] == pytest.approx(0.9)
    assert {len(item) for _, item in simulated.given if isinstance(item, bytes)} == {100}
    assert simulated.times[0] == pytest.approx(0.01)


def test_an_idle_link_saves_no_bandwidth_up() -> None:
    simulated = Simulated(Bandwidth(1000)).run([(0.0, b"x" * 10), (100.0, b"x" * 100)])
    assert simulated.times[-1] == pytest.approx(100.1)


@pytest.mark.parametrize("stage", HOLDING, ids=str)
def test_what_is_held_is_complete(stage: Stage) -> None:
    simulated = Simulated(stage).run([(0.0, b"one"), (1.0, b"two"), (2.0, Mark.END)])
    assert simulated.given == []
    assert simulated.flow.held == 6
    assert simulated.flow.release() == [b"one", b"two", Mark.END]
    assert simulated.strikes == [{}]


def test_only_stop_reading_stops_reading() -> None:
    assert Simulated(StopReading()).flow.stops_reading
    assert not any(Simulated(stage).flow.stops_reading for stage in (*LOSSLESS, Hold(), Silence()))


def test_silence_forgets_bytes_and_keeps_the_end() -> None:
    simulated = Simulated(Silence()).run([(0.0, b"one"), (1.0, Mark.END), (2.0, Mark.LOST)])
    assert simulated.given == []
    assert simulated.flow.held == 0
    assert simulated.flow.release() == [Mark.END, Mark.LOST]


@pytest.mark.parametrize(("ending", "mark"), [("reset", Mark.RESET), ("fin", Mark.CLOSE)])
@pytest.mark.parametrize("lengths", [(10,), (3,), (4, 100)])
def test_a_cut_is_exact(ending: str, mark: Mark, lengths: tuple[int, ...]) -> None:
    simulated = Simulated(Cut(7, ending)).run(at_once(b"0123456789", *lengths))  # type: ignore[arg-type]
    assert simulated.bytes == b"0123456"
    assert simulated.given[-1][1] is mark
    assert simulated.strikes == [{"offset": 7, "ending": ending}]


def test_a_cut_after_nothing_needs_no_byte() -> None:
    assert Simulated(Cut(0)).run([]).given == [(0.0, Mark.RESET)]


def test_slow_close_delays_the_end_alone() -> None:
    simulated = Simulated(SlowClose(0.5)).run([(1.0, b"a"), (2.0, Mark.CLOSE)])
    assert simulated.given == [(1.0, b"a"), (2.5, Mark.CLOSE)]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Latency(-1.0),
        lambda: Latency(1.0, -1.0),
        lambda: Latency(float("nan")),
        lambda: Bandwidth(0),
        lambda: Bandwidth(float("inf")),
        lambda: Slicer(0),
        lambda: Slicer(5, 5),
        lambda: Slicer(5, 0, -1.0),
        lambda: Stall(-0.1),
        lambda: Stall(1.1),
        lambda: Cut(-1),
        lambda: SlowClose(-1.0),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"\d|nan|inf"):
        wrong()  # type: ignore[operator]
