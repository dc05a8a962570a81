"""The library's own client as a program that queues job after job: ``python comfy_client_daemon.py URL [jobs]``.

It lives through outages: it connects anew, asks what became of its job, and queues the next one when that has ended or
is lost. Without a number of jobs it never ends; with one it ends with status 0 when the last job has succeeded.
"""

from __future__ import annotations

import sys

from ComfyMockLibrary.engine.client.comfy_client import ClientOptions, ComfyClient
from ComfyMockLibrary.engine.client.wire import Patience
from ComfyMockLibrary.engine.deadline import pause
from ComfyMockLibrary.engine.endpoint import Endpoint
from ComfyMockLibrary.engine.http import HttpError, ask
from ComfyMockLibrary.engine.prompts import QueuedPrompt, example_workflow, wait_for_prompt
from ComfyMockLibrary.types import PromptResult

REQUEST_TIMEOUT = 5.0
"""Seconds for one request."""

LOOK_TIMEOUT = 5.0
"""Seconds between two reports on a job that is under way."""

PAUSE = 0.5
"""Seconds between two jobs, or two attempts to queue one."""

REFUSED = (429, 502, 503)


def queue(client: ComfyClient) -> QueuedPrompt:
    """Queues a job as soon as the server takes it; waits as long as it is told to."""
    workflow = example_workflow()
    body = {"prompt": workflow, "client_id": client.client_id}
    while True:
        position = len(client.journal)
        try:
            answer = ask(client.endpoint, "POST", "/prompt", Patience(REQUEST_TIMEOUT), body=body)
        except HttpError as failure:
            print(f"cannot queue: {failure}")
            pause(PAUSE)
            continue
        if answer.status == 200:
            accepted = answer.json()
            return QueuedPrompt(accepted["prompt_id"], accepted["number"], workflow, position)
        print(f"cannot queue: status {answer.status}")
        if answer.status not in REFUSED:
            raise SystemExit(1)
        pause(float(answer.headers.get("retry-after", PAUSE)))


def main() -> None:
    """Queues jobs and says what became of them."""
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 else None
    options = ClientOptions(max_attempts=None, ping_interval=2.0, pong_timeout=5.0)
    client = ComfyClient(Endpoint.of_url(sys.argv[1]), options)
    client.connect()
    succeeded = 0
    while jobs is None or succeeded < jobs:
        prompt = queue(client)
        print(f"queued {prompt.prompt_id}")
        outcome = wait_for_prompt(client, prompt, LOOK_TIMEOUT)
        while isinstance(outcome, str):
            outcome = wait_for_prompt(client, prompt, LOOK_TIMEOUT)
        print(f"{prompt.prompt_id}: {outcome.result.value}")
        succeeded += outcome.result is PromptResult.success
        pause(PAUSE)
    client.close()


if __name__ == "__main__":
    main()
