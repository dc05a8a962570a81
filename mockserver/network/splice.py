"""Two pipes in an open connection, between its transport and the protocol that serves it.

They are put in when a fault begins to act on the connection, and take themselves out when all has passed that they held
after its end, so that a connection without faults is as it was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mockserver.network import closing
from mockserver.network.aiohttp_internals import is_writing_paused, set_transport
from mockserver.network.draws import Direction
from mockserver.network.flows import Item, Mark
from mockserver.network.pipe import Pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aiohttp import web
    from aiohttp.web_protocol import RequestHandler

    from mockserver.network.flows import Flow

GREETING_BYTES = 8190
"""Longest request line that aiohttp takes."""


class Splice:
    """Reads from the wire into one pipe and from the application into the other."""

    def __init__(
        self,
        wire: asyncio.Transport,
        protocol: RequestHandler,
        *,
        websocket: Callable[[], web.WebSocketResponse | None],
        after_change: Callable[[], None],
        on_removal: Callable[[], None],
    ) -> None:
        """``websocket`` finds the one that the connection has become; ``after_change`` is called when bytes have
        moved; ``on_removal`` when the splice is out or the connection has ended."""
        self._wire = wire
        self._protocol = protocol
        self._websocket = websocket
        self._after_change = after_change
        self._on_removal = on_removal
        self._inlet = _Inlet(self)
        self._facade = _Facade(self, wire)
        self._pipes = {
            Direction.to_client: Pipe(self._give_to_wire, self._changed),
            Direction.to_server: Pipe(self._give_to_application, self._changed),
        }
        self._greeting = b""
        self._decide: Callable[[bytes, bool], bool] | None = None
        self._is_in = False
        self._is_changing = False
        self._is_closed = False
        self._wire_is_ended = False
        self._wire_is_lost = False
        self._is_sealed = False
        self._lost_reason: Exception | None = None
        self._reading_is_paused = False
        self._wire_paused_writing = False
        self._told_to_pause_writing = False

    @property
    def _to_client(self) -> Pipe:
        return self._pipes[Direction.to_client]

    @property
    def _to_server(self) -> Pipe:
        return self._pipes[Direction.to_server]

    def insert(self, decide: Callable[[bytes, bool], bool] | None = None) -> None:
        """Puts itself between. With ``decide``, nothing is passed on to the application until that has returned true.

        It is given all bytes that the client has sent so far, and whether it has to decide now.
        """
        self._is_in = True
        self._wire_paused_writing = self._told_to_pause_writing = is_writing_paused(self._protocol)
        self._reading_is_paused = not self._wire.is_reading()
        if self._reading_is_paused:
            self._to_server.block()
        if self._wire_paused_writing:
            self._to_client.block()
        self._decide = decide
        self._wire.set_protocol(self._inlet)
        set_transport(self._protocol, self._websocket(), self._wire, self._facade)

    def set_flows(self, flows: Mapping[Direction, Sequence[Flow]], *, is_final: bool) -> None:
        """What happens to bytes from now on. With nothing in either direction the splice leaves when it is empty.

        ``is_final`` ends the wait for the client's first bytes.
        """
        self._is_changing = True
        for direction, pipe in self._pipes.items():
            pipe.set_flows(flows[direction])
        self._is_changing = False
        if is_final:
            self._end_greeting()
        self._changed()

    def give_up(self) -> None:
        """The server itself ends the connection: the application is to learn of it whatever is held."""
        self._is_closed = True

    def seal(self) -> None:
        """Lets nothing more out to the client, ever."""
        self._is_sealed = True
        self._to_client.discard()

    # from the wire

    def receive(self, data: bytes) -> None:
        """Bytes have come from the client."""
        if self._decide is None:
            self._to_server.feed(data)
            return
        self._greeting += data
        if self._decide(self._greeting, len(self._greeting) > GREETING_BYTES):
            self._end_greeting()

    def receive_end(self) -> bool:
        """The client has sent FIN. True keeps the wire open; TLS can't be half-closed, and asyncio says so in a log."""
        self._end_greeting()
        self._to_server.feed(Mark.END)
        return self._wire.get_extra_info("sslcontext") is None

    def lose(self, reason: Exception | None) -> None:
        """The wire has gone. The application learns of it when what was received before has reached it."""
        self._wire_is_lost = True
        self._lost_reason = reason
        self._to_client.close()
        self._end_greeting()
        if self._is_closed:  # it expects nothing more
            self._to_server.close()
            self._tell_of_loss()
        else:
            self._to_server.feed(Mark.LOST)

    def set_wire_paused(self, is_paused: bool) -> None:
        """The wire takes nothing more at present, or takes more again."""
        self._wire_paused_writing = is_paused
        if is_paused:
            self._to_client.block()
            self._changed()
        else:
            self._to_client.unblock()

    # from the application

    @property
    def is_closing(self) -> bool:
        """Whether the application may no longer write."""
        return self._is_closed

    def send(self, data: bytes) -> None:
        """The application has written."""
        if data and not (self._is_closed or self._is_sealed or self._wire_is_lost):
            self._to_client.feed(data)

    def close(self) -> None:
        """The application closes: FIN behind what it has written, and it gets nothing more."""
        if self._is_closed:
            return
        self._is_closed = True
        self._to_server.discard()
        self._to_server.unblock()
        if self._wire_is_lost:
            self._tell_of_loss()
        elif self._is_sealed:  # FIN has gone long ago, whatever holds bytes now
            self._wire.close()
        else:
            self._to_client.feed(Mark.CLOSE)

    def pause_reading(self, is_paused: bool) -> None:
        """The application takes nothing more at present, or takes more again."""
        self._reading_is_paused = is_paused
        if is_paused:
            self._to_server.block()
        else:
            self._to_server.unblock()

    @property
    def reading_is_paused(self) -> bool:
        """Whether the application takes nothing at present."""
        return self._reading_is_paused

    @property
    def held_for_client(self) -> int:
        """Bytes that the application has written and the wire has not got."""
        return self._to_client.held

    # ends of the pipes

    def _give_to_wire(self, item: Item) -> None:
        if self._wire_is_ended:  # it was written behind an end that was held, or the other direction has ended
            return
        if not isinstance(item, bytes):
            self._end(item)
        elif not (self._wire_is_lost or self._is_sealed):
            self._wire.write(item)

    def _give_to_application(self, item: Item) -> None:
        if item is Mark.LOST:
            self._tell_of_loss()
        elif self._is_closed:
            return
        elif isinstance(item, bytes):
            self._protocol.data_received(item)
        elif item is Mark.END:
            self._protocol.eof_received()
            self.close()  # as asyncio does, since aiohttp does not ask for the connection to stay open
        else:
            self._end(item)

    def _end(self, mark: Mark) -> None:
        self._is_closed = self._wire_is_ended = True
        if mark is Mark.RESET:
            closing.reset_when_delivered(self._wire)
        else:
            closing.close(self._wire)

    def _tell_of_loss(self) -> None:
        if self._is_in:
            self._take_out()
            self._protocol.connection_lost(self._lost_reason)

    # states

    def _end_greeting(self) -> None:
        """Passes the client's first bytes on, through whatever flows there are once it is decided who it is."""
        if self._decide is None:
            return
        decide, self._decide = self._decide, None
        decide(self._greeting, True)
        greeting, self._greeting = self._greeting, b""
        if greeting:
            self._to_server.feed(greeting)

    def _changed(self) -> None:
        if self._is_changing:
            return
        self._after_change()
        if self._is_in and not self._wire_is_lost:
            self._control_reading()
            self._control_writing()
            self._remove_if_idle()

    def _control_reading(self) -> None:
        if self._wire.is_closing():
            return
        if self._to_server.is_full == self._wire.is_reading():
            if self._to_server.is_full:
                self._wire.pause_reading()
            else:
                self._wire.resume_reading()

    def _control_writing(self) -> None:
        """Tells the application only of changes: aiohttp asserts that."""
        pause = self._wire_paused_writing or self._to_client.is_full
        if pause != self._told_to_pause_writing:
            self._told_to_pause_writing = pause
            if pause:
                self._protocol.pause_writing()
            else:
                self._protocol.resume_writing()

    def _remove_if_idle(self) -> None:
        is_idle = self._to_client.is_idle and self._to_server.is_idle and self._decide is None and not self._greeting
        if is_idle and not (self._is_closed or self._is_sealed or self._wire.is_closing()):
            self._take_out()
            self._wire.set_protocol(self._protocol)
            set_transport(self._protocol, self._websocket(), self._facade, self._wire)
            if self._reading_is_paused:
                self._wire.pause_reading()

    def _take_out(self) -> None:
        self._is_in = False
        for pipe in self._pipes.values():
            pipe.close()
        self._on_removal()


