"""The reference client against servers that do what each test says."""

from __future__ import annotations

import json
import select
import struct
import threading
from contextlib import suppress
from dataclasses import replace
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
from engine_helpers import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PATIENCE,
    PING,
    PONG,
    TEXT,
    Interruption,
    Peer,
    Script,
    close_frame,
    eventually,
    finished,
    frame,
    message,
    never_answer,
    refuse,
    serve,
    tell_queue,
)

from ComfyMockLibrary.engine.client import comfy_client
from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.client.comfy_client import ClientOptions, ComfyClient
from ComfyMockLibrary.engine.client.connection import Connection
from ComfyMockLibrary.engine.deadline import now, pause
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.platform import PortHolder
from ComfyMockLibrary.types import BackoffStrategy, ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from engine_helpers import MakeClient

    from ComfyMockLibrary.engine.journal import Event

QUICK = Backoff(BackoffStrategy.constant, base_delay=0.01)
LONG = Backoff(BackoffStrategy.constant, base_delay=PATIENCE * 5, max_delay=PATIENCE * 5)


def names(client: ComfyClient, source: str = "client") -> list[str]:
    return [event.name for event in client.journal.since(0) if event.source == source]


def events(client: ComfyClient, name: str) -> list[Event]:
    return [event for event in client.journal.since(0) if event.name == name]


def when(client: ComfyClient, name: str, count: int = 1) -> Event:
    """The event of a name, once there have been so many."""
    return eventually(lambda: events(client, name)[count - 1 : count])[0]


def connected(client: ComfyClient) -> ComfyClient:
    client.connect()
    when(client, "connected")
    return client


@pytest.fixture
def refused() -> Iterator[Endpoint]:
    """Where nobody listens, and nobody will."""
    holder = PortHolder(0)
    yield Endpoint("127.0.0.1", holder.port)
    holder.release()


def end_after(*parts: bytes) -> Callable[[Peer], object]:
    """Upgrades, sends, ends."""

    def behave(peer: Peer) -> None:
        peer.upgrade()
        for part in parts:
            peer.send(part)
        peer.end()

    return behave


