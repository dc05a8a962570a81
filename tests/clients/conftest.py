"""Published clients are tested in a session of their own, since they must be downloaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _asked_for(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--published-clients"):
        pytest.skip("published clients are only downloaded and tested with --published-clients")


@pytest.fixture(scope="session")
def clients_folder(request: pytest.FixtureRequest) -> Path:
    """Where published clients are installed, and stay for the next session."""
    return Path(os.environ.get("COMFY_TEST_CLIENTS_DIR") or request.config.rootpath / ".clients").resolve()
