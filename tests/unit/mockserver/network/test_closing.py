"""Ways to end a connection, as the peer sees them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from wired import DEADLINE, pattern, rule

from mockserver.network import closing
from mockserver.network.draws import Direction
from mockserver.network.stages import Hold

if TYPE_CHECKING:
    from wired import Wired

LARGE = 20_000_000


def test_a_reset_needs_no_traffic(wired: Wired) -> None:
    peer = wired.connect()
    wired.run(wired.connection().reset)
    assert peer.rest() == (b"", "reset")


def test_abort_alone_is_fin_which_is_why_reset_does_more(wired: Wired) -> None:
    peer = wired.connect()
    wired.run(wired.connection().transport.abort)
    assert peer.rest() == (b"", "fin")


def test_a_reset_does_not_wait_for_buffered_bytes(wired: Wired) -> None:
    peer = wired.connect(receive_buffer=4096)
    peer.get(f"/bytes/{LARGE}")
    peer.read(1000)
    wired.run(wired.connection().reset)
    data, end = peer.rest()
    assert end == "reset"
    assert len(data) < LARGE - 1000


def test_fin_comes_at_once_also_with_input_that_nobody_has_read(wired: Wired) -> None:
    peer = wired.connect()
    connection = wired.connection()
    wired.run(connection.transport.pause_reading)
    peer.send(b"never read")
    wired.run(connection.finish)
    assert peer.rest() == (b"", "fin")


@pytest.mark.parametrize("held", [False, True])
def test_after_a_half_close_the_client_is_still_read(wired: Wired, held: bool) -> None:
    peer = wired.websocket("me")
    connection = wired.connection()
    if held:
        wired.apply(rule(Hold(), Direction.to_client))
        peer.text(b"held")
    wired.run(connection.half_close)
    assert peer.rest() == (b"", "fin")
    for _ in range(100):
        peer.text(b"more")  # no EPIPE, no reset
    assert wired.find() == [connection]
    peer.close()
    wired.eventually(lambda: not wired.find())


@pytest.mark.parametrize("verb", ["reset", "finish"])
def test_verbs_go_past_what_holds_bytes_and_the_application_learns_of_it(wired: Wired, verb: str) -> None:
    peer = wired.websocket("me")
    wired.apply(rule(Hold(), Direction.to_client), rule(Hold(), Direction.to_server, fault="other"))
    connection = wired.connection()
    wired.run(getattr(connection, verb))
    assert peer.rest() == (b"", "reset" if verb == "reset" else "fin")
    wired.eventually(lambda: not connection.has_splice)


def test_verbs_find_the_socket_below_a_facade(wired: Wired) -> None:
    peer = wired.websocket("me")
    wired.apply(rule(Hold(), Direction.to_client))
    connection = wired.connection()
    facade = wired.run(lambda: connection._protocol.transport)
    assert facade is not connection.transport
    wired.run(closing.reset, facade)
    assert peer.rest() == (b"", "reset")


def test_a_reset_that_waits_for_delivery_takes_nothing_back(wired: Wired) -> None:
    for _ in range(10):
        peer = wired.connect(receive_buffer=4096)  # so that most is still under way when the reset is ordered
        connection = wired.connection()
        data = pattern(100_000)
        deadline = time.monotonic() + DEADLINE
        wired.run(connection.transport.write, data)
        wired.run(closing.reset_when_delivered, connection.transport, deadline)
        assert peer.rest() == (data, "reset")


def test_a_reset_does_not_wait_for_ever(wired: Wired) -> None:
    peer = wired.connect(receive_buffer=4096)
    peer.get(f"/bytes/{LARGE}")
    peer.read(1000)
    wired.run(closing.reset_when_delivered, wired.connection().transport)
    wired.eventually(lambda: not wired.find())
    assert peer.rest()[1] == "reset"
