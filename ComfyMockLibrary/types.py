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


class PromptResult(Enum):
    """How a prompt ended.

    - ``success``: it ran to its end.
    - ``failure``: a node failed, or it was interrupted.
    - ``lost``: the server knows nothing of it any more: neither in the queue nor in the history, as after a restart.
    """

    success = "success"
    failure = "failure"
    lost = "lost"


EventSource = Literal["client", "server"]
"""Who an event is about: ``client`` for its own connection state, ``server`` for a message of the server."""

Profile = Literal["0.3", "0.38", "latest"]
"""Version of ComfyUI to behave as: ``0.3`` (0.3.64, recorded) or ``0.38`` (``latest``; from its source)."""

DelayFunction = Callable[[int], float]
"""A backoff strategy of one's own: number of the attempt (from 1) in, delay in seconds out."""
