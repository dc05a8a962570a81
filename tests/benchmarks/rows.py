"""What is measured: a generator for each row, whose docstring is its name and which gives one value a round.

What it needs it sets up before its first value, in a ``with`` that ends when the generator is closed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from traffic import (
    bare_accepting,
    bare_broadcast,
    bare_requests,
    connecting,
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
    status_to_all,
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


def reconnection_suite() -> Iterator[float]:
    """robot robot/reconnection.robot"""
    yield from _suite_runs("robot", "robot/reconnection.robot")


def all_suites() -> Iterator[float]:
    """robot robot"""
    yield from _suite_runs("robot", "robot")


def all_suites_side_by_side() -> Iterator[float]:
    """pabot --processes 4 robot"""
    yield from _suite_runs("pabot.pabot", "robot", "--processes", "4", "--no-pabotlib")


class Row(NamedTuple):
    """A row of a table."""

    measure: Callable[[], Iterator[float]]
    unit: str
    to_reach: str = ""
    """The figure to reach, in words; a ratio is meant to the group's first row."""


GROUPS: dict[str, tuple[int, list[Row]]] = {
    "start": (20, [Row(bare_aiohttp, "ms"), Row(cold_start, "ms"), Row(restart_popen, "ms")]),
    "restart": (
        100,
        [
            Row(bare_python, "ms"),
            Row(restart_sigkill, "ms", "≤ 10 ms"),
            Row(restart_sigterm, "ms", "≤ 10 ms"),
            Row(restart_sigkill_with_client, "ms"),
            Row(restart_sigterm_with_client, "ms"),
        ],
    ),
    "first-start": (10, [Row(first_start, "ms", "≤ 250 ms"), Row(first_start_a_second_later, "ms", "≤ 15 ms")]),
    "event": (100, [Row(event_to_keyword, "ms", "≤ 2 ms")]),
    "broadcast": (20, [Row(bare_broadcast, "ms"), Row(status_broadcast, "ms", "ratio ≤ 1.35")]),
    "memory": (
        3,
        [Row(idle_sockets, "KiB", "≤ 18 KiB"), Row(idle_sockets_with_compression, "KiB", "≤ 18 KiB")],
    ),
    "many": (3, [Row(bare_accepting, "1/s"), Row(connecting, "1/s", "stated"), Row(status_to_all, "ms", "all get it")]),
    "requests": (
        10,
        [
            Row(bare_requests, "1/s"),
            Row(queue_requests, "1/s", "ratio ≥ 0.8"),
            Row(queue_requests_without_journal, "1/s"),
        ],
    ),
    "journal-requests": (
        20,
        [Row(processor_time_of_requests_without_journal, "µs"), Row(processor_time_of_requests, "µs")],
    ),
    "journal-broadcast": (
        20,
        [Row(processor_time_of_broadcasts_without_journal, "ms"), Row(processor_time_of_broadcasts, "ms")],
    ),
    "hop": (20, [Row(direct_hop, "µs"), Row(proxy_hop, "µs", "≤ 150 µs more")]),
    "bulk": (5, [Row(direct_bulk, "MB/s"), Row(proxy_bulk, "MB/s", "ratio ≥ 0.5")]),
    "library": (
        10,
        [Row(import_robot_api, "ms"), Row(import_library, "ms", "≤ 300 ms"), Row(libdoc, "ms", "≤ 1000 ms")],
    ),
    "suites": (
        3,
        [
            Row(reconnection_suite, "s", "≤ 6 s"),
            Row(all_suites, "s", "≤ 60 s"),
            Row(all_suites_side_by_side, "s"),
        ],
    ),
}
"""Rounds and rows of each group. The first row is what the others are compared with."""


def _suite_runs(module: str, suites: str, *options: str) -> Iterator[float]:
    """Seconds of a whole run of suites, which must pass."""
    scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])  # pabot looks there for robot
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", module, *options, "--outputdir", directory, suites]
        while True:
            began = time.perf_counter()
            run = subprocess.run(
                command, check=False, stdout=subprocess.PIPE, text=True, env={**os.environ, "PATH": scripts}
            )
            elapsed = time.perf_counter() - began
            assert run.returncode == 0, run.stdout
            yield elapsed


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
