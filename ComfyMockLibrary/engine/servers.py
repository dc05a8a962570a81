"""Mock servers over all their lives: start, kill, freeze and restart them on the same port."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import tempfile
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine import launchers, platform
from ComfyMockLibrary.engine.deadline import Deadline, now, pause, wait_until
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.evidence import Evidence
from ComfyMockLibrary.engine.faults import ServerFaults
from ComfyMockLibrary.engine.launcher import KILL_TIMEOUT, LaunchedLife, Launcher, LifeSettings, NotReady, discard
from ComfyMockLibrary.engine.outside import OutsideJournal
from ComfyMockLibrary.engine.port_watch import PortWatch
from ComfyMockLibrary.engine.records import file_name, shown
from ComfyMockLibrary.engine.refusals import clear_refusals
from ComfyMockLibrary.types import Profile, StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ComfyMockLibrary.engine.outside import Order

_server_numbers = itertools.count(1)

_OWN_OPTIONS = {
    "--port": "; a port is given as port=8188",
    "--seed": "; a seed is given as seed=7",
    "--faults": "; faults are given as faults=FILE, or set by keywords",
    **dict.fromkeys(("--journal", "--life-id", "--supervised", "--kill-with-parent"), ""),
}
"""Options that the library sets itself, and what to do instead."""

_PRINTING_OPTIONS = ("-h", "--help", "--version")
_LOG_EXCERPT_LINES = 20
_PORT_LOOK_INTERVAL = 0.002
"""Seconds between looks whether a life that stops has let its port go. A client may be back within a millisecond."""


@dataclass(frozen=True)
class ServerOptions:
    """How a server behaves. None leaves a setting at the server's own default. Times are in seconds."""

    status_interval: float | None = None
    node_duration: float | None = None
    strict: bool = False
    profile: Profile | None = None
    nodes: Path | None = None
    """File with node classes, an ``/object_info`` of the user's own server."""

    frontend: bool = False
    """Serve the real web front-end, if its package is installed."""

    seed: int | None = None
    """Seed of the draws of all faults in the first life, one more in each life after it; None draws or keeps one."""

    faults: Path | None = None
    """File with faults that each life begins with, a JSON list as the control API takes it."""

    raw: tuple[str, ...] = ()
    """Any further options of ``python -m mockserver``, as on its command line."""

    def command_line(self) -> tuple[str, ...]:
        """The options as the server takes them, but for those that differ from life to life.

        Raises ValueError for one that is the library's own.
        """
        for option in self.raw:
            name = option.partition("=")[0]
            if name in _OWN_OPTIONS:
                raise ValueError(f"The library sets {name} itself: leave it out{_OWN_OPTIONS[name]}.")
            if name in _PRINTING_OPTIONS:
                raise ValueError(f"{name} makes no server: it prints something and ends. Leave it out.")
        options: list[str] = []
        if self.status_interval is not None:
            options += ["--status-interval", str(self.status_interval)]
        if self.node_duration is not None:
            options += ["--node-duration", str(self.node_duration)]
        if self.strict:
            options.append("--strict")
        if self.profile is not None:
            options += ["--profile", self.profile]
        if self.nodes is not None:
            options += ["--nodes", str(self.nodes)]
        if self.frontend:
            options.append("--frontend")
        return (*options, *self.raw)


