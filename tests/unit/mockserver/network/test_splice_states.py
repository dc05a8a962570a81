"""Who is paused while a splice is in, and after it: with a wire that does what a test says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp.base_protocol import BaseProtocol

from mockserver.network.draws import Direction, Draws
from mockserver.network.flows import Start
from mockserver.network.pipe import HIGH_WATER, LOW_WATER
from mockserver.network.splice import Splice
from mockserver.network.stages import Cut, Hold, Latency, Slicer, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aiohttp.web_protocol import RequestHandler


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.protocol: Any = None
        self.reads = True
        self.closing = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_reading(self) -> bool:
        return self.reads

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def can_write_eof(self) -> bool:
        return False


class Application(BaseProtocol):
    """Aiohttp's own states, and what it is given."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.events: list[Any] = []

    def data_received(self, data: bytes) -> None:
        self.events.append(data)

    def eof_received(self) -> None:
        self.events.append("end")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append(("lost", exc))
        super().connection_lost(exc)


class Spliced:
    """An application on a wire, with a splice that is not in yet."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.application = Application()
        self.application.connection_made(self.wire)
        self.wire.set_protocol(self.application)
        self.removals = 0
        self.splice = Splice(
            self.wire,
            cast("RequestHandler", self.application),
            websocket=lambda: None,
            after_change=lambda: None,
            on_removal=self._count,
        )

    def _count(self) -> None:
        self.removals += 1

    def set(self, to_client: Stage | None = None, to_server: Stage | None = None) -> None:
        """Puts stages in, new ones, or none."""
        stages = {Direction.to_client: to_client, Direction.to_server: to_server}
        self.splice.set_flows(
            {
                direction: [] if stage is None else [stage.flow(Start(_draws(direction), 0.0, lambda _: None))]
                for direction, stage in stages.items()
            },
            is_final=True,
        )

    @property
    def facade(self) -> asyncio.Transport:
        """What the application writes to."""
        assert self.application.transport is not None
        return self.application.transport

    @property
    def is_out(self) -> bool:
        """Whether all is as it was before."""
        return self.wire.protocol is self.application and self.removals == 1


def _draws(direction: Direction) -> Draws:
    return Draws(1, "me", 1, direction, "fault")


def spliced(test: Callable[[Spliced], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs a test in a loop."""

    def run() -> None:
        async def call() -> None:
            await asyncio.wait_for(test(Spliced()), 30)

        asyncio.run(call())

    run.__name__ = run.__qualname__ = test.__name__
    return run


@spliced
async def test_slices_are_writes_of_their_own(spliced: Spliced) -> None:
    spliced.splice.insert()
    spliced.set(to_client=Slicer(2))
    writes: list[bytes] = []
    spliced.wire.write = writes.append  # type: ignore[method-assign,assignment]
    spliced.facade.write(b"slices")
    assert writes == [b"sl", b"ic", b"es"]


@spliced
async def test_the_application_pauses_when_the_wire_does_though_the_pipe_is_empty(spliced: Spliced) -> None:
    spliced.splice.insert()
    spliced.set(to_client=Latency(0.0))
    spliced.wire.protocol.pause_writing()
    assert spliced.application._paused
    spliced.facade.write(b"while paused")
    assert spliced.wire.written == b""
    spliced.wire.protocol.resume_writing()
    assert not spliced.application._paused
    assert spliced.wire.written == b"while paused"


@spliced
async def test_the_application_pauses_when_the_pipe_is_full_and_is_told_once(spliced: Spliced) -> None:
    spliced.splice.insert()
    spliced.set(to_client=Hold())
    spliced.facade.write(b"x" * (HIGH_WATER - 1))
    assert not spliced.application._paused
    spliced.facade.write(b"x")
    assert spliced.application._paused
    spliced.facade.write(b"x")
    spliced.wire.protocol.pause_writing()
    spliced.wire.protocol.resume_writing()
    assert spliced.application._paused
    spliced.set()
    assert not spliced.application._paused
    assert len(spliced.wire.written) == HIGH_WATER + 1
    assert spliced.is_out


@spliced
async def test_a_pause_of_the_wire_outlasts_the_splice(spliced: Spliced) -> None:
    spliced.application.pause_writing()
    spliced.splice.insert()
    spliced.set(to_client=Latency(0.0))
    assert spliced.application._paused
    spliced.set()
    assert spliced.is_out
    assert spliced.application._paused
    spliced.wire.protocol.resume_writing()
    assert not spliced.application._paused


