"""A ComfyUI client as people write them, in one file: ``python evidence_client.py http://127.0.0.1:8188 --job``.

It keeps a websocket and comes back after each loss. With ``--job`` it queues one prompt, waits for its end and fetches
the result. Options make it err in the ways that clients err in.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import urllib.error
import urllib.request
import uuid
from typing import Any

import websocket

WORKFLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 8388800}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "evidence"}},
}
TIMEOUT = 60.0

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--client-id", default=uuid.uuid4().hex)
parser.add_argument("--strategy", choices=["constant", "linear", "exponential"], default="constant")
parser.add_argument("--base", type=float, default=0.2, help="first delay before an attempt, in seconds")
parser.add_argument("--maximum", type=float, default=60.0, help="longest delay, in seconds")
parser.add_argument("--job", action="store_true", help="queue one prompt and fetch its result")
parser.add_argument("--stays-away", action="store_true", help="error: does not come back")
parser.add_argument("--forgets-id", action="store_true", help="error: another clientId for each connection")
parser.add_argument("--sends-again", action="store_true", help="error: queues its prompt after each connection")
parser.add_argument("--ignores-result", action="store_true", help="error: never fetches the result")
given = parser.parse_args()


class Client:
    """What is left of it while its connections come and go."""

    def __init__(self) -> None:
        self.client_id: str = given.client_id
        self.prompt_id: str | None = None
        self.has_result = False

    def connect_forever(self) -> None:
        failures = 0
        while True:
            if given.forgets_id:
                self.client_id = uuid.uuid4().hex
            try:
                connection = websocket.create_connection(
                    f"{given.url.replace('http', 'ws', 1)}/ws?clientId={self.client_id}",
                    timeout=TIMEOUT,
                    header={"User-Agent": "evidence-client/1.0"},
                )
                failures = 0
                print("connected", flush=True)
                connection.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
                self.use(connection)
            except (OSError, websocket.WebSocketException) as failure:
                print(f"no connection: {failure}", flush=True)
            if given.stays_away:
                sys.stdin.read()
                return
            threading.Event().wait(delay_after(failures))
            failures += 1

    def use(self, connection: websocket.WebSocket) -> None:
        connection.settimeout(None)
        if given.job and (self.prompt_id is None or given.sends_again):
            self.prompt_id = ask("/prompt", {"prompt": WORKFLOW, "client_id": self.client_id})["prompt_id"]
        elif self.prompt_id is not None and not self.has_result:
            self.fetch_result()  # it may have come to its end in the meantime
        while True:
            received = connection.recv()
            message = json.loads(received) if isinstance(received, str) and received else {}
            data = message.get("data", {})
            is_end = message.get("type") == "executing" and data.get("node") is None
            if is_end and data.get("prompt_id") == self.prompt_id and not given.ignores_result:
                self.fetch_result()

    def fetch_result(self) -> None:
        self.has_result = self.prompt_id in ask(f"/history/{self.prompt_id}")
        print("result fetched" if self.has_result else "job lost", flush=True)


def delay_after(failures: int) -> float:
    grown = {"constant": 1, "linear": failures + 1, "exponential": 2**failures}[given.strategy]
    return min(given.base * grown, given.maximum)


def ask(path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(given.url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return json.load(answer)


Client().connect_forever()