@dataclass
class Life:
    """One run of the server process between start and end."""

    number: int
    """Which life of its server it is, from 1."""

    life_id: str
    log_file: Path
    journal_file: Path
    process: LaunchedLife = field(repr=False)
    seed: int = 0
    """Seed of the draws of its faults."""

    control_url: str = ""
    control_token: str | None = field(default=None, repr=False)
    """What its control API asks for, if it asks for anything."""

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; the negative signal number if a signal ended it."""
        return self.process.exit_status()

    @property
    def is_running(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self.exit_status is None

    @property
    def is_frozen(self) -> bool:
        """Whether the process stands still, whoever has stopped it: this library, or a fault in the process itself."""
        return self.is_running and platform.is_frozen(self.pid)

    def describe(self) -> str:
        """Its state in words."""
        status = self.exit_status
        if status is not None:
            return f"ended with {platform.describe_exit(status)}"
        return f"{'frozen' if self.is_frozen else 'running'}, pid {self.pid}"


class MockServer:
    """A server under one alias and one port, over all its lives: a handle whose attributes are always up to date."""

    def __init__(self, alias: str, holder: platform.PortHolder, options: ServerOptions) -> None:
        self.alias = alias
        self.options = options
        self.lives: list[Life] = []
        """All its lives, oldest first."""
        self.faults = ServerFaults(self)
        """Its faults over all lives."""
        self.seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
        """Seed of the draws of its faults: the first life has this one, each life after it one more."""
        self._holder = holder
        self.evidence = Evidence(self)
        """What its journals tell of its clients, over all lives."""
        self._watch: PortWatch | None = None
        self._outside: OutsideJournal | None = None
        self._beginning = threading.Lock()
        """Held while a life begins: an outage and a test may want the next one at the same time."""

    def watch_port(self) -> None:
        """Resets and records every attempt to connect, until the next life begins. Only while the server is down."""
        if self._watch is None:
            assert self._outside is not None
            self._watch = PortWatch(self.port, self._outside.attempt)
            try:
                self._watch.start()
            except BaseException:
                self._watch = None
                raise
            self._outside.watch_begun()

    def _watch_port_once_let_go(self, deadline: Deadline) -> None:
        """Watches as soon as a life that stops gracefully listens no more, which is long before it has ended."""

        def look() -> bool | None:
            try:
                self.watch_port()
            except OSError:  # it still listens
                return None if self.is_running else False
            return True

        wait_until(look, deadline, interval=_PORT_LOOK_INTERVAL)

    def stop_watching_port(self) -> None:
        """Lets clients be refused as before."""
        if self._watch is not None:
            assert self._outside is not None
            self._outside.watch_over(now())
            self._watch.close()
            self._watch = None

    @property
    def port(self) -> int:
        """TCP port, the same over all lives."""
        return self._holder.port

    @property
    def endpoint(self) -> Endpoint:
        """Where clients find it."""
        return Endpoint("127.0.0.1", self.port)

    @property
    def url(self) -> str:
        """Base URL for HTTP."""
        return self.endpoint.url

    @property
    def ws_url(self) -> str:
        """URL of the websocket."""
        return self.endpoint.ws_url()

    @property
    def life(self) -> Life:
        """The latest life."""
        return self.lives[-1]

    @property
    def pid(self) -> int:
        """Process id of the latest life."""
        return self.life.pid

    @property
    def life_id(self) -> str:
        """Id of the latest life."""
        return self.life.life_id

    @property
    def control_url(self) -> str:
        """Base URL of the latest life's control API."""
        return self.life.control_url

    @property
    def log_file(self) -> Path:
        """Output of the latest life."""
        return self.life.log_file

    @property
    def journal_file(self) -> Path:
        """Journal of the latest life."""
        return self.life.journal_file

    @property
    def began_at(self) -> float:
        """When its first life was ordered, in monotonic seconds."""
        assert self._outside is not None
        return self._outside.began_at

    @property
    def outside_file(self) -> Path:
        """The journal that tells of its lives from outside. There is one from its first life on.

        It has all attempts until now to connect to a watched port: what a client has seen already is in it.
        """
        assert self._outside is not None
        watch = self._watch  # another thread may end it
        if watch is not None:
            watch.catch_up()
        return self._outside.path

    @property
    def journal_files(self) -> list[Path]:
        """Journals of all its lives, oldest first, and the one that tells of them from outside."""
        outside = [] if self._outside is None else [self.outside_file]
        return [*outside, *(life.journal_file for life in self.lives)]

    @property
    def journal_lost(self) -> str | None:
        """Why the journal that tells of its lives from outside has ended early, if it has."""
        return None if self._outside is None else self._outside.lost

    def _release(self) -> None:
        """Gives back what it has over all its lives."""
        if self._outside is not None:
            self._outside.close()
        self._holder.release()

    def _saw_end(self) -> None:
        """Notes the end of the latest life, if it has ended."""
        if self._outside is not None and self.lives:
            status = self.life.exit_status
            if status is not None:
                self._outside.life_over(self.life_id, status)

    def _told(self, order: Order) -> None:
        if self._outside is not None:
            self._outside.order(self.life_id, order)

    @property
    def is_running(self) -> bool:
        """Whether the latest life runs, frozen or not."""
        return self.life.is_running

    @property
    def is_frozen(self) -> bool:
        """Whether the latest life is frozen."""
        return self.life.is_frozen

    def __repr__(self) -> str:
        return f"<MockServer {self.alias!r} at {self.url}: life {len(self.lives)} {self.life.describe()}>"


