"""What the tests of the network level share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp.web_fileresponse
import pytest
from wired import Wired

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def wired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wired]:
    """A small server whose connections are under rules."""
    monkeypatch.setattr(aiohttp.web_fileresponse, "NOSENDFILE", True)  # as a life has it from its environment
    server = Wired(tmp_path)
    yield server
    server.close()
