"""What all keywords of one library instance share: servers, clients, timeouts, and who opened what."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from robot.api import logger
from robot.libraries.BuiltIn import BuiltIn, RobotNotRunningError
from robot.utils import timestr_to_secs

from ComfyMockLibrary.engine.client_process import ClientProcess, ClientProcesses
from ComfyMockLibrary.engine.clients import ClientManager
from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.engine.outages import OutageRun, OutageRuns
from ComfyMockLibrary.engine.proxies import NetworkProxy, ProxyManager
from ComfyMockLibrary.engine.servers import MockServer, ServerManager
from ComfyMockLibrary.engine.waiting import ClientWaits
from ComfyMockLibrary.robotlog import RobotLog
from ComfyMockLibrary.types import AutoClose, FaultEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from ComfyMockLibrary.engine.client.client import Client
    from ComfyMockLibrary.engine.matching import EventPattern
    from ComfyMockLibrary.engine.prompts import QueuedPrompt

    Resource = MockServer | Client | ClientProcess | NetworkProxy | OutageRun

Time = timedelta | float | str


def seconds(time: Time) -> float:
    """Any of Robot's times in seconds. Raises ValueError."""
    if isinstance(time, timedelta):
        return time.total_seconds()
    return float(timestr_to_secs(time, round_to=None))


@dataclass(frozen=True)
class Scope:
    """A test or a suite of the run that is under way."""

    suite: str
    test: str | None = None


@dataclass
class ClientNotes:
    """What the keywords remember about one client."""

    tracked: dict[str, tuple[EventPattern, int]] = field(default_factory=dict)
    """Tracked events by name, each with the journal position at which tracking began."""

    prompt: QueuedPrompt | None = None
    """The latest prompt that it queued."""

    on_failure: str | None = None
    """Keyword to run when it gives up."""

    failures_handled: int = 0
    """How often that keyword has been run."""


