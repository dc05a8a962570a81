"""Who can reach a server, and how much of it anybody can take."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import websocket
from mockserver_process import DEADLINE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockserver_process import MockProcess


class TestWhoCanReachIt:
    """Loopback, unless told otherwise."""

    def test_by_default_nobody_else_can_and_there_is_no_warning(self, mock_process: MockProcess) -> None:
        assert "WARNING" not in mock_process.log
        assert mock_process.ready["control_url"].startswith("http://127.0.0.1:")

    def test_elsewhere_it_says_what_others_can_do_and_that_they_do_not_reach_the_control_api(
        self, start_mock_process: Callable[..., MockProcess]
    ) -> None:
        server = start_mock_process("--listen", "0.0.0.0")
        control = server.ready["control_url"].removeprefix("http://")
        (warning,) = (line for line in server.log.splitlines() if "WARNING" in line)
        assert warning.partition("WARNING: ")[2] == (
            f"whoever reaches 0.0.0.0:{server.port} can use this server, without a password: queue prompts, upload and "
            f"read files of this life. Leave --listen out to be alone. The control API is on {control} only"
        )

    def test_a_control_api_elsewhere_has_a_warning_of_its_own(
        self, start_mock_process: Callable[..., MockProcess]
    ) -> None:
        server = start_mock_process("--control-listen", "0.0.0.0")
        (warning,) = (line for line in server.log.splitlines() if "WARNING" in line)
        assert "and has the token can steer this life and read its journal" in warning
        assert server.ready["control_token"] not in warning


class TestHowMuchAnybodyCanTake:
    """Limits, and that they are told."""

    def test_as_many_websockets_as_are_allowed(self, start_mock_process: Callable[..., MockProcess]) -> None:
        server = start_mock_process("--status-interval", "0", "--max-sockets", "2")
        one, _ = server.connect("a"), server.connect("b")
        with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
            server.connect("c")
        assert refusal.value.status_code == 503
        assert refusal.value.resp_body == b"2 websockets are open, which is the limit (--max-sockets)."
        assert server.ask("GET", "/queue").status == 200
        one.close()
        eventually("The end of a socket", lambda: server.control("/life").json["sockets"] == 1)
        assert server.connect("c").message()["type"] == "status"

    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (b"GET /queue HTTP/1.1\r\nX: " + b"x" * 100_000, 400),
            (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n", 400),
            (b"POST /prompt HTTP/1.1\r\nContent-Length: 999999999", 413),
            (b"POST /prompt HTTP/1.1\r\nContent-Length: -1", 400),
        ],
        ids=["header", "request line", "body", "length"],
    )
    def test_a_request(self, mock_process: MockProcess, head: bytes, status: int) -> None:
        with socket.create_connection(("127.0.0.1", mock_process.port), DEADLINE) as connection:
            connection.sendall(head + b"\r\nHost: 127.0.0.1\r\n\r\n")
            if status == 413:  # it is told when it has been sent
                with_body = b"x" * 1_000_000
                for _ in range(110):
                    try:
                        connection.sendall(with_body)
                    except ConnectionError:
                        break
            assert connection.recv(12).endswith(b" %d" % status)
        assert mock_process.ask("GET", "/queue").status == 200

    def test_an_expectation_that_cannot_be_met(self, mock_process: MockProcess) -> None:
        """Aiohttp answers it before anything of ours sees the request."""
        for _ in range(2):  # the second one on a connection that has answered one already
            with socket.create_connection(("127.0.0.1", mock_process.port), DEADLINE) as connection:
                connection.sendall(
                    b"GET /queue HTTP/1.1\r\nHost: a\r\n\r\nGET /features HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n"
                )
                answer = b""
                while b"Unknown Expect: more" not in answer:
                    received = connection.recv(65536)
                    assert received, answer
                    answer += received
                assert b"HTTP/1.1 417 Expectation Failed" in answer
        assert "Traceback" not in mock_process.log
        requests = [record["path"] for record in mock_process.records("request")]
        answers = [(record["request"], record["status"]) for record in mock_process.records("answer")]
        assert requests == ["/queue", "/features"] * 2
        assert answers == [(1, 200), (2, 417), (3, 200), (4, 417)]
