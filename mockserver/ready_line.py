"""The one line by which a process of ours says to the program that started it that it is ready."""

from __future__ import annotations

import json
from typing import Any


def read_ready_line(line: bytes) -> dict[str, Any] | None:
    """What a line says, if it is a ready line: what is imported at every start of Python may print others before."""
    try:
        ready = json.loads(line)
    except ValueError:
        return None
    return ready if isinstance(ready, dict) else None
