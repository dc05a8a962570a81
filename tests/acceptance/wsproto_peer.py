"""A websocket client that shares no code with the server nor with the library: wsproto."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING

from mockserver_process import DEADLINE
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockserver_process import MockProcess
    from wsproto.events import Event
    from wsproto.extensions import Extension

_numbers = itertools.count(1)


class Peer:
    """A websocket of its own client id. Frames that break the protocol make wsproto raise RemoteProtocolError."""

    def __init__(self, server: MockProcess, extensions: Sequence[Extension] = ()) -> None:
        self.server = server
        self.client_id = f"peer-{next(_numbers)}"
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
        self._connection = WSConnection(ConnectionType.CLIENT)
        target = f"/ws?clientId={self.client_id}"
        self.send(Request(host=f"127.0.0.1:{server.port}", target=target, extensions=list(extensions)))
        accepted = self.event()
        assert isinstance(accepted, AcceptConnection), accepted
        self.extensions = accepted.extensions
        self.first_status = self.message()

    def send(self, *events: Event) -> None:
        """Sends events one by one."""
        for event in events:
            self.socket.sendall(self._connection.send(event))

    def send_bytes(self, data: bytes) -> None:
        """Sends what wsproto would not."""
        self.socket.sendall(data)

    def event(self) -> Event | None:
        """The next event. None at the end of the connection."""
        while True:
            for event in self._connection.events():
                return event
            data = self.socket.recv(65536)
            if not data:
                return None
            self._connection.receive_data(data)

    def message(self) -> str | bytes:
        """The next event, which must be a message: the whole of it."""
        parts: list[str | bytes] = []
        while True:
            event = self.event()
            assert isinstance(event, TextMessage | BytesMessage), event
            parts.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
            if event.message_finished:
                return parts[0][:0].join(parts)  # type: ignore[arg-type]

    def pongs(self) -> list[bytes]:
        """Sends a ping, and gives the payloads of all pongs before the answer to it."""
        self.send(Ping(b"the last one"))
        found: list[bytes] = []
        while True:
            event = self.event()
            assert isinstance(event, Pong), event
            if event.payload == b"the last one":
                return found
            found.append(bytes(event.payload))

    def taken(self) -> list[str | int]:
        """What the server has taken from it so far: texts, and lengths of binary messages. A pong must have come."""
        opened = self.server.records("socket_opened")
        number = next(record["socket"] for record in opened if record["client_id"] == self.client_id)
        taken = [record for record in self.server.records("message_received") if record["socket"] == number]
        return [record["length"] if record["text"] is None else record["text"] for record in taken]

    def meets_close(self) -> int:
        """Reads on to the close frame and to the end of the connection: the code."""
        event = self.event()
        assert isinstance(event, CloseConnection), event
        try:
            if self._connection.state is ConnectionState.REMOTE_CLOSING:
                self.send(event.response())
            assert self.event() is None
        except ConnectionError:  # the server does not wait for the answer to a close frame that blames the client
            pass
        return int(event.code)

    def close(self) -> None:
        """Drops the connection."""
        self.socket.close()
