"""All faults of one life, attached to its ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from mockserver.comfyui.messages import Message
from mockserver.faults import process, websocket
from mockserver.faults.background import Background
from mockserver.faults.execution import ExecutionFaults
from mockserver.faults.forgotten import Forgotten
from mockserver.faults.http import HttpFaults
from mockserver.faults.kinds import (
    CloseSockets,
    Crash,
    EndConnections,
    Exit,
    FailRequest,
    Fault,
    ForgetPrompt,
    Freeze,
    HalfCloseConnections,
    LoseHistory,
    LoseQueue,
    RefuseConnections,
    RefuseUpgrade,
    ResetConnections,
    SendMessage,
    SendRawFrame,
    SlowStart,
    Stop,
    TakeOverClientId,
    Who,
    name_of,
)
from mockserver.faults.messages import MessageFaults, concerns
from mockserver.faults.network import NetworkFaults
from mockserver.faults.registry import Registry
from mockserver.network.connections import Who as NetworkWho

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from mockserver.comfyui.server import ComfyServer
    from mockserver.comfyui.sockets import Socket
    from mockserver.faults.registry import Standing
    from mockserver.listening import Listener
    from mockserver.network.connections import Connections

Json = dict[str, Any]

EVERYBODY = NetworkWho()

SomeSocketFault = TypeVar("SomeSocketFault", CloseSockets, SendRawFrame, SendMessage)


class Faults:
    """Sets and clears the faults of a life, and does what they are for."""

    def __init__(
        self,
        server: ComfyServer,
        connections: Connections,
        listener: Listener,
        seed: int,
        stop: Callable[[str], None],
    ) -> None:
        """``stop`` stops the life gracefully; it takes who has ordered it."""
        self._server = server
        self._connections = connections
        self._stop = stop
        self._taken_over: dict[str, Standing] = {}
        self._forgotten = Forgotten(self._settle)
        background = Background()
        self.registry = Registry(server.journal, seed, self._carry_out, self._settle)
        self._execution = ExecutionFaults(
            self.registry,
            self._forgotten,
            background,
            server.queue,
            server.history,
            server.worker,
            server.folders,
        )
        self._messages = MessageFaults(self.registry, self._forgotten, background)
        self._websocket = websocket.WebsocketFaults(self.registry, self._messages, background)
        self._http = HttpFaults(self.registry)
        self._network = NetworkFaults(self.registry, connections, listener)
        self._deeds: dict[type[Fault], Callable[[Any], Json | None]] = {
            Crash: lambda _: process.crash(self._transports()),
            Exit: lambda fault: process.end(fault.status),
            Freeze: lambda fault: process.freeze(fault.thaw_after),
            Stop: lambda _: self._stop("fault stop"),
            SlowStart: self._start_slowly,
            ResetConnections: self._network.close,
            EndConnections: self._network.close,
            HalfCloseConnections: self._network.close,
            CloseSockets: lambda fault: self._to_sockets(fault, websocket.close),
            SendRawFrame: lambda fault: self._to_sockets(fault, websocket.send_raw),
            SendMessage: lambda fault: self._to_sockets(fault, self._send_message),
            LoseQueue: lambda _: {"prompts": self._execution.lose_queue()},
            ForgetPrompt: lambda fault: {"prompts": self._execution.forget_prompt(fault.prompt_id)},
            LoseHistory: lambda _: self._execution.lose_history(),
        }

    async def settled(self) -> None:
        """Waits until what was set and cleared is in force on the network too."""
        await self._network.settled()

    def begin_with(self, faults: Sequence[Fault]) -> None:
        """Sets the faults that a life begins with. Raises FaultError."""
        self.registry.set_all(faults)

    def release(self, names: Sequence[str]) -> list[Standing]:
        """Clears the faults of these kinds that hold something."""
        held = [each for each in self.registry.all() if not each.has_ended and name_of(type(each.fault)) in names]
        for standing in held:
            self.registry.clear(standing.id)
        return held

    def clear_all(self) -> None:
        """Ends every fault since the life ends, so that nothing is held back."""
        self.registry.clear_all("life")
        self._connections.clear()

    def _settle(self) -> None:
        """Attaches to the ports while any fault is set, and only then."""
        ports = self._server.ports
        quiet = self.registry.is_quiet and not self._forgotten
        ports.request = None if quiet else self._http.answer
        ports.upgrade = None if quiet else self._websocket.upgrade
        ports.socket = None if quiet else self._websocket.socket
        ports.outgoing = None if quiet else self._messages.send
        ports.ping = None if quiet else self._websocket.ping
        ports.closing = None if quiet else self._websocket.closing
        ports.step = None if quiet else self._execution.step
        ports.history = None if quiet else self._execution.history
        self._network.settle()
        self._settle_taken_over()
        self._messages.settle(self._server.sockets)

    def _settle_taken_over(self) -> None:
        taken = {fault.client_id: standing for standing, fault in self.registry.active(TakeOverClientId)}
        for client_id in self._taken_over.keys() - taken.keys():
            self._server.sockets.unregister(client_id)
        for client_id, standing in taken.items():
            if client_id not in self._taken_over:
                self._server.sockets.unregister(client_id)
                self.registry.strike(standing, client_id, client_id=client_id)
        self._taken_over = taken

    def _carry_out(self, standing: Standing) -> Json:
        return self._deeds[type(standing.fault)](standing.fault) or {}

    def _start_slowly(self, fault: SlowStart) -> Json:
        """Sets the faults that a slow start consists of."""
        parts: list[Fault] = []
        if fault.refused:
            parts.append(RefuseConnections(seconds=fault.refused))
        if fault.unavailable:
            until_ready = fault.refused + fault.unavailable
            parts += [FailRequest(status=503, seconds=until_ready), RefuseUpgrade(status=503, seconds=until_ready)]
        return {"faults": [each.id for each in self.registry.set_all(parts)]}

    def _send_message(self, fault: SendMessage, sockets: list[Socket]) -> None:
        self._server.sockets.put(Message(fault.type, fault.data), sockets)

    def _to_sockets(self, fault: SomeSocketFault, do: Callable[[SomeSocketFault, list[Socket]], None]) -> Json:
        sockets = self._sockets(fault.who)
        do(fault, sockets)
        return {"sockets": [socket.number for socket in sockets]}

    def _transports(self) -> list[asyncio.Transport]:
        return [each.transport for each in self._connections.matching(EVERYBODY)]

    def _sockets(self, who: Who) -> list[Socket]:
        return [socket for socket in self._server.sockets.open if concerns(who, socket)]
