"""When a client asks over HTTP, and what of the answers is news."""

from __future__ import annotations

from ComfyMockLibrary.engine.client.polling import Polling


def test_it_asks_at_once_and_then_each_interval() -> None:
    polling = Polling(2.0)
    assert polling.due_at == float("inf")
    polling.begin(10.0)
    assert polling.due_at == 10.0
    assert polling.takes_turn(10.0)
    assert not polling.takes_turn(11.9)
    assert polling.due_at == 12.0
    assert polling.takes_turn(12.0)


def test_beginning_again_changes_nothing() -> None:
    polling = Polling(2.0)
    polling.begin(10.0)
    polling.takes_turn(10.0)
    polling.begin(11.0)
    assert polling.due_at == 12.0


def test_it_asks_nothing_before_it_begins_and_after_it_ends() -> None:
    polling = Polling(2.0)
    assert not polling.takes_turn(10.0)
    polling.begin(10.0)
    polling.end()
    assert polling.due_at == float("inf")
    assert not polling.takes_turn(1000.0)


def test_without_an_interval_it_never_asks() -> None:
    polling = Polling(None)
    polling.begin(10.0)
    assert polling.due_at == float("inf")
    assert not polling.takes_turn(1000.0)


def test_a_status_is_news_when_it_changes_and_once_in_each_outage() -> None:
    polling = Polling(2.0)
    polling.begin(10.0)
    assert [polling.is_news(status) for status in ({"n": 1}, {"n": 1}, {"n": 2}, {"n": 1})] == [True, False, True, True]
    polling.end()
    polling.begin(20.0)
    assert polling.is_news({"n": 1})
