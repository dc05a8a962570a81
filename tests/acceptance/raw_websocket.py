"""A websocket client made of bytes, which can send anything, right or wrong."""

from __future__ import annotations

import socket
import struct
from typing import Literal

from mockserver_process import DEADLINE

KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
MASK = b"\x37\xfa\x21\x3d"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

LengthForm = Literal["shortest", "16 bits", "64 bits"]


def raw_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length: int | None = None,
    form: LengthForm = "shortest",
) -> bytes:
    """A frame as a client sends it. ``length`` is what it claims to have; ``rsv`` are the three reserved bits."""
    claimed = len(payload) if length is None else length
    masked = 0 if mask is None else 0x80
    if form == "64 bits" or claimed >= 1 << 16:
        size = struct.pack("!BQ", masked | 127, claimed)
    elif form == "16 bits" or claimed > 125:
        size = struct.pack("!BH", masked | 126, claimed)
    else:
        size = struct.pack("!B", masked | claimed)
    first = bytes([fin << 7 | rsv << 4 | opcode])
    return first + size + (payload if mask is None else mask + masked_with(mask, payload))


def masked_with(mask: bytes, payload: bytes) -> bytes:
    """The payload under a mask (RFC 6455, 5.3)."""
    key = int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(len(payload), "big")


class RawWebsocket:
    """A connection that has asked for a websocket. Whether it got one is in ``answer``."""

    def __init__(self, port: int, target: str = "/ws", *, await_answer: bool = True, **headers: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        given = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": KEY,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._unread = b""
        self.answer = self._read_answer() if await_answer else ""

    @property
    def status(self) -> int:
        """Status of the answer; 101 is a websocket."""
        return int(self.answer.split()[1])

    def _read_answer(self) -> str:
        received = b""
        while b"\r\n\r\n" not in received:
            data = self.socket.recv(65536)
            assert data, f"The connection ended before the answer did: {received!r}"
            received += data
        answer, _, self._unread = received.partition(b"\r\n\r\n")
        return answer.decode()

    def send(self, *pieces: bytes) -> None:
        """Sends pieces one by one. A server that has had enough of them may have closed the connection."""
        for piece in pieces:
            try:
                self.socket.sendall(piece)
            except ConnectionError:
                return

    def rest(self) -> bytes:
        """Sends no more, and reads what comes up to the end of the connection."""
        received = self._unread
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while data := self.socket.recv(65536):
                received += data
        except TimeoutError:
            raise AssertionError(f"The connection did not end within {DEADLINE:g} s.") from None
        except OSError:  # reset: the server had not read everything, or it has closed before
            pass
        self.close()
        return received

    def reset(self) -> None:
        """Ends the connection the hard way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Ends the connection, without a close frame."""
        self.socket.close()
