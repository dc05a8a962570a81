"""Robot Framework library that tells whether a client of ComfyUI survives an outage of its server."""

from ComfyMockLibrary.library import ComfyMockLibrary
from ComfyMockLibrary.types import (
    AutoClose,
    BackoffStrategy,
    ConnectionState,
    PromptResult,
    StopSignal,
    TimelineLogging,
)
from mockserver import __version__

__all__ = [
    "AutoClose",
    "BackoffStrategy",
    "ComfyMockLibrary",
    "ConnectionState",
    "PromptResult",
    "StopSignal",
    "TimelineLogging",
    "__version__",
]
