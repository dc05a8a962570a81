"""How a life of ``python -m mockserver`` ends, and what a connected client sees of it."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import time
from typing import TYPE_CHECKING

import psutil
import pytest
import websocket
from mockserver_process import DEADLINE, QUICK, ask, chain, sampling
from websocket import ABNF

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockserver_process import Client, MockProcess

    StartMockProcess = Callable[..., MockProcess]

GRACEFUL = [signal.SIGTERM, signal.SIGINT]
FOREVER = "3600"
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


def connected(server: MockProcess) -> Client:
    """A client that has got its first status."""
    client = server.connect("me")
    client.message()
    return client


@pytest.fixture
def patient(start_mock_process: StartMockProcess) -> MockProcess:
    """A mock server that waits an hour for the clients' close replies, and is silent when idle."""
    return start_mock_process("--grace-time", FOREVER, "--status-interval", "0")


@pytest.mark.parametrize("number", GRACEFUL, ids=lambda number: number.name)
@pytest.mark.parametrize("supervised", [True, False], ids=["supervised", "by hand"])
def test_a_signal_closes_with_1001_and_exits_with_0(
    start_mock_process: StartMockProcess, number: signal.Signals, supervised: bool
) -> None:
    server = start_mock_process("--grace-time", FOREVER, supervised=supervised)
    client = connected(server)
    server.signal(number)
    assert client.close_frame() == (1001, "server shutting down")
    client.answer_close(1001)
    assert server.exit_status() == 0
    assert client.meets_the_end()


def test_stop_on_stdin_does_the_same(patient: MockProcess) -> None:
    client = connected(patient)
    patient.order("stop")
    assert client.close_frame() == (1001, "server shutting down")
    client.answer_close(1001)
    assert patient.exit_status() == 0


@pytest.mark.parametrize(("code", "reason"), [(1012, "service restart"), (4001, ""), (1001, "x" * 123)])
def test_code_and_reason_can_be_given(start_mock_process: StartMockProcess, code: int, reason: str) -> None:
    client = connected(server := start_mock_process("--close-code", str(code), "--close-reason", reason))
    server.signal(signal.SIGTERM)
    assert client.close_frame() == (code, reason)


def test_without_clients_it_ends_at_once(patient: MockProcess) -> None:
    patient.signal(signal.SIGTERM)
    assert patient.exit_status() == 0


def test_the_reply_of_each_client_is_awaited(patient: MockProcess) -> None:
    clients = [connected(patient), patient.connect("other"), patient.connect("other")]  # two of one id
    patient.wait_for_record("socket_opened", socket=3)
    patient.signal(signal.SIGTERM)
    for client in clients:
        client.close_frame()
    for client in clients[:-1]:
        client.answer_close(1001)
        assert client.meets_the_end()
    assert patient.process.poll() is None
    clients[-1].answer_close(1001)
    assert patient.exit_status() == 0
    assert [record["code"] for record in patient.records("socket_closed")] == [1001] * 3


@pytest.mark.parametrize("grace_time", ["0", "0.3"])
def test_a_client_that_never_answers_is_dropped_after_the_grace_time(
    start_mock_process: StartMockProcess, grace_time: str
) -> None:
    client = connected(server := start_mock_process("--grace-time", grace_time))
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert client.close_frame() == (1001, "server shutting down")
    assert client.meets_the_end()
    assert time.monotonic() - began >= float(grace_time)
    assert server.exit_status() == 0


def test_nothing_follows_the_close_frame_even_while_a_prompt_runs(start_mock_process: StartMockProcess) -> None:
    options = ("--status-interval", "0.01", "--duration", "KSampler=10", "--grace-time", "0.5")
    client = connected(server := start_mock_process(*options))
    server.queue(sampling(1000), client_id="me")
    client.until("progress")
    server.signal(signal.SIGTERM)
    client.close_frame()
    assert client.meets_the_end()
    assert server.exit_status() == 0


@pytest.mark.parametrize("first", GRACEFUL, ids=lambda number: number.name)
@pytest.mark.parametrize("second", GRACEFUL, ids=lambda number: number.name)
def test_a_second_signal_ends_it_at_once(patient: MockProcess, first: signal.Signals, second: signal.Signals) -> None:
    client = connected(patient)
    patient.signal(first)
    client.close_frame()
    patient.signal(second)
    assert patient.exit_status() == -second
    assert client.meets_the_end()


