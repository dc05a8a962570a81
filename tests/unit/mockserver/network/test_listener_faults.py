"""Faults of the listener, for both families."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from wired import Peer, connect_error, pattern

from mockserver import listening
from mockserver.faults import network
from mockserver.faults.kinds import Flap, RefuseConnections
from mockserver.faults.network import NetworkFaults
from mockserver.listening import Listener, PortTaken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wired import Wired

HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's behaviour elsewhere was not measured")


class Refusing:
    """A fault that refuses connections, set and cleared."""

    def __init__(self, wired: Wired) -> None:
        self._wired = wired
        self._active: list[tuple[Any, RefuseConnections]] = []
        registry: Any = SimpleNamespace(
            active=lambda kind: [each for each in self._active if isinstance(each[1], kind)]
        )
        self.faults: NetworkFaults = wired.run(NetworkFaults, registry, wired.connections, wired.listener)
        self.attempts = 0
        listen = wired.listener._listen

        def count(backlog: int) -> None:
            self.attempts += 1
            listen(backlog)

        wired.listener._listen = count  # type: ignore[method-assign]

    def begin(self) -> None:
        """Sets it."""
        fault = RefuseConnections()
        self._active = [(SimpleNamespace(order=1, fault=fault), fault)]
        self._wired.run(self._settle)

    def end(self) -> None:
        """Clears it."""
        self._active = []
        self._wired.run(self._settle)

    async def _settle(self) -> None:
        self.faults.settle()
        await self.faults.settled()


@contextmanager
def taker(host: str, port: int) -> Iterator[None]:
    """Somebody else listens on the port."""
    with socket.socket(family(host)) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((host, port))
        other.listen()
        yield


def answers(wired: Wired, host: str) -> bool:
    """Whether a request is answered."""
    peer = wired.connect(host)
    peer.get("/bytes/4")
    return peer.body() == pattern(4)


@HOSTS
@pytest.mark.parametrize("drop", [False, True])
def test_refuse(wired: Wired, host: str, drop: bool) -> None:
    port = wired.port
    peer = wired.connect(host)
    wired.connection()
    wired.run(wired.listener.refuse, drop)
    assert connect_error(port, host) == "ECONNREFUSED"
    if drop:
        assert peer.rest() == (b"", "reset")
    else:
        peer.get("/bytes/4")
        assert peer.body() == pattern(4)
    wired.run(wired.listener.resume)
    assert wired.port == port
    assert answers(wired, host)


def family(host: str) -> socket.AddressFamily:
    """The family of an address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@HOSTS
def test_nobody_else_is_given_the_port_that_refuses(wired: Wired, host: str) -> None:
    wired.run(wired.listener.refuse, False)
    with socket.socket(family(host)) as other, pytest.raises(OSError, match="in use"):
        other.bind((host, wired.port))


@HOSTS
def test_who_takes_the_port_all_the_same_is_reported(wired: Wired, host: str) -> None:
    wired.run(wired.listener.refuse, False)
    with taker(host, wired.port):
        with pytest.raises(PortTaken, match=f"Port {wired.port} is taken by"):
            wired.run(wired.listener.resume)
        other_host = "127.0.0.1" if host == "::1" else "::1"
        assert connect_error(wired.port, other_host) == "ECONNREFUSED"
    wired.run(wired.listener.resume)
    assert answers(wired, host)


@HOSTS
def test_ignore_lets_every_connect_time_out(wired: Wired, host: str) -> None:
    peer = wired.connect(host)
    wired.connection()
    wired.run(wired.listener.ignore)
    assert [connect_error(wired.port, host) for _ in range(2)] == ["timeout"] * 2
    peer.get("/bytes/4")
    assert peer.body() == pattern(4)
    wired.run(wired.listener.resume)
    assert answers(wired, host)
    assert [each.number for each in wired.find()] == [1, 2]  # none of them is our own


@HOSTS
def test_slow_accept(wired: Wired, host: str) -> None:
    wired.run(wired.listener.slow_accept, 0.1)
    began = time.monotonic()
    assert answers(wired, host)
    assert time.monotonic() - began >= 0.1
    wired.run(wired.listener.resume)
    assert answers(wired, host)


def test_resume_serves_those_who_wait_at_once(wired: Wired) -> None:
    wired.run(wired.listener.slow_accept, 3600.0)
    peers = [wired.connect() for _ in range(3)]
    wired.eventually(lambda: len(wired.listener._unserved) == 3)
    wired.run(wired.listener.resume)
    for peer in peers:
        peer.get("/bytes/4")
        assert peer.body() == pattern(4)


def test_refusal_drops_those_who_wait(wired: Wired) -> None:
    wired.run(wired.listener.slow_accept, 3600.0)
    peer = wired.connect()
    wired.eventually(lambda: wired.listener._unserved)
    wired.run(wired.listener.refuse, True)
    assert peer.rest() == (b"", "reset")


