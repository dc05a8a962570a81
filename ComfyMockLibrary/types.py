"""The closed sets of words that keywords and the engine share."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Literal


class ConnectionState(Enum):
    """State of a client's websocket connection.

    - ``connecting``: its very first attempt to connect is under way.
    - ``connected``: the websocket is open.
    - ``disconnected``: there is no connection, and nobody tries to get one.
    - ``reconnecting``: there is no connection, and attempts to get one are made, each after its delay.
    - ``failed``: the last attempt has failed; no further one is made.
    """

    connecting = "connecting"
    connected = "connected"
    disconnected = "disconnected"
    reconnecting = "reconnecting"
    failed = "failed"


class StopSignal(Enum):
    """How a server process is ended.

    - ``SIGTERM``: graceful stop: close frames to all clients, then exit status 0.
    - ``SIGINT``: the same, as Ctrl-C in a terminal does it.
    - ``SIGKILL``: crash: the process is gone at once and can do nothing about it.
    """

    SIGTERM = "SIGTERM"
    SIGINT = "SIGINT"
    SIGKILL = "SIGKILL"


class BackoffStrategy(Enum):
    """How the delay before a reconnection attempt grows with the number of the attempt.

    - ``exponential``: ``base_delay``, then twice as long each time.
    - ``linear``: ``base_delay``, then longer by ``base_delay`` each time.
    - ``constant``: always ``base_delay``.
    """

    exponential = "exponential"
    linear = "linear"
    constant = "constant"


class AutoClose(Enum):
    """When servers and clients are closed that a suite left open.

    - ``TEST``: what a test opened when that test ends; what a suite setup opened when that suite ends.
    - ``SUITE``: everything when the suite ends that opened it.
    - ``MANUAL``: only by keywords, or when the run ends.
    """

    TEST = "TEST"
    SUITE = "SUITE"
    MANUAL = "MANUAL"


class TimelineLogging(Enum):
    """When the timeline of servers and clients is put into the log by itself.

    - ``ON_FAILURE``: at the end of each test that fails while there are servers or clients.
    - ``ALWAYS``: at the end of each test while there are any.
    - ``NEVER``: only by `Log Timeline`.
    """

    ON_FAILURE = "ON_FAILURE"
    ALWAYS = "ALWAYS"
    NEVER = "NEVER"


class PromptResult(Enum):
    """How a prompt ended.

    - ``success``: it ran to its end.
    - ``failure``: a node failed, or it was interrupted.
    - ``lost``: the server knows nothing of it any more: neither in the queue nor in the history, as after a restart.
    """

    success = "success"
    failure = "failure"
    lost = "lost"


class Direction(Enum):
    """Which way the bytes go that a fault concerns.

    - ``to_client``: what the server sends.
    - ``to_server``: what clients send.
    - ``both``: all bytes.
    """

    to_client = "to_client"
    to_server = "to_server"
    both = "both"


class Distribution(Enum):
    """How delays vary around their middle.

    - ``fixed``: not at all.
    - ``uniform``: evenly, by up to ``jitter`` to either side.
    - ``normal``: mostly little, with ``jitter`` as the standard deviation.
    - ``lognormal``: mostly little and never to less, with some long delays.
    - ``pareto``: mostly little and never to less, with few very long delays.
    """

    fixed = "fixed"
    uniform = "uniform"
    normal = "normal"
    lognormal = "lognormal"
    pareto = "pareto"


class ConnectionEnding(Enum):
    """How a connection ends.

    - ``reset``: with RST; what was on the way is lost.
    - ``fin``: with FIN, behind what was sent before.
    """

    reset = "reset"
    fin = "fin"


class ClosingPart(Enum):
    """What of the end of a connection is late.

    - ``fin``: the end of the TCP connection.
    - ``close_reply``: the answer to a client's close frame.
    """

    fin = "fin"
    close_reply = "close_reply"


class RawFrame(Enum):
    """A websocket frame that breaks RFC 6455, or one that is rare.

    A client must fail the connection at these:
    - ``rsv_bit``: a reserved bit is set though no extension was agreed.
    - ``reserved_opcode``: opcode 3, which means nothing.
    - ``masked``: masked, as only clients may.
    - ``fragmented_control``: a ping that is not final.
    - ``long_control``: a ping with more than 125 bytes.
    - ``bad_utf8``: a text message that is no UTF-8.
    - ``continuation_without_start``: the rest of a message that was never begun.
    - ``one_byte_close``: a close frame with half of a code.

    A client may have limits for these:
    - ``length_63_bits``: announces the longest payload that there is, and sends one byte of it.
    - ``oversized_announced``: announces ``size`` bytes and sends none.
    - ``oversized``: a text message of really ``size`` bytes.
    - ``truncated``: a message that breaks off; nothing follows.

    A client must take these:
    - ``unasked_pong``: a pong without a ping.
    - ``one_byte_fragments``: a message in fragments of one byte, with a ping in the middle.
    """

    rsv_bit = "rsv_bit"
    reserved_opcode = "reserved_opcode"
    masked = "masked"
    length_63_bits = "length_63_bits"
    fragmented_control = "fragmented_control"
    long_control = "long_control"
    bad_utf8 = "bad_utf8"
    continuation_without_start = "continuation_without_start"
    one_byte_close = "one_byte_close"
    unasked_pong = "unasked_pong"
    oversized_announced = "oversized_announced"
    oversized = "oversized"
    one_byte_fragments = "one_byte_fragments"
    truncated = "truncated"


class HttpMethod(Enum):
    """Method of the requests that a fault concerns; ``ANY`` for all of them."""

    ANY = "ANY"
    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"
    OPTIONS = "OPTIONS"


class FaultEnd(Enum):
    """How long a fault lasts that does not end by itself and is not cleared.

    - ``test``: until the test ends that sets it; until the suite ends if a suite setup sets it.
    - ``suite``: until the suite ends.
    - ``cleared``: until `Clear Fault` or `Clear All Faults`, or until its server is closed.
    """

    test = "test"
    suite = "suite"
    cleared = "cleared"


class Moment(Enum):
    """When a fault begins that waits for a message: ``before`` or ``after`` the message goes out."""

    before = "before"
    after = "after"


EventSource = Literal["client", "server"]
"""Who an event is about: ``client`` for its own connection state, ``server`` for a message of the server."""

Profile = Literal["0.3", "0.38", "latest"]
"""Version of ComfyUI to behave as: ``0.3`` (0.3.64, recorded) or ``0.38`` (``latest``; from its source)."""

DelayFunction = Callable[[int], float]
"""A backoff strategy of one's own: number of the attempt (from 1) in, delay in seconds out."""
