"""Assembles lives that never begin, for what stays of it in a process that forks lives and in those that it forks."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from typing import TYPE_CHECKING, Any

from aiohttp import web

from mockserver.allocator import keep_freed_blocks
from mockserver.app import make_app, prepare_app
from mockserver.comfyui.catalog import bundled
from mockserver.comfyui.ports import Ports
from mockserver.comfyui.profile import PROFILES
from mockserver.comfyui.server import ComfyServer
from mockserver.control.api import make_control_app
from mockserver.journal import Journal
from mockserver.settings import parse_arguments
from mockserver.startup import log_handler

if TYPE_CHECKING:
    from collections.abc import Iterator


def rehearse() -> None:
    """Makes what all lives share: node classes, routes, the parser of arguments, and what log records need."""
    keep_freed_blocks()
    _record()
    bundled()
    for profile in PROFILES:
        server = _server("--profile", profile)
        make_app(server)
        prepare_app(server)


def rehearse_in_parts() -> Iterator[None]:
    """Does once what the start of a life does, without a port or a file, so that the second time is quick.

    The first time a forked process writes to memory it takes a copy of it: that is three quarters of a start.
    """
    server = _server()
    yield
    control = make_control_app(server, 0, _no_faults)
    yield
    asyncio.run(_set_up(control))
    yield
    handler = log_handler(io.StringIO())
    handler.handle(_record())
    yield
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _record() -> logging.LogRecord:
    """With one argument: whether that is a mapping takes long to find out, but once only."""
    return logging.LogRecord(__name__, logging.INFO, __file__, 0, "%s", ("",), None)


def _server(*arguments: str) -> ComfyServer:
    return ComfyServer(parse_arguments(arguments), Ports(), Journal(None))


async def _set_up(app: web.Application) -> None:
    runner = web.AppRunner(app, handle_signals=False, access_log=None)
    await runner.setup()
    await runner.cleanup()


def _no_faults() -> Any:
    raise AssertionError("nobody asks for faults in a life that never begins")
