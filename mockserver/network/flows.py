"""What stages do to the bytes of one direction. Pure: the time is handed in, and nothing is read or written here.

A flow takes items in the order of the stream and gives them again in the same order, each when it is due. Items are
bytes, and marks for what a connection can come to.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mockserver.network.draws import Draws
    from mockserver.network.stages import Bandwidth, Cut, Latency, Slicer, SlowClose

SEGMENT = 1460
"""Bytes that one TCP segment carries over Ethernet."""

PAUSE = 0.01
"""Seconds without bytes after which what comes next is taken for a message of its own."""

SLICE = 0.01
"""Seconds: a limited bandwidth lets bytes through in portions of this length."""


class Mark(Enum):
    """What is no byte but comes in order with bytes."""

    END = "end"
    """Nothing follows in this direction (FIN, while the other direction goes on)."""

    CLOSE = "close"
    """The connection is closed: FIN behind everything that was written."""

    RESET = "reset"
    """The connection is reset (RST) once what came before has arrived."""

    LOST = "lost"
    """The connection is gone."""


Item = bytes | Mark


@dataclass(frozen=True)
class Start:
    """What a flow begins with."""

    draws: Draws
    now: float
    strike: Callable[[dict[str, Any]], None]
    """To be told when the fault acts, with details."""

    is_new: bool = False
    """Whether the connection has just been accepted."""

    whole_writes: bool = False
    """Whether each portion of bytes is what an application wrote, and not what happened to be read at once."""


class Flow:
    """Gives everything at once, in order: what other flows change."""

    stops_reading = False
    """Whether reading of more bytes has to stop at once."""

    def __init__(self, start: Start) -> None:
        self.held = 0
        self._queue: deque[tuple[float, Item]] = deque()
        self._strike = start.strike
        self._has_struck = False
        self._taken = 0

    def take(self, item: Item, now: float) -> None:
        """Takes the next item of the stream."""
        self._append(now, item)

    def due(self) -> float | None:
        """When the next item can be given; None as long as nothing but further items or its removal changes that."""
        return self._queue[0][0] if self._queue else None

    def give(self, now: float) -> Item | None:
        """The next item, if it is due."""
        if not self._queue or self._queue[0][0] > now:
            return None
        return self._pop()

    def release(self) -> list[Item]:
        """Everything that is held, in order: the flow is taken away."""
        released = [item for _, item in self._queue]
        self._queue.clear()
        self.held = 0
        return released

    def _append(self, due: float, item: Item) -> None:
        self._queue.append((due, item))
        if isinstance(item, bytes):
            self.held += len(item)

    def _pop(self) -> Item:
        _, item = self._queue.popleft()
        if isinstance(item, bytes):
            self.held -= len(item)
        return item

    def _act_first(self, **details: Any) -> None:
        """Tells that the fault acts, the first time only."""
        if not self._has_struck:
            self._act(**details)

    def _act(self, **details: Any) -> None:
        self._has_struck = True
        self._strike(details)


class Segments:
    """Cuts a stream into what would be TCP segments, at places that do not depend on how it is read.

    The places are the multiples of 1,460 bytes, and the beginnings of messages: of each write where writes are known,
    otherwise of what comes after a pause of 10 ms.
    """

    def __init__(self, *, whole_writes: bool) -> None:
        self._whole_writes = whole_writes
        self._offset = 0
        self._last = -math.inf
        self.begin = 0
        """Where in the stream the segment begins that was cut last."""

    def cut(self, data: bytes, now: float) -> Iterator[tuple[bytes, bool]]:
        """The pieces, and whether each begins a segment."""
        begins = self._whole_writes or now - self._last >= PAUSE
        self._last = now
        position = 0
        while position < len(data):
            begins = begins or self._offset % SEGMENT == 0
            if begins:
                self.begin = self._offset
            piece = data[position : position + SEGMENT - self._offset % SEGMENT]
            position += len(piece)
            self._offset += len(piece)
            yield piece, begins
            begins = False


class LatencyFlow(Flow):
    """Gives everything a drawn time after it came, but nothing before what came earlier: the queue keeps the order."""

    def __init__(self, latency: Latency, start: Start) -> None:
        super().__init__(start)
        self._latency = latency
        self._draws = start.draws
        self._segments = Segments(whole_writes=start.whole_writes)
        self._delay = latency.delay_of(start.draws.at(0)) if latency.jitter else latency.delay

    def take(self, item: Item, now: float) -> None:
        """Each segment has a draw of its own."""
        self._act_first()
        if isinstance(item, Mark) or not self._latency.jitter:
            self._append(now + self._delay, item)
            return
        for piece, begins in self._segments.cut(item, now):
            if begins:
                self._delay = self._latency.delay_of(self._draws.at(self._segments.begin))
            self._append(now + self._delay, piece)


class _CuttingFlow(Flow):
    """Gives what it holds in pieces, which are cut off when they are due."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._position = 0
        self._free = -math.inf

    def due(self) -> float | None:
        """When the next piece is through."""
        if not self._queue:
            return None
        came, item = self._queue[0]
        begin = max(came, self._free)
        return begin if isinstance(item, Mark) else begin + self._passage(self._next_length(item))

    def give(self, now: float) -> Item | None:
        """The next piece."""
        due = self.due()
        if due is None or due > now:
            return None
        item = self._queue[0][1]
        if isinstance(item, Mark):
            return self._pop()
        self._act_first()
        length = self._next_length(item)
        piece = item[self._position : self._position + length]
        self._position += length
        self._taken += length
        self.held -= length
        self._free = due + self._gap()
        if self._position == len(item):
            self._queue.popleft()
            self._position = 0
        return piece

    def release(self) -> list[Item]:
        """What is held, without the pieces that were given."""
        released = super().release()
        if self._position and isinstance(released[0], bytes):
            released[0] = released[0][self._position :]
        self._position = 0
        return released

    def _next_length(self, item: bytes) -> int:
        return min(self._longest(), len(item) - self._position)

    def _longest(self) -> int:
        raise NotImplementedError

    def _passage(self, length: int) -> float:
        """Seconds that a piece takes."""
        return 0.0

    def _gap(self) -> float:
        """Seconds after a piece until the next may begin."""
        return 0.0


