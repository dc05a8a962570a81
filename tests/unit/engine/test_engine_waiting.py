"""Waits on a client's journal: from where they look, what they accept, and what they say when nothing comes."""

from __future__ import annotations

import os
import re
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from engine_helpers import PATIENCE, Peer, close_frame, eventually, finished, message

from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.deadline import now, pause
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.matching import EventPattern
from ComfyMockLibrary.engine.waiting import ClientWaits
from ComfyMockLibrary.errors import ExpectationFailed
from ComfyMockLibrary.types import BackoffStrategy, ConnectionState, StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_helpers import MakeClient, Script

    from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
    from ComfyMockLibrary.engine.journal import Event
    from ComfyMockLibrary.engine.servers import ServerManager

QUICK = Backoff(BackoffStrategy.constant, base_delay=0.01)
NEWS = EventPattern("news")


@pytest.fixture
def client(new_client: MakeClient) -> ComfyClient:
    """A client whose events come from the test."""
    return new_client(Endpoint("127.0.0.1", 1), alias="alice", backoff=QUICK, max_attempts=1)


def put(client: ComfyClient, *names: str, **data: Any) -> None:
    for name in names:
        client.journal.append(name, "server", data, None)


def failure_of(wait: Callable[[], object]) -> str:
    with pytest.raises(ExpectationFailed) as failure:
        finished(wait)
    return str(failure.value)


class TestEvents:
    def test_a_wait_takes_the_first_match_after_the_cursor_and_moves_behind_it(self, client: ComfyClient) -> None:
        waits = ClientWaits(client)
        put(client, "old", "news", "other", "news")
        assert waits.for_event(NEWS, 0.0).index == 1
        assert client.journal.cursor == 2
        assert waits.for_event(NEWS, 0.0).index == 3
        failure_of(lambda: waits.for_event(NEWS, 0.0))
        assert client.journal.cursor == 4, "a wait that fails changes nothing"

    def test_an_event_that_comes_during_the_wait_ends_it(self, client: ComfyClient) -> None:
        writer = threading.Timer(0.05, put, (client, "other", "news"))
        writer.start()
        assert finished(lambda: ClientWaits(client).for_event(NEWS, PATIENCE * 5)).index == 1
        writer.join()

    def test_since_overrides_the_cursor_which_never_goes_back(self, client: ComfyClient) -> None:
        put(client, "news", "other", "news")
        client.journal.set_cursor()
        waits = ClientWaits(client)
        first = waits.for_event(NEWS, 0.0, since="start")
        assert first.index == 0
        assert waits.for_event(NEWS, 0.0, since=first).index == 2
        assert client.journal.cursor == 3
        with pytest.raises(ValueError, match="neither an event nor the word 'start'"):
            waits.for_event(NEWS, 0.0, since="begin")  # type: ignore[arg-type]

    def test_fields_and_source_count(self, client: ComfyClient) -> None:
        put(client, "news", number=1)
        put(client, "news", number=2)
        assert ClientWaits(client).for_event(EventPattern("news", {"number": "2"}), 0.0).index == 1
        failure_of(lambda: ClientWaits(client).for_event(EventPattern("news", source="client"), 0.0, since="start"))

    def test_the_failure_says_what_was_seen_and_how_long_was_waited(self, client: ComfyClient) -> None:
        put(client, *[f"event{number}" for number in range(8)])
        began = now()
        text = failure_of(lambda: ClientWaits(client).for_event(EventPattern("news", {"a": "1"}), 0.25))
        assert 0.25 <= now() - began < PATIENCE
        assert text.startswith("Event 'news' with a=1 did not come within 0.25 s. Seen: client 'alice' is disconnected")
        assert re.search(r"event3 .*event7 \(", text)
        assert "event2" not in text
        assert "8 events since the start." in text

    def test_a_failure_without_any_event_says_so(self, client: ComfyClient) -> None:
        text = failure_of(lambda: ClientWaits(client).for_event(NEWS, 0.0))
        assert "is disconnected; no event. 0 events since the start." in text

    @pytest.mark.parametrize(
        ("pattern", "hint"),
        [
            (EventPattern("early"), "One came earlier, at position 0; give since=start"),
            (EventPattern("late", {"n": "2"}), "The nearest was: late n=1"),
            (EventPattern("late", source="client"), "One came from the server; give source=server"),
            (EventPattern("disconnected"), "One came from the server; give source=server"),
        ],
    )
    def test_the_failure_names_the_next_step(self, client: ComfyClient, pattern: EventPattern, hint: str) -> None:
        put(client, "early")
        client.journal.set_cursor()
        put(client, "late", "disconnected", n=1)
        text = failure_of(lambda: ClientWaits(client).for_event(pattern, 0.0))
        assert hint in text
        assert "2 events since position 1." in text


