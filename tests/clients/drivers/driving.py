"""What the Python drivers share: arguments, workflows, the loop, a JSON line a job.

``python drive_NAME.py http://127.0.0.1:8188`` leads one client through one job; exit status 0 when the client got the
picture that was asked for, else 1. ``--stay`` connects once and then queues a job every ``--every`` milliseconds until
stdin ends. ``--graph sampler`` takes a text-to-image workflow instead of three nodes that draw a plain colour.

Clients print what they like; a report is a JSON object on a line of stdout that has ``job``:

    {"job": 1, "ok": true, "pictures": [{"width": 64, "height": 48, "pixel": [1, 2, 3]}], "seconds": 0.21}
    {"job": 2, "ok": false, "error": "ConnectionRefusedError: ...", "seconds": 0.01}

Job 0 is the connection, and is only reported when it fails. A driver never connects anew by itself: what a job
survives, the client has survived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    Run = Callable[["Task"], list[Any]]
    RunAsync = Callable[["Task"], Awaitable[list[Any]]]

GRACE = 2.0
"""Seconds that a job has when stdin has ended."""

SIZE = (64, 48)
OUTPUT = "9"
"""The id of the node that saves the picture; its title is ``Save Image``."""


class Task:
    """A workflow to run, and the picture that it makes. No two are the same, so that none comes from the cache."""

    def __init__(self, number: int, graph: str) -> None:
        self.number = number
        self.colour = random.randrange(2**24)
        self.workflow = _sampler(self.colour) if graph == "sampler" else _colour(self.colour)
        self.pixel = None if graph == "sampler" else list((0xFFFFFF - self.colour).to_bytes(3, "big"))

    def check(self, pictures: list[dict[str, Any]]) -> None:
        """Fails when these are not the one picture that was asked for."""
        wanted = {"width": SIZE[0], "height": SIZE[1]}
        if self.pixel is not None:
            wanted["pixel"] = self.pixel
        if [{name: picture[name] for name in wanted} for picture in pictures] != [wanted]:
            raise AssertionError(f"Not the picture that was asked for, {wanted}: {pictures}")


def node(title: str, class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a workflow."""
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}


def _colour(colour: int) -> dict[str, Any]:
    width, height = SIZE
    return {
        "1": node("Empty Image", "EmptyImage", width=width, height=height, batch_size=1, color=colour),
        "2": node("Invert Image", "ImageInvert", image=["1", 0]),
        OUTPUT: node("Save Image", "SaveImage", images=["2", 0], filename_prefix="client"),
    }