class BandwidthFlow(_CuttingFlow):
    """Lets so many bytes through in a second, in portions of 10 ms."""

    def __init__(self, bandwidth: Bandwidth, start: Start) -> None:
        super().__init__(start)
        self._rate = bandwidth.bytes_per_second

    def _longest(self) -> int:
        return max(1, int(self._rate * SLICE))

    def _passage(self, length: int) -> float:
        return length / self._rate


class SlicerFlow(_CuttingFlow):
    """Gives pieces of drawn lengths; draw number k is that of the k-th piece, whatever is read at once."""

    def __init__(self, slicer: Slicer, start: Start) -> None:
        super().__init__(start)
        self._slicer = slicer
        self._draws = start.draws
        self._piece = 0
        self._boundary = self._length_of_piece()

    def _longest(self) -> int:
        while self._boundary <= self._taken:
            self._piece += 1
            self._boundary += self._length_of_piece()
        return self._boundary - self._taken

    def _length_of_piece(self) -> int:
        variation = self._slicer.variation
        if not variation:
            return self._slicer.size
        return self._slicer.size - variation + int(self._draws.at(self._piece) * (2 * variation + 1))

    def _gap(self) -> float:
        return self._slicer.delay


class HoldFlow(Flow):
    """Gives nothing until it is taken away, and then everything."""

    def take(self, item: Item, now: float) -> None:
        """Keeps it."""
        self._act_first()
        super().take(item, now)

    def due(self) -> float | None:
        """Never."""
        return None

    def give(self, now: float) -> Item | None:
        """Nothing."""
        return None


class StopReadingFlow(HoldFlow):
    """Takes no more than what is on its way already, so that it is the kernel's buffers that fill."""

    stops_reading = True

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._act_first()


class SilenceFlow(HoldFlow):
    """Bytes vanish. Marks are kept: a connection that has ended meanwhile must not stay open for ever afterwards."""

    def take(self, item: Item, now: float) -> None:
        """Forgets bytes."""
        if isinstance(item, bytes):
            self._act_first()
        else:
            super().take(item, now)


class CutFlow(Flow):
    """Ends the connection after so many bytes; what comes later vanishes."""

    def __init__(self, cut: Cut, start: Start) -> None:
        super().__init__(start)
        self._cut = cut
        self._is_cut = False
        if not cut.after:
            self._end(start.now)

    def take(self, item: Item, now: float) -> None:
        """Passes what comes before the cut on."""
        if isinstance(item, Mark):
            self._append(now, item)
            return
        passed = item[: self._cut.after - self._taken]
        self._taken += len(passed)
        if passed:
            self._append(now, passed)
        if self._taken == self._cut.after and not self._is_cut:
            self._end(now)

    def _end(self, now: float) -> None:
        self._is_cut = True
        self._append(now, Mark.RESET if self._cut.ending == "reset" else Mark.CLOSE)
        self._act(offset=self._taken, ending=self._cut.ending)


class SlowCloseFlow(Flow):
    """Delays the end of the connection, and no byte."""

    def __init__(self, slow_close: SlowClose, start: Start) -> None:
        super().__init__(start)
        self._delay = slow_close.delay

    def take(self, item: Item, now: float) -> None:
        """Delays marks."""
        if isinstance(item, bytes):
            self._append(now, item)
        else:
            self._act_first()
            self._append(now + self._delay, item)
