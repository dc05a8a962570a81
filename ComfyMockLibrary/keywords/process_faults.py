"""Keywords for faults of the server's process: it ends or freezes at an event, or starts slowly."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.keywords.fault_keyword import TRIGGER, WHEN, FaultComponent, fault_keyword
from ComfyMockLibrary.triggers import EventTrigger


class ProcessFaultKeywords(FaultComponent):
    """Faults of the process."""

    @fault_keyword(*TRIGGER, tag="Process")
    def crash_mock_server_when(self, event: EventTrigger, **common: Any) -> Fault:
        """Lets the server crash at an event, as by SIGKILL.

        What it has sent before reaches its clients, and nothing after that: with ``moment=before`` the message of the
        event itself is missing too. `Kill Mock Server` does the same at once.

        *Args:*
          - ``event``: Type of a message, or another event of EventTrigger.

        Examples:
        | `Crash Mock Server When`    executing    node=3
        | `Crash Mock Server When`    progress    nth=2    moment=before
        | `Wait For Mock Server To Stop`
        """
        return self.set_fault_at("crash", event, common)

    @fault_keyword(*TRIGGER, tag="Process")
    def stop_mock_server_when(self, event: EventTrigger, **common: Any) -> Fault:
        """Lets the server stop gracefully at an event, with close frames to its clients.

        *Args:*
          - ``event``: Type of a message, or another event of EventTrigger.

        Example:
        | `Stop Mock Server When`    execution_cached
        """
        return self.set_fault_at("stop", event, common)

    @fault_keyword(*TRIGGER, tag="Process")
    def freeze_mock_server_when(
        self, event: EventTrigger, *, thaw_after: timedelta | None = None, **common: Any
    ) -> Fault:
        """Lets the server freeze at an event: sockets stay open, new connections succeed, nothing is answered.

        `Thaw Mock Server` lets it go on, and so does the end of the fault.

        *Args:*
          - ``event``: Type of a message, or another event of EventTrigger.
          - ``thaw_after``: Time after which it goes on by itself. Not before it is told to if left out.

        Example:
        | `Freeze Mock Server When`    execution_cached    thaw_after=2 s
        """
        return self.set_fault_at("freeze", event, common, thaw_after=thaw_after)

    @fault_keyword(*WHEN, tag="Process")
    def exit_mock_server(self, status: int = 1, **common: Any) -> Fault:
        """Lets the server end by itself, with an exit status and without a word to anybody.

        *Args:*
          - ``status``: The exit status, 0 to 255.

        Examples:
        | `Exit Mock Server`    status=3
        | `Exit Mock Server`    when=executing node=2
        | `Wait For Mock Server To Stop`
        """
        return self.disturb("exit", common, status=status)

    @fault_keyword(tag="Process", outlives_restart=True)
    def slow_down_start(
        self,
        *,
        refused: timedelta = timedelta(),
        unavailable: timedelta = timedelta(),
        times: int = 1,
        **common: Any,
    ) -> Fault:
        """Lets the next lives of the server start slowly: refused at first, then answered with 503, then well.

        The life that runs is not touched.

        *Args:*
          - ``refused``: How long connections are refused.
          - ``unavailable``: How long after that requests and handshakes are answered with status 503.
          - ``times``: How many lives start like this.

        Example:
        | `Slow Down Start`    refused=2 s    unavailable=1 s
        | `Restart Mock Server`
        | `Wait For Connection`
        """
        return self.set_fault("slow_start", {**common, "times": times}, refused=refused, unavailable=unavailable)
