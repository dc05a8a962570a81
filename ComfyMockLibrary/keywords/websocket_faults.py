"""Keywords for faults of websockets: handshakes, pings, close frames, and frames that are none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.keywords.fault_keyword import (
    CLIENT,
    CONNECTION,
    LASTING,
    MATCHES,
    REPEATED,
    FaultComponent,
    fault_keyword,
)
from ComfyMockLibrary.quantities import Size
from ComfyMockLibrary.types import RawFrame


class WebsocketFaultKeywords(FaultComponent):
    """Faults of websockets."""

    @fault_keyword(*CONNECTION, *REPEATED, tag="Websocket")
    def close_connections(self, code: int = 1001, *, reason: str = "", **common: Any) -> Fault:
        """Closes websockets with a close frame, of any code, also one that must not be on the wire.

        *Args:*
          - ``code``: The close code, 0 to 65535, for example ``1012`` for a restart of the service.
          - ``reason``: The reason, at most 123 bytes.

        Example:
        | `Close Connections`    code=1012    reason=service restart
        | ${event} =    `Wait For Disconnection`
        | Should Be Equal As Integers    ${event.data.code}    1012
        """
        return self.disturb("close_sockets", common, code=code, reason=reason)

    @fault_keyword(*MATCHES, *CLIENT, *LASTING, tag="Websocket", outlives_restart=True)
    def refuse_upgrade(
        self, status: int = 503, *, retry_after: timedelta | None = None, body: str = "", **common: Any
    ) -> Fault:
        """Lets websocket handshakes be answered with a status; the other routes work.

        *Args:*
          - ``status``: HTTP status, for example ``403``.
          - ``retry_after``: Value of the header ``Retry-After``. None is sent if left out.
          - ``body``: Text of the answer.

        Example:
        | `Refuse Upgrade`    status=503    times=3
        | `Reconnect Client`
        | `Wait For Event`    reconnecting    attempt=4
        """
        return self.set_fault("refuse_upgrade", common, status=status, retry_after=retry_after, body=body)

    @fault_keyword(*MATCHES, *CLIENT, *LASTING, tag="Websocket", outlives_restart=True)
    def hang_upgrade(self, **common: Any) -> Fault:
        """Lets websocket handshakes be accepted by TCP and answered by nobody, until the fault ends.

        Example:
        | `Hang Upgrade`    times=1
        | `Reconnect Client`
        | `Wait For Event`    reconnecting    attempt=2
        """
        return self.set_fault("hang_upgrade", common)

    @fault_keyword(*MATCHES, *CONNECTION, *LASTING, tag="Websocket")
    def suppress_pong(self, **common: Any) -> Fault:
        """Lets pings of clients be answered by nobody; everything else works.

        Clients take messages for signs of life too: let the server be silent where they are to miss the pong.

        Example:
        | `Start Mock Server`    status_interval=0
        | `Connect Client`
        | `Suppress Pong`
        | `Wait For Disconnection`    timeout=20 s
        """
        return self.disturb("pong", common, answer="none")

    @fault_keyword(*MATCHES, *CONNECTION, *LASTING, tag="Websocket")
    def delay_pong(self, delay: timedelta, **common: Any) -> Fault:
        """Lets pings of clients be answered late.

        *Args:*
          - ``delay``: How late.

        Example:
        | `Delay Pong`    500 ms
        """
        return self.disturb("pong", common, answer="late", delay=delay)

    @fault_keyword(*MATCHES, *CONNECTION, *LASTING, tag="Websocket")
    def falsify_pong(self, **common: Any) -> Fault:
        """Lets pings of clients be answered with another payload than they had.

        Example:
        | `Falsify Pong`
        """
        return self.disturb("pong", common, answer="wrong")

    @fault_keyword(*CONNECTION, *REPEATED, tag="Websocket")
    def send_raw_frame(
        self,
        frame: RawFrame | None = None,
        *,
        hex: str | None = None,  # noqa: A002 - what it is to users
        size: Size | None = None,
        **common: Any,
    ) -> Fault:
        """Sends bytes on websockets as they are: a frame by name, or any bytes.

        Nothing follows a frame that breaks off, as it would pass for the rest of it.

        *Args:*
          - ``frame``: Name of a frame, for example ``bad_utf8``.
          - ``hex``: Bytes instead, in hexadecimal digits, for example ``81 02 68 69``.
          - ``size``: Payload of ``oversized`` and ``oversized_announced``. 16 MiB if left out.

        Examples:
        | `Send Raw Frame`    bad_utf8
        | `Send Raw Frame`    oversized    size=1 MiB
        | `Send Raw Frame`    hex=81 02 68 69
        """
        if (frame is None) == (hex is None):
            raise ValueError("Give either a frame by name or hex=, the bytes.")
        if size is not None and frame not in (RawFrame.oversized, RawFrame.oversized_announced):
            raise ValueError("size= is about the frames oversized and oversized_announced only.")
        return self.disturb("send_raw_frame", common, frame=frame, hex=hex, size=size)
