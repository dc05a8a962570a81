"""The directory that is served at ``/``: a small page of our own, or ComfyUI's front-end."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mockserver.settings import Settings

_DATA = Path(__file__).parent.parent / "data"
_OWN_PAGE = _DATA / "web"
_EXTENSIONS_FILE = _DATA / "extensions.json"
_TEMPLATES = _DATA / "templates"
_PACKAGE = "comfyui_frontend_package"


class NoFrontend(Exception):
    """The front-end that was asked for is not there. The text says how to get it."""


class WebRoot:
    """The web root of one life."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = (_OWN_PAGE if directory is None else directory).resolve()
        self._is_own_page = directory is None

    @classmethod
    def of(cls, settings: Settings) -> WebRoot:
        """The one that the settings ask for. Raises NoFrontend."""
        if settings.front_end_root is not None:
            return cls(settings.front_end_root)
        return cls(_installed_frontend() if settings.frontend else None)

    @property
    def templates(self) -> Path:
        """The directory at ``/templates``: workflows that the front-end offers, instead of ComfyUI's."""
        return _TEMPLATES

    @property
    def index(self) -> Path:
        """The page at ``/``."""
        return self.directory / "index.html"

    def extensions(self) -> list[str]:
        """Paths of the front-end's extensions; beside the page of our own those that ComfyUI 0.3.64 would list."""
        if self._is_own_page:
            listed: list[str] = json.loads(_EXTENSIONS_FILE.read_text(encoding="utf-8"))
            return listed
        found = sorted(self.directory.glob("extensions/**/*.js"))
        return [f"/{file.relative_to(self.directory).as_posix()}" for file in found]


def _installed_frontend() -> Path:
    spec: Any = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise NoFrontend(
            f"{_PACKAGE.replace('_', '-')} is not installed; pip install robotframework-comfymock[frontend]"
        )
    return Path(spec.origin).parent / "static"