class ServerManager:
    """Starts, steers and ends servers. Whatever it started ends with it, or with this process."""

    def __init__(self, directory: Path | Callable[[], Path] | None = None, launcher: Launcher | None = None) -> None:
        """``directory`` takes the files of all lives; left out, it is a temporary one that ``close`` removes.

        ``launcher`` starts the lives; left out, it is the quickest that this system has.
        """
        self._directory = directory
        self._temporary: Path | None = None
        self._launcher = launcher or launchers.default()
        self._servers: dict[str, MockServer] = {}
        self._current: MockServer | None = None
        self._lock = threading.RLock()

    def warm_up(self) -> None:
        """Lets the first server start as quickly as later ones, if it is not wanted at once."""
        self._launcher.warm_up()

    @property
    def servers(self) -> list[MockServer]:
        """All servers, in the order of their first start."""
        return list(self._servers.values())

    def get(self, server: str | int | MockServer | None = None) -> MockServer:
        """A server by alias, port or handle; the current one if left out. Raises ValueError."""
        if isinstance(server, MockServer):
            if server not in self._servers.values():
                raise ValueError(
                    f"The mock server {server.alias!r} is closed. Start a new one with `Start Mock Server`."
                )
            return server
        if server is None:
            if self._current is None:
                raise ValueError("There is no mock server. Start one with `Start Mock Server`.")
            return self._current
        for known in self._servers.values():
            if str(server) in (known.alias, str(known.port)):
                return known
        names = ", ".join(f"{known.alias} (port {known.port})" for known in self._servers.values()) or "none"
        raise ValueError(f"There is no mock server {str(server)!r}. Known: {names}.")

    def switch(self, server: str | int | MockServer) -> MockServer:
        """Makes a server the current one. Returns the one that was current before."""
        previous = self.get()
        self._current = self.get(server)
        return previous

    def start(
        self,
        options: ServerOptions | None = None,
        *,
        port: int = 0,
        alias: str | None = None,
        startup_timeout: float = 10.0,
    ) -> MockServer:
        """Starts a new server, or the next life of a stopped one when ``alias`` or ``port`` names it.

        Returns when it is ready. Nothing is left of a start that failed. Raises ValueError when the server runs
        already, RuntimeError when it does not start.
        """
        options = options or ServerOptions()
        deadline = Deadline(startup_timeout)
        with self._lock:
            known = self._find(alias, port)
            if known is not None:
                previous = known.options, known.seed
                known.options = options
                if options.seed is not None:
                    known.seed = options.seed
                try:
                    self._begin_life(known, deadline)
                except BaseException:
                    known.options, known.seed = previous
                    raise
                self._current = known
                return known
            alias = alias or self._free_alias()
            with clear_refusals(f"The mock server {alias!r} cannot start"):
                holder = platform.PortHolder(port)
            server = MockServer(alias, holder, options)
            try:
                self._begin_life(server, deadline)
                self._servers[server.alias] = server
            except BaseException:
                self._servers.pop(server.alias, None)
                for life in server.lives:  # interrupted when the first had begun
                    discard(life.process)
                server._release()
                raise
            self._current = server
            return server

    def kill(
        self,
        server: MockServer,
        how: StopSignal = StopSignal.SIGTERM,
        shutdown_timeout: float = 5.0,
        *,
        watch_attempts: bool = False,
    ) -> int:
        """Ends a server's life and returns its exit status. One that has ended already stays as it is.

        A graceful stop that takes longer than ``shutdown_timeout`` becomes a SIGKILL; so does at once the stop of a
        frozen server, which cannot do anything gracefully. Attempts to connect are watched from when it listens no
        more, also while it still stops.
        """
        life = server.life
        if life.is_running:
            signal = how if how is StopSignal.SIGKILL or not life.is_frozen else StopSignal.SIGKILL
            server._told(signal.value)
            life.process.stop(signal)
            if signal is not StopSignal.SIGKILL:
                deadline = Deadline(shutdown_timeout)
                if watch_attempts:
                    server._watch_port_once_let_go(deadline)
                if life.process.wait(deadline) is None:
                    server._told("SIGKILL")
                    life.process.stop(StopSignal.SIGKILL)
        status = life.process.wait(Deadline(KILL_TIMEOUT))
        if status is None:
            raise RuntimeError(f"Process {life.pid} did not end within {KILL_TIMEOUT:g} s of SIGKILL.")
        server._saw_end()
        life.process.release()
        if watch_attempts:
            server.watch_port()
        return status

    def restart(
        self,
        server: MockServer,
        how: StopSignal = StopSignal.SIGTERM,
        *,
        downtime: float = 0.0,
        startup_timeout: float = 10.0,
        shutdown_timeout: float = 5.0,
        watch_attempts: bool = False,
    ) -> None:
        """Ends a server's life, lets ``downtime`` seconds pass, and starts its next life on the same port."""
        self.kill(server, how, shutdown_timeout, watch_attempts=watch_attempts)
        pause(downtime)
        self._begin_life(server, Deadline(startup_timeout))

    def freeze(self, server: MockServer) -> None:
        """Stops a server where it is: sockets stay open, nothing is answered. Raises RuntimeError if it has ended."""
        self._require_running(server)
        with clear_refusals(f"The mock server {server.alias!r} cannot be frozen"):
            platform.freeze(server.pid)
        server._told("freeze")  # after it: whatever the life writes later shows that it goes on

    def thaw(self, server: MockServer) -> None:
        """Lets a frozen server go on. Raises RuntimeError if it has ended."""
        self._require_running(server)
        server.faults.let_freeze()
        server._told("thaw")
        with clear_refusals(f"The mock server {server.alias!r} cannot be thawed"):
            platform.thaw(server.pid)
        server.faults.clear_what_waits_for_a_thaw()

    def wait_for_stop(self, server: MockServer, timeout: float) -> int | None:
        """Waits until a server has ended by itself. Its exit status, or None if it still runs at the timeout."""
        status = server.life.process.wait(Deadline(timeout))
        server._saw_end()
        return status

    def close_server(self, server: MockServer, shutdown_timeout: float = 5.0) -> None:
        """Ends a server for good: kills it, gives its port back, forgets it."""
        self.kill(server, shutdown_timeout=shutdown_timeout)
        server.faults.close()
        server.stop_watching_port()
        server._release()
        self._servers.pop(server.alias, None)
        if self._current is server:
            self._current = next(reversed(self._servers.values()), None)

    def close(self) -> None:
        """Ends all servers, the latest first."""
        for server in reversed(self.servers):
            self.close_server(server)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    @property
    def directory(self) -> Path:
        """Where the files of the lives are."""
        if self._directory is None:
            if self._temporary is None:
                self._temporary = Path(tempfile.mkdtemp(prefix="mockserver-"))
            return self._temporary
        return self._directory() if callable(self._directory) else self._directory

    def _find(self, alias: str | None, port: int) -> MockServer | None:
        """The stopped server that a start means, if it means one."""
        known = self._servers.get(alias) if alias is not None else None
        if known is None and port:
            known = next((each for each in self.servers if each.port == port), None)
        if known is None:
            return None
        if alias is not None and alias != known.alias:
            raise ValueError(
                f"Port {port} belongs to the mock server {known.alias!r}, not {alias!r}. Use that alias, or leave the "
                "port out."
            )
        if port not in (0, known.port):
            raise ValueError(
                f"The mock server {known.alias!r} has port {known.port} and cannot move to {port}. Leave the port out, "
                "or choose another alias."
            )
        if known.is_running:
            raise ValueError(
                f"The mock server {known.alias!r} runs already on port {known.port} (pid {known.pid}). "
                "Use `Restart Mock Server`, or another alias and port for a second server."
            )
        return known

    def _free_alias(self) -> str:
        return next(name for name in map("server-{}".format, _server_numbers) if name not in self._servers)

    def _begin_life(self, server: MockServer, deadline: Deadline) -> None:
        with server._beginning, clear_refusals(f"The mock server {server.alias!r} cannot start"):
            if server.lives and server.is_running:
                raise RuntimeError(
                    f"The mock server {server.alias!r} was started by somebody else since its last life has ended (pid "
                    f"{server.pid}). Restart it from one place at a time: from the test, or from an outage."
                )
            self._launch_life(server, deadline)

    def _launch_life(self, server: MockServer, deadline: Deadline) -> None:
        server._saw_end()
        server.stop_watching_port()
        number = len(server.lives) + 1
        directory = self.directory.absolute()
        base = directory / f"{file_name(server.alias)}-life-{number}"
        base.parent.mkdir(parents=True, exist_ok=True)
        if server._outside is None:
            outside = directory / f"{file_name(server.alias)}.server.journal.jsonl"
            server._outside = OutsideJournal(outside, server.alias, server.port)
        seed = server.seed + number - 1
        settings = LifeSettings(
            port=server.port,
            life_id=uuid.uuid4().hex[:12],
            log_file=base.with_name(f"{base.name}.log"),
            journal_file=base.with_name(f"{base.name}.journal.jsonl"),
            seed=seed,
            faults_file=_faults_file(server, base.with_name(f"{base.name}.faults.json")),
            options=server.options.command_line(),
        )
        for left_over in (settings.log_file, settings.journal_file):
            left_over.unlink(missing_ok=True)
        _begin_log(settings.log_file)
        process = self._launcher.launch(settings)
        try:
            ready = process.wait_until_ready(deadline)
            self._check(ready, settings, process)
            server.lives.append(
                Life(
                    number,
                    settings.life_id,
                    settings.log_file,
                    settings.journal_file,
                    process,
                    seed,
                    control_url=ready["control_url"],
                    control_token=ready.get("control_token"),
                )
            )
            server._outside.life_begun(settings.life_id, number, process.pid)
        except NotReady as failure:
            discard(process)
            raise RuntimeError(_start_failure(server, str(failure), settings.log_file, deadline)) from None
        except BaseException:
            discard(process)
            raise

    @staticmethod
    def _check(ready: dict[str, Any], settings: LifeSettings, process: LaunchedLife) -> None:
        said = (ready.get("port"), ready.get("pid"), ready.get("life_id"))
        if said != (settings.port, process.pid, settings.life_id):
            raise NotReady(f"says it is something else: {ready}")

    @staticmethod
    def _require_running(server: MockServer) -> None:
        if not server.is_running:
            raise RuntimeError(
                f"The mock server {server.alias!r} does not run: {server.life.describe()}. "
                "Start its next life with `Restart Mock Server`."
            )


