"""What is measured: a generator for each row, whose docstring is its name and which gives one value a round.

What it needs it sets up before its first value, in a ``with`` that ends when the generator is closed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from traffic import (
    bare_broadcast,
    bare_requests,
    direct_bulk,
    direct_hop,
    event_to_keyword,
    idle_sockets,
    idle_sockets_with_compression,
    processor_time_of_broadcasts,
    processor_time_of_broadcasts_without_journal,
    processor_time_of_requests,
    processor_time_of_requests_without_journal,
    proxy_bulk,
    proxy_hop,
    queue_requests,
    queue_requests_without_journal,
    status_broadcast,
)

from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
from ComfyMockLibrary.engine.fork_launcher import ForkLauncher
from ComfyMockLibrary.engine.popen_launcher import PopenLauncher
from ComfyMockLibrary.engine.servers import ServerManager
from ComfyMockLibrary.engine.waiting import ClientWaits
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ComfyMockLibrary.engine.launcher import Launcher

Row = tuple["Callable[[], Iterator[float]]", str]

FIRST_START = """
import time
import ComfyMockLibrary
from ComfyMockLibrary.engine.deadline import pause
from ComfyMockLibrary.engine.servers import ServerManager
library = ComfyMockLibrary.ComfyMockLibrary()
servers = ServerManager()
if {pause}:
    servers.warm_up()  # as the library's listener does when the suite begins
    pause({pause})
began = time.perf_counter()
servers.start()
print(time.perf_counter() - began, flush=True)
servers.close()
"""


def bare_python() -> Iterator[float]:
    """python -c "print()" """
    while True:
        yield _until_first_line("-c", "print(flush=True)")


def bare_aiohttp() -> Iterator[float]:
    """python -c "import aiohttp.web" """
    while True:
        yield _until_first_line("-c", "import aiohttp.web; print(flush=True)")


def cold_start() -> Iterator[float]:
    """python -m mockserver, to its ready line"""
    while True:
        yield _until_first_line("-m", "mockserver", "0", "--supervised")


def restart_popen() -> Iterator[float]:
    """restart after SIGKILL, a new process"""
    yield from _restarts(StopSignal.SIGKILL, PopenLauncher())


def restart_sigkill() -> Iterator[float]:
    """restart after SIGKILL, forked"""
    yield from _restarts(StopSignal.SIGKILL)


def restart_sigterm() -> Iterator[float]:
    """restart after SIGTERM, forked"""
    yield from _restarts(StopSignal.SIGTERM)


def restart_sigkill_with_client() -> Iterator[float]:
    """restart after SIGKILL, forked, one client connected"""
    yield from _restarts(StopSignal.SIGKILL, with_client=True)


def restart_sigterm_with_client() -> Iterator[float]:
    """restart after SIGTERM, forked, one client connected"""
    yield from _restarts(StopSignal.SIGTERM, with_client=True)


def first_start() -> Iterator[float]:
    """first start of a run"""
    while True:
        yield float(_output("-c", FIRST_START.format(pause=0))) * 1000


def first_start_a_second_later() -> Iterator[float]:
    """first start of a run, a second after its suite began"""
    while True:
        yield float(_output("-c", FIRST_START.format(pause=1))) * 1000


def import_robot_api() -> Iterator[float]:
    """python -c "import robot.api" """
    while True:
        yield _until_first_line("-c", "import robot.api; print(flush=True)")


def import_library() -> Iterator[float]:
    """python -c "import ComfyMockLibrary" """
    while True:
        yield _until_first_line("-c", "import ComfyMockLibrary; print(flush=True)")


def libdoc() -> Iterator[float]:
    """python -m robot.libdoc ComfyMockLibrary, to its end"""
    with tempfile.TemporaryDirectory() as directory:
        while True:
            yield _milliseconds(lambda: _output("-m", "robot.libdoc", "ComfyMockLibrary", f"{directory}/library.json"))


GROUPS: dict[str, tuple[int, list[Row]]] = {
    "start": (20, [(bare_aiohttp, "ms"), (cold_start, "ms"), (restart_popen, "ms")]),
    "restart": (
        100,
        [
            (bare_python, "ms"),
            (restart_sigkill, "ms"),
            (restart_sigterm, "ms"),
            (restart_sigkill_with_client, "ms"),
            (restart_sigterm_with_client, "ms"),
        ],
    ),
    "first-start": (10, [(first_start, "ms"), (first_start_a_second_later, "ms")]),
    "event": (100, [(event_to_keyword, "ms")]),
    "broadcast": (20, [(bare_broadcast, "ms"), (status_broadcast, "ms")]),
    "memory": (3, [(idle_sockets, "KiB"), (idle_sockets_with_compression, "KiB")]),
    "requests": (10, [(bare_requests, "1/s"), (queue_requests, "1/s"), (queue_requests_without_journal, "1/s")]),
    "journal-requests": (
        20,
        [(processor_time_of_requests_without_journal, "µs"), (processor_time_of_requests, "µs")],
    ),
    "journal-broadcast": (
        20,
        [(processor_time_of_broadcasts_without_journal, "ms"), (processor_time_of_broadcasts, "ms")],
    ),
    "hop": (20, [(direct_hop, "µs"), (proxy_hop, "µs")]),
    "bulk": (5, [(direct_bulk, "MB/s"), (proxy_bulk, "MB/s")]),
    "library": (10, [(import_robot_api, "ms"), (import_library, "ms"), (libdoc, "ms")]),
}
"""Rounds and rows of each group; a row with its unit. The first row is what the others are compared with."""


def _restarts(how: StopSignal, launcher: Launcher | None = None, *, with_client: bool = False) -> Iterator[float]:
    with closing(ServerManager(launcher=launcher or ForkLauncher())) as servers:
        server = servers.start()
        with _client(servers) if with_client else _nobody() as wait_until_connected:
            wait_until_connected()
            while True:
                elapsed = _milliseconds(lambda: servers.restart(server, how))
                wait_until_connected()  # before the next row's turn, which a client's attempts would disturb
                yield elapsed


@contextmanager
def _client(servers: ServerManager) -> Iterator[Callable[[], object]]:
    server = servers.get()
    with closing(ComfyClient(server.endpoint)) as client:
        client.connect()
        yield lambda: ClientWaits(client, server).for_connection(timeout=10)


@contextmanager
def _nobody() -> Iterator[Callable[[], object]]:
    yield lambda: None


def _until_first_line(*arguments: str) -> float:
    """From the start of an interpreter to the first line that it prints."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed = time.perf_counter() - began
        process.kill()
    assert line, f"{arguments} has printed nothing"
    return elapsed * 1000


def _output(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def _milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000
