"""Any program as a client under test: started with the server's address, and owned as completely as a server is."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ComfyMockLibrary.engine import platform
from ComfyMockLibrary.engine.deadline import Deadline, Guard, now, wait_until
from ComfyMockLibrary.engine.records import file_name, shown
from ComfyMockLibrary.engine.refusals import clear_refusals
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ComfyMockLibrary.engine.endpoint import Endpoint
    from ComfyMockLibrary.engine.servers import MockServer

LAST_LINES = 20
"""How much of its output a failure shows."""

_SUPERVISOR = Path(__file__).with_name("process_supervisor.py")
_KILLED = -9
_START_TIMEOUT = 30.0
"""Seconds until the system has started a program or said why not: it takes milliseconds, unless it is very busy."""

_process_numbers = itertools.count(1)
_starter = platform.LastingThread("client-process-starter")


def placeholders(endpoint: Endpoint) -> dict[str, str]:
    """What stands for a server's address in the arguments of a command."""
    return {
        "{url}": endpoint.url,
        "{ws_url}": endpoint.ws_url(),
        "{host}": endpoint.host,
        "{port}": str(endpoint.port),
    }


def environment(endpoint: Endpoint, changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with the server's address and what was asked for."""
    past_proxies = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), endpoint.host]))
    return {
        "PYTHONUNBUFFERED": "1",  # or its output comes at its end
        **os.environ,
        "NO_PROXY": past_proxies,
        "no_proxy": past_proxies,
        "COMFYUI_URL": endpoint.url,
        "COMFYUI_WS_URL": endpoint.ws_url(),
        "COMFYUI_HOST": endpoint.host,
        "COMFYUI_PORT": str(endpoint.port),
        **changes,
    }


