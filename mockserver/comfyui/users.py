"""Users, and where the files of each lie. Without ``--multi-user`` all requests are those of one user, ``default``."""

from __future__ import annotations

import json
import re
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mockserver.comfyui.paths import below

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mockserver.comfyui.folders import Folders

_DEFAULT = "default"
_HEADER = "comfy-user"
_FILE = "users.json"


class Users:
    """The users of one life and their folders."""

    def __init__(self, folders: Folders, *, multi_user: bool) -> None:
        self._folders = folders
        self.multi_user = multi_user
        self.names: dict[str, str] = {} if multi_user else {_DEFAULT: _DEFAULT}
        """Names by id."""
        if multi_user:
            self._read()

    def id_of(self, headers: Mapping[str, str]) -> str:
        """The user that a request is from. Raises KeyError for an unknown one."""
        user = headers.get(_HEADER, _DEFAULT) if self.multi_user else _DEFAULT
        if user not in self.names:
            raise KeyError(f"Unknown user: {user}")
        return user

    def add(self, name: str) -> str:
        """Adds a user and returns the id. Raises ValueError for a blank name."""
        name = name.strip()
        if not name:
            raise ValueError("username not provided")
        user = f"{re.sub('[^a-zA-Z0-9-_]+', '-', name)}_{uuid.uuid4()}"
        self.names[user] = name
        (self._folders["user"] / _FILE).write_text(json.dumps(self.names), encoding="utf-8")
        return user

    def folder(self, headers: Mapping[str, str]) -> Path | None:
        """The folder of the request's user, which may not exist. None if it is outside; KeyError as ``id_of``."""
        return below(self._folders["user"], self.id_of(headers))

    def file(self, headers: Mapping[str, str], name: str, *, make_parents: bool = True) -> Path | None:
        """Where a file of the request's user lies, with its parents made. None if it is outside; KeyError as above.

        Names are decoded once more here than by HTTP, as in the real server.
        """
        folder = self.folder(headers)
        path = None if folder is None else below(folder, unquote(name) if "%" in name else name)
        if path is not None and make_parents and not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            content = json.loads((self._folders["user"] / _FILE).read_text(encoding="utf-8"))
            if isinstance(content, dict):
                self.names = {str(user): str(name) for user, name in content.items()}
