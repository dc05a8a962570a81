"""One websocket connection, from handshake to end, on websocket-client. Used by one thread alone."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import websocket
from websocket import ABNF

from ComfyMockLibrary.engine.client.wire import Abandoned, Patience, TlsWireSocket, WireSocket, open_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ComfyMockLibrary.engine.endpoint import Endpoint

LIFE_HEADER = "x-mock-life"
ABNORMAL_CLOSURE = 1006
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Longest message that is waited for; a server that announces a longer one is out of its mind."""


class OpenFailed(Exception):
    """No connection could be had."""


@dataclass(frozen=True)
class Lost(Exception):
    """The connection is over."""

    code: int
    reason: str
    cause: str

    def facts(self) -> dict[str, Any]:
        """What the event says."""
        return {"code": self.code, "reason": self.reason, "cause": self.cause}


class _WebSocket(websocket.WebSocket):
    """Websocket-client's, which says a close frame once only, and takes one also if nobody is left to be answered."""

    _has_said_close = False

    def send_close(self, status: int = websocket.STATUS_NORMAL, reason: str | bytes = b"") -> None:
        if not self._has_said_close:
            self._has_said_close = True
            with suppress(websocket.WebSocketException, OSError):
                super().send_close(status, reason)


class Connection:
    """An open websocket."""

    def __init__(self, socket: Any, wire: WireSocket | TlsWireSocket) -> None:
        """``socket`` is websocket-client's, upgraded on ``wire``."""
        self._socket = socket
        self._wire = wire
        headers = socket.getheaders() or {}
        self.life_id: str | None = headers.get(LIFE_HEADER)
        self._complete_at = wire.bytes_received
        """How many bytes had come when nothing was incomplete."""

    @classmethod
    def open(cls, endpoint: Endpoint, client_id: str, headers: Mapping[str, str], patience: Patience) -> Connection:
        """Connects and upgrades, all within the patience. Raises OpenFailed, or Abandoned."""
        socket: Any = _WebSocket()  # its methods have no types
        try:
            wire = open_connection(endpoint.host, endpoint.port, tls=endpoint.tls, patience=patience)
        except TimeoutError:
            raise OpenFailed(f"no connection within {patience.deadline.timeout:g} s") from None
        except OSError as failure:
            raise OpenFailed(str(failure)) from failure
        try:
            socket.connect(
                endpoint.ws_url(client_id), socket=wire, header=dict(headers), redirect_limit=0, suppress_origin=True
            )
        except websocket.WebSocketBadStatusException as refused:
            raise OpenFailed(f"upgrade refused with status {refused.status_code}") from refused
        except websocket.WebSocketTimeoutException:
            raise OpenFailed(f"upgrade not answered within {patience.deadline.timeout:g} s") from None
        except Abandoned:
            raise
        except Exception as failure:  # what websocket-client and http.cookies make of strange answers is no promise
            raise OpenFailed(f"upgrade failed: {failure or type(failure).__name__}") from failure
        wire.patience = None
        return cls(socket, wire)

    def fileno(self) -> int:
        """What to wait for."""
        return self._wire.fileno()

    @property
    def bytes_received(self) -> int:
        """Everything that has come from the server: proof of life."""
        return self._wire.bytes_received

    def receive(self, is_over: Callable[[], bool] = lambda: False) -> Iterator[str | bytes]:
        """The messages that have come, without waiting for more, until it ``is_over``: what comes may never end.

        Raises Lost when there will be none.
        """
        self._wire.is_over = lambda: is_over() or self._bytes_of_message > MAX_MESSAGE_BYTES
        while True:
            try:
                opcode, frame = self._socket.recv_data_frame(control_frame=True)
            except websocket.WebSocketTimeoutException:
                self._refuse_monsters()
                return
            except websocket.WebSocketConnectionClosedException:
                raise Lost(ABNORMAL_CLOSURE, "", "end of stream without close frame") from None
            except (websocket.WebSocketException, UnicodeDecodeError) as violation:
                raise Lost(1002, "", f"protocol error: {violation}") from violation
            except OSError as failure:
                raise Lost(ABNORMAL_CLOSURE, "", str(failure)) from failure
            if self._socket.cont_frame.cont_data is None:
                self._complete_at = self._wire.bytes_received
            if opcode == ABNF.OPCODE_TEXT:
                yield frame.data.decode()
            elif opcode == ABNF.OPCODE_BINARY:
                yield frame.data
            elif opcode == ABNF.OPCODE_CLOSE:
                raise _lost_by_close_frame(frame.data)

    def ping(self) -> None:
        """Sends a ping. Raises Lost."""
        self._send(b"", ABNF.OPCODE_PING)

    def send(self, text: str) -> None:
        """Sends a text message. Raises Lost."""
        self._send(text, ABNF.OPCODE_TEXT)

    def close(self, code: int, patience: Patience) -> None:
        """Closes with a close frame and waits, within the patience, for the server's."""
        self._wire.patience = patience
        with suppress(Lost, Abandoned):
            self._socket.send_close(code)
            for _ in self.receive():
                pass  # too late for anybody
        self.drop()

    def drop(self) -> None:
        """Closes without a word."""
        self._socket.shutdown()

    def _send(self, payload: str | bytes, opcode: int) -> None:
        try:
            self._socket.send(payload, opcode)
        except (websocket.WebSocketException, OSError) as failure:
            raise Lost(ABNORMAL_CLOSURE, "", f"sending failed: {failure}") from failure

    @property
    def _bytes_of_message(self) -> int:
        """How many have come of the message that is incomplete."""
        return self._wire.bytes_received - self._complete_at

    def _refuse_monsters(self) -> None:
        announced = self._socket.frame_buffer.length
        if announced is not None and announced > MAX_MESSAGE_BYTES:
            raise Lost(1009, "", f"message of {announced} bytes announced")
        if self._bytes_of_message > MAX_MESSAGE_BYTES:
            raise Lost(1009, "", f"message of more than {MAX_MESSAGE_BYTES} bytes")


def _lost_by_close_frame(payload: bytes) -> Lost:
    if len(payload) < 2:
        return Lost(1005, "", "close frame without code")
    (code,) = struct.unpack_from("!H", payload)
    return Lost(code, payload[2:].decode(errors="replace"), "close frame")
