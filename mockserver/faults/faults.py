"""All faults of one life, attached to its ports."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.messages import Message
from mockserver.faults import process, websocket
from mockserver.faults.execution import ExecutionFaults
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
    from collections.abc import Callable, Sequence

    from mockserver.comfyui.server import ComfyServer
    from mockserver.comfyui.sockets import Socket
    from mockserver.faults.events import Occurrence
    from mockserver.faults.registry import Standing
    from mockserver.listening import Listener
    from mockserver.network.connections import Connections

Json = dict[str, Any]

EVERYBODY = NetworkWho()


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
        self._background: set[asyncio.Task[Any]] = set()
        self._taken_over: dict[str, Standing] = {}
        self.registry = Registry(server.journal, seed, self._carry_out, self._settle)
        self._execution = ExecutionFaults(self.registry, server.queue, server.history, server.folders)
        self._messages = MessageFaults(self.registry, self._execution.forgotten)
        self._websocket = websocket.WebsocketFaults(self.registry, self._messages)
        self._http = HttpFaults(self.registry)
        self._network = NetworkFaults(self.registry, connections, listener)

    def set(self, fault: Fault) -> Standing:
        """Sets a fault. Raises FaultError."""
        return self.registry.set(fault)

    async def settled(self) -> None:
        """Waits until what was set and cleared is in force on the network too."""
        await self._network.settled()

    def begin_with(self, faults: Sequence[Fault]) -> None:
        """Sets the faults that a life begins with. Raises FaultError."""
        self.registry.check_ids(faults)
        for fault in faults:
            standing = self.registry.set(fault)
            if isinstance(fault, SlowStart):
                self._start_slowly(standing, fault)

    def release(self, names: Sequence[str]) -> list[Standing]:
        """Clears the faults of these kinds that hold something."""
        held = [each for each in self.registry.all() if each.state != "ended" and name_of(type(each.fault)) in names]
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
        quiet = self.registry.is_quiet and not self._execution.forgotten
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

    def _start_slowly(self, standing: Standing, fault: SlowStart) -> None:
        self.registry.strike(standing)
        ready_after = fault.refused + fault.unavailable
        if fault.refused:
            self.set(RefuseConnections(id=f"{standing.id}.refused", seconds=fault.refused))
        if fault.unavailable:
            self.set(FailRequest(id=f"{standing.id}.requests", status=503, seconds=ready_after))
            self.set(RefuseUpgrade(id=f"{standing.id}.upgrades", seconds=ready_after))
        self.registry.end_done(standing)

    def _carry_out(self, standing: Standing, _occurrence: Occurrence | None) -> Json:
        fault = standing.fault
        if isinstance(fault, Crash):
            process.crash([each.transport for each in self._connections.matching(EVERYBODY)])
        elif isinstance(fault, Exit):
            os._exit(fault.status)
        elif isinstance(fault, Freeze):
            process.freeze(fault.thaw_after)
        elif isinstance(fault, Stop):
            self._stop(f"fault {standing.id}")
        elif isinstance(fault, ResetConnections | EndConnections | HalfCloseConnections):
            return self._network.close(fault)
        elif isinstance(fault, CloseSockets):
            sockets = self._sockets(fault.who)
            self._keep(websocket.close(fault, sockets))
            return {"sockets": [socket.number for socket in sockets]}
        elif isinstance(fault, SendRawFrame):
            sockets = self._sockets(fault.who)
            websocket.send_raw(fault, sockets)
            return {"sockets": [socket.number for socket in sockets]}
        elif isinstance(fault, SendMessage):
            sockets = self._sockets(fault.who)
            message = Message(fault.type, fault.data)
            self._keep([asyncio.ensure_future(self._server.sockets.deliver(message, sockets))])
            return {"sockets": [socket.number for socket in sockets]}
        else:
            return self._forget(fault)
        return {}

    def _forget(self, fault: Fault) -> Json:
        if isinstance(fault, LoseQueue):
            return {"prompts": self._execution.lose_queue()}
        if isinstance(fault, ForgetPrompt):
            prompt_id = self._execution.forget_prompt(fault.prompt_id)
            return {"prompts": [] if prompt_id is None else [prompt_id]}
        assert isinstance(fault, LoseHistory)
        self._server.history.clear()
        return {}

    def _sockets(self, who: Who) -> list[Socket]:
        return [
            socket for socket in self._server.sockets.open if concerns(who, socket.sid, socket.ordinal, socket.number)
        ]

    def _keep(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        """Holds on to tasks until they are done: the loop itself would not."""
        for task in tasks:
            self._background.add(task)
            task.add_done_callback(self._background.discard)
