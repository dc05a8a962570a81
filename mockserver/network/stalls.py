"""Packet loss as an application sees it: TCP loses no byte, it stalls.

A model of a sender's loss recovery (RFC 6298, RFC 5681), for messages that come one by one as well as for bulk. A lost
segment is found when a later one gets through and the acknowledgement of that one returns (fast retransmit), one
segment for each such acknowledgement and each segment at most once; else, or when the retransmission is lost as well,
when the retransmission timer runs out: after 200 ms, doubled each time, at most four times. While a retransmission is
known to be lost the sender is in recovery by timer, and nothing is found otherwise. All bytes behind a hole wait.

Compared with real loss on Linux 6.18 (100 bytes each 20 ms, both directions lossy): late by more than 5 ms are 0.8-3.8,
6-19 and 24-37 % of the messages at a loss of 1, 5 and 10 %; here about 1.2, 8.6 and 25 %.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from mockserver.network.flows import Flow, Item, Mark, Segments, Start

if TYPE_CHECKING:
    from mockserver.network.stages import Stall

FIRST_TIMEOUT = 0.2
"""Seconds until a segment is sent again: Linux' shortest one (TCP_RTO_MIN)."""

MOST_TIMEOUTS = 4

FIRST_SYN_TIMEOUT = 1.0
"""Seconds until a SYN is sent again (RFC 6298, 2.1), doubled each time."""

MOST_LOST_SYNS = 4


class _Luck:
    """Any number of yes-or-no draws from one: what a decision leaves of a draw is as good as a fresh one."""

    def __init__(self, draw: float) -> None:
        self._draw = draw

    def is_lost(self, loss: float) -> bool:
        lost = self._draw < loss
        if lost:
            self._draw /= loss
        elif loss < 1:
            self._draw = (self._draw - loss) / (1 - loss)
        return lost


class _Segment:
    def __init__(self, item: Item, luck: _Luck | None = None) -> None:
        self.item = item
        self.luck = luck
        self.is_through = True
        self.again_at = math.inf
        self.timeout = FIRST_TIMEOUT
        self.timeouts = 0
        self.sent_again = False


class StallFlow(Flow):
    """Holds what is behind a lost segment until it has got through."""

    def __init__(self, stall: Stall, start: Start) -> None:
        super().__init__(start)
        self._loss = stall.loss
        self._draws = start.draws
        self._segments = Segments(whole_writes=start.whole_writes)
        self._sent: deque[_Segment] = deque()
        self._lost: list[_Segment] = []
        self._connected_at = start.now + (self._time_to_connect() if start.is_new else 0.0)

    def take(self, item: Item, now: float) -> None:
        """Sends it in segments. A mark is never lost, but waits its turn."""
        self._look_at_timers(now)
        if isinstance(item, Mark):
            self._sent.append(_Segment(item))
            return
        self.held += len(item)
        for piece, begins in self._segments.cut(item, now):
            if begins:
                self._send(piece, now)
            else:
                self._continue(piece)

    def due(self) -> float | None:
        """When the first segment is through, as far as is known by now."""
        if not self._sent:
            return None
        first = self._sent[0]
        return self._connected_at if first.is_through else max(self._connected_at, first.again_at)

    def give(self, now: float) -> Item | None:
        """The next segment, if it is through."""
        self._look_at_timers(now)
        if not self._sent or not self._sent[0].is_through or self._connected_at > now:
            return None
        item = self._sent.popleft().item
        if isinstance(item, bytes):
            self.held -= len(item)
        return item

    def release(self) -> list[Item]:
        """Everything: nothing is lost any more."""
        released = [segment.item for segment in self._sent]
        self._sent.clear()
        self._lost.clear()
        self.held = 0
        return released

    def _send(self, piece: bytes, now: float) -> None:
        luck = _Luck(self._draws.at(self._segments.begin))
        segment = _Segment(piece, luck)
        self._sent.append(segment)
        if luck.is_lost(self._loss):
            segment.is_through = False
            segment.again_at = now + segment.timeout
            self._lost.append(segment)
            self._act(offset=self._segments.begin)
        elif self._lost and not luck.is_lost(self._loss):
            self._retransmit_first(now)

    def _continue(self, piece: bytes) -> None:
        """The rest of a segment, read later, shares its fate."""
        last = self._sent[-1] if self._sent else None
        if last is not None and isinstance(last.item, bytes):
            last.item += piece
        else:
            self._sent.append(_Segment(piece))

    def _retransmit_first(self, now: float) -> None:
        if any(segment.sent_again for segment in self._lost):
            return
        segment = self._lost[0]
        segment.sent_again = True
        if self._is_lost_again(segment):
            segment.again_at = now + segment.timeout
        else:
            self._lost.pop(0)
            segment.is_through = True

    def _look_at_timers(self, now: float) -> None:
        still_lost: list[_Segment] = []
        for segment in self._lost:
            while segment.again_at <= now:
                segment.timeouts += 1
                if segment.timeouts >= MOST_TIMEOUTS or not self._is_lost_again(segment):
                    segment.is_through = True
                    break
                segment.sent_again = True
                segment.timeout *= 2
                segment.again_at += segment.timeout
            if not segment.is_through:
                still_lost.append(segment)
        self._lost = still_lost

    def _is_lost_again(self, segment: _Segment) -> bool:
        assert segment.luck is not None
        return segment.luck.is_lost(self._loss)

    def _time_to_connect(self) -> float:
        """Seconds that connecting takes longer. The kernel has connected already: the first bytes wait instead."""
        luck = _Luck(self._draws.at(-1))
        seconds = 0.0
        for attempt in range(MOST_LOST_SYNS):
            if not luck.is_lost(self._loss):
                break
            seconds += FIRST_SYN_TIMEOUT * 2**attempt
            self._act(syn=attempt + 1)
        return seconds
