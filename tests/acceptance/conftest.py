"""What acceptance tests share: mock servers that end with their test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from faulty import Life, Lives
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


@pytest.fixture(scope="session")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """Starts lives that are ready in a moment."""
    lives = Lives(tmp_path_factory.mktemp("lives"))
    yield lives
    lives.end()


@pytest.fixture
def start_life(lives: Lives) -> Iterator[Callable[..., Life]]:
    """Starts lives with the given arguments, silent when idle, and ends them with the test."""
    started: list[Life] = []

    def start(*arguments: str) -> Life:
        started.append(lives.start("--status-interval", "0", "--node-duration", "0.001", *arguments))
        return started[-1]

    yield start
    for life in started:
        life.end()
        assert "Traceback" not in life.log, life.log


@pytest.fixture
def life(start_life: Callable[..., Life]) -> Life:
    """A life with quick nodes."""
    return start_life()
