"""What the tests of the server's parts share."""

from __future__ import annotations

import pytest

from mockserver.comfyui.catalog import Catalog


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The node classes that come with the server."""
    return Catalog.load()
