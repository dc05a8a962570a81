"""Faults of the network: turns descriptions into rules for bytes and orders for the listener."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from mockserver.faults.kinds import (
    Bandwidth,
    ByteFault,
    Cut,
    EndConnections,
    Fault,
    Flap,
    HalfCloseConnections,
    HoldNetwork,
    IgnoreConnections,
    Latency,
    RefuseConnections,
    ResetConnections,
    SilenceNetwork,
    Slice,
    SlowAccept,
    SlowClose,
    StallNetwork,
    StopReading,
    Who,
)
from mockserver.listening import PortTaken
from mockserver.network import stages
from mockserver.network.connections import ByteRule
from mockserver.network.connections import Who as NetworkWho
from mockserver.network.draws import Direction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from mockserver.faults.registry import Registry, Standing
    from mockserver.listening import Listener
    from mockserver.network.connections import Connection, Connections

log = logging.getLogger(__name__)

TRY_AGAIN = 1.0
"""Seconds between attempts to get a port back that somebody else has taken."""

BOTH = (Direction.to_client, Direction.to_server)


class NetworkFaults:
    """Keeps the connections and the listener as the active faults have them."""

    def __init__(self, registry: Registry, connections: Connections, listener: Listener) -> None:
        self._registry = registry
        self._connections = connections
        self._listener = listener
        self._rules: tuple[ByteRule, ...] = ()
        self._listener_fault: Standing | None = None
        self._flapping: asyncio.Task[None] | None = None
        self._orders: asyncio.Task[None] | None = None
        self._next_try: asyncio.TimerHandle | None = None
        connections.on_strike = self._note_strike

    def settle(self) -> None:
        """Adapts to the faults that are active now."""
        rules = tuple(_rules_of(self._registry))
        if rules != self._rules:
            self._rules = rules
            self._connections.apply(rules)
        self._settle_listener()

    def close(self, fault: Fault) -> dict[str, Any]:
        """Ends connections as the fault says. Returns what is noted of it."""
        assert isinstance(fault, ResetConnections | EndConnections | HalfCloseConnections)
        concerned = self._connections.matching(_network(fault.who))
        for connection in concerned:
            if isinstance(fault, ResetConnections):
                connection.reset()
            elif isinstance(fault, EndConnections):
                connection.finish()
            else:
                connection.half_close()
        return {"connections": [connection.number for connection in concerned]}

    async def settled(self) -> None:
        """Waits until the listener has carried out all that it was told, or tries it again and again."""
        if self._orders is not None:
            await asyncio.wait([self._orders])

    def _order(self, order: Callable[[], Awaitable[None]], *, is_repeated: bool = False) -> None:
        """Lets the listener do something after all that it was told before."""
        previous = self._orders
        if self._next_try is not None:
            self._next_try.cancel()
            self._next_try = None

        async def carry_out() -> None:
            if previous is not None:
                await asyncio.wait([previous])
            try:
                await order()
            except PortTaken as failure:
                if not is_repeated:
                    log.error("this server still does not listen: %s It is tried again until the port is free", failure)
                if self._orders is asyncio.current_task():
                    loop = asyncio.get_running_loop()
                    self._next_try = loop.call_later(TRY_AGAIN, partial(self._order, order, is_repeated=True))
            else:
                if is_repeated:
                    log.info("the port is free again, and this server listens")

        self._orders = asyncio.ensure_future(carry_out())

    def _settle_listener(self) -> None:
        faults = [
            standing
            for kind in (RefuseConnections, IgnoreConnections, SlowAccept, Flap)
            for standing, _ in self._registry.active(kind)
        ]
        latest = max(faults, key=lambda each: each.order, default=None)
        if latest is self._listener_fault:
            return
        self._listener_fault = latest
        if self._flapping is not None:
            self._flapping.cancel()
            self._flapping = None
        fault = None if latest is None else latest.fault
        if isinstance(fault, RefuseConnections):
            self._order(partial(self._listener.refuse, drop_established=fault.established == "drop"))
        elif isinstance(fault, IgnoreConnections):
            self._order(self._listener.ignore)
        elif isinstance(fault, SlowAccept):
            self._order(partial(self._listener.slow_accept, fault.delay))
        elif isinstance(fault, Flap):
            assert latest is not None
            self._go_down(latest)
            self._flapping = asyncio.ensure_future(self._flap(latest, fault))
        else:
            self._order(self._listener.resume)

    async def _flap(self, standing: Standing, fault: Flap) -> None:
        while True:
            await asyncio.sleep(fault.down)
            self._order(self._listener.resume)
            await asyncio.sleep(fault.up)
            self._go_down(standing)

    def _go_down(self, standing: Standing) -> None:
        self._order(partial(self._listener.refuse, drop_established=True))
        self._registry.strike(standing)

    def _note_strike(self, rule: ByteRule, connection: Connection, details: dict[str, Any]) -> None:
        standing = self._registry.get(rule.fault)
        self._registry.strike(
            standing,
            connection.client,
            client_id=connection.client,
            connection=connection.ordinal,
            direction=rule.direction.value,
            **details,
        )


def _rules_of(registry: Registry) -> Iterator[ByteRule]:
    for standing, fault in registry.active(Fault):
        if isinstance(fault, ByteFault):
            for direction in BOTH if fault.direction == "both" else (Direction(fault.direction),):
                yield ByteRule(standing.id, _STAGES[type(fault)](fault), direction, _network(fault.who), standing.seed)
        elif isinstance(fault, StopReading):
            yield ByteRule(standing.id, stages.StopReading(), Direction.to_server, _network(fault.who), standing.seed)
        elif isinstance(fault, SlowClose) and fault.what == "fin":
            stage = stages.SlowClose(fault.delay)
            yield ByteRule(standing.id, stage, Direction.to_client, _network(fault.who), standing.seed)


_STAGES: dict[type[ByteFault], Callable[[Any], stages.Stage]] = {
    Latency: lambda fault: stages.Latency(fault.delay, fault.jitter, stages.Distribution(fault.distribution)),
    Bandwidth: lambda fault: stages.Bandwidth(fault.rate),
    Slice: lambda fault: stages.Slicer(fault.size, fault.variation, fault.delay),
    StallNetwork: lambda fault: stages.Stall(fault.loss),
    HoldNetwork: lambda _: stages.Hold(),
    SilenceNetwork: lambda _: stages.Silence(),
    Cut: lambda fault: stages.Cut(fault.after_bytes, fault.ending),
}


def _network(who: Who) -> NetworkWho:
    return NetworkWho(client_id=who.client_id, connection=who.connection)
