"""The history of finished prompts."""

from __future__ import annotations

import pytest

from mockserver.comfyui import queue
from mockserver.comfyui.queue import History


@pytest.fixture
def history() -> History:
    """Five prompts, a to e."""
    history = History()
    for prompt_id in "abcde":
        history.add(prompt_id, {"of": prompt_id})
    return history


@pytest.mark.parametrize(
    ("max_items", "offset", "listed"),
    [
        (None, -1, "abcde"),
        (2, -1, "de"),
        (9, -1, "abcde"),
        (0, -1, ""),
        (-1, -1, ""),
        (None, 0, "abcde"),
        (None, 3, "de"),
        (None, 9, ""),
        (2, 1, "bc"),
        (2, 4, "e"),
        (0, 1, "b"),  # recorded: an offset gives at least one
        (2, -7, "de"),
    ],
)
def test_listing(history: History, max_items: int | None, offset: int, listed: str) -> None:
    entries = history.list(max_items, offset)
    assert list(entries) == list(listed)
    assert all(entry == {"of": prompt_id} for prompt_id, entry in entries.items())


def test_one_prompt_is_given_under_its_id(history: History) -> None:
    assert history.get("b") == {"b": {"of": "b"}}


def test_an_unknown_prompt_is_an_empty_object(history: History) -> None:
    assert history.get("unknown") == {}


def test_a_repeated_prompt_keeps_its_place(history: History) -> None:
    history.add("b", {"of": "b", "again": True})
    assert list(history.list()) == list("abcde")
    assert history.get("b")["b"]["again"]


def test_a_deleted_prompt_comes_back_at_the_end(history: History) -> None:
    history.delete(["b", "unknown"])
    assert list(history.list()) == list("acde")
    history.add("b", {})
    assert list(history.list()) == list("acdeb")


def test_clear_forgets_everything(history: History) -> None:
    history.clear()
    assert history.list() == {}


def test_the_oldest_goes_when_the_history_is_full(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "HISTORY_LIMIT", 5)
    history.add("f", {})
    assert list(history.list()) == list("bcdef")