class TestNoEvent:
    def test_it_takes_the_whole_time_and_leaves_the_cursor(self, client: ComfyClient) -> None:
        put(client, "other")
        began = now()
        ClientWaits(client).for_no_event(NEWS, 0.2)
        assert now() - began >= 0.2
        assert client.journal.cursor == 0

    def test_it_fails_as_soon_as_the_event_comes(self, client: ComfyClient) -> None:
        since, writer = client.journal.since, threading.Thread(target=put, args=(client, "news"))

        def look_and_let_it_come(position: int) -> list[Event]:
            if writer.ident is None:
                writer.start()  # which waits in turn: looks are made with the condition held
            return since(position)

        client.journal.since = look_and_let_it_come  # type: ignore[method-assign]
        text = failure_of(lambda: ClientWaits(client).for_no_event(NEWS, PATIENCE * 5))
        writer.join()
        assert re.match(r"Event 'news' should not have come within 100 s but did after \d+\.\d{3} s: news\.", text)

    def test_what_comes_behind_the_time_has_not_come_within_it(self, client: ComfyClient) -> None:
        """The last look may be late, whoever holds the test's thread up."""
        since, is_late = client.journal.since, threading.Event()

        def look_late(position: int) -> list[Event]:
            if not is_late.is_set():
                is_late.set()
                pause(0.1)
                put(client, "news")
            return since(position)

        client.journal.since = look_late  # type: ignore[method-assign]
        ClientWaits(client).for_no_event(NEWS, 0.05)
        assert is_late.is_set()

    def test_it_fails_at_once_when_the_event_has_come_already(self, client: ComfyClient) -> None:
        put(client, "news")
        text = failure_of(lambda: ClientWaits(client).for_no_event(NEWS, PATIENCE * 5))
        assert text.startswith("Event 'news' should not have come but had, ")


