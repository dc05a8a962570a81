"""A hundred outages are like the first one: nothing piles up, nothing is missed, nothing happens twice."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest
from robot_run import eventually

from ComfyMockLibrary import BackoffStrategy, ConnectionState, StopSignal
from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.client.comfy_client import ClientOptions, ComfyClient
from ComfyMockLibrary.engine.servers import MockServer, ServerManager
from ComfyMockLibrary.engine.waiting import ClientWaits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CYCLES = 100
WARM_UP = 10
LONG = 20.0
"""Seconds that nothing takes."""

CYCLE = [ConnectionState.disconnected, ConnectionState.reconnecting, ConnectionState.connected]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ServerManager]:
    manager = ServerManager(tmp_path)
    yield manager
    manager.close()


@pytest.fixture
def server(servers: ServerManager) -> MockServer:
    return servers.start()


@pytest.fixture
def client(server: MockServer) -> Iterator[ComfyClient]:
    options = ClientOptions(max_attempts=None, backoff=Backoff(BackoffStrategy.constant, base_delay=0.01))
    one = ComfyClient(server.endpoint, options)
    one.connect()
    yield one
    one.close()


def test_a_client_comes_back_from_every_outage_and_nothing_piles_up(
    servers: ServerManager, server: MockServer, client: ComfyClient
) -> None:
    ClientWaits(client, server).for_connection(LONG)
    gc.collect()
    go_through_outages(WARM_UP, servers, server, client)
    usual = settled_resources()

    go_through_outages(CYCLES - WARM_UP, servers, server, client)

    assert eventually(lambda: resources() <= usual or None, LONG), resources() - usual
    assert client.path == [ConnectionState.connecting, ConnectionState.connected, *CYCLE * CYCLES]
    assert len({life.life_id for life in server.lives}) == CYCLES + 1
    assert not any(life.is_running for life in server.lives[:-1])


def test_nothing_is_left_when_client_and_servers_are_closed(tmp_path: Path) -> None:
    gc.collect()
    manager = ServerManager(tmp_path)
    manager.start()  # the launcher, which stays, is at work then
    before = settled_resources(of_children=False)

    server = manager.start()
    client = ComfyClient(server.endpoint)
    client.connect()
    waits = ClientWaits(client, server)
    waits.for_connection(LONG)
    manager.restart(server)
    waits.for_connection(LONG)
    client.close()
    manager.close_server(server)

    assert eventually(lambda: resources(of_children=False) <= before or None, LONG), (
        resources(of_children=False) - before
    )
    manager.close()
    assert not [life for life in server.lives if psutil.pid_exists(life.pid)]


def go_through_outages(count: int, servers: ServerManager, server: MockServer, client: ComfyClient) -> None:
    """Graceful ends and crashes in turn, each noticed once and got over once."""
    for cycle in range(count):
        client.journal.set_cursor()
        began = client.journal.cursor

        servers.restart(server, StopSignal.SIGKILL if cycle % 2 else StopSignal.SIGTERM)
        ClientWaits(client, server).for_connection(LONG)

        seen = Counter(event.name for event in client.journal.since(began) if event.source == "client")
        assert (seen["disconnected"], seen["connected"], seen["reconnected"]) == (1, 1, 1), f"cycle {cycle}"


def settled_resources(*, of_children: bool = True) -> Counter[str]:
    """The most that is seen in a few looks: a client opens a selector each time that it waits."""
    most = Counter[str]()
    for _ in range(20):
        most |= resources(of_children=of_children)
    return most


def resources(*, of_children: bool = True) -> Counter[str]:
    """What this process holds, and the launcher and the servers below it."""
    this = psutil.Process()
    found = Counter({"threads": threading.active_count()})
    for process in [this, *(this.children(recursive=True) if of_children else [])]:
        try:
            found["descriptors"] += process.num_fds()
            found["sockets"] += len(process.net_connections("all"))
            found["processes"] += 1
        except psutil.NoSuchProcess:
            continue
    return found
