"""When a client pings, and when silence means that the server is gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ComfyMockLibrary.engine.client.heartbeat import Heartbeat


def heartbeat(interval: float | None = 2.0, timeout: float = 3.0) -> Heartbeat:
    return Heartbeat(interval, timeout, now=100.0)


def test_the_first_ping_is_due_after_one_interval() -> None:
    watch = heartbeat()
    assert watch.due_at == 102.0
    assert not watch.needs_ping(101.9)
    assert watch.needs_ping(102.0)
    watch.pinged(102.0)
    assert not watch.needs_ping(102.0)
    assert watch.due_at == 104.0


def test_silence_after_a_ping_means_death_after_the_timeout_and_not_before() -> None:
    watch = heartbeat()
    watch.pinged(102.0)
    assert not watch.is_dead(104.9)
    assert watch.is_dead(105.0)


def test_later_pings_do_not_put_the_end_off() -> None:
    watch = heartbeat()
    watch.pinged(102.0)
    watch.pinged(104.0)
    assert watch.due_at == 105.0
    assert watch.is_dead(105.0)


def test_anything_received_answers_all_pings() -> None:
    watch = heartbeat()
    watch.pinged(102.0)
    watch.pinged(104.0)
    watch.received()
    assert not watch.is_dead(1000.0)
    assert watch.due_at == 106.0


def test_silence_without_a_ping_means_nothing() -> None:
    assert not heartbeat().is_dead(1e9)


def test_a_late_client_sends_one_ping_not_those_it_missed() -> None:
    watch = heartbeat()
    assert watch.needs_ping(200.0)
    watch.pinged(200.0)
    assert not watch.needs_ping(200.0)
    assert not watch.is_dead(200.0)
    assert watch.due_at == 202.0


def test_without_an_interval_nothing_is_ever_due() -> None:
    watch = heartbeat(interval=None)
    assert watch.due_at == float("inf")
    assert not watch.needs_ping(1e9)
    assert not watch.is_dead(1e9)


@given(
    st.floats(0.01, 10),
    st.floats(0.01, 10),
    st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=40),
)
def test_dead_is_who_was_silent_for_the_whole_timeout_after_a_ping(
    interval: float, timeout: float, looks: list[tuple[float, bool]]
) -> None:
    watch, clock, unanswered = Heartbeat(interval, timeout, 0.0), 0.0, None
    for passed, received in looks:
        clock += passed
        if received:
            watch.received()
            unanswered = None
        assert watch.is_dead(clock) == (unanswered is not None and clock >= unanswered + timeout)
        if watch.needs_ping(clock):
            watch.pinged(clock)
            unanswered = clock if unanswered is None else unanswered
        assert clock < watch.due_at or watch.is_dead(clock)
