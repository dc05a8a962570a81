"""Connections on which nothing can block past its deadline."""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest
from engine_helpers import PATIENCE, ScriptedServer, eventually, finished

from ComfyMockLibrary.engine.client import wire
from ComfyMockLibrary.engine.client.wire import Abandoned, Patience, Selector, Wakeup, WireSocket, open_connection
from ComfyMockLibrary.engine.deadline import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine_helpers import Script


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def silent_port(cleanup: ExitStack) -> int:
    """A port that answers no SYN: its backlog is full."""
    listener = cleanup.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port: int = listener.getsockname()[1]
    for _ in range(8):
        filler = cleanup.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
        with selectors.DefaultSelector() as selector:
            selector.register(filler, selectors.EVENT_WRITE)
            if not selector.select(0.2):
                return port
    raise AssertionError("the backlog takes everybody")


@pytest.fixture
def pair(cleanup: ExitStack) -> tuple[WireSocket, socket.socket]:
    """Both ends of a connection, ours first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = open_connection("127.0.0.1", listener.getsockname()[1], tls=False, patience=Patience(PATIENCE))
        theirs, _ = listener.accept()
    cleanup.enter_context(theirs)
    cleanup.enter_context(ours)
    assert isinstance(ours, WireSocket)
    return ours, theirs


def abandoned(wakeup: Wakeup, call: Callable[[Patience], object]) -> None:
    """Makes sure that a call with a long patience ends at once when it is not wanted any more."""
    wanted = [True]
    thread = threading.Timer(0.1, lambda: (wanted.clear(), wakeup.set()))
    thread.start()
    began = now()
    with pytest.raises(Abandoned):
        finished(lambda: call(Patience(PATIENCE * 5, wakeup, lambda: bool(wanted))))
    assert now() - began < PATIENCE
    thread.join()


def test_a_port_that_answers_no_syn_is_given_up_at_the_deadline(silent_port: int) -> None:
    began = now()
    with pytest.raises(TimeoutError):
        finished(lambda: open_connection("127.0.0.1", silent_port, tls=False, patience=Patience(0.3)))
    assert 0.3 <= now() - began < PATIENCE


def test_connecting_ends_at_once_when_it_is_abandoned(silent_port: int, wakeup: Wakeup) -> None:
    abandoned(wakeup, lambda patience: open_connection("127.0.0.1", silent_port, tls=False, patience=patience))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_connection_is_an_error_at_once(host: str, cleanup: ExitStack) -> None:
    held = cleanup.enter_context(socket.socket())
    held.bind(("127.0.0.1", 0))
    with pytest.raises(ConnectionRefusedError):
        finished(lambda: open_connection(host, held.getsockname()[1], tls=False, patience=Patience(PATIENCE)))


def test_the_next_address_of_a_host_is_tried_when_one_refuses(
    script: Script, cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = cleanup.enter_context(socket.socket())
    held.bind(("127.0.0.1", 0))
    good = ("127.0.0.1", script().endpoint.port)
    found = [(socket.AF_INET, 0, 0, "", address) for address in (held.getsockname(), good)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert cleanup.enter_context(open_connection("two.example", 1, tls=False, patience=Patience(PATIENCE)))


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "no such host.invalid"])
def test_a_host_that_cannot_be_looked_up_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match=r"."):
        open_connection(host, 1, tls=False, patience=Patience(PATIENCE))


def test_without_patience_a_receive_does_not_wait(pair: tuple[WireSocket, socket.socket]) -> None:
    ours, theirs = pair
    ours.patience = None
    with pytest.raises(TimeoutError):
        ours.recv(10)
    theirs.sendall(b"12345")
    eventually(lambda: selects(ours))
    assert ours.recv(10) == b"12345"


def selects(sock: socket.socket) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def test_a_receive_waits_for_data_up_to_the_deadline(pair: tuple[WireSocket, socket.socket]) -> None:
    ours, theirs = pair
    ours.patience = Patience(0.2)
    with pytest.raises(TimeoutError):
        finished(lambda: ours.recv(10))
    ours.patience = Patience(PATIENCE)
    thread = threading.Timer(0.05, theirs.sendall, (b"12345",))
    thread.start()
    assert finished(lambda: ours.recv(10)) == b"12345"
    thread.join()
    theirs.sendall(b"678")
    assert ours.recv_into(bytearray(10)) == 3
    assert ours.bytes_received == 8


def test_a_receive_ends_at_once_when_it_is_abandoned(pair: tuple[WireSocket, socket.socket], wakeup: Wakeup) -> None:
    def receive(patience: Patience) -> None:
        pair[0].patience = patience
        pair[0].recv(10)

    abandoned(wakeup, receive)


def test_data_that_is_there_does_not_get_round_the_deadline(
    pair: tuple[WireSocket, socket.socket], wakeup: Wakeup
) -> None:
    ours, theirs = pair
    theirs.sendall(b"12345")
    eventually(lambda: selects(ours))
    ours.patience = Patience(0.0)
    with pytest.raises(TimeoutError):
        ours.recv(1)
    ours.patience = Patience(PATIENCE, wakeup, lambda: False)
    with pytest.raises(Abandoned):
        ours.recv_into(bytearray(1))
    ours.patience = None
    assert ours.recv(10) == b"12345"


def test_data_that_never_ends_does_not_get_round_the_deadline(script: Script, cleanup: ExitStack) -> None:
    server = script(flood)
    ours = open_connection("127.0.0.1", server.endpoint.port, tls=False, patience=Patience(0.3))
    cleanup.enter_context(ours)
    ours.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")

    def read() -> None:
        while True:
            ours.recv(100)

    with pytest.raises(TimeoutError):
        finished(read)


def test_data_that_never_ends_can_be_abandoned(script: Script, cleanup: ExitStack, wakeup: Wakeup) -> None:
    server = script(flood)

    def read(patience: Patience) -> None:
        ours = open_connection("127.0.0.1", server.endpoint.port, tls=False, patience=patience)
        cleanup.enter_context(ours)
        ours.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
        while True:
            ours.recv(100)

    abandoned(wakeup, read)


def flood(peer: object) -> None:
    while True:
        peer.send(b"x" * 1_000_000)  # type: ignore[attr-defined]


def test_sending_to_a_peer_that_does_not_read_fails_after_a_time_and_not_as_missing_data(
    pair: tuple[WireSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SEND_TIMEOUT", 0.2)
    ours, _ = pair
    ours.patience = None
    with pytest.raises(OSError, match="does not read") as raised:
        finished(lambda: ours.sendall(b"x" * 50_000_000))
    assert not isinstance(raised.value, TimeoutError), "a timeout means: no data yet, go on"


def test_sending_waits_for_a_slow_reader(
    pair: tuple[WireSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SEND_TIMEOUT", PATIENCE)
    ours, theirs = pair
    ours.patience = None
    data = bytes(range(256)) * 40_000
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(iter(lambda: theirs.recv(65536), b"")))
    reader.start()
    ours.sendall(data)
    ours.shutdown(socket.SHUT_WR)
    reader.join()
    assert b"".join(received) == data


def test_a_wakeup_that_changes_nothing_interrupts_nothing(
    pair: tuple[WireSocket, socket.socket], wakeup: Wakeup
) -> None:
    wakeup.set()
    with pytest.raises(TimeoutError):
        Patience(0.1, wakeup, lambda: True).wait(pair[0], selectors.EVENT_READ)
    wakeup.set()
    pair[1].sendall(b"x")
    Patience(PATIENCE, wakeup).wait(pair[0], selectors.EVENT_READ)


def test_many_wakeups_count_as_one_and_one_after_the_end_as_none() -> None:
    wakeup = Wakeup()
    for _ in range(100_000):
        wakeup.set()
    wakeup.clear()
    assert not selects(wakeup)  # type: ignore[arg-type]
    wakeup.set()
    assert selects(wakeup)  # type: ignore[arg-type]
    wakeup.close()
    wakeup.set()


@pytest.mark.usefixtures("trusted")
def test_tls_takes_large_data_in_both_directions(tls: ssl.SSLContext, script: Script, cleanup: ExitStack) -> None:
    data = bytes(range(256)) * 8_000

    def echo(peer: object) -> None:
        peer.send(peer._read(len(data)))  # type: ignore[attr-defined]

    server = script(echo, tls=tls)
    ours = open_connection("127.0.0.1", server.endpoint.port, tls=True, patience=Patience(PATIENCE))
    cleanup.enter_context(ours)
    ours.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n" + data)
    received = b""
    while len(received) < len(data):
        received += ours.recv(16384)
    assert received == data
    assert ours.bytes_received == len(data)


def test_a_certificate_that_nobody_trusts_is_refused(tls: ssl.SSLContext, script: Script) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        open_connection("127.0.0.1", script(tls=tls).endpoint.port, tls=True, patience=Patience(PATIENCE))


@pytest.mark.usefixtures("trusted")
def test_a_tls_handshake_that_is_never_answered_ends_at_the_deadline(cleanup: ExitStack, wakeup: Wakeup) -> None:
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = listener.getsockname()[1]
    with pytest.raises(TimeoutError):
        finished(lambda: open_connection("127.0.0.1", port, tls=True, patience=Patience(0.3)))
    abandoned(wakeup, lambda patience: open_connection("127.0.0.1", port, tls=True, patience=patience))


@pytest.mark.parametrize("way", ["end", "reset", "no TLS"])
def test_a_tls_handshake_that_goes_wrong_is_an_os_error(way: str, cleanup: ExitStack) -> None:
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(65536)
            if way == "no TLS":
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            if way == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(OSError, match=r"."):
        open_connection("127.0.0.1", listener.getsockname()[1], tls=True, patience=Patience(PATIENCE))
    thread.join()


def test_scripted_servers_end_whatever_they_are_at() -> None:
    server = ScriptedServer()
    with socket.create_connection(("127.0.0.1", server.endpoint.port)):
        finished(server.close)


def test_to_wait_takes_no_descriptor() -> None:
    before = psutil.Process().num_fds()
    with Selector():
        assert psutil.Process().num_fds() <= before