def _begin_log(file: Path) -> None:
    """Makes the log. Raises OSError where a life could not write its last words: nobody would know why it ended."""
    with file.open("wb", buffering=0) as log:
        try:
            log.write(b"\n")
        except OSError as failure:
            raise OSError(failure.errno, failure.strerror, str(file)) from None
        log.truncate(0)


def _faults_file(server: MockServer, file: Path) -> Path | None:
    """The faults that the next life begins with: those of the network that have not ended, and those of the options.

    The former have ids and come first, so that the server makes other ids for the latter.
    """
    faults: list[Any] = server.faults.for_next_life()
    if server.options.faults is None and not faults:
        file.unlink(missing_ok=True)
        return None
    if server.options.faults is not None:
        faults += _read_faults(server.options.faults)
    file.write_text(json.dumps(faults, indent=1), encoding="utf-8")
    return file


def _read_faults(file: Path) -> list[Any]:
    try:
        faults = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as failure:
        raise ValueError(f"The faults of {shown(file)} cannot be read: {failure}.") from None
    if not isinstance(faults, list):
        raise ValueError(f"{shown(file)} has no JSON list of faults but {type(faults).__name__}.")
    return faults


def _start_failure(server: MockServer, failure: str, log_file: Path, deadline: Deadline) -> str:
    """Why a life did not begin: its last words first, since many places show the first line alone."""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines() if log_file.exists() else []
    last_words = f": {lines[-1].rstrip('.')}" if lines else ", and has written nothing"
    sentences = [
        f"Mock server '{server.alias}' on port {server.port} {failure}{last_words}.",
        "Give it a longer startup_timeout." if deadline.expired else "",
        f"Log: {shown(log_file)}.",
    ]
    output = ["\nEnd of its output:", *lines[-_LOG_EXCERPT_LINES:]] if len(lines) > 1 else []
    return " ".join(filter(None, sentences)) + "\n    ".join(output)
