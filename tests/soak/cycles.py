"""Kills and restarts a server over and over while clients hang on it, and looks whether anything grows.

    python tests/soak/cycles.py                                1,000 cycles, 10 clients
    python tests/soak/cycles.py --cycles 50 --clients 3

In each cycle the life ends, by a crash and gracefully in turn, the next one begins on the same port, and every client
must be connected to it. What this process, the launcher and the lives hold then is fitted by least squares. The exit
status is 0 only if all clients came back each time, each exactly once, and nothing grows faster than its limit.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ComfyMockLibrary.engine.client.backoff import Backoff
from ComfyMockLibrary.engine.client.comfy_client import ClientOptions, ComfyClient
from ComfyMockLibrary.engine.deadline import Deadline, now, wait_until
from ComfyMockLibrary.engine.servers import MockServer, ServerManager, ServerOptions
from ComfyMockLibrary.engine.waiting import ClientWaits
from ComfyMockLibrary.types import BackoffStrategy, StopSignal

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG = 60.0
"""Seconds that nothing takes."""

WARM_UP = 50
"""Cycles before the first one that counts: modules are imported, and the heap gets as large as one cycle needs it."""

MIB = 1 << 20
EVENT = 1 / 1024
"""MiB that an event may take. They are kept, as waits, failures and reports look at them; it is 0.6 KiB of objects."""

IPV4_AND_IPV6 = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
TIME_WAIT = "06"


@dataclass(frozen=True)
class Sample:
    """What is held at the end of a cycle. Memory is in MiB."""

    descriptors: int
    threads: int
    processes: int
    events: int
    """That the clients have seen, and keep."""
    memory_here: float
    memory_of_launcher: float
    """Of the process that all lives are forked from."""
    memory_of_life: float
    time_wait: int
    """Sockets on the server's port that the system keeps for a while. They go by themselves, and must not matter."""


LIMITS = {
    "descriptors": 1.0,
    "threads": 1.0,
    "processes": 1.0,
    "memory_of_launcher": 0.5,
    "memory_of_life": 0.5,
}
"""The fastest growth in 100 cycles that counts as none."""

MEMORY_BESIDE_EVENTS = 2.0
"""The same for the memory of this process, without its events: the engine keeps some kilobytes of each life."""


class Cycles:
    """A server, its clients, and what was seen."""

    def __init__(self, servers: ServerManager, clients: int) -> None:
        self.samples: list[Sample] = []
        self.seconds: list[float] = []
        self._servers = servers
        self._server = servers.start(ServerOptions(status_interval=0.0))
        options = ClientOptions(max_attempts=None, backoff=Backoff(BackoffStrategy.constant, base_delay=0.02))
        self._clients = [ComfyClient(self._server.endpoint, options) for _ in range(clients)]

    def run(self, count: int) -> None:
        """Goes through the cycles. Raises AssertionError when a client does not come back, or more than once."""
        for client in self._clients:
            client.connect()
        self._wait_for_all()
        for number in range(WARM_UP + count):
            began = now()
            self._cycle(StopSignal.SIGKILL if number % 2 else StopSignal.SIGTERM)
            if number >= WARM_UP:
                self.seconds.append(now() - began)
                self.samples.append(self._settled_sample())

    def close(self) -> None:
        """Closes the clients; the servers are their manager's."""
        for client in self._clients:
            client.close()

    def _cycle(self, how: StopSignal) -> None:
        began = [len(client.journal) for client in self._clients]
        self._servers.restart(self._server, how)
        self._wait_for_all()
        for client, position in zip(self._clients, began, strict=True):
            seen = Counter(event.name for event in client.journal.since(position) if event.source == "client")
            counts = {name: seen[name] for name in ("disconnected", "connected", "reconnected")}
            assert set(counts.values()) == {1}, f"{client.alias}: {counts}"

    def _wait_for_all(self) -> None:
        for client in self._clients:
            ClientWaits(client, self._server).for_connection(LONG)

    def _settled_sample(self) -> Sample:
        """What two looks agree in while no child is at work.

        A client that has just got a message has no selector open for a moment, and a life that has just been forked
        still has what it is about to close.
        """
        last = self._counts()

        def look() -> Counter[str] | None:
            nonlocal last
            if self._is_any_child_at_work():
                return None
            before, last = last, self._counts()
            return last if last == before else None

        counts = wait_until(look, Deadline(LONG), interval=0.005) or last
        here = psutil.Process()
        gc.collect()  # connections that are gone hold on to each other: what counts is what is still in use
        life = self._server.lives[-1].pid
        events = sum(len(client.journal) for client in self._clients)
        launchers = [process for process in here.children() if process.pid != life]
        return Sample(
            **counts,
            events=events,
            memory_here=_memory(here),
            memory_of_launcher=sum(map(_memory, launchers)),
            memory_of_life=_memory(psutil.Process(life)),
            time_wait=_time_wait(self._server),
        )

    @staticmethod
    def _counts() -> Counter[str]:
        here = psutil.Process()
        counts = Counter[str]()
        for process in [here, *here.children(recursive=True)]:
            counts["descriptors"] += process.num_fds()
            counts["threads"] += process.num_threads()
            counts["processes"] += 1
        return counts

    @staticmethod
    def _is_any_child_at_work() -> bool:
        return any(child.status() != psutil.STATUS_SLEEPING for child in psutil.Process().children(recursive=True))


