"""What the server logs, kept for ``/internal/logs`` and sent to the clients that asked for it."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.messages import Message

if TYPE_CHECKING:
    from mockserver.comfyui.sockets import Sockets

Json = dict[str, Any]

_KEPT_LINES = 300


class Terminal(logging.Handler):
    """A log handler. Clients are known by their sid."""

    def __init__(self, sockets: Sockets) -> None:
        super().__init__()
        self.entries: deque[Json] = deque(maxlen=_KEPT_LINES)
        """Lines as the messages carry them: ``t`` the time (ISO 8601), ``m`` the text with its line end."""
        self._sockets = sockets
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscribers: dict[str, None] = {}
        self._size_sent: Json | None = None

    def start(self) -> None:
        """Begins to listen to the log."""
        self._loop = asyncio.get_running_loop()
        logging.getLogger("mockserver").addHandler(self)

    def stop(self) -> None:
        """Ends it."""
        logging.getLogger("mockserver").removeHandler(self)

    @property
    def size(self) -> Json:
        """Columns and rows of the terminal that the server was started from; 80 by 24 if from none."""
        size = shutil.get_terminal_size()
        return {"cols": size.columns, "rows": size.lines}

    def subscribe(self, client_id: str) -> None:
        """Begins to send new lines to a client. Raises TypeError for what cannot be a sid."""
        self._subscribers[client_id] = None

    def unsubscribe(self, client_id: str) -> None:
        """Ends it."""
        self._subscribers.pop(client_id, None)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line; it is sent from the event loop, whatever thread logs."""
        entry = {"t": datetime.now().isoformat(), "m": f"{self.format(record)}\n"}  # noqa: DTZ005  (as the real one)
        self.entries.append(entry)
        if self._loop is not None and self._subscribers and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._send, entry)

    def _send(self, entry: Json) -> None:
        size = self.size if self.size != self._size_sent else None
        for client_id in list(self._subscribers):
            if self._sockets.is_connected(client_id):
                self._sockets.publish(Message("logs", {"entries": [entry], "size": size}), client_id)
                self._size_sent = self.size
            else:
                self.unsubscribe(client_id)
