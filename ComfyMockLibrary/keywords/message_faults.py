"""Keywords for faults of the messages that the server sends. The websocket stays open and valid."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.engine.prompts import QueuedPrompt
from ComfyMockLibrary.keywords.fault_keyword import (
    CONNECTION,
    LASTING,
    MATCHES,
    NULL,
    REPEATED,
    Argument,
    FaultComponent,
    fault_keyword,
    prompt_id,
)
from ComfyMockLibrary.triggers import node_of

MESSAGES = (
    Argument("node", str, None, "Id of the node that the messages are about; ``None`` is null. Any if left out."),
    Argument("prompt", QueuedPrompt | str, None, "Prompt that the messages are about. Any if left out."),
    Argument("value", float, None, "Value of ``progress`` messages. Any if left out."),
    *MATCHES,
    *CONNECTION,
    *LASTING,
)


class MessageFaultKeywords(FaultComponent):
    """Faults of messages. ``nth`` and ``times`` count for each client on its own."""

    @fault_keyword(*MESSAGES, tag="Message")
    def drop_message(self, message: str, **common: Any) -> Fault:
        """Lets messages never be sent.

        ``nth`` and ``times`` count for each client on its own.

        *Args:*
          - ``message``: Type as on the wire, ``terminal`` for all that end a prompt, or ``*`` for any.

        Examples:
        | `Drop Message`    progress    nth=2
        | `Drop Message`    executing    node=None
        | `Drop Message`    terminal    prompt=${prompt}
        """
        return self._set_on_messages("drop_message", message, common)

    @fault_keyword(*MESSAGES, tag="Message")
    def duplicate_message(self, message: str, *, copies: int = 1, **common: Any) -> Fault:
        """Lets messages be sent more than once, in a row.

        ``nth`` and ``times`` count for each client on its own.

        *Args:*
          - ``message``: Type as on the wire, ``terminal`` for all that end a prompt, or ``*`` for any.
          - ``copies``: How often more than once.

        Example:
        | `Duplicate Message`    execution_success
        """
        return self._set_on_messages("duplicate_message", message, common, copies=copies)

    @fault_keyword(*MESSAGES, tag="Message")
    def delay_message(self, message: str, delay: timedelta, **common: Any) -> Fault:
        """Lets messages be sent later; those behind them overtake.

        ``nth`` and ``times`` count for each client on its own.

        *Args:*
          - ``message``: Type as on the wire, ``terminal`` for all that end a prompt, or ``*`` for any.
          - ``delay``: How much later.

        Example:
        | `Delay Message`    executed    500 ms    node=3
        """
        return self._set_on_messages("delay_message", message, common, delay=delay)

    @fault_keyword(*MESSAGES, tag="Message")
    def reorder_message(self, message: str, *, behind: int = 1, **common: Any) -> Fault:
        """Lets messages be sent behind later ones.

        ``nth`` and ``times`` count for each client on its own.

        *Args:*
          - ``message``: Type as on the wire, ``terminal`` for all that end a prompt, or ``*`` for any.
          - ``behind``: How many later messages to the same client go first.

        Example:
        | `Reorder Message`    executing    node=2    behind=3
        """
        return self._set_on_messages("reorder_message", message, common, behind=behind)

    @fault_keyword(*CONNECTION, *REPEATED, tag="Message")
    def send_message(
        self, message: str = "mock_unknown", data: Mapping[str, Any] | None = None, **common: Any
    ) -> Fault:
        """Sends a message that no prompt has caused: of an unknown type, about a foreign prompt, or a stale one.

        *Args:*
          - ``message``: Type, known or not.
          - ``data``: Data of the message.

        Examples:
        | `Send Message`    mock_unknown
        | `Send Message`    progress    {"value": 1, "max": 20, "node": "3", "prompt_id": "an-old-one"}
        """
        return self.set_fault("send_message", common, type=message, data=None if data is None else dict(data))

    def _set_on_messages(self, name: str, message: str, common: Mapping[str, Any], **fields: Any) -> Fault:
        node = common.get("node")
        return self.set_fault(
            name,
            common,
            message=message,
            node=NULL if node is not None and node_of(node) is None else node,
            prompt_id=prompt_id(common.get("prompt")),
            value=common.get("value"),
            **fields,
        )