class Session:
    """State of one library instance. Nothing happens before the first keyword."""

    def __init__(
        self, timeout: Time, startup_timeout: Time, shutdown_timeout: Time, auto_close: AutoClose | str
    ) -> None:
        """Only stores: editors make instances too, and give every argument as text."""
        self.clients = ClientManager()
        self.processes = ClientProcesses()
        self.proxies = ProxyManager()
        self.outages = OutageRuns()
        self.log = RobotLog(self)
        self.test_began_at: float | None = None
        """When the test began that runs, in monotonic seconds."""
        self._timeout = timeout
        self._startup_timeout = startup_timeout
        self._shutdown_timeout = shutdown_timeout
        self._auto_close = auto_close
        self._servers: ServerManager | None = None
        self._opened: list[tuple[Scope | None, Resource]] = []
        self._faults: list[tuple[Scope, Fault]] = []
        self._notes: WeakKeyDictionary[Client, ClientNotes] = WeakKeyDictionary()

    @property
    def servers(self) -> ServerManager:
        """The servers."""
        if self._servers is None:
            self._servers = ServerManager(self.directory)
        return self._servers

    @property
    def directory(self) -> Path | None:
        """Where the files of servers and clients go: below Robot's output directory. None without a run."""
        output = _variable("${OUTPUT DIR}")
        return None if output is None else Path(output) / "comfymock"

    @property
    def known_servers(self) -> list[MockServer]:
        """The servers that have been started so far."""
        return [] if self._servers is None else self._servers.servers

    def journal_files(self) -> list[Path]:
        """Journals of all servers, and of the clients that there have been in their time."""
        began_at = min((server.began_at for server in self.known_servers), default=self.test_began_at or 0.0)
        of_servers = [file for server in self.known_servers for file in server.journal_files]
        return [*of_servers, *self.clients.journal_files(since=began_at)]

    @property
    def timeout(self) -> float:
        """Longest time of a wait that does not say its own, in seconds."""
        return seconds(self._timeout)

    def set_timeout(self, timeout: Time) -> float:
        """Sets the timeout and returns the old one, in seconds."""
        old = self.timeout
        self._timeout = timeout
        return old

    def timeout_or(self, timeout: timedelta | None) -> float:
        """The argument of a keyword, or the library's timeout if it was left out."""
        return self.timeout if timeout is None else timeout.total_seconds()

    def startup_timeout_or(self, timeout: timedelta | None) -> float:
        """The same for the start of a server."""
        return seconds(self._startup_timeout) if timeout is None else timeout.total_seconds()

    def shutdown_timeout_or(self, timeout: timedelta | None) -> float:
        """The same for the end of a server."""
        return seconds(self._shutdown_timeout) if timeout is None else timeout.total_seconds()

    def notes(self, client: Client) -> ClientNotes:
        """What the keywords have noted about a client."""
        return self._notes.setdefault(client, ClientNotes())

    def waits(self, client: Client) -> ClientWaits:
        """Waits on a client."""
        return ClientWaits(client, self.clients.server_of(client))

    def fault_target(self, server: MockServer | NetworkProxy | str | int | None) -> MockServer | NetworkProxy:
        """What a fault is set in: a proxy that is named, else a server. Raises ValueError."""
        return self.proxies.find(server) or self.servers.get(server)  # type: ignore[arg-type]

    @property
    def fault_targets(self) -> list[MockServer | NetworkProxy]:
        """All servers and proxies."""
        return [*self.known_servers, *self.proxies.proxies]

    def set_cursors(self, server: MockServer | NetworkProxy) -> None:
        """Lets the waits of the clients of a server, or behind a proxy, look only at what comes from now on."""
        for client in self.clients.clients:
            if self.clients.server_of(client) is server or client.endpoint == server.endpoint:
                client.journal.set_cursor()

    def opened(self, resource: Resource) -> None:
        """Notes which test or suite has opened something; what is open already stays with the one that opened it."""
        if all(known is not resource for _, known in self._opened):
            self._opened.append((self._scope(), resource))

    def ends_with(self, fault: Fault, until: FaultEnd) -> None:
        """Notes with which test or suite a fault ends."""
        suite = _variable("${SUITE NAME}")
        if until is not FaultEnd.cleared and suite is not None:
            test = _variable("${TEST NAME}") if until is FaultEnd.test else None
            self._faults.append((Scope(suite, test), fault))

    def close_all_of(self, ends: Callable[[Scope], bool]) -> None:
        """Closes what was opened in the scopes that end: outages, clients, client processes, proxies, servers.

        Faults end before, so that what lives on is as it was.
        """
        ending = [resource for scope, resource in self._opened if scope is not None and ends(scope)]
        faults = [fault for scope, fault in self._faults if ends(scope)]
        self._faults = [(scope, fault) for scope, fault in self._faults if not ends(scope)]
        for run in reversed(self.outages.all):
            if run in ending or run.server in ending:
                self.outages.end(run)
        for target in self.fault_targets:
            if target not in ending:
                self._end_faults(target, faults)
        self._close(ending)

    def close(self) -> None:
        """Closes everything, as far as it can be."""
        self._opened = []
        self._faults = []
        with ExitStack() as stack:
            if self._servers is not None:
                stack.callback(self._servers.close)
            stack.callback(self.proxies.close)
            stack.callback(self.processes.close)
            stack.callback(self.clients.close)
            stack.callback(self.outages.close)

    def _close(self, resources: list[Resource]) -> None:
        """Closes the latest first, and what others need after them. One that fails to close holds up no other."""
        self._opened = [(scope, known) for scope, known in self._opened if known not in resources]
        timeout = self.shutdown_timeout_or(None)
        with ExitStack() as stack:
            for server in self.known_servers:
                if server in resources:
                    stack.callback(self.servers.close_server, server, timeout)
            for proxy in self.proxies.proxies:
                if proxy in resources:
                    stack.callback(self.proxies.close_proxy, proxy)
            for process in self.processes.processes:
                if process in resources:
                    stack.callback(self.processes.close_process, process, timeout)
            for client in self.clients.clients:
                if client in resources:
                    stack.callback(self.clients.close_client, client)

    @staticmethod
    def _end_faults(target: MockServer | NetworkProxy, faults: list[Fault]) -> None:
        try:
            target.faults.clear(*(fault for fault in faults if fault in target.faults.all()))
        except RuntimeError as failure:
            logger.warn(f"Faults of this test or suite may go on. {failure}")

    def _scope(self) -> Scope | None:
        """The scope at whose end something that is opened now is closed."""
        mode = AutoClose(self._auto_close.upper()) if isinstance(self._auto_close, str) else self._auto_close
        suite = _variable("${SUITE NAME}")
        if mode is AutoClose.MANUAL or suite is None:
            return None
        return Scope(suite, _variable("${TEST NAME}") if mode is AutoClose.TEST else None)


def _variable(name: str) -> str | None:
    with suppress(RobotNotRunningError):
        value = BuiltIn().get_variable_value(name)
        return None if value is None else str(value)
    return None
