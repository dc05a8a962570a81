"""Proxies: each listens at one address and connects to another, under its toxics."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from mockserver.listening import Listener, PortTaken
from mockserver.network.draws import Direction
from mockserver.toxiproxy import errors
from mockserver.toxiproxy.link import Link, Side

if TYPE_CHECKING:
    from mockserver.toxiproxy.toxics import Toxic

log = logging.getLogger(__name__)

Json = dict[str, Any]

_EVERYWHERE = ("0.0.0.0", "::")


class Proxy:
    """One proxy."""

    def __init__(self, name: str, listen: str, upstream: str, seed: int) -> None:
        """Addresses are ``HOST:PORT``; a port 0 to listen at becomes the one that was taken. Raises ApiError."""
        for address in (listen, upstream):
            _parts(address)
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.toxics: dict[str, Toxic] = {}
        self._seed = seed
        self._listener: Listener | None = None
        self._is_disabled = False
        self._links: set[Link] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._ordinals: Counter[str] = Counter()

    @property
    def is_enabled(self) -> bool:
        """Whether it listens."""
        return self._listener is not None and not self._is_disabled

    async def start(self) -> None:
        """Listens. Raises ApiError if it cannot."""
        if self.is_enabled:
            return
        try:
            await self._listen()
        except (OSError, PortTaken) as failure:
            raise errors.ApiError(f"listen tcp {self.listen}: {failure}", 500) from None
        self._is_disabled = False
        log.info("proxy %s listens on %s for %s", self.name, self.listen, self.upstream)

    async def _listen(self) -> None:
        if self._listener is not None:
            await self._listener.resume()
            return
        host, port = _parts(self.listen)
        listener = Listener.bind(_EVERYWHERE if host in {"", "::"} else [host], port)
        await listener.accept(lambda: _Accepted(self))
        self._listener = listener
        self.listen = f"{f'[{host}]' if ':' in host else host}:{listener.port}"

    async def disable(self) -> None:
        """Refuses connections, and closes what goes through. Nobody else is given the port, as it may listen again."""
        if self.is_enabled:
            assert self._listener is not None
            self._is_disabled = True
            await self._listener.refuse(drop_established=True)  # only what is not yet a link: it comes, and is closed
        self._close_links()

    async def replace_other(self, other: Proxy) -> None:
        """Stops another one. If this one is to listen at the same address, nobody else is given the port meanwhile."""
        await other.disable()
        if self.listen == other.listen and other._listener is not None:
            self._listener, other._listener = other._listener, None
            self._is_disabled = True
            await self._listener.accept(lambda: _Accepted(self))
        other.stop()

    def stop(self) -> None:
        """Stops listening for good, and closes what goes through."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._close_links()

    def _close_links(self) -> None:
        for link in list(self._links):
            link.close()
            self._links.discard(link)

    async def update(self, listen: str, upstream: str, enabled: bool) -> None:
        """Changes where it listens, where it connects to, and whether it does."""
        if (listen, upstream) != (self.listen, self.upstream):
            for address in (listen, upstream):
                _parts(address)
            await self.disable()
            if listen != self.listen:
                self.stop()
            self.listen, self.upstream = listen, upstream
        if enabled:
            await self.start()
        else:
            await self.disable()

    def toxic(self, name: str) -> Toxic:
        """One of the toxics. Raises ApiError."""
        if name not in self.toxics:
            raise errors.toxic_not_found()
        return self.toxics[name]

    def add(self, toxic: Toxic) -> None:
        """Adds a toxic, for open connections and for those to come. Raises ApiError."""
        if toxic.name in self.toxics:
            raise errors.toxic_exists()
        self.replace(toxic)

    def replace(self, toxic: Toxic) -> None:
        """Puts a toxic in the place of the one of its name."""
        self.toxics[toxic.name] = toxic
        self._apply()

    def remove(self, *names: str) -> None:
        """Removes toxics; what they hold goes on its way."""
        for name in names:
            del self.toxics[name]
        self._apply()

    def as_json(self) -> Json:
        """What the API shows."""
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.is_enabled,
            "toxics": self.toxics_as_json(),
        }

    def toxics_as_json(self) -> list[Json]:
        """All toxics, those of the client's bytes first."""
        ordered = sorted(self.toxics.values(), key=lambda toxic: toxic.direction is Direction.to_client)
        return [toxic.as_json() for toxic in ordered]

    def connect_soon(self, client: asyncio.Transport) -> None:
        """Connects a client that was accepted. Without the upstream it is closed: no proxy could refuse it any more."""
        if not self.is_enabled:  # since it was accepted
            client.close()
            return
        peer = client.get_extra_info("peername")
        address = str(peer[0]) if peer else ""  # of one that has gone already nobody knows it
        self._ordinals[address] += 1
        link = Link(client, self._ordinals[address], self._seed, self._links.discard)
        client.set_protocol(Side(link, Direction.to_server))
        self._links.add(link)
        task = asyncio.ensure_future(self._connect(link))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        host, port = _parts(self.upstream)
        try:
            upstream, _ = await loop.create_connection(lambda: Side(link, Direction.to_client), host, port)
        except OSError as failure:
            log.info("proxy %s cannot connect to %s: %s", self.name, self.upstream, failure)
            link.close()
            self._links.discard(link)
            return
        if link in self._links:
            link.connect(upstream, self.toxics.values())
        else:  # stopped meanwhile
            upstream.close()

    def _apply(self) -> None:
        for link in list(self._links):
            link.set_toxics(self.toxics.values())


class _Accepted(asyncio.Protocol):
    """A client that has just been accepted."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._proxy.connect_soon(transport)


def _parts(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise errors.ApiError(f"address {address}: missing port in address", 500)
    return host.removeprefix("[").removesuffix("]"), int(port)
