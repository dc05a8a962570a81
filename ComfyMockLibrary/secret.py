"""``Secret`` of Robot Framework 7.4 and newer, and a stand-in for older versions."""

from __future__ import annotations

try:
    from robot.api.types import Secret
except ImportError:

    class Secret:  # type: ignore[no-redef]
        """A value that is not shown."""

        def __init__(self, value: str) -> None:
            self.value = value

        def __str__(self) -> str:
            return "<secret>"


__all__ = ["Secret"]
