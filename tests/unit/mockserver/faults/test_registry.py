"""The registry: when faults begin, strike and end, whatever happens in whatever order."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from jsonschema import Draft202012Validator

from mockserver.faults import registry as registry_module
from mockserver.faults.events import Occurrence
from mockserver.faults.kinds import FaultError, Matching, read_fault
from mockserver.faults.registry import Registry, Standing
from mockserver.journal import SCHEMA_FILE, Journal
from mockserver.network.draws import Direction, Draws

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

SCHEMA = Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


class Clockwork(asyncio.SelectorEventLoop):
    """A loop whose clock only goes on when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def do(self, task: Callable[[], Any]) -> Any:
        """Does something in the loop, and what is due by then."""

        async def run() -> Any:
            result = task()
            for _ in range(5):
                await asyncio.sleep(0)
            return result

        return self.run_until_complete(run())

    def pass_time(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += seconds
        self.do(lambda: None)


class Bench:
    """A registry with a journal, and what it has carried out."""

    def __init__(self, seed: int = 1) -> None:
        self.loop = Clockwork()
        self.journal = Journal(None, party="server", life_id="x", pid=1)
        self.carried_out: list[str] = []
        self.refusal: OSError | None = None
        self.settled: list[list[str]] = []
        self.registry = Registry(self.journal, seed, self._carry_out, self._settle)

    def _carry_out(self, standing: Standing) -> Json:
        if self.refusal is not None:
            raise self.refusal
        self.carried_out.append(standing.id)
        return {"sockets": []}

    def _settle(self) -> None:
        self.settled.append([standing.id for standing, _ in self.registry.active(Matching)])

    def set(self, kind: str, **fields: Any) -> Standing:
        fault = read_fault({"fault": kind, **fields})
        standing: Standing = self.loop.do(lambda: self.registry.set(fault))
        return standing

    def notice(self, event: str = "executing", moment: Any = "after", **data: Any) -> None:
        self.loop.do(lambda: self.registry.notice(Occurrence(event, "me", data), moment))

    def match(self, standing: Standing, client: str = "me", count_by: str = "") -> bool:
        """Lets something match an active fault, and strikes if it is due."""

        def ask() -> bool:
            if standing.state != "active":
                return False
            is_due = standing.is_due(Direction.to_client, client, count_by=count_by)
            if is_due:
                self.registry.strike(standing, count_by, client_id=client)
            return is_due

        found: bool = self.loop.do(ask)
        return found

    def records(self, fault_id: str | None = None) -> list[Json]:
        records = self.journal.since(1)[1]
        return [record for record in records if fault_id in (None, record["fault"])]

    def kinds(self, fault_id: str) -> list[str]:
        return [record["kind"].removeprefix("fault_") for record in self.records(fault_id)]

    def close(self) -> None:
        self.loop.close()


@pytest.fixture
def bench() -> Any:
    bench = Bench()
    yield bench
    bench.close()


DROP = {"message": "executing"}


def test_a_fault_that_waits_for_nothing_begins_at_once(bench: Bench) -> None:
    standing = bench.set("drop_message", **DROP)
    assert standing.state == "active"
    assert bench.kinds(standing.id) == ["set", "begun"]
    assert not bench.registry.is_quiet


def test_after_delays_the_beginning(bench: Bench) -> None:
    standing = bench.set("drop_message", after=5, **DROP)
    bench.loop.pass_time(4)
    assert (standing.state, bench.registry.is_quiet) == ("waiting", True)
    bench.loop.pass_time(1)
    assert standing.state == "active"


def test_seconds_end_it(bench: Bench) -> None:
    standing = bench.set("drop_message", seconds=5, after=5, **DROP)
    bench.loop.pass_time(5)
    bench.loop.pass_time(4)
    assert standing.state == "active"
    bench.loop.pass_time(1)
    assert bench.records(standing.id)[-1] | {"at": 0} == {
        "at": 0,
        "kind": "fault_ended",
        "fault": standing.id,
        "reason": "seconds",
        "strikes": 0,
    }


def test_the_nth_event_at_its_moment_begins_it(bench: Bench) -> None:
    standing = bench.set("drop_message", when={"event": "executing", "nth": 2, "moment": "before"}, **DROP)
    bench.notice(moment="before")
    bench.notice(moment="after")
    bench.notice("executed", moment="before")
    assert standing.state == "waiting"
    bench.notice(moment="before")
    assert standing.state == "active"
    assert bench.records(standing.id)[-1]["event"] == "executing"


def test_an_action_happens_at_several_events(bench: Bench) -> None:
    standing = bench.set("stop", times=3, when={"event": "executing", "nth": 2})
    counts = []
    for _ in range(6):
        bench.notice()
        counts.append(len(bench.carried_out))
    assert counts == [0, 1, 2, 3, 3, 3]
    assert (standing.state, bench.kinds(standing.id)) == ("ended", ["set", "struck", "struck", "struck", "ended"])


@pytest.mark.parametrize("kind", ["freeze", "send_message"])
def test_an_action_that_the_system_refuses_ends_and_is_not_tried_again(
    bench: Bench, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.refusal = OSError(24, "Too many open files")
    fields = {"type": "x"} if kind == "send_message" else {}
    refused = bench.set(kind, times=3, when={"event": "executing"}, **fields)
    behind = bench.set("drop_message", when={"event": "executing"}, **DROP)
    bench.notice()
    bench.notice()
    assert (refused.state, behind.state) == ("ended", "active")
    assert bench.kinds(refused.id) == ["set", "struck", "ended"]
    ended = bench.records(refused.id)[-1]
    SCHEMA.validate(ended)
    assert (ended["reason"], ended["error"]) == ("failed", "[Errno 24] Too many open files")
    assert f"fault {refused.id} has failed" in caplog.text


def test_events_that_come_while_it_waits_for_its_time_are_not_queued(bench: Bench) -> None:
    state = bench.set("drop_message", after=5, when={"event": "executing"}, **DROP)
    action = bench.set("stop", after=5, when={"event": "executing"})
    for _ in range(100):
        bench.notice()
    assert [len(state.timers), len(action.timers)] == [1, 1]
    bench.loop.pass_time(5)
    assert (state.state, bench.carried_out) == ("active", [action.id])


def test_a_cleared_fault_does_not_begin_later(bench: Bench) -> None:
    standing = bench.set("stop", after=5)
    bench.loop.do(lambda: bench.registry.clear(standing.id))
    bench.loop.pass_time(5)
    assert bench.carried_out == []
    assert bench.kinds(standing.id) == ["set", "ended"]


@pytest.mark.parametrize(
    ("fields", "struck"),
    [
        ({}, [True] * 5),
        ({"times": 2}, [True, True, False, False, False]),
        ({"nth": 3}, [False, False, True, False, False]),
        ({"nth": 3, "times": 2}, [False, False, True, True, False]),
        ({"probability": 0}, [False] * 5),
    ],
    ids=str,
)
def test_which_matches_are_struck(bench: Bench, fields: Json, struck: list[bool]) -> None:
    standing = bench.set("fail_request", **fields)
    assert [bench.match(standing) for _ in range(5)] == struck
    assert standing.strikes == sum(struck)
    assert (standing.state == "ended") is ("times" in fields or "nth" in fields)


def test_one_that_holds_ends_only_when_it_is_cleared(bench: Bench) -> None:
    standing = bench.set("hang_request", times=1)
    assert bench.match(standing)
    assert standing.state == "active"
    waiting = bench.loop.do(lambda: asyncio.ensure_future(standing.pause()))
    bench.loop.pass_time(10_000)
    assert not waiting.done()
    bench.loop.do(lambda: bench.registry.clear(standing.id))
    assert waiting.done()
    assert not bench.match(standing)


@pytest.mark.parametrize("cleared", [False, True])
def test_what_was_struck_the_last_time_takes_its_time(bench: Bench, cleared: bool) -> None:
    standing = bench.set("delay_request", delay=5, times=1)
    assert bench.match(standing)
    assert standing.state == "ended"
    waiting = bench.loop.do(lambda: asyncio.ensure_future(standing.pause(5)))
    bench.loop.pass_time(4)
    assert not waiting.done()
    if cleared:
        bench.loop.do(bench.registry.clear_all)
    else:
        bench.loop.pass_time(1)
    assert waiting.done()


def test_ids_are_made_and_checked(bench: Bench) -> None:
    first = bench.set("stop", when={"event": "x"})
    named = bench.set("stop", id="stop-2", when={"event": "x"})
    assert [first.id, named.id, bench.set("stop", when={"event": "x"}).id] == ["stop-1", "stop-2", "stop-3"]
    with pytest.raises(FaultError, match=r"The fault 'stop-2' is set already\. Clear it first, or give another id\."):
        bench.set("stop", id="stop-2")
    bench.loop.do(lambda: bench.registry.clear("stop-2"))
    assert bench.set("stop", id="stop-2", when={"event": "x"}).state == "waiting"
    assert [each.id for each in bench.registry.all()] == ["stop-1", "stop-3", "stop-2"]


@pytest.mark.parametrize(
    "ids", [["a", "a"], [None, "a", "b", "a"], ["taken", "b"], ["b", "taken"], ["b", None, "taken"]], ids=str
)
def test_several_are_set_or_none(bench: Bench, ids: list[str | None]) -> None:
    bench.set("stop", id="taken", when={"event": "x"})
    faults = [read_fault({"fault": "pong", "id": each}) for each in ids]
    with pytest.raises(FaultError):
        bench.loop.do(lambda: bench.registry.set_all(faults))
    assert [each.id for each in bench.registry.all()] == ["taken"]
    assert len(bench.records()) == 1


def test_a_made_id_gives_way_to_one_that_is_given(bench: Bench) -> None:
    faults = [read_fault({"fault": "pong", "id": each}) for each in (None, "pong-1")]
    assert [each.id for each in bench.loop.do(lambda: bench.registry.set_all(faults))] == ["pong-2", "pong-1"]


def test_faults_that_ended_long_ago_are_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "KEPT_ENDED", 3)
    for _ in range(6):
        standing = bench.set("pong")
        bench.loop.do(lambda standing=standing: bench.registry.clear(standing.id))
    assert [each.id for each in bench.registry.all()] == ["pong-4", "pong-5", "pong-6"]


@pytest.mark.parametrize("fields", [{}, {"nth": 2}, {"times": 1}, {"probability": 0.5}], ids=str)
def test_of_each_client_is_counted_only_what_is_needed_and_only_until_it_ends(bench: Bench, fields: Json) -> None:
    standing = bench.set("drop_message", **fields, **DROP)
    for number in range(20):
        for _ in range(3):
            bench.match(standing, f"client {number}", count_by=f"client {number}")
    counts = (standing._matches, standing._struck, standing._drawn)
    assert any(counts) is bool(fields)
    bench.loop.do(lambda: bench.registry.clear(standing.id))
    assert not any(counts)
    assert standing.strikes > 0


# Draws


def stream(bench: Bench, standing: Standing, client: str, count: int) -> list[bool]:
    return [bench.match(standing, client, count_by=client) for _ in range(count)]


def test_the_seed_of_a_fault_goes_before_that_of_the_life(bench: Bench) -> None:
    mine = bench.set("drop_message", probability=0.5, seed=9, id="x", **DROP)
    draws = Draws(9, "me", 1, Direction.to_client, "x")
    assert stream(bench, mine, "me", 50) == [draws.at(position) < 0.5 for position in range(50)]


def test_the_same_seed_strikes_the_same_whatever_else_there_is() -> None:
    found = set()
    for number in range(50):
        bench = Bench(seed=3)
        if number % 2:
            bench.set("drop_message", probability=0.3, id="earlier", **DROP)
        standing = bench.set("drop_message", probability=0.5, id="p", **DROP)
        struck = []
        for position in range(60):
            for _ in range((number * position) % 3):  # other clients come in between
                bench.match(standing, "other", count_by="other")
            struck.append(bench.match(standing, "me", count_by="me"))
        found.add(tuple(struck))
        bench.close()
    assert len(found) == 1
    assert 10 < sum(found.pop()) < 50


def test_another_seed_strikes_others() -> None:
    found = set()
    for seed in range(10):
        bench = Bench(seed)
        found.add(tuple(stream(bench, bench.set("drop_message", probability=0.5, **DROP), "me", 40)))
        bench.close()
    assert len(found) == 10


# Anything in any order


@dataclass
class Expected:
    """What a fault must be like, counted here in the simplest way."""

    standing: Standing
    is_action: bool
    after: float
    seconds: float | None
    waits: bool
    nth: int
    times: int | None
    holds: bool = False
    seen: int = 0
    begun: int = 0
    matches: int = 0
    strikes: int = 0
    state: str = "waiting"
    begins: list[float] = field(default_factory=list)
    ends: float | None = None

    def event(self, now: float) -> None:
        if self.state == "ended" or not self.waits:
            return
        self.seen += 1
        if self.seen >= self.nth and self.begun < (self.times or 1 if self.is_action else 1):
            self.begun += 1
            self.begins.append(now + self.after)
            self.pass_to(now)

    def pass_to(self, now: float) -> None:
        for begin in sorted(self.begins):
            if begin <= now and self.state != "ended":
                self.begins.remove(begin)
                if self.is_action:
                    self.strikes += 1
                    self.state = "ended" if self.strikes >= (self.times or 1) else "waiting"
                else:
                    self.state = "active"
                    self.ends = None if self.seconds is None else begin + self.seconds
        if self.state == "active" and self.ends is not None and self.ends <= now:
            self.state = "ended"

    def match(self) -> bool:
        if self.state != "active":
            return False
        self.matches += 1
        is_due = self.times is None or self.strikes < self.times
        if is_due:
            self.strikes += 1
            if self.times == self.strikes and not self.holds:
                self.state = "ended"
        return is_due


SECONDS = st.sampled_from([0, 1, 2, 5])


class AnyOrder(RuleBasedStateMachine):
    """Sets, clears, notices, strikes and lets time pass; compares with what was to be expected."""

    faults = Bundle("faults")

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.expected: list[Expected] = []
        self.told: defaultdict[str, list[str]] = defaultdict(list)
        """The kinds of a fault's records, as far as the journal has been read."""
        self.records_read = 0

    def teardown(self) -> None:
        self.bench.close()

    @rule(
        target=faults,
        kind=st.sampled_from(["stop", "drop_message", "hang_request", "fail_request"]),
        waits=st.booleans(),
        nth=st.integers(1, 3),
        after=SECONDS,
        seconds=st.none() | SECONDS,
        times=st.none() | st.integers(1, 3),
    )
    def set(self, kind: str, waits: bool, nth: int, after: float, seconds: float | None, times: int | None) -> Expected:
        is_action = kind == "stop"
        fields: Json = {"after": after, **(DROP if kind == "drop_message" else {})}
        if waits:
            fields["when"] = {"event": "executing", "nth": nth}
        if is_action:
            times = times if waits else None
        elif seconds is not None:
            fields["seconds"] = seconds
        if times is not None:
            fields["times"] = times
        standing = self.bench.set(kind, **fields)
        expected = Expected(
            standing, is_action, after, None if is_action else seconds, waits, nth, times, holds=kind == "hang_request"
        )
        if not waits:
            expected.begins.append(self.bench.loop.now + after)
        expected.pass_to(self.bench.loop.now)
        self.expected.append(expected)
        return expected

    @rule(event=st.sampled_from(["executing", "executing", "executed"]))
    def notice(self, event: str) -> None:
        self.bench.notice(event)
        if event == "executing":
            for expected in self.expected:
                expected.event(self.bench.loop.now)

    @rule(expected=faults)
    def match(self, expected: Expected) -> None:
        if not expected.is_action:
            assert self.bench.match(expected.standing) is expected.match()

    @rule(expected=faults)
    def clear(self, expected: Expected) -> None:
        self.bench.loop.do(lambda: self.bench.registry.clear(expected.standing.id))
        expected.state = "ended"

    @rule()
    def clear_all(self) -> None:
        self.bench.loop.do(self.bench.registry.clear_all)
        for expected in self.expected:
            expected.state = "ended"

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.bench.loop.pass_time(1)
            for expected in self.expected:
                expected.pass_to(self.bench.loop.now)

    @invariant()
    def all_stand_as_expected(self) -> None:
        for expected in self.expected:
            found = (expected.standing.state, expected.standing.strikes)
            assert found == (expected.state, expected.strikes), expected

    @invariant()
    def the_ports_see_just_the_active_ones(self) -> None:
        active = [each.standing.id for each in self.expected if each.state == "active"]
        assert [standing.id for standing, _ in self.bench.registry.active(Matching)] == active
        if self.bench.settled:
            assert self.bench.settled[-1] == active
        waiting = [each for each in self.expected if each.standing.waits_for_events]
        assert self.bench.registry.is_quiet is (not active and not waiting)

    @invariant()
    def the_journal_tells_each_life_of_a_fault_in_order(self) -> None:
        for record in self.bench.records()[self.records_read :]:
            SCHEMA.validate(record)
            self.told[record["fault"]].append(record["kind"])
            self.records_read += 1
        for expected in self.expected:
            kinds = self.told[expected.standing.id]
            assert kinds[0] == "fault_set"
            assert kinds.count("fault_begun") <= 1
            assert kinds.count("fault_struck") == expected.strikes
            assert kinds.count("fault_ended") == (expected.state == "ended")
            assert expected.state != "ended" or kinds[-1] == "fault_ended"


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestAnyOrder = AnyOrder.TestCase