@spliced
async def test_the_wire_resumes_while_a_splice_is_in_that_was_put_in_when_it_paused(spliced: Spliced) -> None:
    spliced.application.pause_writing()
    spliced.splice.insert()
    spliced.set(to_client=Hold())
    spliced.wire.protocol.resume_writing()
    assert not spliced.application._paused


@spliced
async def test_the_wire_is_read_until_the_pipe_is_full(spliced: Spliced) -> None:
    spliced.splice.insert()
    spliced.set(to_server=Hold())
    spliced.wire.protocol.data_received(b"x" * (HIGH_WATER - 1))
    assert spliced.wire.reads
    spliced.wire.protocol.data_received(b"x")
    assert not spliced.wire.reads
    spliced.set()
    assert spliced.wire.reads
    assert sum(map(len, spliced.application.events)) == HIGH_WATER


@spliced
async def test_reading_goes_on_at_the_low_water_mark(spliced: Spliced) -> None:
    spliced.splice.insert()
    spliced.set(to_server=Hold())
    spliced.facade.pause_reading()
    for _ in range(3):
        spliced.wire.protocol.data_received(b"x" * LOW_WATER)
    assert not spliced.wire.reads
    seen: list[tuple[int, bool]] = []
    spliced.application.data_received = lambda data: seen.append((len(data), spliced.wire.reads))  # type: ignore[method-assign]
    spliced.set()
    assert not seen
    spliced.facade.resume_reading()
    assert [length for length, _ in seen] == [LOW_WATER] * 3
    assert spliced.wire.reads
    assert spliced.is_out


@spliced
async def test_an_application_that_does_not_read_gets_nothing_and_is_left_paused(spliced: Spliced) -> None:
    spliced.wire.pause_reading()
    spliced.splice.insert()
    spliced.set(to_server=Latency(0.0))
    assert spliced.wire.reads  # into the pipe
    spliced.wire.protocol.data_received(b"early")
    assert spliced.application.events == []
    spliced.set()
    assert not spliced.is_out  # for it holds bytes
    assert spliced.application.events == []
    spliced.facade.resume_reading()
    assert spliced.application.events == [b"early"]
    assert spliced.is_out


@spliced
async def test_a_pause_of_the_application_outlasts_the_splice(spliced: Spliced) -> None:
    spliced.splice.insert()
    spliced.set(to_server=Latency(0.0))
    spliced.facade.pause_reading()
    spliced.set()
    assert spliced.is_out
    assert not spliced.wire.reads


@spliced
async def test_a_transport_that_the_application_has_given_up_is_not_given_back(spliced: Spliced) -> None:
    spliced.splice.insert()
    spliced.set(to_client=Hold())
    spliced.facade.write(b"held")
    spliced.facade.close()
    spliced.application.transport = None
    assert not spliced.wire.closing
    spliced.set()
    assert (spliced.wire.written, spliced.wire.closing) == (b"held", True)
    spliced.wire.protocol.connection_lost(None)
    assert spliced.application.transport is None
    assert spliced.application.events == [("lost", None)]


@spliced
async def test_the_loss_of_the_wire_waits_behind_what_was_received(spliced: Spliced) -> None:
    spliced.splice.insert()
    spliced.set(to_server=Hold())
    reason = ConnectionResetError()
    spliced.wire.protocol.data_received(b"held")
    spliced.wire.closing = True
    spliced.wire.protocol.connection_lost(reason)
    assert spliced.application.events == []
    spliced.facade.write(b"into the void")
    spliced.set()
    assert spliced.application.events == [b"held", ("lost", reason)]
    assert spliced.wire.written == b""


@spliced
async def test_an_end_from_one_direction_ends_the_other(spliced: Spliced) -> None:
    spliced.splice.insert()
    spliced.set(to_client=Hold(), to_server=Cut(1, "fin"))
    spliced.facade.write(b"held")
    spliced.wire.protocol.data_received(b"x")
    assert spliced.wire.closing
    spliced.set()
    assert spliced.wire.written == b""


@pytest.mark.parametrize("written", [b"bytes", bytearray(b"bytes"), memoryview(b"bytes")])
def test_anything_like_bytes_can_be_written(written: Any) -> None:
    @spliced
    async def run(spliced: Spliced) -> None:
        spliced.splice.insert()
        spliced.set(to_client=Latency(0.0))
        spliced.facade.write(written)
        spliced.facade.writelines([written, b"", written])
        assert spliced.wire.written == b"bytes" * 3
        assert spliced.facade.get_extra_info("nothing", 7) == 7

    run()
