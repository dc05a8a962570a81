"""One websocket, from handshake to end, against servers that keep and break the rules."""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
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
    Peer,
    close_frame,
    eventually,
    finished,
    frame,
    never_answer,
    refuse,
    serve,
)

from ComfyMockLibrary.engine.client import connection as connection_module
from ComfyMockLibrary.engine.client import wire
from ComfyMockLibrary.engine.client.connection import Connection, Lost, OpenFailed
from ComfyMockLibrary.engine.client.wire import Abandoned, Patience
from ComfyMockLibrary.engine.deadline import now, pause
from ComfyMockLibrary.engine.endpoint import Endpoint

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from engine_helpers import Script, ScriptedServer

    from ComfyMockLibrary.engine.client.wire import Wakeup


def sending(*parts: bytes, then: Callable[[Peer], object] = Peer.frames) -> Callable[[Peer], object]:
    """Upgrades and sends bytes, each part by itself."""

    def behave(peer: Peer) -> None:
        peer.upgrade()
        for part in parts:
            peer.send(part)
            pause(0.01)
        then(peer)

    return behave


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    opened: list[Connection] = []

    def connect(server: ScriptedServer, timeout: float = PATIENCE, **headers: str) -> Connection:
        patience = Patience(timeout)
        opened.append(finished(lambda: Connection.open(server.endpoint, "my id", headers, patience)))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.drop()


def messages_of(connection: Connection, count: int) -> list[str | bytes]:
    """Receives until there are so many messages."""
    found: list[str | bytes] = []

    def look() -> bool:
        try:
            found.extend(connection.receive())
        except Lost:  # a script is over when it has sent everything
            if len(found) < count:
                raise
        return len(found) >= count

    eventually(look)
    return found


def loss_of(connection: Connection) -> dict[str, Any]:
    """Receives until the connection is lost."""

    def look() -> dict[str, Any] | None:
        try:
            for _ in connection.receive():
                pass
        except Lost as lost:
            return lost.facts()
        return None

    return eventually(look)


def test_the_upgrade_carries_client_id_and_headers(script: Script, connect: Callable[..., Connection]) -> None:
    server = script(lambda peer: (peer.upgrade("X-Mock-Life: life-7"), peer.frames()))
    connection = connect(server, Authorization="Bearer t")
    (request,) = server.upgrades
    assert request.path == "/ws?clientId=my%20id"
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["host"] == server.endpoint.authority
    assert "origin" not in request.headers, "ComfyUI refuses foreign origins"
    assert connection.life_id == "life-7"


def test_a_server_without_lives_has_no_life_id(script: Script, connect: Callable[..., Connection]) -> None:
    assert connect(script(serve)).life_id is None


@pytest.mark.parametrize(
    ("behave", "message"),
    [
        (refuse, "upgrade refused with status 403"),
        (lambda peer: peer.answer(200, {"hello": "world"}), "upgrade refused with status 200"),
        (lambda peer: peer.answer(503, "x" * 100_000), "upgrade refused with status 503"),
        (lambda peer: peer.answer(302, None, "Location: http://127.0.0.1:1/ws"), "upgrade failed: Redirect"),
        (Peer.end, "upgrade failed: "),
        (Peer.reset, "upgrade failed: .*reset"),
        (lambda peer: peer.send(b"nonsense\r\n\r\n"), "upgrade failed: "),
        (lambda peer: peer.send(b"HTTP/1.1 \xff\r\n\r\n"), "upgrade failed: "),
        (lambda peer: peer.send(b"\r\n\r\n"), "upgrade refused"),
        (lambda peer: peer.send(peer.upgrade_answer().replace(b"Accept: ", b"Accept: x")), "upgrade failed: "),
        (lambda peer: peer.send(peer.upgrade_answer().replace(b": websocket", b": other")), "upgrade failed: "),
        (lambda peer: peer.send(b"HTTP/1.1 403 No\r\nContent-Length: x\r\n\r\n"), "upgrade failed: "),
        (lambda peer: peer.send(peer.upgrade_answer("Set-Cookie: a/b=1")), "upgrade failed: "),
    ],
)
def test_a_refused_upgrade_says_why(script: Script, behave: Callable[[Peer], object], message: str) -> None:
    with pytest.raises(OpenFailed, match=message):
        finished(lambda: Connection.open(script(behave).endpoint, "id", {}, Patience(PATIENCE)))


