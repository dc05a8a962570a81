"""A client's journal of events."""

from __future__ import annotations

import threading
from datetime import datetime, timezone

from engine_helpers import PATIENCE, finished

from ComfyMockLibrary.engine.deadline import Deadline, now, wait_until
from ComfyMockLibrary.engine.journal import Event, EventJournal


def journal_of(*names: str) -> EventJournal:
    journal = EventJournal("alice", "id-1")
    for name in names:
        journal.append(name, "server", {}, None)
    return journal


def test_events_are_kept_in_order_with_their_moment_and_origin() -> None:
    journal, before, wall = EventJournal("alice", "id-1"), now(), datetime.now(timezone.utc)
    first = journal.append("connected", "client", {"life_id": "l"}, "l")
    second = journal.append("status", "server", {"n": 1}, None)
    assert journal.since(0) == [first, second]
    assert [event.index for event in journal.since(0)] == [0, 1]
    assert (first.name, first.source, first.client, first.life_id) == ("connected", "client", "alice", "l")
    assert before <= first.at <= second.at <= now()
    assert wall <= first.wall <= second.wall


def test_a_look_from_a_position_sees_only_later_events() -> None:
    journal = journal_of("a", "b", "c")
    assert [event.name for event in journal.since(1)] == ["b", "c"]
    assert journal.since(3) == []
    assert len(journal) == 3


def test_the_cursor_moves_behind_the_last_event_or_forward_and_never_back() -> None:
    journal = journal_of("a", "b", "c")
    assert journal.cursor == 0
    journal.move_cursor(2)
    journal.move_cursor(1)
    assert journal.cursor == 2
    journal.set_cursor()
    assert journal.cursor == 3


def test_an_event_wakes_whoever_waits_for_one() -> None:
    journal, looks = journal_of(), []

    def look() -> list[Event] | None:
        looks.append(1)
        if len(looks) == 1:
            writer.start()  # which waits in turn: looks are made with the condition held
        return journal.since(0) or None

    writer = threading.Thread(target=lambda: journal.append("a", "server", {}, None))
    found = finished(lambda: wait_until(look, Deadline(PATIENCE * 5), journal.condition, interval=PATIENCE * 5))
    writer.join()
    assert found is not None
    assert [event.name for event in found] == ["a"]


def test_events_of_many_threads_have_positions_of_their_own() -> None:
    journal = journal_of()

    def append() -> None:
        for _ in range(200):
            journal.append("a", "server", {}, None)

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.index for event in journal.since(0)] == list(range(800))


def test_an_event_reads_as_its_name_and_short_data() -> None:
    event = Event(0, "executed", "server", {"node": "3", "image": b"12345", "text": "x" * 100}, 0.0, "alice")
    assert str(event).startswith(f"executed node=3 image=<5 bytes> text={'x' * 50}")
    assert len(str(event)) < 100
    assert str(Event(0, "reconnected", "client", {}, 0.0, "alice")) == "reconnected"
