"""From settings to a life that serves, and to its end: ready line, signals, lifeline."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from mockserver import lifeline
from mockserver.allocator import keep_freed_blocks
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
from mockserver.settings import is_loopback
from mockserver.version import __version__

if TYPE_CHECKING:
    import ssl
    from typing import TextIO

    from mockserver.faults.faults import Faults
    from mockserver.faults.kinds import Fault
    from mockserver.settings import Settings

log = logging.getLogger("mockserver")


def run(settings: Settings) -> int:
    """Runs one life to its end and returns its exit status."""
    gc.disable()  # until it is ready: what a start makes stays
    if settings.seed is None:
        settings = replace(settings, seed=random.SystemRandom().randrange(1 << 32))
    keep_freed_blocks()
    if settings.kill_with_parent:
        lifeline.ask_for_death_with_parent()
    logging.basicConfig(level=settings.log_level, handlers=[log_handler(sys.stderr)])
    if settings.meaningless:
        log.info("accepted, and without meaning here: %s", " ".join(settings.meaningless))
    try:
        tls = _tls(settings)
        faults = [] if settings.faults is None else read_faults_file(settings.faults)
        listener = Listener.bind(settings.listen, settings.port)
        control_listener = _control_listener(settings)
        if faults and refuse_at_once(faults):
            listener.refuse_from_the_start()
        journal = Journal(
            settings.journal,
            limit=settings.journal_limit,
            party="server",
            life_id=settings.life_id,
            pid=os.getpid(),
        )
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
        asyncio.run(_Life(settings, listener, control_listener, journal, tls, faults).run())
    except (NodesFileError, ModelsFileError, NoFrontend) as failure:
        sys.stderr.write(f"The mock server cannot start: {failure}\n")
        return 1
    return 0


def log_handler(stream: TextIO) -> logging.Handler:
    """Writes a life's log."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(message)s", "%Y-%m-%d %H:%M:%S"))
    return handler


class _Life:
    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        control_listener: Listener,
        journal: Journal,
        tls: ssl.SSLContext | None,
        begins_with: list[Fault],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._control_listener = control_listener
        self._journal = journal
        self._tls = tls
        self._begins_with = begins_with
        self._connections = Connections()
        self._server: ComfyServer | None = None
        self._faults: Faults | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serves until it is told to stop."""
        signals = [signal.SIGINT]
        if not self._settings.strict:  # the real server has no handler for SIGTERM and ends by the signal
            signals.append(signal.SIGTERM)
        lifeline.stop_on_signals(self._stop, *signals)
        server = ComfyServer(self._settings, Ports(), self._journal)
        public = _runner(make_app(server))
        server.ports.upgraded = self._connections.bind
        self._server = server
        control = _runner(
            make_control_app(server, self._listener.port, self._make_faults, self._settings.control_token)
        )
        for runner in (control, public):
            await runner.setup()
        await self._control_listener.serve(control)
        await self._listener.serve(public, self._connections, self._tls)
        if self._begins_with:
            self._make_faults().begin_with(self._begins_with)
            await self._make_faults().settled()
        server.start()
        control_address = _address(self._settings.control_listen, self._control_listener.port)
        self._warn_of_others(control_address)
        scenario = self._play_scenario()
        self._report_ready(f"http://{control_address}")
        gc.freeze()
        gc.enable()
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
        self._control_listener.close()
        for runner in (public, control):
            await runner.cleanup()
        self._journal.record("life", state="stopped")
        log.info("stopped")
        if self._settings.supervised:
            lifeline.end()

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
        secure = "" if self._tls is None else "s"
        token = self._settings.control_token
        self._journal.record("life", state="ready", port=self._listener.port, control_url=control_url)
        if self._settings.supervised:
            ready: dict[str, str | int] = {
                "port": self._listener.port,
                "pid": os.getpid(),
                "life_id": self._settings.life_id,
                "control_url": control_url,
            }
            if token is not None:
                ready["control_token"] = token
            lifeline.say_ready(ready)
            lifeline.hold_lifeline(
                self._stop, lambda: self._journal.record_last("life", state="ended", order="end of stdin")
            )
            log.info("life %s listens on http%s://%s", self._settings.life_id, secure, where)
        else:
            lifeline.say(
                f"Mock ComfyUI {__version__} listens on http{secure}://{where} (websocket ws{secure}://{where}/ws). "
                "Stop it with Ctrl-C."
            )
            lifeline.say(f"Live page: {control_url}/")
            if token is not None:
                lifeline.say(f"Control API: {control_url}/openapi.json with the header Authorization: Bearer {token}")

    def _warn_of_others(self, control_address: str) -> None:
        """Says what others than this machine can reach: what a test server does is meant for nobody else."""
        everywhere = [each for each in self._settings.listen if not is_loopback(each)]
        if everywhere:
            log.warning(
                "WARNING: whoever reaches %s can use this server, without a password: queue prompts, upload and read "
                "files of this life. Leave --listen out to be alone. The control API is %s",
                " and ".join(_address(each, self._listener.port) for each in everywhere),
                f"on {control_address} only" if is_loopback(self._settings.control_listen) else "open to others too",
            )
        if not is_loopback(self._settings.control_listen):
            log.warning(
                "WARNING: whoever reaches %s and has the token can steer this life and read its journal. Its "
                "traffic is not encrypted, the token neither. Leave --control-listen out to be alone",
                control_address,
            )

    def _stop(self, order: str) -> None:
        log.info("stopping: %s", order)
        self._journal.record("life", state="stopping", order=order)
        self._stopping.set()


def _control_listener(settings: Settings) -> Listener:
    try:
        return Listener.bind([settings.control_listen], settings.control_port)
    except PortTaken as taken:
        raise OSError(f"{str(taken).removesuffix('.')}; choose another one with --control-listen") from None


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certfile is None:
        return None
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_certfile, settings.tls_keyfile)
    except ssl.SSLError as failure:
        assert settings.tls_keyfile is not None
        files = f"{settings.tls_certfile.name} (--tls-certfile) and {settings.tls_keyfile.name} (--tls-keyfile)"
        raise OSError(f"{files} are no certificate and its key: {failure}") from None
    return context


def _address(host: str, port: int) -> str:
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def _runner(app: web.Application) -> web.AppRunner:
    # Handlers that still run when a life ends are cancelled at once; to aiohttp 0 would mean to wait for them forever.
    return web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.01)
