"""A journal file that grows while it is read."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class JournalFile:
    """Gives each record once. A last line without its end is left for the next look."""

    def __init__(self, path: Path, containing: bytes = b"") -> None:
        """``containing`` leaves out, unread, the lines without these bytes."""
        self._path = path
        self._containing = containing
        self._position = 0

    @contextmanager
    def unread_if_interrupted(self) -> Iterator[None]:
        """Lets news be news again if nobody has come to take them all."""
        position = self._position
        try:
            yield
        except BaseException:
            self._position = position
            raise

    def news(self) -> list[dict[str, Any]]:
        """The records that are new. Without a file there are none."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                new = file.read()
        except OSError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self._position += len(whole)
        return [json.loads(line) for line in whole.splitlines() if self._containing in line]
