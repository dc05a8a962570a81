"""The directories of one life: outputs, inputs, temporary files, user data. Nothing outside them is read or written."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockserver.settings import Settings

FolderName = Literal["output", "input", "temp", "user"]
"""Names of the directories, as ``type`` has the first three in file entries and queries."""

FOLDER_NAMES: tuple[FolderName, ...] = get_args(FolderName)

_PREFIX = "mockserver-life-"
_PREFIX_OF_NEW = "mockserver-new-"
_LOCK = "lock"


class Folders:
    """Where one life keeps its files.

    Without a base directory they lie in a temporary one that is made when the first file is written. It goes with the
    life; one whose life was killed goes when a later life makes its own.
    """

    def __init__(self, settings: Settings) -> None:
        self._base = settings.base_directory
        self._given: dict[FolderName, Path | None] = {
            "output": settings.output_directory,
            "input": settings.input_directory,
            "temp": None if settings.temp_directory is None else settings.temp_directory / "temp",
            "user": settings.user_directory,
        }
        self._own: Path | None = None
        self._lock: int | None = None

    def __getitem__(self, name: FolderName) -> Path:
        """The directory of this name; it exists."""
        folder = self._given[name] or self._root() / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder.resolve()

    def inside(self, name: FolderName, *parts: str) -> Path | None:
        """The path that the parts lead to; None if that is outside of the directory, links followed."""
        return inside(self[name], *parts)

    def clear_temp(self) -> None:
        """Removes the temporary files that an earlier life left, as the real server does when it starts and stops."""
        known = self._given["temp"] is not None or self._base is not None or self._own is not None
        if known:
            shutil.rmtree(self["temp"], ignore_errors=True)

    def remove(self) -> None:
        """Removes the temporary files, and all others unless they are kept in a directory that was given."""
        self.clear_temp()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def _root(self) -> Path:
        if self._base is not None:
            return self._base
        if self._own is None:
            _remove_abandoned()
            new = Path(tempfile.mkdtemp(prefix=_PREFIX_OF_NEW))
            self._lock = os.open(new / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            _try_lock(self._lock)
            self._own = new.rename(new.with_name(new.name.replace(_PREFIX_OF_NEW, _PREFIX)))
        return self._own


def inside(folder: Path, *parts: str) -> Path | None:
    """The path that the parts lead to below a resolved folder; None if it is outside or no path at all."""
    try:
        path = folder.joinpath(*parts).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a loop of links
        return None
    return path if path == folder or folder in path.parents else None


def _remove_abandoned() -> None:
    """Removes the directories of lives that have ended without removing them: nobody holds their lock."""
    if sys.platform == "win32":
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("r+") as lock:
                abandoned = _try_lock(lock.fileno())
            if abandoned:
                shutil.rmtree(folder, ignore_errors=True)


def _try_lock(file: int) -> bool:
    """Whether the lock was free. The kernel gives it back when its process ends, however it ends."""
    if sys.platform == "win32":
        return False
    import fcntl

    lock: Callable[[int, int], None] = fcntl.flock
    try:
        lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