class TestOutages:
    def test_all_outages_are_noticed_like_the_first_and_nothing_is_lost_or_repeated(
        self, script: Script, new_client: MakeClient
    ) -> None:
        flags: list[tuple[int, bytes]] = []

        def life(number: int, end: Callable[[Peer], object]) -> Callable[[Peer], object]:
            def behave(peer: Peer) -> None:
                peer.upgrade(f"X-Mock-Life: life-{number}")
                flags.append(peer.receive())
                for part in range(20):
                    peer.send(message("news", life=number, part=part))
                end(peer)

            return behave

        def farewell(peer: Peer) -> None:
            peer.send(close_frame(1001))
            peer.frames()

        ends = [farewell, Peer.end, farewell, Peer.end, farewell, Peer.frames]
        server = script(*(life(number, end) for number, end in enumerate(ends)))
        client = new_client(
            server.endpoint,
            backoff=QUICK,
            client_id="me",
            headers={"Authorization": "Bearer t"},
            feature_flags={"supports_preview_metadata": True},
        )
        client.connect()
        eventually(lambda: len(events(client, "news")) == 120)

        outage = ["disconnected", "reconnecting", "connected", "reconnected"]
        assert names(client) == ["connected", *outage * 5]
        assert [(event.data["life"], event.data["part"], event.life_id) for event in events(client, "news")] == [
            (number, part, f"life-{number}") for number in range(6) for part in range(20)
        ]
        assert [event.data["attempts"] for event in events(client, "reconnected")] == [1] * 5
        assert [event.data["code"] for event in events(client, "disconnected")] == [1001, 1006, 1001, 1006, 1001]
        assert {request.path for request in server.upgrades} == {"/ws?clientId=me"}
        assert {request.headers["authorization"] for request in server.upgrades} == {"Bearer t"}
        hello = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        assert [(opcode, json.loads(text)) for opcode, text in flags] == [(TEXT, hello)] * 6
        assert client.client_id == "me"
        assert client.life_id == "life-5"

    def test_state_and_is_connected_agree_with_every_event(self, script: Script, new_client: MakeClient) -> None:
        server = script(end_after(message("news")), refuse, end_after(message("news")), serve)
        client = new_client(server.endpoint, backoff=QUICK)
        seen: list[tuple[str, str, bool, bool]] = []
        append = client.journal.append

        def spy(name: str, source: Any, data: Any, life_id: str | None, at: float | None = None) -> Event:
            connected = client.is_connected
            seen.append((source, name, connected, connected == (client.state is ConnectionState.connected)))
            return append(name, source, data, life_id, at)

        client.journal.append = spy  # type: ignore[method-assign]
        client.connect()
        when(client, "reconnected", 2)
        client.close()
        assert all(agree for *_, agree in seen)
        for source, name, connected, _ in seen:
            assert connected == (source == "server" or name in ("connected", "reconnected")), name
        assert [name for source, name, *_ in seen if source == "client"][-1] == "disconnected"

    def test_an_attempt_that_is_refused_is_followed_by_the_next_after_its_delay(
        self, script: Script, new_client: MakeClient
    ) -> None:
        server = script(end_after(), refuse, refuse, refuse, serve)
        client = new_client(server.endpoint, backoff=Backoff(BackoffStrategy.linear, base_delay=0.1))
        client.connect()
        assert when(client, "reconnected").data["attempts"] == 4
        begun = events(client, "reconnecting")
        assert [event.data["attempt"] for event in begun] == [1, 2, 3, 4]
        assert [event.data["delay"] for event in begun] == pytest.approx([0.1, 0.2, 0.3, 0.4])
        assert [event.data.get("error") for event in begun] == [None, *["upgrade refused with status 403"] * 3]
        for event, request in zip(begun, server.upgrades[1:], strict=True):
            assert request.at - event.at >= event.data["delay"] - 0.001

    def test_the_first_connection_may_take_several_attempts(self, script: Script, new_client: MakeClient) -> None:
        client = new_client(script(refuse, refuse, serve).endpoint, backoff=QUICK)
        client.connect()
        when(client, "reconnected")
        assert [state.value for state in client.path] == ["connecting", "reconnecting", "connected"]

    def test_a_server_message_with_the_name_of_a_client_event_changes_nothing(
        self, script: Script, new_client: MakeClient
    ) -> None:
        def behave(peer: Peer) -> None:
            peer.upgrade()
            for name in ("disconnected", "reconnecting", "reconnection_failed"):
                peer.send(message(name, sid="another id"))
            peer.frames()

        calls: list[Event] = []
        client = connected(new_client(script(behave).endpoint, client_id="me", on_failure=calls.append))
        when(client, "reconnection_failed")
        assert names(client, "server") == ["disconnected", "reconnecting", "reconnection_failed"]
        assert names(client) == ["connected"]
        assert (client.state, client.client_id, calls) == (ConnectionState.connected, "me", [])

    @pytest.mark.parametrize("sending", ["ping", "feature flags"])
    def test_a_close_frame_that_comes_before_something_is_sent_says_why(
        self, script: Script, new_client: MakeClient, monkeypatch: pytest.MonkeyPatch, sending: str
    ) -> None:
        may_go, has_gone = threading.Event(), threading.Event()

        def behave(peer: Peer) -> None:
            peer.upgrade()
            may_go.wait(PATIENCE)
            peer.send(message("news") + close_frame(1012, "again"))
            peer.reset()
            has_gone.set()

        def send_late(send: Callable[..., None]) -> Callable[..., None]:
            def send_when_it_has_gone(*arguments: Any) -> None:
                may_go.set()
                has_gone.wait(PATIENCE)
                send(*arguments)

            return send_when_it_has_gone

        for name in ("ping", "send"):
            monkeypatch.setattr(Connection, name, send_late(getattr(Connection, name)))
        options = {"ping_interval": 0.01} if sending == "ping" else {"feature_flags": {}}
        client = connected(new_client(script(behave).endpoint, auto_reconnect=False, **options))
        assert when(client, "disconnected").data == {"code": 1012, "reason": "again", "cause": "close frame"}
        assert names(client, "server") == ["news"]


class TestMessages:
    def test_all_kinds_are_recorded_and_none_is_fatal(
        self, script: Script, new_client: MakeClient, tmp_path: Path
    ) -> None:
        metadata = b'{"node_id": "3"}'
        sent: list[tuple[bytes, str, dict[str, Any]]] = [
            (message("status", sid="x"), "status", {"sid": "x"}),
            (
                frame(BINARY, struct.pack(">II", 1, 1) + b"jpeg"),
                "b_preview",
                {"image_type": "image/jpeg", "image": b"jpeg"},
            ),
            (frame(BINARY, struct.pack(">II", 3, 2) + b"12text"), "progress_text", {"node": "12", "text": "text"}),
            (
                frame(BINARY, struct.pack(">II", 4, len(metadata)) + metadata + b"png"),
                "b_preview_with_metadata",
                {"node_id": "3", "image": b"png"},
            ),
            (frame(BINARY, b"\0"), "unreadable_message", {"bytes": b"\0"}),
            (frame(TEXT, b"no json"), "unreadable_message", {"text": "no json"}),
            (frame(TEXT, b"[" * 50_000), "unreadable_message", {"text": "[" * 50_000}),
            (frame(TEXT), "unreadable_message", {"text": ""}),
            (message("last"), "last", {}),
        ]

        def behave(peer: Peer) -> None:
            peer.upgrade()
            for data, *_ in sent:
                peer.send(data)
            peer.frames()

        client = connected(new_client(script(behave).endpoint, journal_file=tmp_path / "journal.jsonl"))
        when(client, "last")
        received = [(event.name, event.data) for event in client.journal.since(0) if event.source == "server"]
        assert received == [(name, data) for _, name, data in sent]
        client.close()
        records = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [record["name"] for record in records[1:]] == [event.name for event in client.journal.since(0)]

    def test_a_frame_that_stalls_in_the_middle_is_whole_in_the_end(
        self, script: Script, new_client: MakeClient
    ) -> None:
        data = message("large", text="x" * 50_000)
        go_on = threading.Event()

        def behave(peer: Peer) -> None:
            peer.upgrade()
            peer.send(data[:30_000])
            go_on.wait(PATIENCE)
            peer.send(data[30_000:])
            peer.frames()

        client = connected(new_client(script(behave).endpoint, ping_interval=0.05))
        wait = ClientPause(client, 0.2)
        assert wait.names == []
        go_on.set()
        assert when(client, "large").data["text"] == "x" * 50_000


