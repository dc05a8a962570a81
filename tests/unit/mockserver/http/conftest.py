"""A whole server in this process, asked over real HTTP with paths and bytes exactly as a test gives them."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiohttp import web

from mockserver.app import make_app
from mockserver.comfyui.ports import Ports
from mockserver.comfyui.server import ComfyServer
from mockserver.journal import Journal
from mockserver.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from pathlib import Path

DEADLINE = 30.0
_BOUNDARY = "limit-of-a-part"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        assert self.headers["Content-Type"] == "application/json; charset=utf-8"
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def is_bare(self) -> bool:
        """Whether it has neither a body nor a type of one."""
        return not self.body and "Content-Type" not in self.headers


class Site:
    """A server that runs in a thread of its own, on a free port."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._settings = settings
        self.port = self._wait_for(self._start())

    async def _start(self) -> int:
        self.server = ComfyServer(self._settings, Ports(), Journal(None))
        self._runner = web.AppRunner(
            make_app(self.server), handle_signals=False, access_log=None, shutdown_timeout=0.01
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.server.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _stop(self) -> None:
        await self.server.stop()
        await self._runner.cleanup()

    def close(self) -> None:
        """Stops the server and its thread."""
        self._wait_for(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    @property
    def is_working(self) -> bool:
        """Whether the publisher and the worker still run."""
        return not any(task.done() for task in self.server._background)

    def wait_until_run(self, prompt_id: str) -> Any:
        """Asks until a prompt is in the history, and returns its entry."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            entry = self.get(f"/history/{quote(prompt_id, safe='')}").json.get(prompt_id)
            if entry is not None:
                return entry
        raise AssertionError(f"Prompt {prompt_id} did not run within {DEADLINE} s.")

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request. What is no bytes is sent as JSON; underscores in names of headers stand for hyphens."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return Answer(answer.status, answer.reason, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """A GET."""
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """A POST."""
        return self.ask("POST", path, body, **headers)

    def upload(self, path: str = "/upload/image", *, name: str = "a.png", data: bytes = b"x", **fields: str) -> Answer:
        """A form with one file, in the field ``image``, and fields of text."""
        parts = [f'name="{field}"\r\n\r\n{value}'.encode() for field, value in fields.items()]
        parts.append(f'name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'.encode() + data)
        body = b"".join(
            f"--{_BOUNDARY}\r\nContent-Disposition: form-data; ".encode() + part + b"\r\n" for part in parts
        )
        body += f"--{_BOUNDARY}--\r\n".encode()
        return self.post(path, body, Content_Type=f"multipart/form-data; boundary={_BOUNDARY}")

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts servers whose files lie in ``tmp_path / "base"``; they are stopped after the test."""
    sites: list[Site] = []

    def start(**settings: Any) -> Site:
        given = {"base_directory": tmp_path / "base", "strict": True, "status_interval": 0.0, **settings}
        sites.append(Site(Settings(**given)))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    """A server as the real one is without arguments."""
    return serve()
