"""Which ports a process holds: for suites, as nobody sees it from outside unless it listens."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path


def held_ports() -> set[int]:
    """The ports to which sockets of this process are bound, listening or not."""
    ports = set()
    for entry in Path("/dev/fd").iterdir():
        with suppress(OSError):  # closed meanwhile, or no socket
            descriptor = os.dup(int(entry.name))
            try:
                ports |= _ports_of(descriptor)
            finally:
                os.close(descriptor)
    return ports


def _ports_of(descriptor: int) -> set[int]:
    opened = socket.socket(fileno=descriptor)
    try:
        return {opened.getsockname()[1]} if opened.family in (socket.AF_INET, socket.AF_INET6) else set()
    finally:
        opened.detach()