def _sampler(seed: int) -> dict[str, Any]:
    width, height = SIZE
    links = {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
    numbers = {"seed": seed, "steps": 4, "cfg": 7.0, "denoise": 1.0}
    return {
        "3": node("KSampler", "KSampler", sampler_name="euler", scheduler="normal", **links, **numbers),
        "4": node("Load Checkpoint", "CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly.safetensors"),
        "5": node("Empty Latent Image", "EmptyLatentImage", width=width, height=height, batch_size=1),
        "6": node("positive", "CLIPTextEncode", text="a lighthouse", clip=["4", 1]),
        "7": node("negative", "CLIPTextEncode", text="fog", clip=["4", 1]),
        "8": node("VAE Decode", "VAEDecode", samples=["3", 0], vae=["4", 2]),
        OUTPUT: node("Save Image", "SaveImage", images=["8", 0], filename_prefix="client"),
    }


def host(url: str) -> str:
    """The host and port of a URL, for clients that want no URL."""
    return urlsplit(url).netloc


_folders: list[tempfile.TemporaryDirectory[str]] = []


def folder() -> Path:
    """A temporary folder, which is gone when the driver ends."""
    _folders.append(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
    return Path(_folders[-1].name)


def picture(got: Any) -> dict[str, Any]:
    """What a picture is like: of PNG bytes, or an image of Pillow's."""
    if not isinstance(got, bytes):
        return {"width": got.width, "height": got.height, "pixel": list(got.getpixel((0, 0))[:3])}
    if not got.startswith(b"\x89PNG\r\n\x1a\n"):
        raise AssertionError(f"Not a PNG file: {got[:80]!r}")
    header, data, at = b"", b"", 8
    while at < len(got):
        length, kind = int.from_bytes(got[at : at + 4], "big"), got[at + 4 : at + 8]
        body = got[at + 8 : at + 8 + length]
        header, data = (body if kind == b"IHDR" else header), (data + body if kind == b"IDAT" else data)
        at += length + 12
    # No filter changes the first pixel of the first line, which follows the filter's number.
    pixel = list(zlib.decompress(data)[1:4])
    return {"width": int.from_bytes(header[:4], "big"), "height": int.from_bytes(header[4:8], "big"), "pixel": pixel}


class _Driver:
    def __init__(self) -> None:
        parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
        parser.add_argument("url", help="the server, for example http://127.0.0.1:8188")
        parser.add_argument("--stay", action="store_true", help="queue job after job until stdin ends")
        parser.add_argument("--every", type=float, default=500, metavar="MS", help="pause between jobs (default: 500)")
        parser.add_argument("--graph", choices=["colour", "sampler"], default="colour", help="what a job is")
        self._arguments = parser.parse_args()
        self.url = self._arguments.url.rstrip("/")
        self._ended = threading.Event()
        self._reporting = threading.Lock()
        self._failed = False

    def tasks(self) -> Iterator[Task]:
        """The jobs, one or more and more."""
        if self._arguments.stay:
            threading.Thread(target=self._end_with_stdin, daemon=True).start()
        yield Task(1, self._arguments.graph)
        number = 2
        while self._arguments.stay and not self._ended.is_set():
            yield Task(number, self._arguments.graph)
            number += 1

    def pause(self) -> None:
        """Waits between jobs."""
        if self._arguments.stay:
            self._ended.wait(self._arguments.every / 1000)

    @contextmanager
    def reported(self, task: Task | None) -> Iterator[list[Any]]:
        """Reports what becomes of a job; what comes out of it is to be put into the list."""
        got: list[Any] = []
        start = time.monotonic()
        report: dict[str, Any] = {"job": task.number if task else 0, "ok": True}
        try:
            yield got
            if task is None:
                return
            report["pictures"] = [picture(one) for one in got]
            task.check(report["pictures"])
        except Exception as error:
            self._failed = True
            report.update(ok=False, error=f"{type(error).__name__}: {error}")
        report["seconds"] = round(time.monotonic() - start, 3)
        with self._reporting:
            # In one piece, on a line of its own: a thread of the client may be in the middle of one.
            sys.stdout.write(f"\n{json.dumps(report)}\n")
            sys.stdout.flush()

    @property
    def exit_status(self) -> int:
        """0 when all went well."""
        return 1 if self._failed else 0

    def _end_with_stdin(self) -> None:
        sys.stdin.read()
        self._ended.set()
        # The job that runs may end, and the process with it. But a client may hang for ever, or its threads may.
        threading.Event().wait(GRACE)
        with self._reporting:
            for one in _folders:
                one.cleanup()
            os._exit(self.exit_status)


def drive(session: Callable[[str], AbstractContextManager[Run]]) -> None:
    """Leads a client through its jobs: ``session(url)`` connects it and gives what runs a task."""
    driver = _Driver()
    with driver.reported(None), session(driver.url) as run:
        for task in driver.tasks():
            with driver.reported(task) as got:
                got.extend(run(task))
            driver.pause()
    sys.exit(driver.exit_status)


def drive_async(session: Callable[[str], AbstractAsyncContextManager[RunAsync]]) -> None:
    """The same for a client whose functions are awaited."""
    driver = _Driver()

    async def jobs() -> None:
        with driver.reported(None):
            async with session(driver.url) as run:
                for task in driver.tasks():
                    with driver.reported(task) as got:
                        got.extend(await run(task))
                    # The client's own tasks go on meanwhile.
                    await asyncio.to_thread(driver.pause)

    asyncio.run(jobs())
    sys.exit(driver.exit_status)
