"""``--tls-keyfile`` and ``--tls-certfile``: the same server over https and wss."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
import websocket
from mockserver_process import DEADLINE, QUICK, ROOT
from websocket import ABNF

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockserver_process import MockProcess

    StartMockProcess = Callable[..., MockProcess]

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


class Pair(NamedTuple):
    """A key and its certificate, as files."""

    key: Path
    certificate: Path

    @property
    def arguments(self) -> list[str]:
        return ["--tls-keyfile", str(self.key), "--tls-certfile", str(self.certificate)]

    @property
    def trusting(self) -> ssl.SSLContext:
        """What a client has that trusts this certificate and no other."""
        return ssl.create_default_context(cafile=self.certificate)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    directory = tmp_path_factory.mktemp("tls")
    pair = Pair(directory / "key.pem", directory / "certificate.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=mock"
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pair.key), "-out", str(pair.certificate)]
    subprocess.run([*command.split(), *extra], check=True, capture_output=True, timeout=DEADLINE)
    return pair


@pytest.fixture
def server(start_mock_process: StartMockProcess, pair: Pair) -> MockProcess:
    return start_mock_process("--status-interval", "0", *pair.arguments)


def connect(server: MockProcess, pair: Pair) -> websocket.WebSocket:
    return websocket.create_connection(
        f"wss://127.0.0.1:{server.port}/ws?clientId=me", timeout=DEADLINE, sslopt={"context": pair.trusting}
    )


def ask(server: MockProcess, pair: Pair, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """One request: status and body of its answer."""
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=DEADLINE, context=pair.trusting)
    with contextlib.closing(connection):
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_prompt_over_https_and_its_messages_over_wss(server: MockProcess, pair: Pair) -> None:
    client = connect(server, pair)
    assert json.loads(client.recv())["data"]["sid"] == "me"
    assert ask(server, pair, "POST", "/prompt", {"prompt": QUICK, "client_id": "me"})[0] == 200
    while json.loads(client.recv())["data"].get("node", "") is not None:
        pass
    assert len(json.loads(ask(server, pair, "GET", "/history")[1])) == 1
    client.close()


def test_a_graceful_stop_closes_with_1001(server: MockProcess, pair: Pair) -> None:
    client = connect(server, pair)
    client.recv()
    server.order("stop")
    closing = client.recv_frame()
    assert (closing.opcode, closing.data) == (ABNF.OPCODE_CLOSE, b"\x03\xe9server shutting down")
    client.send_close(1001)
    assert server.exit_status() == 0
    client.shutdown()


def test_the_certificate_is_the_given_one(server: MockProcess) -> None:
    stranger = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=DEADLINE)
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.request("GET", "/queue")


@pytest.mark.parametrize("data", [b"GET /queue HTTP/1.1\r\n\r\n", bytes(500), b"\x16\x03\x01\x00\x05nonse", b""])
def test_what_is_no_tls_harms_nobody(server: MockProcess, pair: Pair, data: bytes) -> None:
    client = connect(server, pair)
    client.recv()
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as plain:
        plain.sendall(data)
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(65536):
            pass
    assert ask(server, pair, "POST", "/queue", {"clear": True}) == (200, b"")
    assert json.loads(client.recv())["type"] == "status"
    assert "Traceback" not in server.log
    client.close()


def test_by_hand_it_says_where(start_mock_process: StartMockProcess, pair: Pair) -> None:
    server = start_mock_process(*pair.arguments, supervised=False)
    assert (
        f"listens on https://127.0.0.1:{server.port} (websocket wss://127.0.0.1:{server.port}/ws)" in server.first_line
    )


def test_files_that_are_no_pair_are_named(pair: Pair) -> None:
    command = [sys.executable, "-m", "mockserver", "0", "--tls-keyfile", str(pair.key), "--tls-certfile", str(pair.key)]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 1
    files = "key.pem (--tls-certfile) and key.pem (--tls-keyfile)"
    assert ended.stderr.startswith(f"The mock server cannot start: {files} are no certificate and its key: ")
    assert "Traceback" not in ended.stderr
