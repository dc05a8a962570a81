"""Published clients work with the mock server as they are: ``python -m pytest tests/clients --published-clients``."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from mockserver_process import DEADLINE, MockProcess
from published import CLIENTS, Published, environment, reports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from published import Report

PACE = ("--node-duration", "0.3")
"""For clients that a job of some milliseconds is too fast for; the others have a server with its defaults."""

each_client = pytest.mark.parametrize("client", CLIENTS, ids=str)


class Driven:
    """A driver that was started, has reported on so many jobs, and was told to end by the end of its stdin."""

    def __init__(self, client: Published, home: Path, log_file: Path, *arguments: str, jobs: int) -> None:
        said: list[str] = []
        with (
            log_file.open("wb") as log,
            subprocess.Popen(
                client.command(home, *arguments),
                cwd=home,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            watchdog = threading.Timer(DEADLINE, process.kill)
            watchdog.start()
            try:
                while len(reports(said)) < jobs and (line := process.stdout.readline()):
                    said.append(line)
                process.stdin.close()
                said += process.stdout
                self.exit_status = process.wait()
            finally:
                watchdog.cancel()
                process.kill()
        self.reports: list[Report] = reports(said)
        self.log = "".join(said) + log_file.read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def server(client: Published, tmp_path: Path) -> Iterator[MockProcess]:
    """A mock server with the pace that the client needs."""
    process = MockProcess(tmp_path / "mockserver", *(PACE if client.too_fast else ()))
    yield process
    process.end()


@pytest.fixture
def drive(client: Published, clients_folder: Path, server: MockProcess, tmp_path: Path) -> Callable[..., Driven]:
    """Leads the client through jobs on the server: ``drive(*arguments, jobs=1)``."""
    home = client.install(clients_folder)

    def start(*arguments: str, jobs: int = 1) -> Driven:
        url = f"http://127.0.0.1:{server.port}"
        return Driven(client, home, tmp_path / "driver.log", url, *arguments, jobs=jobs)

    return start


def _assert_all_well(client: Published, driven: Driven, server: MockProcess) -> None:
    context = f"{driven.log}\nServer:\n{server.log}"
    assert [report for report in driven.reports if not report["ok"]] == [], context
    assert driven.exit_status == 0, context
    assert "Traceback" not in server.log
    assert server.records("prompt"), context
    assert bool(server.records("socket_opened")) == client.websocket, context


@each_client
@pytest.mark.parametrize("graph", ["colour", "sampler"])
def test_a_client_gets_the_picture_that_it_asked_for(
    client: Published, drive: Callable[..., Driven], server: MockProcess, graph: str
) -> None:
    driven = drive("--graph", graph)

    _assert_all_well(client, driven, server)
    assert [report["job"] for report in driven.reports] == [1]


@each_client
def test_a_client_that_stays_gets_picture_after_picture(
    client: Published, drive: Callable[..., Driven], server: MockProcess
) -> None:
    driven = drive("--stay", "--every", "0", jobs=3)

    _assert_all_well(client, driven, server)
    assert [report["job"] for report in driven.reports][:3] == [1, 2, 3]


@pytest.mark.parametrize(
    ("client", "cut_off", "reason"),
    [
        (
            Published("pypi", "comfy-toolkit", "0.1.0", ""),
            {"PIP_NO_INDEX": "1"},
            "ERROR: No matching distribution found",
        ),
        (
            Published("npm", "comfy-ui-client", "0.1.2", ""),
            {"npm_config_offline": "true"},
            "npm error request to .* failed: cache mode is",
        ),
    ],
    ids=str,
)
def test_a_client_that_cannot_be_had_is_skipped_with_the_reason(
    client: Published, cut_off: dict[str, str], reason: str, tmp_path: Path
) -> None:
    cut_off = {"npm_config_cache": str(tmp_path / "empty"), **cut_off}

    with pytest.raises(pytest.skip.Exception, match=f"^{client} could not be had: {reason}"):
        client.install(tmp_path, **cut_off)

    assert not (client.home(tmp_path) / "installed").exists()