class _Inlet(asyncio.Protocol):
    """What the wire takes for the protocol."""

    def __init__(self, splice: Splice) -> None:
        self._splice = splice

    def data_received(self, data: bytes) -> None:
        self._splice.receive(data)

    def eof_received(self) -> bool:
        return self._splice.receive_end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._splice.lose(exc)

    def pause_writing(self) -> None:
        self._splice.set_wire_paused(True)

    def resume_writing(self) -> None:
        self._splice.set_wire_paused(False)


class _Facade(asyncio.Transport):
    """What the application takes for the wire."""

    def __init__(self, splice: Splice, wire: asyncio.Transport) -> None:
        super().__init__()
        self._splice = splice
        self._wire = wire

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._wire if name == closing.WIRE else self._wire.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._splice.send(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._splice.send(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._splice.is_closing

    def close(self) -> None:
        self._splice.close()

    def abort(self) -> None:
        """Even an abort crosses the network that holds it."""
        self._splice.close()

    def pause_reading(self) -> None:
        self._splice.pause_reading(True)

    def resume_reading(self) -> None:
        self._splice.pause_reading(False)

    def is_reading(self) -> bool:
        return not (self._splice.reading_is_paused or self._splice.is_closing)

    def get_write_buffer_size(self) -> int:
        return self._splice.held_for_client + self._wire.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._wire.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._wire.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        return False
