"""A small client that survives outages, or has one flaw, for tests of the report card.

``python python_client.py URL [--flaw FLAW] [--jobs N]`` connects and queues jobs: one after the other, or so many,
after which it ends with status 0. With ``--jobs 0`` it only stays connected. What it has to know it asks over HTTP. It
uses nothing of the library that it is a test of.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

import websocket

FLAWS = (
    "never-reconnects",
    "reconnects-once",
    "floods",
    "deaf",  # to the missing pong: it never gives up a connection that is dead
    "queues-twice",
    "believes-messages",  # and never looks into the history
    "listens-late",  # the same, and only to what comes once it knows the prompt id
    "gives-up",
    "calls-it-success",
    "new-id",
    "impatient",
)

REQUEST_TIMEOUT = 4.0
PING_AFTER = 1.0
"""Seconds of silence."""

PONG_WITHIN = 2.0
"""Seconds after a ping. Who begins to look for an answer only then, and finds none, gives the connection up."""

DELAYS = (0.2, 0.4, 0.8, 1.5)
LOOK_EVERY = 0.5


class Client:
    """One websocket in a thread, and jobs over HTTP."""

    def __init__(self, url: str, flaw: str | None) -> None:
        self.url = url.rstrip("/")
        self.flaw = flaw
        self.id = uuid.uuid4().hex
        self.ended: set[str] = set()
        """Ids of prompts that messages have called ended."""
        self.news = threading.Event()
        self.connections = 0

    def keep_connected(self) -> None:
        """Connects, and connects anew, for ever."""
        failures = 0
        while True:
            try:
                self.connect()
            except (OSError, websocket.WebSocketException) as failure:
                print(f"no websocket: {failure}")
                failures += 1
            else:
                failures = 0
            if self.connections and (
                self.flaw == "never-reconnects" or (self.flaw == "reconnects-once" and self.connections > 1)
            ):
                threading.Event().wait()
            if self.flaw != "floods":
                time.sleep(DELAYS[min(failures, len(DELAYS) - 1)])

    def connect(self) -> None:
        """Opens a websocket and reads it to its end."""
        if self.flaw == "new-id":
            self.id = uuid.uuid4().hex
        address = f"ws{self.url.removeprefix('http')}/ws?clientId={self.id}"
        connection = websocket.create_connection(address, timeout=REQUEST_TIMEOUT)
        self.connections += 1
        try:
            self.read(connection)
        except (OSError, websocket.WebSocketException) as failure:
            print(f"websocket lost: {failure}")
        finally:
            connection.close(timeout=0)

    def read(self, connection: websocket.WebSocket) -> None:
        """Takes messages until the connection ends."""
        connection.settimeout(PING_AFTER)
        pinged_at: float | None = None
        while True:
            looked_at = time.monotonic()
            try:
                kind, content = connection.recv_data(control_frame=True)
            except websocket.WebSocketTimeoutException:
                if self.flaw == "deaf":
                    continue
                if pinged_at is not None and looked_at - pinged_at > PONG_WITHIN:
                    raise
                connection.ping()
                pinged_at = pinged_at or time.monotonic()
                continue
            pinged_at = None
            if kind == websocket.ABNF.OPCODE_CLOSE:
                return
            if kind == websocket.ABNF.OPCODE_TEXT:
                self.take(content)

    def take(self, text: bytes) -> None:
        """Notes the end of a prompt."""
        try:
            message = json.loads(text)
            data = message["data"]
            if message["type"] == "executing" and data["node"] is None:
                self.ended.add(data["prompt_id"])
                self.news.set()
        except (ValueError, TypeError, KeyError):
            return  # not for us

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Sends a request; the answer as JSON. Raises OSError."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", content, method=method)
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT) as answer:
            return json.load(answer)

    def queue(self, workflow: Any) -> str:
        """Queues a workflow as soon as the server takes it; its prompt id."""
        while True:
            try:
                answer = self.ask("POST", "/prompt", {"prompt": workflow, "client_id": self.id})
                if self.flaw == "queues-twice":
                    answer = self.ask("POST", "/prompt", {"prompt": workflow, "client_id": self.id})
                if self.flaw == "listens-late":
                    self.ended.clear()
                return str(answer["prompt_id"])
            except urllib.error.HTTPError as failure:
                print(f"not queued: {failure}")
                patience = 0.0 if self.flaw == "impatient" else float(failure.headers.get("Retry-After") or 0.0)
                time.sleep(max(patience, LOOK_EVERY))
            except (OSError, ValueError) as failure:
                print(f"not queued: {failure}")
                time.sleep(LOOK_EVERY)

    def wait(self, prompt_id: str) -> bool:
        """Waits for the end of a job. Whether it has succeeded; False if it is lost."""
        missed = 0
        while True:
            self.news.wait(LOOK_EVERY)
            self.news.clear()
            if self.flaw in ("believes-messages", "listens-late"):
                if prompt_id in self.ended:
                    return True
                continue
            try:
                queue = self.ask("GET", "/queue")
                history = self.ask("GET", f"/history/{prompt_id}")
            except (OSError, ValueError) as failure:
                print(f"no answer: {failure}")
                self.meet_trouble()
                continue
            if prompt_id in history:
                return True
            waits = any(row[1] == prompt_id for row in queue["queue_running"] + queue["queue_pending"])
            missed = 0 if waits or prompt_id in self.ended else missed + 1
            if missed > 1:
                self.meet_trouble()
                return False

    def meet_trouble(self) -> None:
        """Ends as its flaw has it. It may be late, and meet no server that is down but one that knows no job."""
        if self.flaw in ("gives-up", "calls-it-success"):
            sys.exit(1 if self.flaw == "gives-up" else 0)


def workflow() -> dict[str, Any]:
    """An image of a random colour, inverted and saved."""
    colour = random.randrange(1 << 24)
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": colour}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "mine"}},
    }


def main() -> None:
    """Does its jobs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--flaw", choices=FLAWS)
    parser.add_argument("--jobs", type=int)
    arguments = parser.parse_args()
    client = Client(arguments.url, arguments.flaw)
    threading.Thread(target=client.keep_connected, daemon=arguments.jobs != 0).start()
    for number in itertools.count(1) if arguments.jobs is None else range(1, arguments.jobs + 1):
        graph = workflow()
        while not client.wait(client.queue(graph)):
            print(f"job {number} is lost and queued again")
        print(f"job {number} is done")
        time.sleep(LOOK_EVERY)


if __name__ == "__main__":
    main()
