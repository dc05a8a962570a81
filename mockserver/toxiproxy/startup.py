"""From the proxy's command line to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from aiohttp import web

from mockserver import lifeline
from mockserver.allocator import keep_freed_blocks
from mockserver.listening import Listener, PortTaken
from mockserver.proxy import NAME, ProxySettings
from mockserver.settings import is_loopback
from mockserver.toxiproxy.api import Proxies, make_api
from mockserver.toxiproxy.errors import ApiError

if TYPE_CHECKING:
    from mockserver.toxiproxy.proxies import Proxy

log = logging.getLogger("mockserver.proxy")


def run(settings: ProxySettings) -> int:
    """Runs the proxy to its end and returns its exit status."""
    keep_freed_blocks()
    if settings.kill_with_parent:
        lifeline.ask_for_death_with_parent()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    host, _, port = settings.api.rpartition(":")
    try:
        api = Listener.bind([host.strip("[]")], int(port))
        asyncio.run(_serve(settings, api))
    except (OSError, PortTaken) as failure:
        sys.stderr.write(f"The proxy cannot start: {failure} Choose another address with --api.\n")
        return 1
    except ApiError as failure:
        sys.stderr.write(f"The proxy cannot start: {failure}\n")
        return 1
    return 0


async def _serve(settings: ProxySettings, api: Listener) -> None:
    stopping = asyncio.Event()

    def stop(order: str) -> None:
        log.info("stopping: %s", order)
        stopping.set()

    lifeline.stop_on_signals(stop, signal.SIGINT, signal.SIGTERM)
    proxies = Proxies(settings.seed)
    proxy = None
    if settings.listen is not None:
        proxy = await proxies.create({"name": NAME, "listen": settings.listen, "upstream": settings.upstream})
    runner = web.AppRunner(make_api(proxies), handle_signals=False, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    await api.serve(runner)
    api_url = f"http://{settings.api.rpartition(':')[0]}:{api.port}"
    log.info("seed %d", settings.seed)
    for option, address in (("--listen", settings.listen), ("--api", settings.api)):
        if address is not None and not is_loopback(address.rpartition(":")[0].strip("[]")):
            log.warning("WARNING: whoever reaches %s can use this proxy, without a password (%s)", address, option)
    _report_ready(settings, proxy, api_url)
    if settings.supervised:
        lifeline.hold_lifeline(stop, lambda: None)
    await stopping.wait()

    api.close()
    proxies.stop()
    await runner.cleanup()


def _report_ready(settings: ProxySettings, proxy: Proxy | None, api_url: str) -> None:
    if settings.supervised:
        port = None if proxy is None else int(proxy.listen.rpartition(":")[2])
        lifeline.say_ready({"port": port, "pid": os.getpid(), "api_url": api_url})
        return
    where = "" if proxy is None else f"listens on {proxy.listen} for {proxy.upstream}, and "
    lifeline.say(f"Proxy {where}takes orders at {api_url}. Stop it with Ctrl-C.")
