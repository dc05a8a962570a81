"""Rules on connections, seen by raw sockets."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import pytest
from wired import DEADLINE, pattern, rule

from mockserver.network.connections import ANYBODY, ByteRule, Connection, Who, client_of
from mockserver.network.draws import Direction, Draws
from mockserver.network.stages import (
    Bandwidth,
    Cut,
    Hold,
    Latency,
    Silence,
    Slicer,
    SlowClose,
    Stage,
    Stall,
    StopReading,
)

if TYPE_CHECKING:
    from wired import Peer, Wired

BOTH = pytest.mark.parametrize("direction", list(Direction), ids=lambda each: each.value)
BODY = 300_000
ECHO = b"\x81\x04echo"


def took(peer: Peer, payload: bytes = b"echo") -> float:
    """Seconds that an echo takes."""
    began = time.monotonic()
    peer.text(payload)
    assert peer.read(2 + len(payload))[2:] == payload
    return time.monotonic() - began


# Nothing is attached without need


def test_a_connection_without_faults_is_as_it_was(wired: Wired) -> None:
    peer = wired.websocket("me")
    connection = wired.connection()
    protocol, transport = connection._protocol, connection.transport
    wired.apply(rule(Latency(0.01), Direction.to_client))
    assert connection.has_splice
    assert transport.get_protocol() is not protocol
    took(peer)
    wired.apply()
    wired.eventually(lambda: not connection.has_splice)
    assert transport.get_protocol() is protocol
    assert protocol.transport is transport
    assert connection._websocket is not None
    assert connection._websocket._writer is not None
    assert connection._websocket._writer.transport is transport
    assert took(peer) >= 0


def test_nothing_is_attached_where_no_rule_applies(wired: Wired) -> None:
    wired.websocket("me")
    wired.websocket("you")
    wired.apply(rule(Hold(), Direction.to_client, Who("you")))
    assert [(each.client, each.has_splice) for each in wired.find()] == [("me", False), ("you", True)]


# Each stage


@BOTH
def test_latency(wired: Wired, direction: Direction) -> None:
    peer = wired.websocket("me")
    wired.apply(rule(Latency(0.05), direction))
    assert took(peer) >= 0.05
    wired.apply(rule(Latency(0.05), Direction.to_client), rule(Latency(0.05), Direction.to_server))
    assert took(peer) >= 0.1


@pytest.mark.parametrize("stage", [Bandwidth(1_000_000), Slicer(10_000, 5_000, 0.001), Stall(0.02)], ids=str)
@BOTH
def test_bulk_is_complete(wired: Wired, stage: Stage, direction: Direction) -> None:
    wired.apply(rule(stage, direction))
    peer = wired.connect()
    began = time.monotonic()
    peer.get(f"/bytes/{BODY}")
    assert peer.body() == pattern(BODY)
    data = pattern(BODY)
    peer.send(b"POST /digest HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % BODY + data)
    assert peer.body().decode() == hashlib.sha256(data).hexdigest()
    if isinstance(stage, Bandwidth):
        assert time.monotonic() - began >= 0.3


def test_slices_come_one_by_one(wired: Wired) -> None:
    peer = wired.websocket("me")
    wired.apply(rule(Slicer(1, 0, 0.02), Direction.to_client))
    assert took(peer) >= 0.02 * (len(ECHO) - 1)


@BOTH
def test_hold_and_heal_loses_nothing(wired: Wired, direction: Direction) -> None:
    peer = wired.websocket("me")
    wired.apply(rule(Hold(), direction))
    for number in range(50):
        peer.text(b"%04d" % number)
    assert peer.is_silent()
    wired.apply()
    assert peer.read(6 * 50) == b"".join(b"\x81\x04%04d" % number for number in range(50))


@BOTH
def test_the_end_waits_behind_what_is_held(wired: Wired, direction: Direction) -> None:
    peer = wired.connect()
    wired.connection()
    wired.apply(rule(Hold(), direction))
    peer.get("/bytes/4", "Connection: close")
    assert peer.is_silent()
    wired.apply()
    assert peer.body() == pattern(4)
    assert peer.rest() == (b"", "fin")


def test_a_client_that_leaves_while_held_is_heard_to_the_end(wired: Wired) -> None:
    peer = wired.websocket("me")
    wired.apply(rule(Hold(), Direction.to_server))
    connection = wired.connection()
    peer.text(b"last words")
    peer.socket.shutdown(1)
    assert peer.is_silent()
    wired.apply()
    wired.eventually(lambda: wired.received == ["last words"])
    wired.eventually(lambda: connection.is_gone)


def test_silence_swallows_bytes_and_the_end(wired: Wired) -> None:
    peer = wired.websocket("me")
    connection = wired.connection()
    wired.apply(rule(Silence(), Direction.to_client))
    peer.text(b"echo")
    peer.send(b"\x88\x80\0\0\0\0")  # the server answers and closes
    splice = connection._splice
    assert splice is not None
    wired.eventually(lambda: splice.is_closing)
    assert peer.is_silent()
    wired.apply()
    assert peer.rest() == (b"", "fin")


def test_silence_from_the_client_leaves_the_server_waiting(wired: Wired) -> None:
    peer = wired.websocket("me")
    wired.apply(rule(Silence(), Direction.to_server))
    connection = wired.connection()
    peer.text(b"echo")
    peer.close()
    wired.eventually(lambda: wired.strikes)
    assert wired.run(lambda: connection._protocol.transport is not None)
    wired.apply()
    wired.eventually(lambda: connection.is_gone)


@pytest.mark.parametrize("ending", ["reset", "fin"])
@pytest.mark.parametrize("after", [0, 1, 50_000])
def test_cut_to_client_is_exact(wired: Wired, after: int, ending: str) -> None:
    peer = wired.connect()
    wired.connection()
    if not after:
        wired.apply(rule(Cut(after, ending), Direction.to_client))  # type: ignore[arg-type]
        assert peer.rest() == (b"", ending)
        return
    peer.get("/bytes/8")
    whole = peer.head() + peer.read(8)
    wired.apply(rule(Cut(after, ending), Direction.to_client))  # type: ignore[arg-type]
    peer.get("/bytes/100000")
    data, end = peer.rest()
    assert (len(data), end) == (after, ending)
    assert data.startswith(whole[:1])
    wired.eventually(lambda: wired.strikes)
    assert wired.strikes == [("fault", "127.0.0.1", 1, {"offset": after, "ending": ending})]


def test_cut_to_server_lets_the_bytes_before_it_through(wired: Wired) -> None:
    peer = wired.connect()
    wired.connection()
    request = b"GET /bytes/4 HTTP/1.1\r\nHost: h\r\n\r\n"
    wired.apply(rule(Cut(len(request) + 1), Direction.to_server))
    peer.send(request)
    assert peer.body() == pattern(4)
    peer.send(request)
    assert peer.rest() == (b"", "reset")


def fill(peer: Peer, data: bytes) -> int:
    """Sends until nothing more can be sent; how much it was."""
    peer.socket.settimeout(0.3)
    sent = 0
    try:
        while sent < len(data):
            sent += peer.socket.send(data[sent : sent + 65536])
    except TimeoutError:
        peer.socket.settimeout(DEADLINE)
    return sent


@pytest.mark.parametrize("stage", [StopReading(), Hold()], ids=str)
def test_a_sender_is_stopped_by_tcp_and_loses_nothing(wired: Wired, stage: Stage) -> None:
    peer = wired.connect()
    connection = wired.connection()
    data = pattern(30_000_000)
    wired.apply(rule(stage, Direction.to_server))
    peer.send(b"POST /digest HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(data))
    sent = fill(peer, data)
    assert sent < len(data)
    splice = connection._splice
    assert splice is not None
    least, most = (0, 999) if stage == StopReading() else (256 * 1024, 512 * 1024)
    wired.eventually(lambda: wired.run(lambda: splice._to_server.held) >= least)  # the loop may be slower than we are
    assert wired.run(lambda: splice._to_server.held) <= most
    wired.apply()
    peer.send(data[sent:])
    assert peer.body().decode() == hashlib.sha256(data).hexdigest()


def test_slow_close(wired: Wired) -> None:
    peer = wired.connect()
    wired.connection()
    wired.apply(rule(SlowClose(0.1), Direction.to_client))
    began = time.monotonic()
    peer.get("/bytes/4", "Connection: close")
    assert peer.body() == pattern(4)
    assert peer.rest() == (b"", "fin")
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("stage", [Hold(), Bandwidth(0.01), SlowClose(3600.0)], ids=lambda each: type(each).__name__)
def test_nothing_follows_the_end_of_a_cut_that_is_held(wired: Wired, stage: Stage) -> None:
    peer = wired.connect()
    connection = wired.connection()
    holding = rule(stage, Direction.to_client)
    wired.apply(rule(Cut(4, "fin"), Direction.to_client, fault="cut"), holding)
    peer.get("/bytes/8")
    wired.eventually(lambda: any(fault == "cut" for fault, *_ in wired.strikes))
    wired.apply(holding)
    peer.get("/bytes/800")
    wired.eventually(lambda: wired.run(lambda: connection._splice and connection._splice.held_for_client > 800))
    wired.apply()
    assert peer.rest() == (b"HTTP", "fin")


# Who


@pytest.mark.parametrize(
    ("greeting", "client_id"),
    [
        (b"GET /ws?clientId=me HTTP/1.1\r\n", "me"),
        (b"GET /api/ws?x=1&clientId=a%20b+c&clientId=d HTTP/1.1\r\n", "a b c"),
        (b"GET /ws HTTP/1.1\r\n", None),
        (b"GET /ws?clientId= HTTP/1.1\r\n", None),
        (b"GET /other?clientId=me HTTP/1.1\r\n", None),
        (b"POST /ws?clientId=me HTTP/1.1\r\n", None),
        (b"GET //[ HTTP/1.1\r\n", None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_a_client_is_found_in_the_first_line(greeting: bytes, client_id: str | None) -> None:
    assert client_of(greeting) == client_id


def test_connections_are_counted_per_client(wired: Wired) -> None:
    for client in ("me", "you", "me"):
        wired.websocket(client)
    wired.connect()
    wired.eventually(lambda: len(wired.find()) == 4)
    assert [(each.number, each.client, each.ordinal, each.is_websocket) for each in wired.find()] == [
        (1, "me", 1, True),
        (2, "you", 1, True),
        (3, "me", 2, True),
        (4, "127.0.0.1", 4, False),
    ]
    numbers = {who: [each.number for each in wired.find(who)] for who in (Who("me"), Who("me", 2), Who(None, 2))}
    assert numbers == {Who("me"): [1, 3], Who("me", 2): [3], Who(None, 2): [2]}


def test_under_rules_a_client_is_known_before_its_upgrade_is_answered(wired: Wired) -> None:
    wired.apply(rule(Hold(), Direction.to_client, Who("me")))
    peer, other = wired.connect(), wired.connect()
    peer.send(b"GET /ws?cli")
    assert peer.is_silent(0.05)
    peer.send(b"entId=me HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    peer.send(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    other.upgrade("/ws?clientId=you")
    assert other.head().startswith(b"HTTP/1.1 101")
    assert peer.is_silent()
    wired.apply()
    assert peer.head().startswith(b"HTTP/1.1 101")
    assert took(peer) >= 0


def test_a_client_that_says_nothing_is_heard_when_the_rules_end(wired: Wired) -> None:
    wired.apply(rule(Stall(0.5), Direction.to_client, Who("me")))
    peer = wired.connect()
    peer.send(b"GET /bytes/4 HT")
    assert peer.is_silent(0.05)
    wired.apply()
    peer.send(b"TP/1.1\r\nHost: h\r\n\r\n")
    assert peer.body() == pattern(4)


def test_an_upgrade_under_a_rule_is_undone_whole(wired: Wired) -> None:
    wired.apply(rule(Latency(0.01), Direction.to_client))
    peer = wired.websocket("me")
    connection = wired.connection()
    assert connection.has_splice
    wired.apply()
    wired.eventually(lambda: not connection.has_splice)
    assert connection._websocket is not None
    assert connection._websocket._writer is not None
    assert connection._websocket._writer.transport is connection.transport
    assert took(peer) >= 0


# Rules come and go


def test_a_rule_that_stays_keeps_its_state(wired: Wired) -> None:
    peer = wired.websocket("me")
    stays = rule(Cut(12, "fin"), Direction.to_client)
    wired.apply(stays)
    took(peer)
    wired.apply(rule(Latency(0.001), Direction.to_server), stays)
    peer.text(b"echo")
    peer.text(b"echo")
    assert peer.rest() == (ECHO, "fin")


def test_a_strike_is_told_once_and_may_end_the_fault(wired: Wired) -> None:
    peer = wired.websocket("me")
    seen: list[object] = []

    def end(struck: object, connection: object, details: object) -> None:
        seen.append((struck, connection, details))
        wired.connections.apply(())

    wired.connections.on_strike = end
    hold = rule(Hold(), Direction.to_client)
    wired.apply(hold)
    assert took(peer) >= 0
    assert seen == [(hold, wired.connection(), {})]
    assert not wired.connection().has_splice


def test_latency_strikes_once(wired: Wired) -> None:
    peer = wired.websocket("me")
    wired.apply(rule(Latency(0.0), Direction.to_client))
    for _ in range(5):
        took(peer)
    assert wired.strikes == [("fault", "me", 1, {})]


def test_the_same_seed_strikes_the_same_whoever_else_is_there(wired: Wired) -> None:
    wired.apply(rule(Stall(0.15), Direction.to_client))

    def strikes_of(client: str, others: int) -> list[object]:
        peers = [wired.websocket(client if not other else f"other{other}") for other in range(others + 1)]
        for number in range(20):
            for peer in peers:
                peer.text(b"%02d" % number)
        for peer in peers:
            peer.read(4 * 20)
        for connection in wired.find():
            wired.run(connection.reset)
        found = [details for _, name, _, details in wired.strikes if name == client]
        wired.strikes.clear()
        return found

    runs = []
    for others in (0, 1, 3):
        wired.run(wired.connections._ordinals._counts.clear)
        runs.append(strikes_of("me", others))
    assert runs[0]
    assert runs[0] == runs[1] == runs[2]


def test_offsets_of_strikes_are_those_of_the_stream(wired: Wired) -> None:
    wired.apply(rule(Stall(0.3), Direction.to_client, seed=3))
    peer = wired.websocket("me")
    for number in range(20):
        peer.text(b"%02d" % number)
    peer.read(4 * 20)
    draws = Draws(3, "me", 1, Direction.to_client, "fault")
    offsets = [details["offset"] for *_, details in wired.strikes if "offset" in details]
    assert offsets
    assert all(draws.at(offset) < 0.3 for offset in offsets)


def test_an_error_in_one_connection_leaves_no_other_under_the_old_rules(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = [wired.websocket(name) for name in ("first", "second")]
    wired.apply(rule(Hold(), Direction.to_client))
    for peer in peers:
        peer.text(b"echo")
    update = Connection.update

    def fail_for_first(connection: Connection, rules: tuple[ByteRule, ...]) -> None:
        if connection.client == "first":
            raise ZeroDivisionError
        update(connection, rules)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "update", fail_for_first)
        with pytest.raises(ZeroDivisionError):
            wired.apply()
    assert peers[1].read(6) == ECHO


def test_clear_lets_everything_go(wired: Wired) -> None:
    peer = wired.websocket("me")
    wired.apply(rule(Hold(), Direction.to_client))
    peer.text(b"echo")
    assert peer.is_silent()
    wired.run(wired.connections.clear)
    assert peer.read(6) == ECHO
    assert wired.connections.rules == ()
    assert wired.find(ANYBODY)