class ClientPause:
    """Lets time pass, and tells what a client has seen meanwhile."""

    def __init__(self, client: ComfyClient, seconds: float) -> None:
        before = len(client.journal)
        pause(seconds)
        self.names = [event.name for event in client.journal.since(before)]


class TestGivingUp:
    def test_the_failure_comes_after_the_last_attempt_has_failed_and_the_callback_once_after_it(
        self, script: Script, new_client: MakeClient
    ) -> None:
        may_end = threading.Event()
        server = script(lambda peer: (peer.upgrade(), may_end.wait(PATIENCE), peer.end()), never_answer)
        calls: list[tuple[Event, int, ConnectionState]] = []
        client = new_client(
            server.endpoint,
            backoff=QUICK,
            max_attempts=3,
            on_failure=lambda event: calls.append((event, len(client.journal), client.state)),
        )
        connected(client)
        client.options = replace(client.options, connect_timeout=0.2)
        may_end.set()
        failure = when(client, "reconnection_failed")
        eventually(lambda: calls)
        assert calls == [(failure, failure.index + 1, ConnectionState.failed)]
        assert failure.data == {"attempts": 3, "error": "upgrade not answered within 0.2 s"}
        eventually(lambda: len(server.upgrades) >= 4)
        assert len(server.upgrades) == 4
        begun = events(client, "reconnecting")[-1]
        assert failure.at - begun.at >= 0.2, "the attempt had its time before it counted as failed"
        assert names(client) == ["connected", "disconnected", *["reconnecting"] * 3, "reconnection_failed"]
        assert client.state is ConnectionState.failed
        assert not client.is_connected
        client.close()
        assert len(calls) == 1

    def test_a_callback_that_fails_is_recorded_and_the_client_can_connect_again(
        self, script: Script, new_client: MakeClient
    ) -> None:
        def fail(event: Event) -> None:
            raise ZeroDivisionError(event.name)

        server = script(refuse, refuse, serve)
        client = new_client(server.endpoint, backoff=QUICK, max_attempts=1, on_failure=fail)
        client.connect()
        assert when(client, "callback_failed").data == {"error": "ZeroDivisionError('reconnection_failed')"}
        client.connect()
        when(client, "connected")

    def test_a_callback_may_use_the_client(self, script: Script, new_client: MakeClient) -> None:
        server = script(refuse, refuse, serve)
        client = new_client(server.endpoint, backoff=QUICK, max_attempts=1, on_failure=lambda _: client.reconnect())
        client.connect()
        when(client, "reconnected")

    def test_a_callback_may_close_the_client(self, refused: Endpoint, new_client: MakeClient) -> None:
        client = new_client(refused, backoff=QUICK, max_attempts=1, on_failure=lambda _: client.close())
        client.connect()
        eventually(lambda: not threads_of(client))
        with pytest.raises(ValueError, match="closed"):
            client.connect()

    def test_without_automatic_reconnection_a_refused_connection_is_final(
        self, script: Script, new_client: MakeClient
    ) -> None:
        server = script(refuse)
        client = new_client(server.endpoint, backoff=QUICK, auto_reconnect=False)
        client.connect()
        assert when(client, "connection_failed").data == {"error": "upgrade refused with status 403"}
        assert client.state is ConnectionState.failed
        assert len(server.upgrades) == 1

    def test_without_automatic_reconnection_a_lost_connection_stays_lost(
        self, script: Script, new_client: MakeClient
    ) -> None:
        server = script(end_after())
        client = connected(new_client(server.endpoint, backoff=QUICK, auto_reconnect=False))
        when(client, "disconnected")
        assert client.state is ConnectionState.disconnected
        assert ClientPause(client, 0.1).names == []
        assert len(server.upgrades) == 1

    @pytest.mark.parametrize("headers", [{"X-Name": "日本"}, {"X-Name": "a\r\nb"}])
    def test_headers_that_cannot_be_sent_do_not_end_the_thread(
        self, script: Script, new_client: MakeClient, headers: dict[str, str]
    ) -> None:
        server = script(refuse)
        client = new_client(server.endpoint, backoff=QUICK, max_attempts=3, headers=headers, polling_interval=0.001)
        client.connect()
        when(client, "reconnection_failed")

    @pytest.mark.parametrize("host", ["a..b", "x" * 64])
    def test_a_host_that_cannot_be_looked_up_is_a_failed_attempt(self, new_client: MakeClient, host: str) -> None:
        client = new_client(Endpoint(host, 8188), backoff=QUICK, max_attempts=1)
        client.connect()
        assert "no name of a host" in when(client, "reconnection_failed").data["error"]


