"""What holds for all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

# Tests are not timed: on a busy machine an example may take any time.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here, since the plain run knows no options of folders below."""
    parser.addoption(
        "--published-clients",
        action="store_true",
        help="download published ComfyUI clients from PyPI and npm and test the mock server with them",
    )
