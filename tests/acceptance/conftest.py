"""What acceptance tests share: mock servers that end with their test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from mockserver_process import MockProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    StartMockProcess = Callable[..., MockProcess]


@pytest.fixture
def start_mock_process(tmp_path: Path) -> Iterator[StartMockProcess]:
    """Starts mock servers with the given arguments, each a process of its own, and ends them with the test."""
    started: list[MockProcess] = []

    def start(*arguments: str, **options: Any) -> MockProcess:
        started.append(MockProcess(tmp_path / f"mockserver-{len(started)}", *arguments, **options))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture
def mock_process(start_mock_process: StartMockProcess) -> MockProcess:
    """A mock server with its defaults, but silent when idle and without delays."""
    return start_mock_process("--status-interval", "0", "--node-duration", "0")