def slope(values: Sequence[float]) -> float:
    """Growth in 100 cycles, by least squares."""
    return statistics.linear_regression(range(len(values)), values).slope * 100


def _memory(process: psutil.Process) -> float:
    """What it has allocated. Mapped files do not count: whose they are depends on who else runs Python."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return process.memory_full_info().uss / MIB
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("RssAnon")) / 1024


def _time_wait(server: MockServer) -> int:
    found, port = 0, f":{server.port:04X}"
    for table in filter(Path.exists, IPV4_AND_IPV6):
        with table.open(encoding="ascii") as lines:  # line by line: all together they would be what grows
            for line in lines:
                _, local, remote, state, *_ = line.split(maxsplit=4)
                found += state == TIME_WAIT and (local.endswith(port) or remote.endswith(port))
    return found


def main() -> int:
    """Runs, prints the table, and says with its exit status whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=1000, help=f"after {WARM_UP} that do not count (1000)")
    parser.add_argument("--clients", type=int, default=10, help="how many (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file for all samples")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory, closing(ServerManager(Path(directory))) as servers:
        cycles = Cycles(servers, arguments.clients)
        with closing(cycles):
            cycles.run(arguments.cycles)
    print(f"{arguments.clients} clients were connected again after each of {arguments.cycles} restarts, each once.")
    print(f"Restart until all are back: median {statistics.median(cycles.seconds) * 1000:.1f} ms.\n")
    print(f"{'':<20} {'first':>10} {'last':>10} {'most':>10} {'per 100 cycles':>15} {'limit':>6}")
    growing = []
    slopes = {name: slope([getattr(sample, name) for sample in cycles.samples]) for name in Sample.__annotations__}
    limits = {**LIMITS, "memory_here": MEMORY_BESIDE_EVENTS + slopes["events"] * EVENT}
    for name, per_hundred in slopes.items():
        words, values = name.replace("_", " "), [getattr(sample, name) for sample in cycles.samples]
        limit = f"{limits[name]:.1f}" if name in limits else ""
        figures = f"{values[0]:>10.1f} {values[-1]:>10.1f} {max(values):>10.1f} {per_hundred:>+15.3f}"
        print(f"{words:<20} {figures} {limit:>6}".rstrip())
        if per_hundred > limits.get(name, float("inf")):
            growing.append(words)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps([asdict(sample) for sample in cycles.samples]) + "\n", encoding="utf-8")
    if growing:
        print(f"\nGrows: {', '.join(growing)}.")
    return 1 if growing else 0


if __name__ == "__main__":
    sys.exit(main())