class ClientProcess:
    """A program that runs as a client: a handle whose attributes are always up to date."""

    def __init__(
        self,
        alias: str,
        command: Sequence[str],
        endpoint: Endpoint,
        log_file: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Starts nothing yet: see ``start``. Raises RuntimeError if there is no folder ``cwd``."""
        self.alias = alias
        self.command = tuple(_filled(argument, endpoint) for argument in command)
        """With the server's address filled in."""
        self.endpoint = endpoint
        self.log_file = log_file
        """What it prints, on stdout and on stderr."""
        self.started_at = now()
        """Monotonic seconds."""
        self._condition = Guard()
        self._pid: int | None = None
        self._failure: tuple[str, str | None] | None = None
        self._status: int | None = None
        if cwd is not None and not cwd.is_dir():
            raise RuntimeError(f"Client process '{alias}' cannot be started: there is no folder {cwd}.")
        self._environment = environment(endpoint, env or {})
        self._cwd = cwd
        self._supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the program. Raises RuntimeError if there is none to start. Nothing is left of a start that failed."""
        try:
            _starter.call(self._start_supervisor, undo=lambda _: self.let_go())
            self._wait_until_started()
        except BaseException:
            self.let_go()
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._pid is not None
        return self._pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; the negative signal number if a signal ended it."""
        return self._status

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._status is None

    def wait(self, timeout: float) -> int | None:
        """Waits for its end. The exit status, or None if it still runs at the timeout."""
        return wait_until(lambda: self._status, Deadline(timeout), self._condition)

    def stop(self, how: StopSignal = StopSignal.SIGTERM, shutdown_timeout: float = 5.0) -> int:
        """Ends it and all that it has started, and returns its exit status. One that has ended stays as it is.

        The signal goes to its whole process group. What has not ended by ``shutdown_timeout`` gets SIGKILL.
        """
        if self.is_running:
            self._order(how.value)
            if self.wait(shutdown_timeout) is None:
                self._order(StopSignal.SIGKILL.value)
        status = self.wait(_START_TIMEOUT)
        if status is None:
            raise RuntimeError(f"Client process '{self.alias}' (pid {self.pid}) did not end after SIGKILL.")
        return status

    def wait_until_it_asks(self, server: MockServer, timeout: float) -> bool | None:
        """Waits for its first request to a server: any that comes after its start. None if it has ended before."""
        from ComfyMockLibrary.engine.evidence import Evidence

        evidence = Evidence(server)

        def look() -> str | None:
            has_ended = not self.is_running  # before the journal is read, or a last request could be missed
            if any(record["at"] >= self.started_at for _, record in evidence.records("request")):
                return "asked"
            return "ended" if has_ended else None

        found = evidence.wait_for(look, timeout)
        return None if found == "ended" else found == "asked"

    def describe(self) -> str:
        """Its state in words."""
        return f"running, pid {self.pid}" if self._status is None else f"ended with {self.describe_end()}"

    def describe_end(self) -> str:
        """Its exit status in words."""
        assert self._status is not None
        return platform.describe_exit(self._status)

    def last_words(self) -> str:
        """The end of its output as the end of a failure's text, beginning on a line of its own."""
        lines = self.output().splitlines()
        if not lines:
            return " It has written nothing."
        dots = ["…"] if len(lines) > LAST_LINES else []
        return "\n    ".join([f" Log: {shown(self.log_file)}.\nEnd of its output:", *dots, *lines[-LAST_LINES:]])

    def output(self) -> str:
        """All that it has printed so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def __repr__(self) -> str:
        return f"<ClientProcess {self.alias!r}: {self.describe()}>"

    def let_go(self) -> None:
        """Ends the supervisor, if there is one, and all that it owns with it. Does not wait."""
        if self._supervisor is None:
            return
        assert self._supervisor.stdin is not None
        try:
            self._supervisor.stdin.close()
        except BrokenPipeError:
            return

    def _start_supervisor(self) -> None:
        """Runs where nothing interrupts: what it starts can be found, and is waited for."""
        with self.log_file.open("wb") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SUPERVISOR), *self.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                cwd=self._cwd,
                **platform.own_group(),
            )
        name = f"client-process {self.alias}"
        threading.Thread(target=self._read_reports, args=[self._supervisor], name=name, daemon=True).start()

    def _wait_until_started(self) -> None:
        wait_until(lambda: self._pid or self._failure or self._status, Deadline(_START_TIMEOUT), self._condition)
        if self._pid is not None:
            return
        reason, path = self._failure or ("its supervisor has ended", None)
        raise RuntimeError(
            f"Client process '{self.alias}' cannot be started: {reason}{'' if path is None else f': {path}'}."
            f"{_advice(self.command)}"
        )

    def _order(self, order: str) -> None:
        assert self._supervisor is not None
        assert self._supervisor.stdin is not None
        try:
            self._supervisor.stdin.write(f"{order}\n".encode())
            self._supervisor.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # it has ended, and the reader says so

    def _read_reports(self, supervisor: subprocess.Popen[bytes]) -> None:
        assert supervisor.stdout is not None
        with supervisor.stdout as reports:
            for line in reports:
                report: dict[str, Any] = json.loads(line)
                with self._condition:
                    self._take(report)
                    self._condition.notify_all()
        supervisor.wait()
        with self._condition:
            if self._status is None:
                self._status = _KILLED  # its supervisor was killed, and the kernel has killed it
            self._condition.notify_all()
        self.let_go()

    def _take(self, report: dict[str, Any]) -> None:
        if "started" in report:
            self._pid = report["started"]
        elif "failed" in report:
            self._failure = report["failed"], report["path"]
        else:
            self._status = report["ended"]


class ClientProcesses:
    """The client processes of one library instance: starts, finds and ends them."""

    def __init__(self) -> None:
        self._processes: dict[str, ClientProcess] = {}
        self._servers: dict[str, MockServer] = {}
        self._current: ClientProcess | None = None

    @property
    def processes(self) -> list[ClientProcess]:
        """All of them, also those that have ended, oldest first."""
        return list(self._processes.values())

    def start(
        self,
        command: Sequence[str],
        endpoint: Endpoint,
        directory: Path,
        *,
        server: MockServer | None = None,
        alias: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> ClientProcess:
        """Starts a program and makes it the current one. ``directory`` takes its output.

        An alias can be used again when its process has ended. Raises ValueError for one that runs, RuntimeError for a
        program that cannot be started.
        """
        alias = alias or next(
            name for name in map("process-{}".format, _process_numbers) if name not in self._processes
        )
        known = self._processes.get(alias)
        if known is not None and known.is_running:
            raise ValueError(f"There is a client process {alias!r} already. Stop it, or choose another alias.")
        if not command:
            raise ValueError("Give the program that is the client, and its arguments: node    my_client.js    {url}.")
        with clear_refusals(f"The client process {alias!r} cannot start"):
            directory.mkdir(parents=True, exist_ok=True)
            log_file = directory.absolute() / f"{file_name(alias)}.log"
            process = ClientProcess(alias, command, endpoint, log_file, env=env, cwd=cwd)
            try:
                process.start()
                self._processes.pop(alias, None)
                self._processes[alias] = process
            except BaseException:
                process.let_go()
                raise
        if server is not None:
            self._servers[alias] = server
        self._current = process
        return process

    def get(self, process: str | ClientProcess | None = None) -> ClientProcess:
        """A process by alias or handle; the current one if left out. Raises ValueError."""
        if process is None:
            if self._current is None:
                raise ValueError("There is no client process. Start one with `Start Client Process`.")
            return self._current
        if isinstance(process, ClientProcess):
            return process
        if process not in self._processes:
            raise ValueError(f"There is no client process {process!r}. Known: {', '.join(self._processes) or 'none'}.")
        return self._processes[process]

    def server_of(self, process: ClientProcess) -> MockServer | None:
        """The mock server that a process was started for; None for some other server."""
        return self._servers.get(process.alias)

    def close_process(self, process: ClientProcess, shutdown_timeout: float = 5.0) -> None:
        """Ends a process and forgets it."""
        process.stop(shutdown_timeout=shutdown_timeout)
        if self._processes.get(process.alias) is process:
            self._processes.pop(process.alias)
            self._servers.pop(process.alias, None)
        if self._current is process:
            self._current = next(reversed(self._processes.values()), None)

    def close(self) -> None:
        """Ends all processes, the latest first."""
        for process in reversed(self.processes):
            self.close_process(process)


def _filled(argument: str, endpoint: Endpoint) -> str:
    for placeholder, value in placeholders(endpoint).items():
        argument = argument.replace(placeholder, value)
    return argument


def _advice(command: Sequence[str]) -> str:
    if " " in command[0] and not Path(command[0]).exists():
        return " Give the program and each of its arguments on their own: node    my_client.js    {url}."
    return ""
