"""Keywords for faults of ComfyUI itself: prompts, queue, history, output files, clientIds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from robot.api import logger

from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.engine.prompts import QueuedPrompt
from ComfyMockLibrary.engine.servers import MockServer
from ComfyMockLibrary.keywords.base import keyword
from ComfyMockLibrary.keywords.fault_keyword import (
    CLIENT,
    LASTING,
    MATCHES,
    REPEATED,
    Argument,
    FaultComponent,
    fault_keyword,
    prompt_id,
)

OF_A_PROMPT = Argument("prompt", QueuedPrompt | str, None, "Only this prompt. Any if left out.")
NODES = (
    Argument("class_type", str, None, "Only nodes of this class. Any if left out."),
    OF_A_PROMPT,
    *MATCHES,
    *CLIENT,
    *LASTING,
)
ENDS = (OF_A_PROMPT, *MATCHES, *CLIENT, *LASTING)


class ApplicationFaultKeywords(FaultComponent):
    """Faults of the application, with the messages that the real server has for them."""

    @fault_keyword(*NODES, tag="Application")
    def fail_prompt(
        self,
        node: str | None = None,
        *,
        type: str = "RuntimeError",  # noqa: A002 - as it is called in ComfyUI's messages
        message: str | None = None,
        **common: Any,
    ) -> Fault:
        """Lets a node fail: ``execution_error``, and an error in the history.

        *Args:*
          - ``node``: Id of the node. Any node if left out.
          - ``type``: Type of the exception, for example ``OutOfMemoryError``.
          - ``message``: Its text. What ComfyUI says if left out.

        Example:
        | `Fail Prompt`    node=3    type=OutOfMemoryError
        | `Queue Prompt`
        | `Wait For Prompt`    result=failure
        """
        return self._set_on_prompts("fail_prompt", common, node=node, type=type, message=message)

    @fault_keyword(*NODES, tag="Application")
    def interrupt_prompt_unasked(self, node: str | None = None, **common: Any) -> Fault:
        """Lets prompts be interrupted at a node, though nobody has asked for it.

        *Args:*
          - ``node``: Id of the node. Any node if left out.

        Example:
        | `Interrupt Prompt Unasked`    node=2
        | `Queue Prompt`
        | `Wait For Event`    execution_interrupted
        """
        return self._set_on_prompts("interrupt_prompt", common, node=node)

    @fault_keyword(*NODES, tag="Application")
    def hold_execution_at(self, node: str | None = None, *, progress: int = 0, **common: Any) -> Fault:
        """Lets prompts stand still at a node until `Release Execution`.

        *Args:*
          - ``node``: Id of the node. Any node if left out.
          - ``progress``: How many updates of its progress the node reports before.

        Example:
        | ${held} =    `Hold Execution At`    node=2
        | `Queue Prompt`
        | `Wait For Fault`    ${held}
        | `Release Execution`
        | `Wait For Prompt`    result=success
        """
        return self._set_on_prompts("hold_execution", common, node=node, value=progress)

    @keyword(tags=["Fault", "Application"])
    def release_execution(self, server: MockServer | None = None) -> list[str]:
        """Lets prompts go on that `Hold Execution At` has stopped; without a hold it does nothing.

        *Args:*
          - ``server``: Alias, port or handle. The current server if left out.

        *Returns:* The ids of the faults that have ended with this.
        """
        target = self.session.servers.get(server)
        released = target.faults.release("execution")
        logger.info(f"{target.alias}: released {', '.join(released) or 'nothing'}")
        return released

    @fault_keyword(*REPEATED, tag="Application")
    def lose_queue(self, **common: Any) -> Fault:
        """Lets the server forget every prompt that waits or runs: no message, no history, only the status.

        Example:
        | `Hold Execution At`    node=2
        | ${prompt} =    `Queue Prompt`
        | `Lose Queue`
        | `Wait For Prompt`    ${prompt}    lost
        """
        return self.set_fault("lose_queue", common)

    @fault_keyword(*REPEATED, tag="Application")
    def lose_history(self, **common: Any) -> Fault:
        """Lets the server forget every prompt that has ended.

        Example:
        | `Lose History`    when=execution_success
        """
        return self.set_fault("lose_history", common)

    @fault_keyword(*REPEATED, tag="Application")
    def forget_prompt(self, prompt: QueuedPrompt | str | None = None, **common: Any) -> Fault:
        """Lets the server forget one prompt, wherever it is: in the queue, in execution or in the history.

        *Args:*
          - ``prompt``: The prompt. The one that runs if left out.

        Example:
        | `Hold Execution At`    node=2
        | ${prompt} =    `Queue Prompt`
        | `Forget Prompt`    ${prompt}
        | `Wait For Prompt`    ${prompt}    lost
        """
        return self.set_fault("forget_prompt", common, prompt_id=prompt_id(prompt))

    @fault_keyword(*ENDS, tag="Application")
    def delay_history(self, delay: timedelta, **common: Any) -> Fault:
        """Lets the history know prompts only some time after their last message.

        *Args:*
          - ``delay``: How much later.

        Example:
        | `Delay History`    300 ms
        """
        return self._set_on_prompts("delay_history", common, delay=delay)

    @fault_keyword(*ENDS, tag="Application")
    def skip_history(self, **common: Any) -> Fault:
        """Lets prompts end without ever getting into the history, whatever their messages said.

        Example:
        | `Skip History`    times=1
        """
        return self._set_on_prompts("skip_history", common)

    @fault_keyword(*ENDS, tag="Application")
    def lose_output_files(self, **common: Any) -> Fault:
        """Lets the files be gone that prompts have written, though messages and history name them.

        Example:
        | `Lose Output Files`
        """
        return self._set_on_prompts("lose_output_files", common)

    @fault_keyword(*LASTING, tag="Application")
    def take_over_client_id(self, client: ComfyClient | None = None, **common: Any) -> Fault:
        """Lets somebody else connect under a clientId: the older socket stays open and gets nothing more.

        When the fault ends, the other one leaves, and the registration with it, as in the real server: only a new
        connection of the client gets messages again.

        *Args:*
          - ``client``: Alias or handle of a client, or the clientId of any. The current client if left out.

        Example:
        | `Take Over Client Id`
        | `Queue Prompt`
        | `Event Should Not Fire`    executing    timeout=1 s
        """
        taken = client or self.session.clients.get()
        return self.set_fault("take_over_client_id", common, client_id=self.client_id(taken))

    def _set_on_prompts(self, name: str, common: Mapping[str, Any], **fields: Any) -> Fault:
        return self.set_fault(
            name, common, prompt_id=prompt_id(common.get("prompt")), class_type=common.get("class_type"), **fields
        )
