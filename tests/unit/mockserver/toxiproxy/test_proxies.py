"""Bad moments: clients that come as the proxy is disabled or removed, or go, and others that want its port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mockserver.listening import Listener
from mockserver.network.closing import LINGER_NOT
from mockserver.network.draws import Direction
from mockserver.network.flows import Mark
from mockserver.toxiproxy.api import PROXIES, Proxies, _update_proxy
from mockserver.toxiproxy.errors import ApiError
from mockserver.toxiproxy.proxies import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

DEADLINE = 30.0


class Upstream(asyncio.Protocol):
    """What the proxy connects to: keeps how connections ended."""

    def __init__(self, ends: asyncio.Queue[Exception | None]) -> None:
        self._ends = ends

    def connection_lost(self, exc: Exception | None) -> None:
        self._ends.put_nowait(exc)


@contextlib.asynccontextmanager
async def proxy_of(ends: asyncio.Queue[Exception | None]) -> AsyncIterator[Proxy]:
    """A proxy that listens, and what it connects to."""
    upstream = await asyncio.get_running_loop().create_server(lambda: Upstream(ends), "127.0.0.1", 0)
    proxy = Proxy("p", "127.0.0.1:0", f"127.0.0.1:{upstream.sockets[0].getsockname()[1]}", 1)
    await proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
        upstream.close()
        await asyncio.gather(*proxy._connecting)
        await turns_of_the_loop(10)  # in which asyncio closes sockets


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, DEADLINE))


def connected_to(proxy: Proxy) -> socket.socket:
    """A client of which the proxy does not know yet: the system has taken its connection."""
    host, _, port = proxy.listen.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE)


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    client.close()


@pytest.mark.parametrize("end", [Proxy.disable, Proxy.stop], ids=["disabled", "removed"])
@pytest.mark.parametrize("turns", range(8))
def test_however_far_a_connection_is_that_was_accepted_just_before_it_is_closed(
    turns: int, end: Callable[[Proxy], Coroutine[Any, Any, None] | None]
) -> None:
    async def test() -> None:
        async with proxy_of(asyncio.Queue()) as proxy:
            with connected_to(proxy) as client:
                await turns_of_the_loop(turns)
                if (ending := end(proxy)) is not None:
                    await ending
                with contextlib.suppress(ConnectionResetError):  # it was not even accepted
                    assert await asyncio.to_thread(client.recv, 1) == b""

    run(test())


def test_a_client_that_has_gone_before_it_was_accepted_is_one_whose_connection_was_reset(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        ends: asyncio.Queue[Exception | None] = asyncio.Queue()
        async with proxy_of(ends) as proxy:
            reset(connected_to(proxy))
            assert isinstance(await ends.get(), ConnectionResetError)

    run(test())
    assert caplog.text == ""


def test_an_upstream_that_ends_just_after_the_client_was_reset_is_told_of_the_reset() -> None:
    async def test() -> None:
        ends: asyncio.Queue[Exception | None] = asyncio.Queue()
        async with proxy_of(ends) as proxy:
            client = connected_to(proxy)
            while not proxy._links:
                await asyncio.sleep(0)
            await asyncio.gather(*proxy._connecting)
            (link,) = proxy._links
            reset(client)
            link.receive(Direction.to_client, Mark.END)  # before the loop looks at the client
            assert isinstance(await ends.get(), ConnectionResetError)

    run(test())


def test_nobody_else_is_given_the_port_of_a_proxy_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Listener.close
    others: list[socket.socket] = []

    def close_and_lose(listener: Listener) -> None:
        port = listener.port
        close(listener)
        others.append(socket.create_server(("127.0.0.1", port)))

    async def test() -> None:
        ends: asyncio.Queue[Exception | None] = asyncio.Queue()
        proxies = Proxies(1)
        async with proxy_of(ends) as upstream:
            first = await proxies.create({"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"})
            again = {"name": "p", "listen": first.listen, "upstream": upstream.listen}
            with monkeypatch.context() as patch:
                patch.setattr(Listener, "close", close_and_lose)
                (second,) = await proxies.populate([again])
            reset(connected_to(second))
            assert isinstance(await ends.get(), ConnectionResetError)
            proxies.stop()

    run(test())
    assert not others


def test_a_proxy_that_is_deleted_while_it_is_changed_listens_no_more() -> None:
    async def body() -> bytes:
        return json.dumps({"upstream": "127.0.0.1:10"}).encode()

    async def test() -> None:
        proxies = Proxies(1)
        proxy = await proxies.create({"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"})
        request: Any = SimpleNamespace(app={PROXIES: proxies}, match_info={"proxy": "p"}, read=body)
        with connected_to(proxy):
            while not (proxy._listener and proxy._listener._serving_now):
                await asyncio.sleep(0)
            change = asyncio.ensure_future(_update_proxy(request))
            await asyncio.sleep(0)  # it waits until the connection is there that is to be closed
            proxies.delete("p")
            with pytest.raises(ApiError, match="proxy not found"):
                await change
        assert not proxy.is_enabled
        await turns_of_the_loop(10)

    run(test())
