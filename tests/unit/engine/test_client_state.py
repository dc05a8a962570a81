"""The state machine of a connection, driven through whatever inputs in whatever order."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.client.state import CONNECTION_EVENTS, Action, ConnectionMachine, Drop, Emit, Open, Stop
from ComfyMockLibrary.types import BackoffStrategy, ConnectionState

REPORTS = st.sampled_from(["opened", "open_failed", "lost"])
ENDS_OF_RECONNECTING = {"reconnected", "reconnection_failed", "reconnection_aborted"}
BACKOFF = Backoff(BackoffStrategy.linear, base_delay=1.0, max_delay=3.0)


class Inputs(RuleBasedStateMachine):
    """Gives all inputs that a client can give, and checks all that comes out."""

    @initialize(auto_reconnect=st.booleans(), max_attempts=st.one_of(st.none(), st.integers(1, 3)))
    def begin(self, auto_reconnect: bool, max_attempts: int | None) -> None:
        self.machine = ConnectionMachine(BACKOFF, auto_reconnect=auto_reconnect, max_attempts=max_attempts)
        self.max_attempts = max_attempts
        self.clock = 0.0
        self.attempt: int | None = None
        """Number of the attempt that is under way."""
        self.over: list[int] = []
        """Numbers of attempts that were given up, and of connections that are gone."""
        self.is_up = False
        self.is_reconnecting = False
        self.attempts_begun = 0
        self.due_at = 0.0
        self.last_input = "begin"

    @rule()
    def connect(self) -> None:
        if self.machine.closed or self.machine.state not in (ConnectionState.disconnected, ConnectionState.failed):
            with pytest.raises(ValueError, match=r"already|is closed"):
                self.machine.connect()
        else:
            self.take("connect", self.machine.connect())

    @rule()
    def reconnect(self) -> None:
        if self.machine.closed:
            with pytest.raises(ValueError, match="is closed"):
                self.machine.reconnect(self.clock)
        else:
            self.give_up()
            self.attempts_begun = 0
            self.take("reconnect", self.machine.reconnect(self.clock))
            assert self.machine.next_attempt_at == self.clock

    @rule()
    def abort(self) -> None:
        was_trying = self.machine.state in (ConnectionState.connecting, ConnectionState.reconnecting)
        before = snapshot(self.machine)
        actions = self.machine.abort()
        assert bool(actions) == was_trying
        if was_trying:
            self.give_up()
            assert self.machine.state is ConnectionState.disconnected
        else:
            assert snapshot(self.machine) == before
        self.take("abort", actions)

    @precondition(lambda self: len(self.machine.path) > 15)
    @rule()
    def close(self) -> None:
        was_closed = self.machine.closed
        self.give_up()
        actions = self.machine.close()
        if was_closed:
            assert actions == []
        else:
            assert actions[-2:] == [Drop(), Stop()]
        self.take("close", actions)
        assert self.machine.state is ConnectionState.disconnected

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.tick(seconds)

    def tick(self, seconds: float) -> None:
        self.clock += seconds
        is_due = self.machine.next_attempt_at is not None and self.clock >= self.machine.next_attempt_at
        before = snapshot(self.machine)
        actions = self.machine.tick(self.clock)
        if not is_due:
            assert actions == []
            assert snapshot(self.machine) == before
        self.take("tick", actions)

    @precondition(lambda self: not self.machine.closed)
    @rule(fortunes=st.lists(st.booleans(), min_size=1, max_size=8))
    def live_on(self, fortunes: list[bool]) -> None:
        """Does what comes next, well or badly, some times over."""
        for is_good in fortunes:
            if self.attempt is not None:
                self.opened() if is_good else self.open_failed()
            elif self.machine.next_attempt_at is not None:
                self.tick(self.machine.next_attempt_at - self.clock)
            elif self.is_up:
                self.lost()
            else:
                self.connect()

    def opened(self) -> None:
        assert self.attempt is not None
        number, self.attempt = self.attempt, None
        self.take("opened", self.machine.opened(number, {"life_id": "abc"}))
        assert self.machine.state is ConnectionState.connected

    def open_failed(self) -> None:
        assert self.attempt is not None
        number, self.attempt = self.attempt, None
        self.take("open_failed", self.machine.open_failed(self.clock, number, "refused"))

    def lost(self) -> None:
        self.over.append(self.machine.number)
        actions = self.machine.lost(self.clock, self.machine.number, {"code": 1006})
        self.attempts_begun = 0
        self.take("lost", actions)

    @rule(report=REPORTS, distance=st.integers(-20, 3).filter(bool))
    def report_about_another_number(self, report: str, distance: int) -> None:
        self.report_stale(report, self.machine.number + distance)

    @precondition(lambda self: self.over)
    @rule(report=REPORTS, data=st.data())
    def report_about_what_is_over(self, report: str, data: st.DataObject) -> None:
        self.report_stale(report, data.draw(st.sampled_from(self.over)))

    def report_stale(self, report: str, number: int) -> None:
        before = snapshot(self.machine)
        if report == "opened":
            actions = self.machine.opened(number, {})
        elif report == "open_failed":
            actions = self.machine.open_failed(self.clock, number, "")
        else:
            actions = self.machine.lost(self.clock, number, {})
        assert actions == []
        assert snapshot(self.machine) == before

    def give_up(self) -> None:
        """Whatever is under way or open is not wanted any more."""
        self.over += [] if self.attempt is None else [self.attempt]
        self.over += [self.machine.number] if self.is_up else []
        self.attempt = None

    def take(self, last_input: str, actions: list[Action]) -> None:
        self.last_input = last_input
        for action in actions:
            if isinstance(action, Open):
                assert self.attempt is None, "two attempts at once"
                assert action.number == self.machine.number
                self.attempt = action.number
                if self.is_reconnecting:
                    assert self.clock >= self.due_at, "the delay was not kept"
                    self.attempts_begun += 1
            elif isinstance(action, Emit):
                assert action.name in CONNECTION_EVENTS
                self.take_event(action.name, action.data)

    def take_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "connected":
            assert not self.is_up
            assert self.last_input == "opened"
            self.is_up = True
        elif name == "disconnected":
            assert self.is_up
            self.is_up = False
        elif name == "reconnecting":
            self.is_reconnecting = True
            assert data["attempt"] == self.attempts_begun + 1
            assert data["delay"] == (0.0 if self.last_input == "reconnect" else min(3.0, data["attempt"]))
            self.due_at = self.clock + data["delay"]
        elif name in ENDS_OF_RECONNECTING:
            assert self.is_reconnecting or (name, self.last_input) in (
                ("reconnection_aborted", "abort"),
                ("reconnection_aborted", "close"),
            )
            assert data["attempts"] <= (self.max_attempts or data["attempts"])
            if name == "reconnection_failed":
                assert self.last_input == "open_failed"
                assert data["attempts"] == self.attempts_begun == self.max_attempts
            elif name == "reconnected":
                assert data["attempts"] == self.attempts_begun
            elif not self.is_reconnecting:
                assert data["attempts"] == 0
            self.is_reconnecting = False
            self.attempts_begun = 0
        else:
            assert name == "connection_failed"
            assert self.last_input == "open_failed"

    @invariant()
    def state_agrees_with_events(self) -> None:
        if not hasattr(self, "machine"):
            return
        state = self.machine.state
        assert (state is ConnectionState.connected) == self.is_up
        assert (state is ConnectionState.reconnecting) == self.is_reconnecting
        assert (state in (ConnectionState.connecting, ConnectionState.reconnecting)) == (
            self.attempt is not None or self.machine.next_attempt_at is not None
        )
        assert self.attempt is None or self.machine.next_attempt_at is None
        assert self.max_attempts is None or self.attempts_begun <= self.max_attempts


def snapshot(machine: ConnectionMachine) -> dict[str, Any]:
    return {name: value if name == "_randomness" else copy.deepcopy(value) for name, value in vars(machine).items()}


TestAnyInputs = Inputs.TestCase
TestAnyInputs.settings = settings(max_examples=100, stateful_step_count=30)


def machine(**options: Any) -> ConnectionMachine:
    return ConnectionMachine(BACKOFF, **options)


def names(actions: list[Action]) -> list[str]:
    return [action.name if isinstance(action, Emit) else type(action).__name__ for action in actions]


def test_a_lost_connection_is_dropped_before_the_next_attempt_is_scheduled() -> None:
    client = machine()
    (first,) = client.connect()
    assert isinstance(first, Open)
    client.opened(first.number, {})
    assert names(client.lost(5.0, client.number, {"code": 1006})) == ["Drop", "disconnected", "reconnecting"]
    assert client.next_attempt_at == 6.0
    assert names(client.tick(6.0)) == ["Open"]
    assert [state.value for state in client.path[1:]] == ["connecting", "connected", "disconnected", "reconnecting"]


def test_a_first_connection_that_cannot_be_had_counts_as_no_attempt_to_reconnect() -> None:
    client = machine(max_attempts=1)
    client.connect()
    (event,) = client.open_failed(0.0, client.number, "refused")
    assert event == Emit("reconnecting", {"attempt": 1, "delay": 1.0, "error": "refused"})


def test_without_automatic_reconnection_a_failed_first_attempt_is_final() -> None:
    client = machine(auto_reconnect=False)
    client.connect()
    assert client.open_failed(0.0, client.number, "refused") == [Emit("connection_failed", {"error": "refused"})]
    assert client.state is ConnectionState.failed
    assert client.next_attempt_at is None


def test_without_automatic_reconnection_a_lost_connection_stays_lost() -> None:
    client = machine(auto_reconnect=False)
    client.connect()
    client.opened(client.number, {})
    assert names(client.lost(0.0, client.number, {})) == ["Drop", "disconnected"]
    assert client.state is ConnectionState.disconnected
    assert client.next_attempt_at is None


def test_an_aborted_first_attempt_counts_no_attempts_of_an_earlier_phase() -> None:
    client = machine(max_attempts=1)
    client.connect()
    client.open_failed(0.0, client.number, "refused")
    client.tick(1.0)
    client.open_failed(1.0, client.number, "refused")
    assert client.state is ConnectionState.failed
    client.connect()
    assert client.abort() == [Emit("reconnection_aborted", {"attempts": 0})]


def test_delays_are_the_same_for_the_same_seed() -> None:
    def delays(seed: int) -> list[float]:
        client = ConnectionMachine(Backoff(jitter=0.5), seed=seed)
        client.connect()
        client.open_failed(0.0, client.number, "")
        found = []
        for _ in range(5):
            at = client.next_attempt_at or 0.0
            found.append(at)
            client.tick(at)
            client.open_failed(at, client.number, "")
        return found

    assert delays(7) == delays(7)
    assert delays(7) != delays(8)
