"""From settings to a life that serves, and to its end: ready line, signals, lifeline."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import random
import signal
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.app import make_app
from mockserver.comfyui.catalog import NodesFileError
from mockserver.comfyui.models import ModelsFileError
from mockserver.comfyui.ports import Ports
from mockserver.comfyui.server import ComfyServer
from mockserver.comfyui.web_root import NoFrontend
from mockserver.control.api import make_control_app
from mockserver.faults_file import FaultsFileError, read_faults_file, refuse_at_once
from mockserver.journal import Journal
from mockserver.listening import Listener, PortTaken
from mockserver.network.connections import Connections
from mockserver.version import __version__

if TYPE_CHECKING:
    import ssl

    from mockserver.faults.faults import Faults
    from mockserver.faults.kinds import Fault
    from mockserver.settings import Settings

log = logging.getLogger("mockserver")

_PR_SET_PDEATHSIG = 1


def run(settings: Settings) -> int:
    """Runs one life to its end and returns its exit status."""
    if settings.seed is None:
        settings = replace(settings, seed=random.SystemRandom().randrange(1 << 32))
    if settings.kill_with_parent:
        _ask_for_death_with_parent()
    logging.basicConfig(
        level=settings.log_level,
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03d %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    if settings.meaningless:
        log.info("accepted, and without meaning here: %s", " ".join(settings.meaningless))
    try:
        tls = _tls(settings)
        faults = [] if settings.faults is None else read_faults_file(settings.faults)
        listener = Listener.bind(settings.listen, settings.port)
        if faults and refuse_at_once(faults):
            listener.refuse_from_the_start()
        journal = Journal(settings.journal, party="server", life_id=settings.life_id, pid=os.getpid())
    except PortTaken as taken:
        advice = "" if settings.supervised else " Choose another one with --port, or any free one with --port 0."
        sys.stderr.write(f"{taken}{advice}\n")
        return 1
    except FaultsFileError as failure:
        sys.stderr.write(f"The mock server cannot start: {failure}\n")
        return 1
    except OSError as failure:
        sys.stderr.write(f"The mock server cannot start: {failure}.\n")
        return 1
    try:
        asyncio.run(_Life(settings, listener, journal, tls, faults).run())
    except (NodesFileError, ModelsFileError, NoFrontend) as failure:
        sys.stderr.write(f"The mock server cannot start: {failure}\n")
        return 1
    return 0


class _Life:
    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        journal: Journal,
        tls: ssl.SSLContext | None,
        begins_with: list[Fault],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._journal = journal
        self._tls = tls
        self._begins_with = begins_with
        self._connections = Connections()
        self._server: ComfyServer | None = None
        self._faults: Faults | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serves until it is told to stop."""
        self._listen_to_signals()
        server = ComfyServer(self._settings, Ports(), self._journal)
        public = _runner(make_app(server))
        server.ports.upgraded = self._connections.bind
        self._server = server
        control = _runner(
            make_control_app(server, self._listener.port, self._make_faults, self._settings.control_token)
        )
        control_listener = Listener.bind([self._settings.control_listen], self._settings.control_port)
        for runner in (control, public):
            await runner.setup()
        await control_listener.serve(control)
        await self._listener.serve(public, self._connections, self._tls)
        if self._begins_with:
            self._make_faults().begin_with(self._begins_with)
            await self._make_faults().settled()
        server.start()
        scenario = self._play_scenario()
        self._report_ready(f"http://{_address(self._settings.control_listen, control_listener.port)}")
        await self._stopping.wait()

        if scenario is not None:
            scenario.cancel()
        if self._faults is not None:
            self._faults.clear_all()
        self._listener.close()
        self._connections.clear()
        if not self._settings.strict:
            await server.sockets.close_all(
                self._settings.close_code, self._settings.close_reason, self._settings.grace_time
            )
        await server.stop()
        control_listener.close()
        for runner in (public, control):
            await runner.cleanup()
        self._journal.record("life", state="stopped")
        log.info("stopped")

    def _play_scenario(self) -> asyncio.Task[None] | None:
        if self._settings.scenario is None:
            return None
        from mockserver.outages.scenario import Scenario

        return Scenario(self._settings.scenario, self._make_faults, self._journal, self._listener.port).start()

    def _make_faults(self) -> Faults:
        """What sets faults in this life, made when it is first asked for: most lives have none."""
        if self._faults is None:
            from mockserver.faults.faults import Faults

            seed = self._settings.seed
            log.info("faults draw with seed %d", seed)
            assert self._server is not None
            assert seed is not None
            self._faults = Faults(self._server, self._connections, self._listener, seed, self._stop)
        return self._faults

    def _report_ready(self, control_url: str) -> None:
        where = _address(self._settings.listen[0], self._listener.port)
        token = self._settings.control_token
        self._journal.record("life", state="ready", port=self._listener.port, control_url=control_url)
        if self._settings.supervised:
            ready = {
                "port": self._listener.port,
                "pid": os.getpid(),
                "life_id": self._settings.life_id,
                "control_url": control_url,
            }
            if token is not None:
                ready["control_token"] = token
            _say(json.dumps(ready))
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed later belongs to the log
            threading.Thread(
                target=self._read_orders, args=(asyncio.get_running_loop(),), name="lifeline", daemon=True
            ).start()
            log.info("life %s listens on http://%s", self._settings.life_id, where)
        else:
            secure = "" if self._tls is None else "s"
            _say(
                f"Mock ComfyUI {__version__} listens on http{secure}://{where} (websocket ws{secure}://{where}/ws). "
                "Stop it with Ctrl-C."
            )
            if token is not None:
                _say(f"Control API: {control_url}/openapi.json with the header Authorization: Bearer {token}")

    def _stop(self, order: str) -> None:
        log.info("stopping: %s", order)
        self._journal.record("life", state="stopping", order=order)
        self._stopping.set()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def handle(number: int, _frame: object) -> None:
            # The default action is back from here on: a second signal, of either kind, ends the process at once.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            loop.call_soon_threadsafe(self._stop, signal.Signals(number).name)

        signal.signal(signal.SIGINT, handle)
        if not self._settings.strict:  # the real server has no handler for SIGTERM and ends by the signal
            signal.signal(signal.SIGTERM, handle)

    def _read_orders(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reads orders from stdin; its end is the end of whoever started this life, and so of the life."""
        unread = b""
        while data := os.read(sys.stdin.fileno(), 4096):
            *orders, unread = (unread + data).split(b"\n")
            if b"stop" in (order.strip() for order in orders):
                loop.call_soon_threadsafe(self._stop, "stop on stdin")
        self._journal.record("life", state="ended", order="end of stdin")
        os._exit(0)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certfile is None:
        return None
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_certfile, settings.tls_keyfile)
    return context


def _address(host: str, port: int) -> str:
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def _runner(app: web.Application) -> web.AppRunner:
    # Handlers that still run when a life ends are cancelled at once; to aiohttp 0 would mean to wait for them forever.
    return web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.01)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _ask_for_death_with_parent() -> None:
    """Lets the kernel kill this process when the thread that started it ends; nothing else ends a frozen process."""
    if sys.platform == "linux":
        libc: Any = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
