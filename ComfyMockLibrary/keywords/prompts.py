"""Keywords that queue prompts and find out what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from robot.utils import DotDict

from ComfyMockLibrary.engine import prompts
from ComfyMockLibrary.engine.client.client import Client
from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
from ComfyMockLibrary.engine.http import HttpError
from ComfyMockLibrary.engine.prompts import PromptOutcome, QueuedPrompt
from ComfyMockLibrary.engine.waiting import describe_server, next_step
from ComfyMockLibrary.keywords.base import Component, keyword
from ComfyMockLibrary.types import PromptResult


class PromptKeywords(Component):
    """Prompts, as far as reconnection needs them."""

    @keyword(tags=["Prompt"])
    def queue_prompt(
        self,
        workflow: dict[str, Any] | Path | None = None,
        *,
        timeout: timedelta | None = None,
        client: ComfyClient | None = None,
    ) -> QueuedPrompt:
        """Queues a workflow under the client's id and returns when the server has accepted it.

        Waits of the client look at what comes from now on.

        *Args:*
          - ``workflow``: File in API format, or dictionary of nodes. A small one without models (1 EmptyImage,
            2 ImageInvert, 3 SaveImage) if left out; it is never cached.
          - ``timeout``: Longest time until the answer is complete. Library default if left out.
          - ``client``: Alias or handle. The current client if left out.

        *Returns:* The prompt, with the attributes ``prompt_id``, ``number`` and ``workflow``.

        *Raises:*
          - ValueError: If the workflow cannot be read.
          - RuntimeError: If the server cannot be reached or refuses it; carries the server's answer.

        Example:
        | ${prompt} =    `Queue Prompt`
        | `Wait For Event`    executing    node=None    prompt_id=${prompt.prompt_id}
        | `Queue Prompt`    ${CURDIR}/workflow_api.json
        """
        target = self.session.clients.get(client)
        target.journal.set_cursor()
        with self._asking(target):
            prompt = prompts.queue_prompt(target, workflow, self.session.timeout_or(timeout))
        self.session.notes(target).prompt = prompt
        return prompt

    @keyword(tags=["Prompt", "Wait"])
    def wait_for_prompt(
        self,
        prompt: QueuedPrompt | None = None,
        result: PromptResult | None = None,
        timeout: timedelta | None = None,
        *,
        client: ComfyClient | None = None,
    ) -> PromptOutcome:
        """Waits until the prompt has ended or is lost, and returns what became of it.

        The server's history decides, so it does not matter whether the client was connected at the end. A prompt is
        ``lost`` when the server knows nothing of it any more, as after a restart. Where the server has said that it
        ended, its history may be late: that is waited for to the end of the time.

        *Args:*
          - ``prompt``: What `Queue Prompt` returned. The client's latest prompt if left out.
          - ``result``: Fail unless it ends this way. Any way is good if left out.
          - ``timeout``: Longest time to wait, for example ``5 s``. Library default if left out.
          - ``client``: Alias or handle. The current client if left out.

        *Returns:* The outcome, with the attributes ``result``, ``outputs`` (by node id) and ``error``.

        *Raises:*
          - AssertionError: If it has not ended in time, or not in the expected way.

        Examples:
        | `Wait For Prompt`    result=success    timeout=5 s
        | ${outcome} =    `Wait For Prompt`    ${prompt}    lost
        | Log    ${outcome.error}
        """
        target = self.session.clients.get(client)
        queued = self._prompt(prompt, target)
        limit = self.session.timeout_or(timeout)
        outcome = prompts.wait_for_prompt(target, queued, limit)
        waits = self.session.waits(target)
        if isinstance(outcome, str):
            raise waits.failure(
                f"Prompt {queued.prompt_id} did not end within {limit:g} s: {outcome}.",
                queued.position,
                next_step(self.session.clients.server_of(target))
                or "Give it a longer timeout, or end it with `Interrupt Prompt`.",
            )
        if result not in (None, outcome.result):
            assert result is not None
            reason = f": {outcome.error}" if outcome.error else ""
            raise waits.failure(
                f"Prompt {queued.prompt_id} should have ended with {result.value} but ended with "
                f"{outcome.result.value}{reason}.",
                queued.position,
                "A restart empties queue and history: queue it again." if outcome.result is PromptResult.lost else "",
            )
        return PromptOutcome(outcome.prompt_id, outcome.result, DotDict(outcome.outputs), outcome.error)

    @keyword(tags=["Prompt"])
    def interrupt_prompt(
        self,
        prompt: QueuedPrompt | None = None,
        *,
        timeout: timedelta | None = None,
        client: ComfyClient | None = None,
    ) -> None:
        """Interrupts the prompt if it runs now; one that waits is not touched.

        *Args:*
          - ``prompt``: What `Queue Prompt` returned. The client's latest prompt if left out.
          - ``timeout``: Longest time until the answer is complete. Library default if left out.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - RuntimeError: If the server cannot be reached.
        """
        target = self.session.clients.get(client)
        prompt_id = self._prompt(prompt, target).prompt_id
        with self._asking(target):
            prompts.interrupt_prompt(target, prompt_id, self.session.timeout_or(timeout))

    @keyword(tags=["Prompt", "Getter"])
    def get_queue(self, *, timeout: timedelta | None = None, client: ComfyClient | None = None) -> dict[str, Any]:
        """Returns the server's queue: ``queue_running`` and ``queue_pending``, lists of ``[number, prompt id, …]``.

        *Args:*
          - ``timeout``: Longest time until the answer is complete. Library default if left out.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - RuntimeError: If the server cannot be reached.

        Example:
        | ${queue} =    `Get Queue`
        | Should Be Empty    ${queue.queue_pending}
        """
        target = self.session.clients.get(client)
        return self._mapping(target, "/queue", timeout)

    @keyword(tags=["Prompt", "Getter"])
    def get_history(
        self,
        prompt: QueuedPrompt | None = None,
        *,
        timeout: timedelta | None = None,
        client: ComfyClient | None = None,
    ) -> dict[str, Any]:
        """Returns the server's history: entries by prompt id.

        *Args:*
          - ``prompt``: Only this prompt's entry, if there is one. All entries if left out.
          - ``timeout``: Longest time until the answer is complete. Library default if left out.
          - ``client``: Alias or handle. The current client if left out.

        *Raises:*
          - RuntimeError: If the server cannot be reached.
        """
        target = self.session.clients.get(client)
        return self._mapping(target, "/history" if prompt is None else f"/history/{prompt.prompt_id}", timeout)

    def _mapping(self, client: Client, path: str, timeout: timedelta | None) -> dict[str, Any]:
        with self._asking(client):
            answer = client.ask("GET", path, self.session.timeout_or(timeout))
            if not isinstance(answer, dict):
                raise HttpError(f"GET {client.endpoint.url}{path}: the answer is not as ComfyUI gives it: {answer!r}")
            mapping: dict[str, Any] = DotDict(answer)
            return mapping

    @contextmanager
    def _asking(self, client: Client) -> Iterator[None]:
        """Lets the error of a request say how the server is."""
        try:
            yield
        except HttpError as failure:
            server = self.session.clients.server_of(client)
            sentences = [f"{failure}.", *describe_server(server), next_step(server)]
            raise RuntimeError(" ".join(filter(None, sentences))) from failure

    def _prompt(self, prompt: QueuedPrompt | None, client: Client) -> QueuedPrompt:
        known = prompt or self.session.notes(client).prompt
        if known is None:
            raise ValueError(f"Client '{client.alias}' has queued no prompt. Use `Queue Prompt` first.")
        return known