def dribble(peer: Peer) -> None:
    for byte in peer.upgrade_answer("X-Long: " + "x" * 1000):
        peer.send(bytes([byte]))
        pause(0.02)


def refuse_without_end(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 1000\r\n\r\n")
    peer.wait_for_end()


def head_without_end(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        peer.send(b"X-Long: " + b"x" * 10_000 + b"\r\n")


SLOW = [never_answer, dribble, refuse_without_end, head_without_end]


@pytest.mark.parametrize("behave", SLOW)
def test_an_upgrade_that_is_not_answered_to_its_end_is_given_up_at_the_deadline(
    script: Script, behave: Callable[[Peer], object]
) -> None:
    server, began = script(behave), now()
    with pytest.raises(OpenFailed, match=r"upgrade not answered within 0\.3 s"):
        finished(lambda: Connection.open(server.endpoint, "id", {}, Patience(0.3)))
    assert 0.3 <= now() - began < PATIENCE


@pytest.mark.parametrize("behave", SLOW)
def test_an_upgrade_that_nobody_wants_any_more_ends_at_once(
    script: Script, wakeup: Wakeup, behave: Callable[[Peer], object]
) -> None:
    server = script(lambda peer: (wakeup.set(), behave(peer)))
    patience = Patience(PATIENCE * 5, wakeup, lambda: not server.upgrades)
    with pytest.raises(Abandoned):
        finished(lambda: Connection.open(server.endpoint, "id", {}, patience))


def test_a_host_that_refuses_or_has_no_address_says_so() -> None:
    with pytest.raises(OpenFailed, match="refused"):
        Connection.open(Endpoint("127.0.0.1", 1), "id", {}, Patience(PATIENCE))
    with pytest.raises(OpenFailed, match="no name of a host"):
        Connection.open(Endpoint("a..b", 1), "id", {}, Patience(PATIENCE))


def test_messages_come_in_order_whole_and_of_both_kinds(script: Script, connect: Callable[..., Connection]) -> None:
    large = "ä" * 100_000
    frames = (frame(TEXT, b"one"), frame(BINARY, b"\x00\xff"), frame(TEXT, b""), frame(TEXT, large.encode()))
    connection = connect(script(sending(b"".join(frames))))
    assert messages_of(connection, 4) == ["one", b"\x00\xff", "", large]


def test_a_message_glued_to_the_upgrade_is_not_lost(script: Script, connect: Callable[..., Connection]) -> None:
    def behave(peer: Peer) -> None:
        peer.send(peer.upgrade_answer() + frame(TEXT, b"early"))
        peer.frames()

    assert messages_of(connect(script(behave)), 1) == ["early"]


@pytest.mark.parametrize("size", [1, 200, 70_000])
def test_a_message_that_comes_in_pieces_is_whole_in_the_end(
    script: Script, connect: Callable[..., Connection], size: int
) -> None:
    data = frame(TEXT, b"x" * size) + frame(BINARY, b"y" * size)
    cuts = sorted({cut for cut in (1, 2, 3, 5, 9, 11, len(data) // 2, len(data) - 1) if cut < len(data)})
    parts = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, None], strict=True)]
    connection = connect(script(sending(*parts)))
    assert messages_of(connection, 2) == ["x" * size, b"y" * size]


def test_fragments_are_put_together_around_control_frames(script: Script, connect: Callable[..., Connection]) -> None:
    seen: list[tuple[int, bytes]] = []
    text = "größer".encode()
    parts = (
        frame(TEXT, text[:3], fin=False),  # in the middle of a letter
        frame(PING, b"are you there"),
        frame(CONTINUATION, text[3:5], fin=False),
        frame(PONG, b"unasked"),
        frame(CONTINUATION, text[5:]),
    )
    connection = connect(script(sending(*parts, then=lambda peer: seen.append(peer.receive()))))
    assert messages_of(connection, 1) == ["größer"]
    assert eventually(lambda: seen) == [(PONG, b"are you there")]


def test_receiving_without_a_message_does_not_wait(script: Script, connect: Callable[..., Connection]) -> None:
    connection = connect(script(serve))
    assert list(finished(connection.receive)) == []


LOSSES: list[tuple[str, Callable[[Peer], object], dict[str, Any]]] = [
    ("end", sending(then=Peer.end), {"code": 1006, "cause": "end of stream without close frame"}),
    ("reset", sending(then=Peer.reset), {"code": 1006, "cause": "reset by peer"}),
    ("going away", sending(close_frame(1001, "bye")), {"code": 1001, "reason": "bye", "cause": "close frame"}),
    ("own code", sending(close_frame(4000, "übel")), {"code": 4000, "reason": "übel"}),
    ("no code", sending(frame(CLOSE)), {"code": 1005, "cause": "close frame without code"}),
    ("close and reset", sending(close_frame(1012, "again"), then=Peer.reset), {"code": 1012, "reason": "again"}),
    ("close and end", sending(close_frame(1000), then=Peer.end), {"code": 1000, "cause": "close frame"}),
    ("one byte of a code", sending(frame(CLOSE, b"x")), {"code": 1002, "cause": "protocol error"}),
    ("forbidden code", sending(close_frame(1006)), {"code": 1002, "cause": "protocol error"}),
    ("RSV bit", sending(frame(TEXT, b"x", rsv=4)), {"code": 1002, "cause": "protocol error"}),
    ("unknown opcode", sending(frame(0x3, b"x")), {"code": 1002, "cause": "protocol error"}),
    ("bad UTF-8", sending(frame(TEXT, b"\xff\xfe")), {"code": 1002, "cause": "protocol error"}),
    ("continuation of nothing", sending(frame(CONTINUATION, b"x")), {"code": 1002, "cause": "protocol error"}),
    (
        "message within a message",
        sending(frame(TEXT, b"x", fin=False), frame(TEXT, b"y")),
        {"code": 1002, "cause": "protocol error"},
    ),
    ("fragmented ping", sending(frame(PING, b"x", fin=False)), {"code": 1002, "cause": "protocol error"}),
    ("long ping", sending(frame(PING, b"x" * 200)), {"code": 1002, "cause": "protocol error"}),
    (
        "2^63 bytes",
        sending(frame(TEXT, b"x" * 1000, announced=1 << 63)),
        {"code": 1009, "cause": "9223372036854775808"},
    ),
    ("2^64 - 1 bytes", sending(frame(BINARY, announced=(1 << 64) - 1)), {"code": 1009, "cause": "announced"}),
    (
        "end in a frame",
        sending(frame(TEXT, b"x", announced=1000), then=Peer.end),
        {"code": 1006, "cause": "end of stream"},
    ),
]


@pytest.mark.parametrize(("behave", "expected"), [pytest.param(*loss[1:], id=loss[0]) for loss in LOSSES])
def test_every_way_of_losing_a_connection_is_noticed_and_named(
    script: Script, connect: Callable[..., Connection], behave: Callable[[Peer], object], expected: dict[str, Any]
) -> None:
    facts = loss_of(connect(script(behave)))
    assert expected["code"] == facts["code"]
    assert expected.get("reason", "") == facts["reason"]
    assert expected.get("cause", "") in facts["cause"]


def test_a_message_in_pieces_that_never_end_is_given_up(
    script: Script, connect: Callable[..., Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "MAX_MESSAGE_BYTES", 1000)
    frames = [frame(PONG, b"x" * 100) for _ in range(20)] + [frame(TEXT, b"news"), frame(TEXT, b"x", fin=False)]

    def behave(peer: Peer) -> None:
        peer.upgrade()
        peer.send(b"".join(frames))
        while True:
            peer.send(frame(CONTINUATION, b"x" * 100, fin=False) * 100)

    connection = connect(script(behave))
    assert messages_of(connection, 1) == ["news"], "what stands between messages does not count"
    assert loss_of(connection) == {"code": 1009, "reason": "", "cause": "message of more than 1000 bytes"}


def test_a_receive_that_is_over_leaves_the_rest_for_the_next(
    script: Script, connect: Callable[..., Connection]
) -> None:
    texts = [str(number) for number in range(5)]
    data = b"".join(frame(TEXT, text.encode()) for text in texts)
    connection = connect(script(sending(data, then=Peer.wait_for_end)))
    found: list[str | bytes] = []
    eventually(lambda: found.extend(connection.receive(lambda: bool(found))) or found)
    assert found == texts[:1]
    assert list(connection.receive(lambda: True)) == []
    assert messages_of(connection, 4) == texts[1:]


def test_a_close_frame_counts_even_if_it_cannot_be_answered(script: Script, connect: Callable[..., Connection]) -> None:
    gone = threading.Event()

    def behave(peer: Peer) -> None:
        peer.upgrade()
        peer.send(close_frame(1012, "again"))
        peer.reset()
        gone.set()

    connection = connect(script(behave))
    assert gone.wait(PATIENCE)
    assert loss_of(connection) == {"code": 1012, "reason": "again", "cause": "close frame"}


def test_messages_before_the_end_are_not_lost(script: Script, connect: Callable[..., Connection]) -> None:
    connection = connect(script(sending(frame(TEXT, b"last words") + close_frame(1001))))
    found: list[str | bytes] = []

    def look() -> bool:
        try:
            for message in connection.receive():
                found.append(message)
        except Lost:
            return True
        return False

    eventually(look)
    assert found == ["last words"]


def test_closing_says_the_code_and_waits_for_the_answer(script: Script, connect: Callable[..., Connection]) -> None:
    seen: list[tuple[int, bytes]] = []
    server = script(lambda peer: (peer.upgrade(), seen.extend(peer.frames())))
    finished(lambda: connect(server).close(1000, Patience(PATIENCE)))
    server.close()
    assert seen == [(CLOSE, struct.pack("!H", 1000))], "one close frame, and nothing after it"


def nobody() -> bool:
    """Whether anybody still wants it."""
    return False


def test_a_close_that_nobody_waits_for_says_the_code(
    script: Script, connect: Callable[..., Connection], wakeup: Wakeup
) -> None:
    seen: list[tuple[int, bytes]] = []
    server = script(lambda peer: (peer.upgrade(), seen.extend(peer.frames())))
    connection = connect(server)
    finished(lambda: connection.close(1000, Patience(PATIENCE * 5, wakeup, nobody)))
    assert connection.fileno() == -1
    server.close()
    assert seen == [(CLOSE, struct.pack("!H", 1000))]


def test_a_close_that_nobody_waits_for_does_not_wait_for_a_server_that_does_not_read(
    script: Script, connect: Callable[..., Connection], wakeup: Wakeup
) -> None:
    over = threading.Event()
    connection = connect(script(lambda peer: (peer.upgrade(), over.wait(PATIENCE))))
    with socket.socket(fileno=os.dup(connection.fileno())) as same, suppress(BlockingIOError):
        while True:
            same.send(frame(PING, b"") * 10_000)
    finished(lambda: connection.close(1000, Patience(PATIENCE * 5, wakeup, nobody)))
    over.set()
    assert connection.fileno() == -1


def test_a_close_frame_is_answered_once(script: Script, connect: Callable[..., Connection]) -> None:
    seen: list[tuple[int, bytes]] = []

    def behave(peer: Peer) -> None:
        peer.upgrade()
        peer.send(close_frame(1001))
        seen.append(peer.receive())

    server = script(behave)
    connection = connect(server)
    loss_of(connection)
    connection.drop()
    server.close()
    assert [opcode for opcode, _ in seen] == [CLOSE]


def flood(peer: Peer) -> None:
    peer.upgrade()
    many = frame(TEXT, b"x") * 50_000
    while True:
        peer.send(many)


@pytest.mark.parametrize(
    "behave", [sending(then=Peer.wait_for_end), sending(frame(TEXT, b"x", announced=9), then=Peer.wait_for_end), flood]
)
def test_closing_does_not_wait_for_ever(
    script: Script, connect: Callable[..., Connection], behave: Callable[[Peer], object]
) -> None:
    connection, began = connect(script(behave)), now()
    finished(lambda: connection.close(1000, Patience(0.3)))
    assert now() - began < PATIENCE


def test_closing_what_is_lost_already_is_no_error(script: Script, connect: Callable[..., Connection]) -> None:
    connection = connect(script(sending(then=Peer.reset)))
    loss_of(connection)
    connection.close(1000, Patience(PATIENCE))
    connection.drop()


def test_sending_on_a_dead_connection_is_a_loss(script: Script, connect: Callable[..., Connection]) -> None:
    connection = connect(script(sending(then=Peer.reset)))

    def send() -> Lost | None:
        try:
            connection.send("x")
            connection.ping()
        except Lost as lost:
            return lost
        return None

    assert eventually(send).facts()["code"] == 1006


def test_a_server_that_asks_and_does_not_read_the_answers_is_lost(
    script: Script, connect: Callable[..., Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SEND_TIMEOUT", 0.3)

    def behave(peer: Peer) -> None:
        peer.upgrade()
        many = frame(PING, b"x" * 125) * 1000
        while True:
            peer.send(many)

    connection = connect(script(behave))
    assert "does not read" in finished(lambda: loss_of(connection))["cause"]


def test_all_that_comes_counts_as_a_sign_of_life(script: Script, connect: Callable[..., Connection]) -> None:
    connection = connect(script(sending(frame(TEXT, b"x", announced=100), then=Peer.wait_for_end)))
    before = connection.bytes_received
    eventually(lambda: list(connection.receive()) or connection.bytes_received > before)


@pytest.mark.usefixtures("trusted")
def test_wss_works(script: Script, connect: Callable[..., Connection], tls: ssl.SSLContext) -> None:
    seen: list[tuple[int, bytes]] = []
    large = "x" * 100_000
    data = b"".join(frame(TEXT, f"{number}".encode()) for number in range(1000)) + frame(TEXT, large.encode())

    def behave(peer: Peer) -> None:
        peer.upgrade()
        peer.send(data)
        seen.append(peer.receive())
        peer.send(close_frame(1001, "bye"))
        peer.frames()

    server = script(behave, tls=tls)
    connection = connect(server)
    assert messages_of(connection, 1001) == [*map(str, range(1000)), large]
    connection.send(large)
    assert loss_of(connection) == {"code": 1001, "reason": "bye", "cause": "close frame"}
    assert seen == [(TEXT, large.encode())]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("way", [Peer.end, Peer.reset])
def test_the_end_of_wss_is_noticed(
    script: Script,
    connect: Callable[..., Connection],
    tls: ssl.SSLContext,
    way: Callable[[Peer], object],
) -> None:
    assert loss_of(connect(script(sending(then=way), tls=tls)))["code"] == 1006


def test_wss_to_a_stranger_is_refused(script: Script, tls: ssl.SSLContext) -> None:
    with pytest.raises(OpenFailed, match="CERTIFICATE_VERIFY_FAILED"):
        Connection.open(script(tls=tls).endpoint, "id", {}, Patience(PATIENCE))
