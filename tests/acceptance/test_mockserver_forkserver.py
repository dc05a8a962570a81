"""``python -m mockserver.forkserver``: lives that are forked behave like any other, and none outlasts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from mockserver_process import DEADLINE, ROOT, ask, eventually, has_ended, read_line
from robot_run import BEFORE_IT_LISTENS, WHEN_IT_HAS_BEEN_FORKED, servers_held_at

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]


class ForkServer:
    """A fork server, and what it reports."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mockserver.forkserver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def order(self, order: str, life: str, **facts: Any) -> None:
        """Gives an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"order": order, "id": life, **facts}).encode() + b"\n")

    def report(self, report: str, life: str) -> Json:
        """The next report, which must be this one."""
        found: Json = json.loads(read_line(self.process))
        assert (found["report"], found["id"]) == (report, life), f"{found}\n{self.log(life)}"
        return found

    def reports_up_to(self, report: str, life: str) -> Iterator[Json]:
        """The reports up to this one, included."""
        while True:
            found: Json = json.loads(read_line(self.process))
            yield found
            if (found["report"], found["id"]) == (report, life):
                return

    def start(self, life: str, *arguments: str) -> int:
        """Orders a life to be started. Gives its pid, of a process that may have ended again."""
        self.order("start", life, arguments=["--port", "0", *arguments], log=str(self.directory / life))
        pid: int = self.report("started", life)["pid"]
        return pid

    def started(self, life: str, *arguments: str) -> tuple[psutil.Process, int]:
        """Starts a life; gives its process and its port when it is ready."""
        pid = self.start(life, *arguments)
        ready = self.report("ready", life)["ready"]
        assert ready["pid"] == pid
        return psutil.Process(pid), ready["port"]

    def log(self, life: str) -> str:
        """What a life has written to stderr."""
        return (self.directory / life).read_text()


def pipes_and_sockets(process: psutil.Process) -> set[str]:
    """What a process holds that another one can hold as well."""
    held = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as that of a request is that was answered
            held.add(str(descriptor.readlink()))
    assert held
    return {each for each in held if each.startswith(("pipe:", "socket:"))}


@pytest.fixture
def fork_server(tmp_path: Path) -> Iterator[ForkServer]:
    server = ForkServer(tmp_path)
    yield server
    with server.process:
        lives = psutil.Process(server.process.pid).children() if server.process.poll() is None else []
        server.process.kill()
        for life in lives:
            eventually(f"The end of life {life.pid}", lambda life=life: has_ended(life))


def test_a_life_is_started_signalled_and_reported_to_its_end(fork_server: ForkServer) -> None:
    _, port = fork_server.started("a")
    assert ask(port, "GET", "/queue").status == 200
    fork_server.order("signal", "a", signal="SIGTERM")
    assert fork_server.report("ended", "a")["status"] == 0
    assert "stopping: SIGTERM" in fork_server.log("a")


def test_lives_are_apart(fork_server: ForkServer) -> None:
    with socket.socket() as holder:  # bound, never listening: nobody else gets the port when its life has ended
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        a, port_of_a = fork_server.started("a", "--port", str(holder.getsockname()[1]))
        b, port_of_b = fork_server.started("b")
        assert not pipes_and_sockets(a) & pipes_and_sockets(b)
        fork_server.order("signal", "a", signal="SIGKILL")
        assert fork_server.report("ended", "a")["status"] == -signal.SIGKILL
        with pytest.raises(ConnectionRefusedError):
            ask(port_of_a, "GET", "/queue")
    assert ask(port_of_b, "GET", "/queue").status == 200
    fork_server.order("signal", "a", signal="SIGTERM")  # has ended: nothing to signal
    fork_server.order("signal", "b", signal="SIGTERM")
    assert fork_server.report("ended", "b")["status"] == 0


def test_lives_that_cannot_start_say_why_in_their_log(fork_server: ForkServer) -> None:
    _, port = fork_server.started("a")
    fork_server.start("b", "--port", str(port))
    assert fork_server.report("ended", "b")["status"] == 1
    assert f"Port {port} on 127.0.0.1 is taken" in fork_server.log("b")
    fork_server.start("c", "--unknown")
    assert fork_server.report("ended", "c")["status"] == 2
    assert "unrecognized arguments: --unknown" in fork_server.log("c")


def test_a_log_is_appended_to(fork_server: ForkServer) -> None:
    for life_id in ("life-1", "life-2"):
        fork_server.started("a", "--life-id", life_id)
        fork_server.order("signal", "a", signal="SIGTERM")
        fork_server.report("ended", "a")
    assert [life_id in fork_server.log("a") for life_id in ("life-1", "life-2")] == [True, True]


def test_the_end_of_its_stdin_is_the_end_of_all_lives_frozen_or_not(fork_server: ForkServer) -> None:
    frozen, _ = fork_server.started("frozen")
    running, _ = fork_server.started("running")
    frozen.suspend()
    assert fork_server.process.stdin is not None
    fork_server.process.stdin.close()
    assert fork_server.process.wait(DEADLINE) == 0
    for life in (frozen, running):
        eventually("The end of the life", lambda life=life: has_ended(life))


def test_its_own_end_is_the_end_of_all_lives_too(fork_server: ForkServer) -> None:
    frozen, _ = fork_server.started("frozen")
    running, _ = fork_server.started("running")
    frozen.suspend()
    fork_server.process.kill()
    for life in (frozen, running):
        eventually("The end of the life", lambda life=life: has_ended(life))


def test_an_interrupt_from_the_terminal_leaves_it_and_its_lives_alone(fork_server: ForkServer) -> None:
    _, port = fork_server.started("a")
    fork_server.process.send_signal(signal.SIGINT)
    _, another = fork_server.started("b")
    assert [ask(each, "GET", "/queue").status for each in (port, another)] == [200, 200]


@pytest.mark.parametrize("moment", [WHEN_IT_HAS_BEEN_FORKED, BEFORE_IT_LISTENS])
def test_an_interrupt_ends_a_life_that_has_no_handler_yet(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    for name, value in servers_held_at(tmp_path, moment).items():
        monkeypatch.setenv(name, value)
    fork_server: ForkServer = request.getfixturevalue("fork_server")
    if moment == WHEN_IT_HAS_BEEN_FORKED:
        eventually("The spare", (tmp_path / "holds").exists)  # or the next one could get there first
    pid = fork_server.start("a")
    eventually("The moment", (tmp_path / "holds").exists)
    assert int((tmp_path / "holds").read_text()) == pid
    fork_server.order("signal", "a", signal="SIGINT")
    fork_server.order("start", "b", arguments=["--port", "0"], log=str(tmp_path / "b"))
    reports = list(fork_server.reports_up_to("started", "b"))
    with os.fdopen(os.open(tmp_path / "gate", os.O_RDWR)):
        if "a" not in [each["id"] for each in reports]:
            reports += fork_server.reports_up_to("ended", "a")
    assert [each for each in reports if each["id"] == "a"] == [{"report": "ended", "id": "a", "status": -signal.SIGINT}]
    assert moment != BEFORE_IT_LISTENS or fork_server.log("a") == ""


def test_a_spare_is_there_before_it_is_wanted_and_is_no_different_from_others(fork_server: ForkServer) -> None:
    a, _ = fork_server.started("a")
    spare = the_spare(fork_server, a)
    b, port = fork_server.started("b")
    assert b == spare
    assert ask(port, "GET", "/queue").status == 200
    assert the_spare(fork_server, a, b) not in (a, b)
    assert not pipes_and_sockets(a) & pipes_and_sockets(b)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_spare_that_is_killed_is_replaced_and_nothing_is_said_of_it(
    fork_server: ForkServer, number: signal.Signals
) -> None:
    a, _ = fork_server.started("a")
    spare = the_spare(fork_server, a)
    spare.send_signal(number)
    eventually("The end of the spare", lambda: has_ended(spare))
    b, port = fork_server.started("b")
    assert b != spare
    assert ask(port, "GET", "/queue").status == 200


def test_a_spare_ends_with_the_process_that_forks(fork_server: ForkServer) -> None:
    a, _ = fork_server.started("a")
    spare = the_spare(fork_server, a)
    fork_server.process.kill()
    eventually("The end of the spare", lambda: has_ended(spare))


def the_spare(fork_server: ForkServer, *lives: psutil.Process) -> psutil.Process:
    """The process that no life has been started in yet."""
    children = psutil.Process(fork_server.process.pid).children

    def others() -> list[psutil.Process]:
        return [each for each in children() if each not in lives]

    eventually("A spare", others)
    (spare,) = others()
    return spare
