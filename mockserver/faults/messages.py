"""Faults of messages: what is dropped, doubled, late or out of order on the way to each socket."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from mockserver.comfyui.sockets import NOBODY
from mockserver.faults.events import Occurrence, is_struck
from mockserver.faults.kinds import DelayMessage, DropMessage, DuplicateMessage, MessageFault, ReorderMessage, Who
from mockserver.network.draws import Direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockserver.comfyui.messages import AnyMessage
    from mockserver.comfyui.ports import Deliver
    from mockserver.comfyui.sockets import Socket, Sockets
    from mockserver.faults.background import Background
    from mockserver.faults.forgotten import Forgotten
    from mockserver.faults.registry import Registry, Standing


def concerns(who: Who, socket: Socket) -> bool:
    """Whether a websocket is one that a fault concerns: the n-th of its client, or of all."""
    if who.client_id is None:
        return who.connection in (None, socket.number)
    return who.client_id == socket.sid and who.connection in (None, socket.ordinal)


class MessageFaults:
    """The outgoing port: every message passes here, in the order in which they are published."""

    def __init__(self, registry: Registry, forgotten: Forgotten, background: Background) -> None:
        self._registry = registry
        self._forgotten = forgotten
        self._background = background
        self._held: defaultdict[int, list[tuple[int, AnyMessage]]] = defaultdict(list)
        """By socket: messages that others go ahead of, each with how many still do."""

    async def send(self, message: AnyMessage, sid: str | None, receivers: Sequence[Socket], deliver: Deliver) -> None:
        """Sends a message as the faults have it. What waits for this message begins before or after it."""
        occurrence = Occurrence.of_message(message, sid if sid != NOBODY else None)
        if self._forgotten.silences(occurrence):
            return
        self._registry.notice(occurrence, "before")
        faults = self._registry.active(MessageFault)
        if faults or self._held:
            await self._send_each(message, occurrence, receivers, deliver, faults)
        else:
            await deliver(message, receivers)
        self._registry.notice(occurrence, "after")

    async def _send_each(
        self,
        message: AnyMessage,
        occurrence: Occurrence,
        receivers: Sequence[Socket],
        deliver: Deliver,
        faults: list[tuple[Standing, MessageFault]],
    ) -> None:
        plain: list[Socket] = []
        for socket in receivers:
            struck = self._first_due(occurrence, socket, faults)
            if struck is None and socket.number not in self._held:
                plain.append(socket)
            elif struck is None:
                await deliver(message, [socket])
                await self._let_go(socket, deliver)
            else:
                await self._strike(struck, message, socket, deliver)
        if plain or not receivers:
            await deliver(message, plain)

    def _first_due(
        self, occurrence: Occurrence, socket: Socket, faults: list[tuple[Standing, MessageFault]]
    ) -> tuple[Standing, MessageFault] | None:
        due = [
            (standing, fault)
            for standing, fault in faults
            if not standing.has_ended
            and concerns(fault.who, socket)
            and is_struck(fault, occurrence)
            and standing.is_due(Direction.to_client, socket.sid, socket.ordinal, count_by=socket.sid)
        ]
        if not due:
            return None
        self._registry.strike(
            due[0][0], socket.sid, client_id=socket.sid, socket=socket.number, message=occurrence.event
        )
        return due[0]

    async def _strike(
        self, struck: tuple[Standing, MessageFault], message: AnyMessage, socket: Socket, deliver: Deliver
    ) -> None:
        standing, fault = struck
        if isinstance(fault, DuplicateMessage):
            for _ in range(1 + fault.copies):
                await deliver(message, [socket])
            await self._let_go(socket, deliver)
        elif isinstance(fault, DelayMessage):
            self._background.add(_deliver_later(standing, fault, message, socket, deliver))
        elif isinstance(fault, ReorderMessage):
            self._held[socket.number].append((fault.behind, message))
        else:
            assert isinstance(fault, DropMessage)

    async def _let_go(self, socket: Socket, deliver: Deliver) -> None:
        """Counts a message that went ahead of held ones, and delivers those that enough have gone ahead of."""
        waiting = [(count - 1, message) for count, message in self._held.pop(socket.number, [])]
        left = [(count, message) for count, message in waiting if count > 0]
        if left:
            self._held[socket.number] = left
        for count, message in waiting:
            if count <= 0:
                await deliver(message, [socket])

    def settle(self, sockets: Sockets) -> None:
        """Delivers what is held back for later messages, once no fault holds it any more."""
        if self._held and not self._registry.active(ReorderMessage):
            held, self._held = self._held, defaultdict(list)
            for socket in sockets.open:
                waiting = [message for _, message in held.get(socket.number, [])]
                self._background.add(_deliver_all(waiting, socket, sockets.deliver))

    def forget(self, socket: Socket) -> None:
        """Lets go of what is held for a socket that has closed."""
        self._held.pop(socket.number, None)


async def _deliver_later(
    standing: Standing, fault: DelayMessage, message: AnyMessage, socket: Socket, deliver: Deliver
) -> None:
    await standing.pause(fault.delay)
    await deliver(message, [socket])


async def _deliver_all(waiting: list[AnyMessage], socket: Socket, deliver: Deliver) -> None:
    for message in waiting:
        await deliver(message, [socket])
