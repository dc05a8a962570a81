"""The queue of prompts, also against a model of it."""

from __future__ import annotations

import heapq
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from mockserver.comfyui.queue import PromptQueue, QueueItem


def item(number: float, prompt_id: str = "", **extra_data: Any) -> QueueItem:
    """A prompt to queue; its id says its number if nothing else is given."""
    return QueueItem(number, prompt_id or f"p{number}", {"1": {}}, extra_data, ["1"])


class Statuses:
    """A queue, and the lengths that it told at each of its changes."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.queue = PromptQueue(lambda: self.seen.append(self.queue.remaining))


@pytest.fixture
def statuses() -> Statuses:
    return Statuses()


@pytest.fixture
def queue(statuses: Statuses) -> PromptQueue:
    return statuses.queue


def test_numbers_count_from_0(queue: PromptQueue) -> None:
    assert [queue.take_number() for _ in range(3)] == [0, 1, 2]


def test_waiting_prompts_are_listed_in_heap_order(queue: PromptQueue) -> None:
    for number in (5, 4, 3, 2, 1):
        queue.put(item(number))
    assert [waiting.number for waiting in queue.waiting] == [1, 2, 4, 5, 3]  # recorded


def test_lowest_number_runs_first_and_ties_by_prompt_id(queue: PromptQueue) -> None:
    for number, prompt_id in ((2, "a"), (1.5, "d"), (1, "c"), (-3, "e"), (1, "b")):
        queue.put(item(number, prompt_id))
    taken = [queue.take() for _ in range(5)]
    assert [prompt.prompt_id for prompt in taken if prompt] == ["e", "b", "c", "d", "a"]
    assert queue.take() is None


def test_putting_and_taking_both_tell_the_same_length(statuses: Statuses, queue: PromptQueue) -> None:
    queue.put(item(1))
    queue.take()
    queue.finish()
    assert statuses.seen == [1, 1, 0]


def test_taking_from_an_empty_queue_tells_nothing(statuses: Statuses, queue: PromptQueue) -> None:
    assert queue.take() is None
    assert statuses.seen == []


@pytest.mark.parametrize(
    ("waiting", "prompt_id", "told"),
    [(["a"], "a", [0, 0]), (["a", "b"], "a", [1]), (["a"], "unknown", []), ([], "a", [])],
    ids=["only one waiting: two statuses", "one of two", "unknown", "empty queue"],
)
def test_delete_tells_the_length(
    statuses: Statuses, queue: PromptQueue, waiting: list[str], prompt_id: str, told: list[int]
) -> None:
    for number, each in enumerate(waiting):
        queue.put(item(number, each))
    statuses.seen.clear()
    assert queue.delete(prompt_id) is bool(told)
    assert statuses.seen == told


def test_the_running_prompt_cannot_be_deleted_or_cleared(statuses: Statuses, queue: PromptQueue) -> None:
    queue.put(item(1, "a"))
    running = queue.take()
    assert not queue.delete("a")
    queue.clear()
    assert queue.running is running
    assert statuses.seen == [1, 1, 1]


def test_equal_number_and_id_are_queued_with_an_error_and_without_a_status(
    statuses: Statuses, queue: PromptQueue
) -> None:
    queue.put(item(1, "twin", which="first"))
    with pytest.raises(TypeError):
        queue.put(item(1, "twin", which="second"))
    assert statuses.seen == [1]
    assert len(queue.waiting) == 2


def test_twins_neither_stop_taking_nor_deleting(queue: PromptQueue) -> None:
    for number in range(40):
        try:
            queue.put(item(number % 3, "twin", serial=number))
        except TypeError:
            continue
    assert queue.delete("twin")
    taken = []
    while (prompt := queue.take()) is not None:
        taken.append(prompt.number)
        queue.finish()
    assert taken == sorted(number % 3 for number in range(40))[1:]


@pytest.mark.parametrize(
    ("given", "owner"),
    [({}, None), ({"client_id": None}, None), ({"client_id": "c"}, "c"), ({"client_id": ["c"]}, "list ['c']")],
)
def test_owner_of_a_prompt_is_what_its_extra_data_names(given: dict[str, Any], owner: str | None) -> None:
    assert item(1, **given).client_id == owner


class QueueModel(RuleBasedStateMachine):
    """Whatever is done to a queue, it holds, orders and tells what a plain list would."""

    prompts = Bundle("prompts")

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []
        self.queue = PromptQueue(lambda: self.told.append(self.queue.remaining))
        self.waiting: list[QueueItem] = []
        self.running: QueueItem | None = None
        self.expected: list[int] = []
        self.serial = 0

    def tell(self) -> None:
        self.expected.append(len(self.waiting) + (self.running is not None))

    @rule(target=prompts, number=st.integers(-3, 3) | st.none() | st.floats(-3, 3))
    def put(self, number: float | None) -> str:
        drawn = self.queue.take_number()
        assert drawn == self.serial
        self.serial += 1
        prompt = item(drawn if number is None else number, f"p{drawn}")
        self.queue.put(prompt)
        self.waiting.append(prompt)
        self.tell()
        return prompt.prompt_id

    @precondition(lambda self: self.running is None)
    @rule()
    def take(self) -> None:
        taken = self.queue.take()
        assert taken == (min(self.waiting, key=lambda prompt: prompt[:2]) if self.waiting else None)
        if taken is not None:
            self.running = taken
            self.waiting.remove(taken)
            self.tell()

    @precondition(lambda self: self.running is not None)
    @rule()
    def finish(self) -> None:
        self.queue.finish()
        self.running = None
        self.tell()

    @rule(prompt_id=consumes(prompts))
    def delete(self, prompt_id: str) -> None:
        found = [prompt for prompt in self.waiting if prompt.prompt_id == prompt_id]
        was_only_one = len(self.waiting) == 1
        assert self.queue.delete(prompt_id) is bool(found)
        for prompt in found:
            self.waiting.remove(prompt)
            self.tell()
            if was_only_one:
                self.tell()

    @rule(target=prompts)
    def clear(self) -> Any:
        self.queue.clear()
        self.waiting = []
        self.tell()
        return multiple()

    @invariant()
    def it_holds_what_was_put_and_neither_taken_nor_removed(self) -> None:
        assert sorted(self.queue.waiting) == sorted(self.waiting)
        assert self.queue.running is self.running
        assert self.queue.remaining == len(self.waiting) + (self.running is not None)

    @invariant()
    def it_lists_a_heap(self) -> None:
        listed = self.queue.waiting
        assert all(not listed[child] < listed[(child - 1) // 2] for child in range(1, len(listed)))
        heap = list(listed)
        assert [heapq.heappop(heap) for _ in listed] == sorted(listed)

    @invariant()
    def it_told_every_change(self) -> None:
        assert self.told == self.expected


TestQueueModel = QueueModel.TestCase
