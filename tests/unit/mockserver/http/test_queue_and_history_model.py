"""Queue and history over HTTP against a model of them: whatever is asked in whatever order."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mockserver.settings import Settings

from .conftest import DEADLINE, Site

if TYPE_CHECKING:
    from mockserver.comfyui.execution import Step
    from mockserver.comfyui.queue import QueueItem

Json = dict[str, Any]

IDS = [str(uuid.UUID(int=number, version=4)) for number in range(4)]
WITHOUT_OUTPUT = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}}

ids = st.sampled_from(IDS)
id_lists = st.lists(ids | st.just("unknown"), max_size=3)
counts = st.none() | st.integers(-1, 4)


def preview(source: object) -> Json:
    return {"1": {"class_type": "PreviewAny", "inputs": {"source": source}}}


@dataclass(frozen=True, order=True)
class Prompt:
    """A prompt as the model knows it."""

    number: float
    prompt_id: str
    source: str = field(compare=False)


class Gate:
    """Holds each prompt at its first step until it may go on."""

    def __init__(self) -> None:
        self._permit: Future[None] = Future()
        self._held: QueueItem | None = None

    async def hold(self, item: QueueItem, _step: Step) -> None:
        if item is not self._held:
            self._held = item
            await asyncio.wrap_future(self._permit)
            self._permit = Future()

    def let_go(self) -> None:
        self._permit.set_result(None)


class QueueAndHistory(RuleBasedStateMachine):
    """A server whose prompts end when the test wants them to."""

    profile: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.site = Site(Settings(strict=True, status_interval=0.0, cache_none=True, profile=self.profile))
        self.gate = Gate()
        self.site.server.ports.step = self.gate.hold
        self.next_number = 0
        self.serial = 0
        self.waiting: list[Prompt] = []
        self.running: Prompt | None = None
        self.is_struck = False
        self.history: dict[str, tuple[Prompt, str]] = {}
        """Finished prompts and how they ended, oldest first."""

    def teardown(self) -> None:
        assert self.site.is_working
        self.site.close()

    def take_next(self) -> None:
        """What the worker does as soon as it is free."""
        self.is_struck = False
        self.running = min(self.waiting, default=None)
        if self.running is not None:
            self.waiting.remove(self.running)

    def told(self) -> tuple[list[Prompt], list[Prompt]]:
        """What ``/queue`` says of what runs and of what waits."""
        queue = self.site.get("/queue").json
        running, waiting = queue["queue_running"], queue["queue_pending"]
        assert all(len(item) == 5 and item[4] == ["1"] for item in running + waiting)
        told = [
            [Prompt(item[0], item[1], item[2]["1"]["inputs"]["source"]) for item in each] for each in (running, waiting)
        ]
        return told[0], told[1]

    def settle(self) -> None:
        """Waits until the worker has come as far as the model."""
        deadline = time.monotonic() + DEADLINE
        expected = [] if self.running is None else [self.running]
        while True:
            running, waiting = self.told()
            if running == expected and len(waiting) == len(self.waiting):
                # The worker takes any of several with the same number and id first.
                if running:
                    self.adopt(running[0], waiting)
                return
            assert time.monotonic() < deadline, f"Told: {running}, {waiting}. Expected: {expected}, {self.waiting}"

    def adopt(self, running: Prompt, waiting: list[Prompt]) -> None:
        assert self.running is not None
        known = Counter(each.source for each in [self.running, *self.waiting])
        assert Counter(each.source for each in [running, *waiting]) == known
        self.running, self.waiting = running, waiting

    @initialize(prompt_ids=st.lists(ids, max_size=5))
    def begin_with_some_history(self, prompt_ids: list[str]) -> None:
        self.run(prompt_ids)

    @rule(prompt_ids=st.lists(ids, min_size=1, max_size=3))
    def run(self, prompt_ids: list[str]) -> None:
        for prompt_id in prompt_ids:
            self.submit(None, None, prompt_id)
        while self.running is not None:
            self.finish()

    @rule(
        number=st.none() | st.integers(-2, 3) | st.sampled_from([0.5, "1", True]),
        front=st.sampled_from([None, False, True]),
        prompt_id=st.none() | ids,
    )
    def submit(self, number: Any, front: bool | None, prompt_id: str | None) -> None:
        self.serial += 1
        source = f"s{self.serial}"
        given = {"number": number, "front": front, "prompt_id": prompt_id}
        body = {"prompt": preview(source), **{name: value for name, value in given.items() if value is not None}}
        answer = self.site.post("/prompt", body)
        expected: float
        if number is not None:
            expected = float(number)
        else:
            expected = -self.next_number if front else self.next_number
            self.next_number += 1
        has_twin = any((each.number, each.prompt_id) == (expected, prompt_id) for each in self.waiting)
        if answer.status == 500:
            assert has_twin  # recorded: it is queued nevertheless
            queued_id = str(prompt_id)
        else:
            assert (answer.status, answer.json["number"], answer.json["node_errors"]) == (200, expected, {})
            queued_id = answer.json["prompt_id"]
            assert queued_id == prompt_id or (prompt_id is None and uuid.UUID(queued_id))
        self.waiting.append(Prompt(expected, queued_id, source))
        if self.running is None:
            self.take_next()
        self.settle()

    @rule()
    def submit_what_is_refused(self) -> None:
        assert self.site.post("/prompt", {"prompt": WITHOUT_OUTPUT}).status == 400
        self.next_number += 1

    @rule(
        body=st.sampled_from([b"", b"{", b"7", {"number": None, "prompt": preview(1)}, {"prompt": None, "number": 1}])
    )
    def submit_what_fails(self, body: bytes | Json) -> None:
        assert self.site.post("/prompt", body).status == 500

    @precondition(lambda self: self.running is not None)
    @rule()
    def finish(self) -> None:
        assert self.running is not None
        self.history[self.running.prompt_id] = (self.running, "error" if self.is_struck else "success")
        self.take_next()
        self.gate.let_go()
        self.settle()

    @rule(prompt_id=ids | st.sampled_from(["the running one", "", None, "unknown"]))
    def interrupt(self, prompt_id: str | None) -> None:
        running = None if self.running is None else self.running.prompt_id
        asked = running if prompt_id == "the running one" else prompt_id
        assert self.site.post("/interrupt", {} if asked is None else {"prompt_id": asked}).is_bare
        if running is not None and (not asked or asked == running):
            self.is_struck = True

    @rule(prompt_ids=id_lists)
    def delete(self, prompt_ids: list[str]) -> None:
        assert self.site.post("/queue", {"delete": prompt_ids}).is_bare
        for prompt_id in prompt_ids:
            found = [each for each in self.waiting if each.prompt_id == prompt_id]
            if found:
                self.waiting.remove(found[0])
        _, waiting = self.told()
        assert Counter(each.prompt_id for each in waiting) == Counter(each.prompt_id for each in self.waiting)
        self.waiting = waiting  # of several with one id any one may be gone

    @rule(value=st.sampled_from([True, 1, "no", False, 0, None]))
    def clear(self, value: object) -> None:
        assert self.site.post("/queue", {"clear": value}).is_bare
        if value:
            self.waiting = []

    @rule(prompt_ids=id_lists)
    def forget(self, prompt_ids: list[str]) -> None:
        assert self.site.post("/history", {"delete": prompt_ids}).is_bare
        for prompt_id in prompt_ids:
            self.history.pop(prompt_id, None)

    @precondition(lambda self: len(self.history) > 2)
    @rule()
    def forget_everything(self) -> None:
        assert self.site.post("/history", {"clear": True}).is_bare
        self.history = {}

    @rule(parts=st.lists(st.tuples(counts, counts), min_size=1, max_size=4))
    def list_parts(self, parts: list[tuple[int | None, int | None]]) -> None:
        for max_items, offset in parts:
            given = {"max_items": max_items, "offset": offset}
            query = "&".join(f"{name}={value}" for name, value in given.items() if value is not None)
            assert list(self.site.get(f"/history?{query}").json) == self.part(max_items, offset)

    def part(self, max_items: int | None, offset: int | None) -> list[str]:
        """The ids that a listing has (recorded): it stops when it has enough, which it finds out at an entry."""
        first = 0 if offset is None else offset
        if offset is None or offset < 0:
            first = 0 if max_items is None else len(self.history) - max_items
        listed: list[str] = []
        for position, prompt_id in enumerate(self.history):
            if position >= first and not (listed and max_items is not None and len(listed) >= max_items):
                listed.append(prompt_id)
        return listed

    @invariant()
    def the_queue_is_as_expected(self) -> None:
        running, waiting = self.told()
        assert running == ([] if self.running is None else [self.running])
        assert Counter(waiting) == Counter(self.waiting)
        assert all(not waiting[child] < waiting[(child - 1) // 2] for child in range(1, len(waiting)))
        remaining = self.site.get("/prompt").json["exec_info"]["queue_remaining"]
        assert remaining == len(waiting) + len(running)

    @invariant()
    def the_history_is_as_expected(self) -> None:
        listed = self.site.get("/history").json
        assert list(listed) == list(self.history)
        for prompt_id, (prompt, ended) in self.history.items():
            entry = listed[prompt_id]
            assert entry["prompt"][:3] == [prompt.number, prompt_id, preview(prompt.source)]
            assert entry["status"]["status_str"] == ended
            assert entry["status"]["completed"] is (ended == "success")
            assert entry["outputs"] == ({"1": {"text": [prompt.source]}} if ended == "success" else {})

    @invariant()
    def one_prompt_is_found_by_its_id(self) -> None:
        for prompt_id in [*list(self.history)[-1:], "unknown", *(each.prompt_id for each in self.waiting[:1])]:
            expected = [prompt_id] if prompt_id in self.history else []
            assert list(self.site.get(f"/history/{prompt_id}").json) == expected


class OfTheRecordedVersion(QueueAndHistory):
    profile = "0.3"


class OfTheLatestVersion(QueueAndHistory):
    profile = "0.38"

    @invariant()
    def every_prompt_is_a_job(self) -> None:
        jobs = self.site.get("/api/jobs?sort_order=asc").json["jobs"]
        finished = [
            (prompt_id, "completed" if e == "success" else "cancelled") for prompt_id, (_, e) in self.history.items()
        ]
        queued = [(each.prompt_id, "pending") for each in self.waiting]
        running = [] if self.running is None else [(self.running.prompt_id, "in_progress")]
        assert Counter((job["id"], job["status"]) for job in jobs) == Counter(finished + queued + running)


_bounded = settings(max_examples=20, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow])
TestRecorded = OfTheRecordedVersion.TestCase
TestRecorded.settings = _bounded
TestLatest = OfTheLatestVersion.TestCase
TestLatest.settings = _bounded
