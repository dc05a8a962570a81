"""Keywords for faults of the network: what becomes of connections, and of the bytes on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from robot.api import logger

from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.engine.servers import MockServer
from ComfyMockLibrary.keywords.base import keyword
from ComfyMockLibrary.keywords.fault_keyword import CONNECTION, LASTING, REPEATED, FaultComponent, fault_keyword
from ComfyMockLibrary.quantities import Percent, Rate, Size
from ComfyMockLibrary.types import ClosingPart, ConnectionEnding, Direction, Distribution

NO_BYTES = Size(0)


class ListenerFaultKeywords(FaultComponent):
    """Faults that connections meet which are yet to be made."""

    @fault_keyword(*LASTING, tag="Network", outlives_restart=True)
    def refuse_connections(self, **common: Any) -> Fault:
        """Lets new connections be refused, while those that are open stay.

        Example:
        | `Refuse Connections`
        | `Reset Connections`
        | `Wait For Event`    reconnecting    attempt=3
        """
        return self.set_fault("refuse_connections", common, established="keep")

    @fault_keyword(*LASTING, tag="Network", outlives_restart=True)
    def drop_and_refuse_connections(self, **common: Any) -> Fault:
        """Resets all connections, and lets new ones be refused.

        To clients the server looks as if it were down.

        Example:
        | `Drop And Refuse Connections`    lasting=2 s
        | `Wait For Connection`
        """
        return self.disturb("refuse_connections", common, established="drop")

    @fault_keyword(*LASTING, tag="Network", outlives_restart=True)
    def ignore_connections(self, **common: Any) -> Fault:
        """Lets attempts to connect be answered by nobody, so that they time out; open connections stay.

        The system may take one more connection before it ignores the others; nobody serves it.

        Example:
        | `Ignore Connections`
        | `Reset Connections`
        | `Wait For Event`    reconnecting    attempt=2
        """
        return self.set_fault("ignore_connections", common)

    @fault_keyword(*LASTING, tag="Network", outlives_restart=True)
    def slow_down_accepting(self, delay: timedelta, **common: Any) -> Fault:
        """Lets new connections be made at once, but served only after a delay.

        *Args:*
          - ``delay``: How long nobody serves them.

        Example:
        | `Slow Down Accepting`    500 ms
        """
        return self.set_fault("slow_accept", common, delay=delay)

    @fault_keyword(*LASTING, tag="Network", outlives_restart=True)
    def flap_connections(self, *, down: timedelta, up: timedelta, **common: Any) -> Fault:
        """Lets the server be unreachable and reachable by turns, beginning with unreachable.

        Each time it goes down, open connections are reset, and new ones are refused.

        *Args:*
          - ``down``: How long it is unreachable each time.
          - ``up``: How long it is reachable each time.

        Example:
        | ${flapping} =    `Flap Connections`    down=200 ms    up=1 s
        | `Wait For Fault`    ${flapping}    strikes=3
        """
        return self.disturb("flap", common, down=down, up=up)


class ByteFaultKeywords(FaultComponent):
    """Faults of the bytes on connections, on those that are open and on those to come."""

    @fault_keyword(*CONNECTION, *LASTING, tag="Network", outlives_restart=True)
    def add_latency(
        self,
        delay: timedelta,
        *,
        direction: Direction,
        jitter: timedelta = timedelta(),
        distribution: Distribution = Distribution.uniform,
        **common: Any,
    ) -> Fault:
        """Lets bytes arrive later, in their order.

        *Args:*
          - ``delay``: How much later.
          - ``direction``: Which bytes.
          - ``jitter``: How far the delay varies.
          - ``distribution``: How it varies.

        Example:
        | `Add Latency`    200 ms    jitter=50 ms    distribution=normal    direction=both
        """
        return self.disturb(
            "latency", common, delay=delay, direction=direction, jitter=jitter, distribution=distribution
        )

    @fault_keyword(*CONNECTION, *LASTING, tag="Network", outlives_restart=True)
    def limit_bandwidth(self, rate: Rate, *, direction: Direction, **common: Any) -> Fault:
        """Lets bytes of each connection arrive no faster than at a rate.

        *Args:*
          - ``rate``: For example ``100 kB/s``.
          - ``direction``: Which bytes.

        Example:
        | `Limit Bandwidth`    100 kB/s    direction=to_client
        """
        return self.disturb("bandwidth", common, rate=rate, direction=direction)

    @fault_keyword(*CONNECTION, *LASTING, tag="Network", outlives_restart=True)
    def slice_traffic(
        self,
        size: Size,
        *,
        direction: Direction,
        variation: Size = NO_BYTES,
        delay: timedelta = timedelta(),
        **common: Any,
    ) -> Fault:
        """Lets bytes arrive in small pieces.

        *Args:*
          - ``size``: Size of a piece.
          - ``direction``: Which bytes.
          - ``variation``: How far the size varies to either side.
          - ``delay``: Time between two pieces.

        Example:
        | `Slice Traffic`    16    direction=to_client    delay=1 ms
        """
        return self.disturb("slice", common, size=size, direction=direction, variation=variation, delay=delay)

    @fault_keyword(*CONNECTION, *LASTING, tag="Network", outlives_restart=True)
    def stall_network(self, loss: Percent, *, direction: Direction, **common: Any) -> Fault:
        """Lets bytes stall as they do on a network that loses packets: it shows what an application sees of that.

        TCP loses nothing. What was lost is sent again, and everything behind it waits so long: no byte is missing, but
        some come late.

        *Args:*
          - ``loss``: Share of the packets that are lost.
          - ``direction``: Which bytes.

        Example:
        | `Stall Network`    loss=5%    direction=both
        """
        return self.disturb("stall", common, loss=loss, direction=direction)

    @fault_keyword(*CONNECTION, *LASTING, tag="Network", outlives_restart=True)
    def hold_network(self, *, direction: Direction, **common: Any) -> Fault:
        """Lets nothing arrive until `Release Network`, and then everything: a partition that heals.

        *Args:*
          - ``direction``: Which bytes.

        Example:
        | `Hold Network`    direction=both
        | `Event Should Not Fire`    status    timeout=1 s
        | `Release Network`
        | `Wait For Event`    status
        """
        return self.disturb("hold_network", common, direction=direction)

    @keyword(tags=["Fault", "Network"])
    def release_network(self, server: MockServer | None = None) -> list[str]:
        """Lets everything arrive that `Hold Network` has held back; without a hold it does nothing.

        *Args:*
          - ``server``: Alias, port or handle, of a proxy too. The current server if left out.

        *Returns:* The ids of the faults that have ended with this.
        """
        target = self.session.fault_target(server)
        released = target.faults.release("network")
        logger.info(f"{target.alias}: released {', '.join(released) or 'nothing'}")
        return released

    @fault_keyword(*CONNECTION, *LASTING, tag="Network", outlives_restart=True)
    def silence_network(self, *, direction: Direction, **common: Any) -> Fault:
        """Lets bytes vanish, and the end of connections too: they are half-open, and nobody says so.

        Only a client that watches for answers notices it. What has vanished does not come back when the fault ends.

        *Args:*
          - ``direction``: Which bytes.

        Example:
        | `Silence Network`    direction=to_client
        | `Wait For Disconnection`    timeout=20 s
        """
        return self.disturb("silence", common, direction=direction)

    @fault_keyword(*CONNECTION, *LASTING, tag="Network", outlives_restart=True)
    def cut_connections(
        self,
        after_bytes: Size,
        *,
        direction: Direction,
        ending: ConnectionEnding = ConnectionEnding.reset,
        **common: Any,
    ) -> Fault:
        """Lets each connection end after so many bytes.

        *Args:*
          - ``after_bytes``: How many bytes still arrive.
          - ``direction``: Which bytes count.
          - ``ending``: How it ends.

        Example:
        | `Cut Connections`    1 kB    direction=to_client    ending=fin
        """
        return self.disturb("cut", common, after_bytes=after_bytes, direction=direction, ending=ending)

    @fault_keyword(*CONNECTION, *LASTING, tag="Network", outlives_restart=True)
    def stop_reading(self, **common: Any) -> Fault:
        """Lets the server read nothing more: what clients send fills the buffers on the way.

        Example:
        | `Start Mock Server`    status_interval=0
        | `Connect Client`
        | `Stop Reading`
        | `Wait For Disconnection`    timeout=20 s
        """
        return self.disturb("stop_reading", common)


class ClosingFaultKeywords(FaultComponent):
    """Ends of connections."""

    @fault_keyword(*CONNECTION, *REPEATED, tag="Network")
    def reset_connections(self, **common: Any) -> Fault:
        """Ends open connections with RST, idle ones too; what was on the way is lost.

        Examples:
        | `Reset Connections`
        | `Reset Connections`    client=client-1    when=executing node=2
        """
        return self.disturb("reset_connections", common)

    @fault_keyword(*CONNECTION, *REPEATED, tag="Network")
    def end_connections(self, **common: Any) -> Fault:
        """Ends open connections with FIN, and websockets without a close frame.

        Clients see the end of the stream, code 1006.

        Example:
        | `End Connections`
        | `Wait For Disconnection`
        """
        return self.disturb("end_connections", common)

    @fault_keyword(*CONNECTION, *REPEATED, tag="Network")
    def half_close_connections(self, **common: Any) -> Fault:
        """Ends the server's side of open connections with FIN; what clients send is still read.

        Example:
        | `Half Close Connections`
        | `Wait For Disconnection`
        """
        return self.disturb("half_close_connections", common)

    @fault_keyword(*CONNECTION, *LASTING, tag="Network", outlives_restart=True)
    def slow_down_closing(self, delay: timedelta, *, what: ClosingPart = ClosingPart.fin, **common: Any) -> Fault:
        """Lets the end of connections reach clients later.

        *Args:*
          - ``delay``: How much later.
          - ``what``: Which part of the end.

        Example:
        | `Slow Down Closing`    1 s    what=close_reply
        """
        return self.set_fault("slow_close", common, delay=delay, what=what)