def threads_of(client: ComfyClient) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"ComfyClient {client.alias}"]


def stay_connecting(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
    server = script(never_answer)
    client = make(server.endpoint)
    client.connect()
    eventually(lambda: server.upgrades)
    return client


def stay_connected(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
    return connected(make(script(serve).endpoint))


def stay_connected_to_the_dead(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
    return connected(make(script(lambda peer: (peer.upgrade(), peer.wait_for_end())).endpoint))


def staying_connected_to_a_flood(
    name: str, many: bytes, first: bytes = b""
) -> Callable[[Script, Callable[..., ComfyClient]], ComfyClient]:
    """Of frames, or of one that does not end."""

    def stay(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
        flows = threading.Event()

        def flood(peer: Peer) -> None:
            peer.upgrade()
            peer.send(first)
            while True:
                peer.send(many)
                flows.set()

        client = connected(make(script(flood).endpoint))
        assert flows.wait(PATIENCE)
        return client

    stay.__name__ = f"stay_connected_to_a_flood_of_{name}"
    return stay


def stay_in_delay(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
    client = connected(make(script(end_after()).endpoint, backoff=LONG))
    when(client, "reconnecting")
    return client


def stay_in_attempt(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
    server = script(end_after(), never_answer)
    client = connected(make(server.endpoint))
    eventually(lambda: len(server.upgrades) == 2)
    return client


def stay_in_poll(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
    server = script(end_after(), http=never_answer)
    client = connected(make(server.endpoint, backoff=LONG, polling_interval=0.01))
    eventually(lambda: server.requests)
    return client


def stay_after_polling(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
    client = make(script(end_after(), refuse, serve).endpoint, polling_interval=0.01)
    client.connect()
    when(client, "reconnected")
    return client


def stay_failed(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
    client = make(script(refuse).endpoint, max_attempts=1)
    client.connect()
    when(client, "reconnection_failed")
    return client


def interrupt(_client: ComfyClient) -> Any:
    """As by Ctrl-C, or at the timeout of a test."""
    raise KeyboardInterrupt


def no_thread(_thread: threading.Thread) -> None:
    """What Python says when the system has no room for one."""
    raise RuntimeError("can't start new thread")


def stay_new(script: Script, make: Callable[..., ComfyClient]) -> ComfyClient:
    return make(script().endpoint)


TRYING = [stay_connecting, stay_in_delay, stay_in_attempt, stay_in_poll]
FLOODS = [
    staying_connected_to_a_flood("messages", message("news") * 2_000),
    staying_connected_to_a_flood("pongs", frame(PONG) * 50_000),
    staying_connected_to_a_flood("pieces", frame(CONTINUATION, fin=False) * 50_000, frame(TEXT, b"x", fin=False)),
    staying_connected_to_a_flood("a_frame", b"x" * 100, frame(TEXT, announced=1 << 28)),
]
CONNECTED = [stay_connected, stay_connected_to_the_dead, *FLOODS]
ALL = [*TRYING, *CONNECTED, stay_failed, stay_new]


class TestEndings:
    """What is left of threads, files and sockets is looked for after each test."""

    @pytest.fixture
    def make(self, new_client: MakeClient) -> Callable[..., ComfyClient]:
        patience = {"connect_timeout": PATIENCE * 5, "backoff": QUICK}
        return lambda endpoint, **options: new_client(endpoint, **{**patience, **options})

    @pytest.mark.parametrize("stay", ALL)
    def test_closing_ends_everything_at_once(
        self, script: Script, make: Callable[..., ComfyClient], stay: Callable[..., ComfyClient]
    ) -> None:
        client = stay(script, make)
        before, seen = client.state, len(client.journal)
        finished(client.close)
        assert not threads_of(client)
        assert client.state is ConnectionState.disconnected
        own = [event.name for event in client.journal.since(seen) if event.source == "client"]
        assert own == {
            ConnectionState.connecting: ["reconnection_aborted"],
            ConnectionState.reconnecting: ["reconnection_aborted"],
            ConnectionState.connected: ["disconnected"],
        }.get(before, [])
        finished(client.close)
        assert not client.abort_reconnect()
        for again in (client.connect, client.reconnect):
            with pytest.raises(ValueError, match=r"closed|never been connected"):
                again()
        assert len(names(client)) == len([event for event in client.journal.since(0) if event.source == "client"])

    @pytest.mark.parametrize("stay", [stay_connected, stay_connecting, stay_new])
    @pytest.mark.parametrize("moment", ["_apply", "_has_thread"])
    def test_a_close_that_was_interrupted_can_be_called_again(
        self,
        script: Script,
        make: Callable[..., ComfyClient],
        stay: Callable[..., ComfyClient],
        monkeypatch: pytest.MonkeyPatch,
        moment: str,
    ) -> None:
        client = stay(script, make)
        with monkeypatch.context() as patch:
            patch.setattr(ComfyClient, moment, property(interrupt))
            with pytest.raises(KeyboardInterrupt):
                client.close()
        finished(client.close)
        assert not threads_of(client)
        assert client.state is ConnectionState.disconnected

    def test_a_client_for_which_there_is_no_thread_can_be_closed(
        self, script: Script, make: Callable[..., ComfyClient], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = make(script(serve).endpoint)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                client.connect()
        finished(client.close)

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    @pytest.mark.parametrize("stay", [stay_connected, stay_in_delay])
    def test_a_client_whose_thread_fails_says_so_and_leaves_nothing(
        self,
        script: Script,
        make: Callable[..., ComfyClient],
        stay: Callable[..., ComfyClient],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        client = stay(script, make)
        was_connected = client.is_connected
        monkeypatch.setattr(client, "_wait_for_something", lambda: {}["nothing"])
        client._wakeup.set()
        eventually(lambda: not threads_of(client))
        assert client.state is ConnectionState.disconnected
        last = [event for event in client.journal.since(0) if event.source == "client"][-1]
        if was_connected:
            assert last.data["cause"] == "the client has failed: KeyError('nothing')"
        else:
            assert last.name == "reconnection_aborted"

    @pytest.mark.parametrize("stay", TRYING)
    def test_aborting_ends_all_attempts(
        self, script: Script, make: Callable[..., ComfyClient], stay: Callable[..., ComfyClient]
    ) -> None:
        client = stay(script, make)
        assert client.abort_reconnect()
        assert client.state is ConnectionState.disconnected
        assert names(client)[-1] == "reconnection_aborted"
        assert not client.abort_reconnect()
        assert ClientPause(client, 0.1).names == []
        finished(client.close)

    @pytest.mark.parametrize("stay", [*CONNECTED, stay_failed, stay_new])
    def test_aborting_without_attempts_changes_nothing(
        self, script: Script, make: Callable[..., ComfyClient], stay: Callable[..., ComfyClient]
    ) -> None:
        client = stay(script, make)
        state, own = client.state, names(client)
        assert not client.abort_reconnect()
        assert (client.state, names(client)) == (state, own)

    @pytest.mark.parametrize("stay", [*TRYING, *CONNECTED, stay_failed])
    def test_reconnecting_drops_what_is_and_connects_at_once(
        self, script: Script, make: Callable[..., ComfyClient], stay: Callable[..., ComfyClient]
    ) -> None:
        client = stay(script, make)
        client.endpoint = script(lambda peer: (peer.upgrade("X-Mock-Life: second"), peer.frames())).endpoint
        was_connected, cursor, began = client.is_connected, len(client.journal), now()
        client.reconnect()
        reconnected = eventually(
            lambda: [event for event in client.journal.since(cursor) if event.name == "reconnected"], PATIENCE
        )[0]
        assert reconnected.at - began < PATIENCE
        own = [event.name for event in client.journal.since(cursor) if event.source == "client"]
        assert own == [*["disconnected"][: int(was_connected)], "reconnecting", "connected", "reconnected"]
        assert client.life_id == "second"

    @pytest.mark.parametrize("call", ["abort_reconnect", "close"])
    def test_a_connection_that_opens_when_nobody_wants_it_any_more_is_closed(
        self, script: Script, make: Callable[..., ComfyClient], monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        seen: list[list[tuple[int, bytes]]] = []
        client = make(script(lambda peer: (peer.upgrade(), seen.append(peer.frames()))).endpoint)
        really_open = Connection.open

        def open_too_late(*arguments: Any) -> Connection:
            connection = really_open(*arguments)
            threading.Thread(target=getattr(client, call)).start()
            eventually(lambda: client.state is ConnectionState.disconnected)
            return connection

        monkeypatch.setattr(Connection, "open", open_too_late)
        client.connect()
        assert eventually(lambda: seen) == [[(CLOSE, struct.pack("!H", 1000))]]
        assert names(client) == ["reconnection_aborted"]

    @pytest.mark.parametrize("stay", [stay_connecting, stay_connected, stay_in_delay, stay_failed, stay_after_polling])
    def test_a_client_that_waits_takes_no_cpu(
        self, script: Script, make: Callable[..., ComfyClient], stay: Callable[..., ComfyClient]
    ) -> None:
        stay(script, make)
        before = process_time()
        pause(0.5)
        assert process_time() - before < 0.25

    def test_wrong_uses_say_what_to_do(self, script: Script, make: Callable[..., ComfyClient]) -> None:
        client = make(script(serve).endpoint)
        with pytest.raises(ValueError, match="Connect it first"):
            client.reconnect()
        connected(client)
        with pytest.raises(ValueError, match="connected already"):
            client.connect()

    @pytest.mark.parametrize(
        ("wrong", "text"),
        [
            ({"max_attempts": 0}, "give 1 or more, or None"),
            ({"ping_interval": 0.0}, "give None"),
            ({"polling_interval": 0.0}, "give None"),
        ],
    )
    def test_options_without_meaning_are_refused(self, wrong: dict[str, Any], text: str) -> None:
        with pytest.raises(ValueError, match=text):
            ClientOptions(**wrong)

    def test_a_client_says_goodbye_once_when_it_closes(self, script: Script, make: Callable[..., ComfyClient]) -> None:
        seen: list[tuple[int, bytes]] = []
        server = script(lambda peer: (peer.upgrade(), seen.extend(peer.frames())))
        connected(make(server.endpoint)).close()
        server.close()
        assert seen == [(CLOSE, struct.pack("!H", 1000))]

    def test_a_close_does_not_wait_for_the_close_frame_that_a_reconnection_waits_for(
        self, script: Script, make: Callable[..., ComfyClient], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(comfy_client, "CLOSE_TIMEOUT", 10 * PATIENCE)
        seen: list[tuple[int, bytes]] = []

        def never_say_close(peer: Peer) -> None:
            peer.upgrade()
            seen.append(peer.receive())
            peer.wait_for_end()

        client = connected(make(script(never_say_close).endpoint))
        client.reconnect()
        assert eventually(lambda: seen) == [(CLOSE, struct.pack("!H", 1000))]
        finished(client.close)

    def test_many_threads_may_steer_a_client_at_once(self, script: Script, make: Callable[..., ComfyClient]) -> None:
        client = connected(make(script(serve, end_after(), refuse, serve, end_after(), serve).endpoint))
        calls = [client.reconnect, client.abort_reconnect, client.connect, lambda: client.path, lambda: client.life_id]

        def steer(call: Callable[[], object]) -> None:
            for _ in range(50):
                with suppress(ValueError):
                    call()

        threads = [threading.Thread(target=steer, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        client.reconnect()
        cursor = len(client.journal)
        eventually(lambda: client.is_connected)
        ups = [name for name in names(client) if name in ("connected", "disconnected")]
        assert ups == ["connected", "disconnected"] * (len(ups) // 2) + ["connected"] * (len(ups) % 2)
        assert cursor


class TestHeartbeat:
    def test_a_server_that_stands_still_is_noticed(self, script: Script, new_client: MakeClient) -> None:
        server = script(lambda peer: (peer.upgrade(), peer.wait_for_end()), serve)
        client = connected(new_client(server.endpoint, backoff=QUICK, ping_interval=0.05, pong_timeout=0.2))
        lost = when(client, "disconnected")
        assert lost.data == {"code": 1006, "reason": "", "cause": "no pong within 0.2 s"}
        assert lost.at - when(client, "connected").at >= 0.15
        when(client, "reconnected")

    def test_a_server_that_answers_pings_stays(self, script: Script, new_client: MakeClient) -> None:
        pings: list[int] = []

        def behave(peer: Peer) -> None:
            peer.upgrade()
            while True:
                opcode, payload = peer.receive()
                pings.append(opcode)
                peer.send(frame(0xA, payload))

        client = connected(new_client(script(behave).endpoint, ping_interval=0.02, pong_timeout=PATIENCE))
        eventually(lambda: len(pings) >= 5)
        assert pings[:5] == [PING] * 5
        assert client.is_connected

    @pytest.mark.parametrize("kind", ["messages", "pieces of a frame"])
    def test_traffic_counts_as_an_answer(
        self, script: Script, new_client: MakeClient, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """The client's clock goes on by less than its patience, and only when something has come since."""
        clock = [now()]
        monkeypatch.setattr(comfy_client, "now", lambda: clock[0])

        def received() -> int:
            connection = client._connection
            return 0 if connection is None else connection.bytes_received

        def behave(peer: Peer) -> None:
            peer.upgrade()
            eventually(lambda: client.is_connected)
            if kind == "pieces of a frame":
                peer.send(frame(TEXT, announced=100_000))
            for _ in range(10):
                clock[0] += 0.5
                assert peer.receive()[0] == PING
                before = received()
                peer.send(message("news") if kind == "messages" else b" ")
                eventually(lambda before=before: received() > before)
            peer.end()

        client = new_client(script(behave).endpoint, auto_reconnect=False, ping_interval=0.02, pong_timeout=1.5)
        client.connect()
        assert when(client, "disconnected").data["cause"] == "end of stream without close frame"

    def test_an_answer_that_comes_behind_a_look_is_no_silence(
        self, script: Script, new_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The client's thread is held up between its look and what it makes of it, for longer than its patience."""
        held_up = [0.0]
        monkeypatch.setattr(comfy_client, "now", lambda: now() + held_up[0])
        has_pinged, is_held = threading.Event(), threading.Event()

        def behave(peer: Peer) -> None:
            peer.upgrade()
            _, payload = peer.receive()
            has_pinged.set()
            assert is_held.wait(PATIENCE)
            peer.send(frame(PONG, payload) + message("news"))
            peer.frames()

        client = new_client(script(behave).endpoint, ping_interval=0.02, pong_timeout=PATIENCE)
        receive = client._receive

        def look_and_be_held_up(connection: Connection) -> None:
            receive(connection)
            if has_pinged.is_set() and not is_held.is_set():
                is_held.set()
                select.select([connection], [], [], PATIENCE)
                held_up[0] = 2 * PATIENCE

        monkeypatch.setattr(client, "_receive", look_and_be_held_up)
        connected(client)
        when(client, "news")
        assert [event.name for event in client.journal.since(0)] == ["connected", "news"]

    def test_the_patience_with_an_answer_begins_when_the_ping_has_gone_out(
        self, script: Script, new_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The client's thread is held up in front of its ping, for longer than its patience."""
        held_up = [0.0]
        monkeypatch.setattr(comfy_client, "now", lambda: now() + held_up[0])
        ping, has_pinged, has_looked = Connection.ping, threading.Event(), threading.Event()

        def be_held_up_and_ping(connection: Connection) -> None:
            held_up[0] = 2 * PATIENCE
            ping(connection)
            has_pinged.set()

        def behave(peer: Peer) -> None:
            peer.upgrade()
            _, payload = peer.receive()
            assert has_looked.wait(PATIENCE)
            peer.send(frame(PONG, payload) + message("news"))
            peer.frames()

        client = new_client(script(behave).endpoint, ping_interval=0.02, pong_timeout=PATIENCE)
        receive = client._receive

        def look(connection: Connection) -> None:
            receive(connection)
            if has_pinged.is_set():
                has_looked.set()

        monkeypatch.setattr(Connection, "ping", be_held_up_and_ping)
        monkeypatch.setattr(client, "_receive", look)
        connected(client)
        when(client, "news")
        assert [event.name for event in client.journal.since(0)] == ["connected", "news"]

    def test_a_month_between_pings_is_not_too_long(self, script: Script, new_client: MakeClient) -> None:
        month = 31 * 24 * 3600.0
        client = connected(new_client(script(serve, serve).endpoint, ping_interval=month, connect_timeout=month))
        client.reconnect()
        when(client, "reconnected")
        assert ClientPause(client, 0.1).names == []

    def test_without_pings_a_silent_server_stays(self, script: Script, new_client: MakeClient) -> None:
        server = script(lambda peer: (peer.upgrade(), peer.wait_for_end()))
        client = connected(new_client(server.endpoint, ping_interval=None, pong_timeout=0.01))
        assert ClientPause(client, 0.2).names == []


def test_states_can_be_read_after_a_call_that_was_interrupted(
    script: Script, new_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test's timeout may strike between what the machine decides and what is made of it."""
    client = connected(new_client(script(serve, serve).endpoint, backoff=LONG))

    def be_interrupted(*_: object) -> None:
        raise Interruption

    monkeypatch.setattr(client, "_apply", be_interrupted)
    with client.journal:  # the client's thread goes on only when all is seen
        with pytest.raises(Interruption):
            client.reconnect()
        monkeypatch.undo()
        assert client.positions_of_state(ConnectionState.connected) == [0]
        assert client.positions_of_state(ConnectionState.reconnecting) == [1]


class TestPolling:
    def test_a_status_comes_over_http_while_the_upgrade_is_refused(
        self, script: Script, new_client: MakeClient
    ) -> None:
        queue = [3]
        server = script(
            end_after(), refuse, http=lambda peer: peer.answer(200, {"exec_info": {"queue_remaining": queue[0]}})
        )
        client = new_client(
            server.endpoint,
            backoff=Backoff(BackoffStrategy.constant, base_delay=0.1),
            max_attempts=None,
            polling_interval=0.02,
            headers={"X-Token": "t"},
        )
        client.connect()
        first = when(client, "status")
        assert first.data == {"status": {"exec_info": {"queue_remaining": 3}}, "transport": "http"}
        assert (first.source, first.life_id) == ("server", None)
        eventually(lambda: len(server.requests) >= 5)
        assert len(events(client, "status")) == 1, "only what is new"
        queue[0] = 2
        assert when(client, "status", 2).data["status"]["exec_info"]["queue_remaining"] == 2
        assert {(request.method, request.path) for request in server.requests} == {("GET", "/prompt")}
        assert {request.headers["x-token"] for request in server.requests} == {"t"}
        eventually(lambda: len(server.upgrades) >= 5)
        for begun, request in zip(events(client, "reconnecting"), server.upgrades[1:], strict=False):
            assert request.at - begun.at >= 0.099, "attempts keep their delays"
        client.abort_reconnect()
        eventually(lambda: len(set(polled_over(server, 0.1))) == 1)

    @pytest.mark.parametrize("end", ["success", "failure", "abort", "close"])
    def test_it_ends_with_the_outage(self, script: Script, new_client: MakeClient, end: str) -> None:
        server = script(end_after(), serve if end == "success" else refuse)
        client = new_client(server.endpoint, backoff=LONG, max_attempts=1, polling_interval=0.01)
        client.connect()
        eventually(lambda: server.requests)
        if end == "success":
            client.reconnect()
            when(client, "reconnected")
        elif end == "failure":
            client.reconnect()
            when(client, "reconnection_failed")
        elif end == "abort":
            client.abort_reconnect()
        else:
            client.close()
        eventually(lambda: len(set(polled_over(server, 0.1))) == 1)

    def test_a_request_that_is_not_answered_holds_no_attempt_up(self, script: Script, new_client: MakeClient) -> None:
        server = script(end_after(), refuse, refuse, refuse, serve, http=never_answer)
        client = new_client(server.endpoint, backoff=QUICK, polling_interval=0.01, connect_timeout=PATIENCE * 5)
        client.connect()
        when(client, "reconnected")

    @pytest.mark.parametrize(
        "http", [Peer.end, Peer.reset, lambda peer: peer.answer(500), lambda peer: peer.send(b"nonsense\r\n\r\n")]
    )
    def test_answers_that_are_none_are_no_event(
        self, script: Script, new_client: MakeClient, http: Callable[[Peer], object]
    ) -> None:
        server = script(end_after(), refuse, http=http)
        client = new_client(server.endpoint, backoff=QUICK, max_attempts=None, polling_interval=0.01)
        client.connect()
        eventually(lambda: len(server.requests) >= 3)
        assert names(client, "server") == []


def polled_over(server: Any, seconds: float) -> tuple[int, int]:
    """Number of requests before and after a time."""
    before = len(server.requests)
    pause(seconds)
    return before, len(server.requests)


class TestValidation:
    def test_a_good_connection_is_valid(self, script: Script, new_client: MakeClient) -> None:
        server = script(serve)
        client = connected(new_client(server.endpoint, headers={"X-Token": "t"}))
        assert client.validate(PATIENCE) is None
        assert [(request.path, request.headers["x-token"]) for request in server.requests] == [("/queue", "t")]

    @pytest.mark.parametrize(
        ("http", "timeout", "fault"),
        [
            (lambda peer: peer.answer(500, {"queue_running": [], "queue_pending": []}), PATIENCE, "status 500"),
            (lambda peer: peer.answer(200, {"hello": "world"}), PATIENCE, "the answer is no queue"),
            (lambda peer: peer.answer(200, []), PATIENCE, "the answer is no queue"),
            (lambda peer: peer.answer(200), PATIENCE, "the answer is no queue"),
            (never_answer, 0.3, "no answer within 0.3 s"),
            (Peer.reset, PATIENCE, "reset"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, script: Script, new_client: MakeClient, http: Callable[[Peer], object], timeout: float, fault: str
    ) -> None:
        client = connected(new_client(script(serve, http=http).endpoint))
        found = finished(lambda: client.validate(timeout))
        assert found is not None
        assert fault in found

    def test_a_client_without_connection_is_not_valid_even_if_http_works(
        self, script: Script, new_client: MakeClient
    ) -> None:
        client = new_client(script(refuse, http=tell_queue).endpoint)
        assert client.validate(PATIENCE) == "the client is disconnected"


@pytest.mark.usefixtures("trusted")
def test_a_client_lives_on_wss_and_https(script: Script, new_client: MakeClient, tls: Any) -> None:
    def behave(peer: Peer) -> None:
        peer.upgrade()
        peer.send(b"".join(message("news", number=number) for number in range(500)))
        peer.frames()

    client = connected(new_client(script(behave, tls=tls).endpoint, ping_interval=0.02))
    eventually(lambda: len(events(client, "news")) == 500)
    assert client.validate(PATIENCE) is None
    client.close()