def test_any_fault_follows_any_other(wired: Wired) -> None:
    verbs = {
        "refuse": lambda: wired.listener.refuse(False),
        "ignore": wired.listener.ignore,
        "slow": lambda: wired.listener.slow_accept(0.0),
        "resume": wired.listener.resume,
    }
    expected = {"refuse": "ECONNREFUSED", "ignore": "timeout", "slow": "", "resume": ""}
    for first in verbs:
        for second in verbs:
            for name in (first, second):
                wired.run(verbs[name])
            assert connect_error(wired.port, timeout=0.2) == expected[second], (first, second)
    wired.run(wired.listener.resume)
    assert answers(wired, "127.0.0.1")


def test_flapping_loses_no_file_descriptor(wired: Wired) -> None:
    import psutil

    for turn in range(30):
        wired.run(wired.listener.refuse, True)
        wired.run(wired.listener.ignore)
        wired.run(wired.listener.resume)
        if turn == 2:
            before = psutil.Process().num_fds()
    assert psutil.Process().num_fds() <= before


def test_connections_accepted_late_are_registered_too(wired: Wired) -> None:
    wired.run(wired.listener.slow_accept, 0.01)
    wired.websocket("me")
    assert wired.connection().client == "me"


def test_the_library_holds_the_port_beside_it() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        listener = Listener.bind(["127.0.0.1"], holder.getsockname()[1])
        peer = Peer(listener.port)
        peer.close()
        listener.close()


def test_any_port_is_one_that_is_free_on_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    bind, taken = listening._bind, []

    def bind_as_somebody_takes_the_first(address: str, port: int) -> socket.socket:
        bound = bind(address, port)
        if not taken:
            taken.append(socket.create_server(("::1", bound.getsockname()[1]), family=socket.AF_INET6))
        return bound

    monkeypatch.setattr(listening, "_bind", bind_as_somebody_takes_the_first)
    listener = Listener.bind(["127.0.0.1", "::1"], 0)
    assert listener.port != taken[0].getsockname()[1]
    with pytest.raises(PortTaken):
        Listener.bind(["127.0.0.1", "::1"], taken[0].getsockname()[1])
    for each in (listener, *taken):
        each.close()


def test_refusal_drops_whom_it_has_accepted_just_now(wired: Wired) -> None:
    (listening,) = [each for each in wired.listener._sockets if each.family == socket.AF_INET]

    async def accept_and_refuse() -> Peer:
        peer = Peer(wired.port)
        wired.listener._accept_from(listening)
        await wired.listener.refuse(True)
        return peer

    peer = wired.run(accept_and_refuse)
    assert peer.rest() == (b"", "reset")
    peer.close()


@HOSTS
def test_a_port_that_was_taken_during_a_refusal_is_taken_back_when_it_is_free(
    wired: Wired, host: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "TRY_AGAIN", 0.01)
    caplog.set_level("INFO")
    refusing = Refusing(wired)
    refusing.begin()
    with taker(host, wired.port):
        refusing.end()
        assert caplog.text.count(f"this server still does not listen: Port {wired.port} is taken by") == 1
        wired.eventually(lambda: refusing.attempts > 3)
    wired.eventually(lambda: "the port is free again" in caplog.text)
    assert answers(wired, host)
    assert caplog.text.count("this server still does not listen") == 1


def test_a_port_that_was_taken_is_not_taken_back_under_the_next_refusal(wired: Wired) -> None:
    refusing = Refusing(wired)
    refusing.begin()
    with taker("127.0.0.1", wired.port):
        refusing.end()
        refusing.begin()
        assert refusing.faults._next_try is None
    assert connect_error(wired.port) == "ECONNREFUSED"
    refusing.end()
    assert answers(wired, "127.0.0.1")


def test_a_listener_that_is_closed_takes_orders_without_effect(wired: Wired) -> None:
    wired.run(wired.listener.refuse, False)
    wired.listener.close()
    for order in (wired.listener.resume, wired.listener.ignore, partial(wired.listener.slow_accept, 0.0)):
        wired.run(order)


def test_flapping_has_begun_with_a_refusal_when_the_fault_is_set() -> None:
    flap = Flap(down=3600.0, up=3600.0)
    standing: Any = SimpleNamespace(order=1, fault=flap)
    registry: Any = SimpleNamespace(
        active=lambda kind: [(standing, flap)] if isinstance(flap, kind) else [], strike=lambda _: None
    )
    told = []

    async def refuse(*, drop_established: bool) -> None:
        told.append(drop_established)

    async def set_it() -> None:
        listener: Any = SimpleNamespace(refuse=refuse)
        connections: Any = SimpleNamespace(apply=lambda _: None)
        faults = NetworkFaults(registry, connections, listener)
        faults.settle()
        await faults.settled()
        assert told == [True]

    asyncio.run(set_it())
