"""Where names in requests lead: reckoned as the real server reckons it, and never outside of a folder by a link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

FileFolder = Literal["output", "input", "temp"]
"""The directories that file names and queries can name."""

FILE_FOLDERS: tuple[FileFolder, ...] = ("output", "input", "temp")


def below(folder: Path, *names: str) -> Path | None:
    """The path that the names lead to from a resolved folder; None if that is outside of it.

    Nothing needs to exist. What cannot be the name of a file at all (a NUL, too long) comes back as it is: whoever
    opens it gets the system's error, as the real server does.
    """
    path = Path(os.path.abspath(os.path.join(folder, *names)))  # noqa: PTH100, PTH118  (resolve would follow links)
    if not _contains(folder, path):
        return None
    return path if stays_inside(folder, path) else None


def stays_inside(folder: Path, path: Path) -> bool:
    """Whether a path below a resolved folder is still there when all links on the way are followed."""
    try:
        return _contains(folder, path.resolve())
    except (OSError, ValueError, RuntimeError):
        # The last name is none, or the way goes round in circles. Folders could still be made on the way there.
        return path == folder or stays_inside(folder, path.parent)


def without_annotation(name: str) -> tuple[str, FileFolder | None]:
    """A file name without the ``[output]``, ``[input]`` or ``[temp]`` at its end, and the folder that this names.

    The character before the bracket goes too, whatever it is: it should be a blank.
    """
    for folder in FILE_FOLDERS:
        if name.endswith(f"[{folder}]"):
            return name[: -len(folder) - 3], folder
    return name, None


def _contains(folder: Path, path: Path) -> bool:
    return path == folder or folder in path.parents
