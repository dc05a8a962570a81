"""A Python client of one's own behind the library's keywords: ``Connect Client    client=my_client.MyClient``.

Everything that a client needs for that is here: ``connect`` and ``close``, and what it tells ``on_event``.
"""

from __future__ import annotations

import json
import threading
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import websocket

if TYPE_CHECKING:
    from collections.abc import Callable


class MyClient:
    """Connects anew every 100 ms until it is closed."""

    def __init__(self) -> None:
        self.client_id = uuid.uuid4().hex
        self._is_closed = threading.Event()
        self._connection: websocket.WebSocket | None = None
        self._thread: threading.Thread | None = None

    def connect(self, url: str, on_event: Callable[..., None]) -> None:
        """Begins to connect, in a thread."""
        self._thread = threading.Thread(target=self._run, args=(url, on_event), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the connection and the thread."""
        self._is_closed.set()
        connection = self._connection
        if connection is not None:
            with suppress(OSError, AttributeError):  # it may end by itself just now
                connection.abort()  # which wakes the thread that reads; a socket that is closed does not
        if self._thread is not None:
            self._thread.join()

    def _run(self, url: str, on_event: Callable[..., None]) -> None:
        while not self._is_closed.is_set():
            try:
                self._connection = websocket.create_connection(f"ws{url[4:]}/ws?clientId={self.client_id}", timeout=5)
            except (OSError, websocket.WebSocketException) as failure:
                on_event("reconnecting", {"error": str(failure)})
            else:
                on_event("connected")
                self._read(on_event)
                on_event("disconnected")
            self._is_closed.wait(0.1)

    def _read(self, on_event: Callable[..., None]) -> None:
        assert self._connection is not None
        try:
            self._connection.settimeout(None)
            while not self._is_closed.is_set() and (text := self._connection.recv()):
                if isinstance(text, str):
                    message = json.loads(text)
                    on_event(message["type"], message["data"])
        except (OSError, websocket.WebSocketException):
            return
        finally:
            self._connection.shutdown()