def test_two_signals_at_once_end_it_at_once(patient: MockProcess) -> None:
    client = connected(patient)
    process = psutil.Process(patient.pid)
    process.suspend()
    for number in GRACEFUL:
        patient.signal(number)
    process.resume()
    assert patient.exit_status() in [-number for number in GRACEFUL]
    with contextlib.suppress(websocket.WebSocketConnectionClosedException, ConnectionError):
        assert client.frame()[0] == ABNF.OPCODE_CLOSE  # where the second signal was given to a thread that is slow
        assert client.meets_the_end()
    assert "Traceback" not in patient.log


def test_new_connections_are_refused_while_it_stops(patient: MockProcess) -> None:
    client = connected(patient)
    patient.signal(signal.SIGTERM)
    client.close_frame()
    with pytest.raises(ConnectionRefusedError):
        ask(patient.port, "GET", "/queue")


def test_a_connection_from_before_becomes_no_websocket_while_it_stops(patient: MockProcess) -> None:
    client = connected(patient)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", patient.port, timeout=DEADLINE)) as early:
        early.request("GET", "/queue")
        assert early.getresponse().read()
        patient.signal(signal.SIGTERM)
        client.close_frame()
        early.request("GET", "/ws", headers=HANDSHAKE)
        answer = early.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (503, "close")
        assert answer.read() == b"The server is shutting down."
    client.answer_close(1001)
    assert patient.exit_status() == 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_strict_ends_without_a_close_frame(
    start_mock_process: StartMockProcess, number: signal.Signals, status: int, busy: bool
) -> None:
    client = connected(server := start_mock_process("--strict", "--node-duration", FOREVER))
    if busy:
        server.queue(QUICK, client_id="me")
        client.until("executing")
    server.signal(number)
    assert client.meets_the_end()
    assert server.exit_status() == status


def test_a_kill_ends_without_a_close_frame(patient: MockProcess) -> None:
    client = connected(patient)
    patient.signal(signal.SIGKILL)
    assert client.meets_the_end()
    assert patient.exit_status() == -signal.SIGKILL


def test_the_end_of_stdin_ends_a_supervised_life_at_once(patient: MockProcess) -> None:
    client = connected(patient)
    patient.close_stdin()
    assert client.meets_the_end()
    assert patient.exit_status() == 0
    assert patient.records()[-1] | {"at": 0} == {"at": 0, "kind": "life", "state": "ended", "order": "end of stdin"}


def test_the_end_of_stdin_ends_it_while_somebody_waits_for_records(
    start_mock_process: StartMockProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")  # refuses what only the loop's own thread may do
    server = start_mock_process("--status-interval", "0")
    port = int(server.ready["control_url"].rpartition(":")[2])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as waiting:
        waiting.request("GET", f"/journal?since={len(server.records())}&wait=20")
        assert server.control("/life").status == 200  # by then the other one is waited for
        server.close_stdin()
        assert server.exit_status() == 0
    assert server.records()[-1]["order"] == "end of stdin"


def test_the_end_of_stdin_does_not_matter_by_hand(start_mock_process: StartMockProcess) -> None:
    server = start_mock_process(supervised=False)
    server.close_stdin()
    assert server.run(QUICK)["status"]["completed"]


def test_a_request_that_never_ends_does_not_hold_it(start_mock_process: StartMockProcess) -> None:
    server = start_mock_process()
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /prompt HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n")
        assert half.recv(4096).startswith(b"HTTP/1.1 100")
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0


def test_a_client_that_does_not_read_does_not_hold_it(start_mock_process: StartMockProcess) -> None:
    server = start_mock_process("--node-duration", "0", "--grace-time", "0.2")
    server.connect("me", sockopt=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    server.run(chain(300), client_id="me")
    server.signal(signal.SIGTERM)
    assert server.exit_status() == 0


def test_the_port_is_free_again(start_mock_process: StartMockProcess) -> None:
    with socket.socket() as holder:  # bound, never listening: keeps everybody else away
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        for _ in range(2):
            server = start_mock_process("--port", str(port), "--status-interval", "0")
            client = connected(server)
            server.signal(signal.SIGKILL)
            assert client.meets_the_end()
            server.exit_status()
