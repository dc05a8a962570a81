"""What differs between systems, on this one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import psutil
import pytest
from engine_helpers import PATIENCE

from ComfyMockLibrary.engine import client_process, platform
from ComfyMockLibrary.engine.platform import PortHolder
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for the end of its input."""
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **platform.own_group()) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def holder() -> Iterator[PortHolder]:
    holder = PortHolder(0)
    yield holder
    holder.release()


def bound(address: str, port: int, *, reuse: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_held_port_is_nobody_elses_and_refuses_clients(holder: PortHolder, address: str) -> None:
    with pytest.raises(OSError, match="in use"):
        bound(address, holder.port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, holder.port), PATIENCE)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_server_can_listen_on_a_held_port_again_and_again(holder: PortHolder, address: str) -> None:
    for _ in range(3):
        with bound(address, holder.port, reuse=True) as listener:
            listener.listen()
            with socket.create_connection((address, holder.port), PATIENCE) as client, listener.accept()[0] as server:
                server.sendall(b"x")
                assert client.recv(1) == b"x"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_released_port_is_free(free_port: Callable[[], int], address: str) -> None:
    holder = PortHolder(free_port())
    with pytest.raises(OSError, match="in use"):
        bound(address, holder.port)
    holder.release()
    holder.release()
    bound(address, holder.port).close()


def test_a_given_port_is_held_and_a_new_one_differs_from_those_held(free_port: Callable[[], int]) -> None:
    with ExitStack() as stack:
        ports = set()
        for _ in range(50):
            holder = PortHolder(0)
            stack.callback(holder.release)
            ports.add(holder.port)
        assert len(ports) == 50
        given = free_port()
        for _ in range(2):
            holder = PortHolder(given)
            assert holder.port == given
            holder.release()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_the_owner_of_a_port_that_is_taken_is_named(address: str) -> None:
    with socket.create_server((address, 0)) as thief:
        port = thief.getsockname()[1]
        with pytest.raises(RuntimeError, match=rf"Port {port} is taken by process {os.getpid()} \(.*python.*choose"):
            PortHolder(port)


def test_a_port_that_is_taken_on_the_other_family_is_held_on_this_one(free_port: Callable[[], int]) -> None:
    with closing(bound("::1", free_port())) as taken:
        holder = PortHolder(taken.getsockname()[1])
        try:
            with pytest.raises(OSError, match="in use"):
                bound("127.0.0.1", holder.port)
        finally:
            holder.release()


@pytest.mark.parametrize("stop", StopSignal)
def test_a_process_gets_the_signal_that_is_meant(child: subprocess.Popen[bytes], stop: StopSignal) -> None:
    platform.send_stop(child, stop)
    assert -child.wait(PATIENCE) == getattr(signal, stop.value)


def test_a_frozen_process_stands_still_until_it_is_thawed(child: subprocess.Popen[bytes]) -> None:
    for _ in range(3):
        platform.freeze(child.pid)
        assert psutil.Process(child.pid).status() == psutil.STATUS_STOPPED
        platform.thaw(child.pid)
    assert child.stdin
    child.stdin.close()
    assert child.wait(PATIENCE) == 0


@pytest.mark.parametrize("change", [platform.freeze, platform.thaw])
@pytest.mark.parametrize("end", ["noted by nobody", "noted"])
def test_a_process_that_has_ended_is_neither_frozen_nor_thawed(
    child: subprocess.Popen[bytes], change: Callable[[int], None], end: str
) -> None:
    child.kill()
    if end == "noted":
        child.wait()
    else:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ProcessLookupError, match=f"process {child.pid} has ended"):
        change(child.pid)


def test_a_process_that_does_not_stand_still_is_not_frozen(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil.Process, "suspend", lambda _: None)
    monkeypatch.setattr(platform, "_FREEZE_TIMEOUT", 0.01)
    with pytest.raises(TimeoutError, match=f"process {child.pid} did not stand still within 0.01 s"):
        platform.freeze(child.pid)


def test_a_child_is_kept_away_from_the_terminals_signals(child: subprocess.Popen[bytes]) -> None:
    assert os.getpgid(child.pid) != os.getpgid(0)


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (2, "exit status 2"), (-9, "SIGKILL"), (-15, "SIGTERM"), (-6, "SIGABRT")],
)
def test_an_exit_status_reads_as_words(status: int, words: str) -> None:
    assert platform.describe_exit(status) == words


def test_an_unknown_signal_is_given_by_its_number() -> None:
    assert platform.describe_exit(-200) == "exit status -200"


class TestLastingThread:
    """Its thread stays, so there is one for all tests: that of the client processes."""

    def test_what_a_call_returns_or_raises_is_the_callers(self) -> None:
        undone: list[str] = []
        assert (
            client_process._starter.call(lambda: threading.current_thread().name, undone.append)
            == "client-process-starter"
        )
        with pytest.raises(ZeroDivisionError):
            client_process._starter.call(lambda: str(1 // 0), undone.append)
        assert undone == []

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_what_an_interrupted_call_has_made_is_undone(self, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
        result = platform._Call.result
        has_begun, may_end, undone = threading.Event(), threading.Event(), []

        def make() -> str:
            has_begun.set()
            may_end.wait(PATIENCE)
            return "made"

        def be_interrupted(call: platform._Call[str]) -> str:
            has_begun.wait(PATIENCE)
            if moment == "after":
                may_end.set()
                result(call)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(platform._Call, "result", be_interrupted)
            with pytest.raises(KeyboardInterrupt):
                client_process._starter.call(make, undone.append)
        may_end.set()
        assert client_process._starter.call(lambda: "next", print) == "next"
        assert undone == ["made"]

    def test_a_call_that_was_given_up_before_it_began_is_not_made(self) -> None:
        made: list[str] = []
        call = platform._Call(lambda: made.append("made"), print)
        call.give_up()
        call.run()
        assert made == []
