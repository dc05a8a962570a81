"""The one poller."""

from __future__ import annotations

import random
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from engine_helpers import PATIENCE, finished, interruptions

from ComfyMockLibrary.engine import deadline
from ComfyMockLibrary.engine.deadline import Deadline, Guard, now, pause, wait_until
from ComfyMockLibrary.engine.journal import EventJournal

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_deadline_runs_out_and_then_stays_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(deadline, "now", lambda: clock[0])
    end = Deadline(2.5)
    assert (end.timeout, end.remaining, end.expired) == (2.5, 2.5, False)
    clock[0] = 102.4
    assert end.remaining == pytest.approx(0.1)
    assert not end.expired
    for moment in (102.5, 200.0):
        clock[0] = moment
        assert (end.remaining, end.expired) == (0.0, True)


def test_what_is_there_already_is_found_at_the_first_look() -> None:
    looks = []
    assert wait_until(lambda: looks.append(1) or "found", Deadline(0.0)) == "found"
    assert len(looks) == 1


@pytest.mark.parametrize("found", [0, False, "", []])
def test_only_none_means_that_nothing_was_found(found: object) -> None:
    looks: list[object] = []

    def look() -> object:
        looks.append(found)
        return found

    assert wait_until(look, Deadline(0.1)) is found
    assert len(looks) == 1


def test_there_is_a_last_look_at_the_deadline() -> None:
    end = Deadline(0.05)
    assert wait_until(lambda: "at the end" if end.expired else None, end, interval=PATIENCE) == "at the end"


def test_a_look_during_which_the_deadline_passes_is_not_the_last() -> None:
    end, looks = Deadline(0.05), []

    def look() -> str | None:
        looks.append(1)
        while not end.expired:
            pause(0.01)
        return "at the end" if len(looks) == 2 else None

    assert wait_until(look, end) == "at the end"


def test_what_never_comes_takes_the_whole_time_and_not_much_more() -> None:
    began = now()
    assert wait_until(lambda: None, Deadline(0.2), interval=PATIENCE) is None
    assert 0.2 <= now() - began < PATIENCE


def test_a_notified_condition_wakes_the_wait() -> None:
    condition, found = threading.Condition(), []

    def find() -> None:
        with condition:
            found.append("found")
            condition.notify_all()

    looks = []

    def look() -> str | None:
        looks.append(1)
        if len(looks) == 1:
            thread.start()
        return found[0] if found else None

    thread = threading.Thread(target=find)
    assert finished(lambda: wait_until(look, Deadline(PATIENCE * 5), condition, interval=PATIENCE * 5)) == "found"
    thread.join()
    assert len(looks) == 2


def test_looks_are_made_with_the_condition_held() -> None:
    condition = threading.Condition(threading.Lock())
    assert wait_until(condition._is_owned, Deadline(0.0), condition)  # type: ignore[attr-defined]


def test_what_notifies_nobody_is_found_after_an_interval() -> None:
    looks = []
    assert wait_until(lambda: looks.append(1) or (len(looks) >= 3 or None), Deadline(PATIENCE), interval=0.001)


def test_a_wait_can_be_interrupted_by_what_the_look_raises() -> None:
    def look() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait_until(look, Deadline(PATIENCE))


@pytest.mark.parametrize("seconds", [0.0, 0.15, -1.0])
def test_a_pause_takes_its_time(seconds: float) -> None:
    began = now()
    pause(seconds)
    assert seconds <= now() - began < PATIENCE


def use(journal: EventJournal) -> None:
    with journal:
        journal.since(0)


@pytest.mark.skipif(sys.platform == "win32", reason="no timers that interrupt")
@pytest.mark.parametrize(
    "action",
    [
        use,
        lambda journal: wait_until(lambda: None, Deadline(PATIENCE), journal.condition, interval=0.0),
        lambda journal: wait_until(lambda: None, Deadline(0.0), journal.condition),
    ],
    ids=["lock", "wait", "look"],
)
def test_an_interruption_at_any_moment_leaves_the_lock_free(action: Callable[[EventJournal], object]) -> None:
    draws = random.Random(0)
    with interruptions() as do_until_interrupted:
        for _ in range(200):
            journal = EventJournal("client", "id")
            do_until_interrupted(lambda journal=journal: action(journal), draws.uniform(1e-5, 2e-4))
            assert can_be_taken(journal.condition)


def can_be_taken(guard: Guard) -> bool:
    """Whether another thread gets the lock."""
    taken = []

    def take() -> None:
        taken.append(guard.acquire(timeout=PATIENCE))
        if taken == [True]:
            guard.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken == [True]
