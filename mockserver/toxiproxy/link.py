"""One connection through a proxy: two transports, and a pipe each way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from mockserver.network import closing
from mockserver.network.draws import Direction, Draws
from mockserver.network.flows import Flow, Item, Mark, Start
from mockserver.network.pipe import Pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mockserver.toxiproxy.toxics import Toxic

_TOXICITY = -2
"""Number of the draw that decides whether a toxic acts on a connection: stages draw from -1 on."""


class Link:
    """Carries bytes and the end of each direction, half-closes and resets too, as they come."""

    def __init__(self, client: asyncio.Transport, ordinal: int, seed: int, on_end: Callable[[Link], None]) -> None:
        """``ordinal``: it is the n-th connection of its client's address."""
        self._client = client
        self._ordinal = ordinal
        self._seed = seed
        self._on_end = on_end
        self._upstream: asyncio.Transport | None = None
        self._pipes = {
            Direction.to_client: Pipe(self._give_to_client, self._control_reading),
            Direction.to_server: Pipe(self._give_to_upstream, self._control_reading),
        }
        self._pipes[Direction.to_server].block()
        self._flows: dict[Toxic, Flow] = {}
        self._ended: set[Direction] = set()
        self._is_new = True
        self._lost: set[Direction] = set()
        self._error: Exception | None = None

    def connect(self, upstream: asyncio.Transport, toxics: Iterable[Toxic]) -> None:
        """The upstream is there."""
        self._upstream = upstream
        self.set_toxics(toxics)
        self._is_new = False
        self._pipes[Direction.to_server].unblock()

    def set_toxics(self, toxics: Iterable[Toxic]) -> None:
        """What happens to bytes from now on; a toxic that acts already goes on as it does."""
        acting = [toxic for toxic in toxics if self._is_hit(toxic)]
        self._flows = {toxic: self._flows.get(toxic) or self._flow(toxic) for toxic in acting}
        for direction, pipe in self._pipes.items():
            pipe.set_flows([flow for toxic, flow in self._flows.items() if toxic.direction is direction])

    def close(self) -> None:
        """Ends both sides with FIN, whatever is held."""
        for pipe in self._pipes.values():
            pipe.close()
        for each in (self._client, self._upstream):
            if each is not None:
                each.close()

    def receive(self, direction: Direction, item: Item) -> None:
        """Something has come from one side."""
        self._pipes[direction].feed(item)

    def lose(self, direction: Direction, error: Exception | None) -> None:
        """The side from which bytes went in this direction is gone; the other learns of it in turn."""
        self._error = error
        self._lost.add(direction)
        self._pipes[_opposite(direction)].close()
        self._pipes[_opposite(direction)].block()
        if len(self._lost) < len(Direction):
            self.receive(direction, Mark.LOST)
        else:
            self._pipes[direction].close()
            self._on_end(self)

    def block(self, direction: Direction, is_blocked: bool) -> None:
        """The side to which bytes go in this direction takes nothing more at present, or takes more again."""
        if is_blocked:
            self._pipes[direction].block()
        else:
            self._pipes[direction].unblock()

    def _give_to_client(self, item: Item) -> None:
        self._give(Direction.to_client, self._client, item)

    def _give_to_upstream(self, item: Item) -> None:
        assert self._upstream is not None
        self._give(Direction.to_server, self._upstream, item)

    def _give(self, direction: Direction, to: asyncio.Transport, item: Item) -> None:
        if isinstance(item, bytes):
            to.write(item)
        elif item is Mark.END:
            self._end(direction, to)
        elif item is Mark.RESET or (item is Mark.LOST and isinstance(self._error, ConnectionResetError)):
            self._close_all(closing.reset_when_delivered)
        else:
            self._close_all(closing.close)

    def _end(self, direction: Direction, to: asyncio.Transport) -> None:
        self._ended.add(direction)
        if len(self._ended) == len(Direction):
            self._close_all(closing.close)
        elif not to.is_closing():
            with contextlib.suppress(OSError):  # the peer was faster
                to.write_eof()

    def _close_all(self, close: Callable[[asyncio.Transport], None]) -> None:
        for transport in (self._client, self._upstream):
            if transport is not None and not transport.is_closing():
                close(transport)
        self._on_end(self)

    def _control_reading(self) -> None:
        for direction, source in ((Direction.to_server, self._client), (Direction.to_client, self._upstream)):
            if source is None or source.is_closing() or self._pipes[direction].is_full != source.is_reading():
                continue
            if self._pipes[direction].is_full:
                source.pause_reading()
            else:
                source.resume_reading()

    def _draws(self, toxic: Toxic) -> Draws:
        peer = self._client.get_extra_info("peername")
        return Draws(self._seed, str(peer[0]) if peer else "", self._ordinal, toxic.direction, toxic.name)

    def _is_hit(self, toxic: Toxic) -> bool:
        return toxic.toxicity >= 1 or self._draws(toxic).at(_TOXICITY) < toxic.toxicity

    def _flow(self, toxic: Toxic) -> Flow:
        return toxic.stage.flow(
            Start(
                draws=self._draws(toxic),
                now=asyncio.get_running_loop().time(),
                strike=lambda _: None,
                is_new=self._is_new,
            )
        )


class Side(asyncio.Protocol):
    """What one of the two transports has for a protocol."""

    def __init__(self, link: Link, direction: Direction) -> None:
        """``direction``: that of the bytes which come from here."""
        self._link = link
        self._direction = direction

    def data_received(self, data: bytes) -> None:
        self._link.receive(self._direction, data)

    def eof_received(self) -> bool:
        self._link.receive(self._direction, Mark.END)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lose(self._direction, exc)

    def pause_writing(self) -> None:
        self._link.block(_opposite(self._direction), True)

    def resume_writing(self) -> None:
        self._link.block(_opposite(self._direction), False)


def _opposite(direction: Direction) -> Direction:
    return Direction.to_server if direction is Direction.to_client else Direction.to_client