class TestConnection:
    def test_it_is_the_life_that_runs_now_which_counts(self, manager: ServerManager, new_client: MakeClient) -> None:
        server = manager.start()
        client = new_client(server.endpoint, backoff=QUICK, max_attempts=None)
        waits = ClientWaits(client, server)
        client.connect()
        waits.for_connection(PATIENCE)
        for number in range(5):
            manager.restart(server, list(StopSignal)[number % 3])
            waits.for_connection(PATIENCE)
            assert client.life_id == server.life_id
            seen = client.journal.since(client.journal.cursor)
            assert {event.life_id for event in seen} == {server.life_id}
            assert seen[0].name == "connected"

    def test_a_connection_to_another_life_does_not_count(
        self, script: Script, manager: ServerManager, new_client: MakeClient
    ) -> None:
        server = manager.start()
        other = script(lambda peer: (peer.upgrade("X-Mock-Life: other"), peer.frames()))
        client = new_client(other.endpoint)
        client.connect()
        eventually(lambda: client.is_connected)
        text = failure_of(lambda: ClientWaits(client, server).for_connection(0.1))
        assert text.startswith(f"Connection to life 1 ({server.life_id}) did not happen within 0.1 s.")
        assert f"Server: running, pid {server.pid}. Log: " in text
        assert text.endswith("The client is connected to life other, which is not the one that runs now.")
        ClientWaits(client).for_connection(PATIENCE)

    def test_since_asks_for_a_later_handshake(self, script: Script, new_client: MakeClient) -> None:
        def behave(peer: Peer) -> None:
            peer.upgrade()
            peer.send(message("news"))
            peer.frames()

        client = new_client(script(behave).endpoint, backoff=QUICK)
        waits = ClientWaits(client)
        client.connect()
        news = waits.for_event(NEWS, PATIENCE)
        text = failure_of(lambda: waits.for_connection(0.1, since=news))
        assert "The connection that is open is older than the event" in text
        waits.for_connection(PATIENCE, since="start")
        client.reconnect()
        waits.for_connection(PATIENCE, since=news)

    def test_a_connection_that_comes_too_late_is_not_called_too_old(
        self, script: Script, new_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        is_over = threading.Event()
        server = script(lambda peer: (is_over.wait(PATIENCE), peer.upgrade(), peer.frames()))
        client = new_client(server.endpoint, connect_timeout=PATIENCE * 5)
        waits = ClientWaits(client)
        hint = waits._connection_hint

        def connect_meanwhile() -> str:
            is_over.set()
            eventually(lambda: client.is_connected)
            return hint()

        monkeypatch.setattr(waits, "_connection_hint", connect_meanwhile)
        client.connect()
        text = failure_of(lambda: waits.for_connection(0.0))
        assert "did not happen within 0 s" in text
        assert "older" not in text

    @pytest.mark.parametrize(
        ("spoil", "seen", "step"),
        [
            ("kill", "Server: ended with exit status 0.", "`Restart Mock Server`"),
            ("crash", "Server: ended with SIGABRT.", "`Restart Mock Server`"),
            ("freeze", "Server: frozen, pid ", "`Thaw Mock Server`"),
            ("abort", "Server: running, pid ", "`Reconnect Client`"),
        ],
    )
    def test_the_failure_tells_how_the_server_is_and_what_to_do(
        self, manager: ServerManager, new_client: MakeClient, spoil: str, seen: str, step: str
    ) -> None:
        server = manager.start()
        client = new_client(server.endpoint, auto_reconnect=False)
        if spoil == "kill":
            manager.kill(server)
        elif spoil == "crash":
            os.kill(server.pid, signal.SIGABRT)
            manager.wait_for_stop(server, PATIENCE)
        elif spoil == "freeze":
            manager.freeze(server)
        text = failure_of(lambda: ClientWaits(client, server).for_connection(0.05))
        assert seen in text
        assert step in text
        assert server.log_file.name in text


class TestStates:
    def test_a_state_that_was_passed_through_since_the_cursor_counts(
        self, script: Script, new_client: MakeClient
    ) -> None:
        server = script(lambda peer: (peer.upgrade(), peer.send(close_frame(1001))), lambda peer: peer.answer(403))
        client = new_client(server.endpoint, backoff=QUICK, max_attempts=1)
        waits = ClientWaits(client)
        client.connect()
        waits.for_state(ConnectionState.failed, PATIENCE)
        text = failure_of(lambda: waits.for_state(ConnectionState.reconnecting, 0.05))
        assert text.startswith("Connection state 'reconnecting' was not reached within 0.05 s.")
        assert text.endswith("use `Reconnect Client`.")
        client.journal.cursor = 0
        for state in ("connecting", "disconnected", "reconnecting", "failed"):
            waits.for_state(ConnectionState(state), 0.0)
        waits.should_be_in_state(ConnectionState.failed)
        waits.should_have_taken_path(
            [ConnectionState(state) for state in ["connecting", "connected", "disconnected", "reconnecting", "failed"]]
        )

    def test_the_state_now_counts_even_if_it_is_old(self, client: ComfyClient) -> None:
        put(client, "news")
        client.journal.set_cursor()
        ClientWaits(client).for_state(ConnectionState.disconnected, 0.0)

    def test_a_wrong_state_or_path_is_said(self, client: ComfyClient) -> None:
        text = failure_of(lambda: ClientWaits(client).should_be_in_state(ConnectionState.connected))
        assert text.startswith("Connection state should be 'connected' but is 'disconnected'.")
        text = failure_of(lambda: ClientWaits(client).should_have_taken_path([ConnectionState.connecting]))
        assert text.startswith("Connection states should be connecting but are (none).")

    def test_a_connection_is_valid_or_it_is_said_why_not(self, script: Script, new_client: MakeClient) -> None:
        client = new_client(script().endpoint)
        waits = ClientWaits(client)
        assert "not: the client is disconnected." in failure_of(lambda: waits.should_be_valid(PATIENCE))
        waits.should_not_be_valid(PATIENCE)
        client.connect()
        waits.for_connection(PATIENCE)
        waits.should_be_valid(PATIENCE)
        failure_of(lambda: waits.should_not_be_valid(PATIENCE))
