"""The mock server against 13 transcripts of a real ComfyUI 0.3.64.

The server is started as the real one was, a recorder plays all scenarios against it, and what it recorded is compared
with the golden transcripts line by line. ``COMFYMOCK_SCENARIOS=3,5`` records and compares only these scenarios.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
ARGUMENTS = [
    "--strict",
    "--profile=0.3",
    "--disable-api-nodes",
    "--preview-method=latent2rgb",
    f"--nodes={HERE / 'extra_nodes.json'}",
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The base URL of a fresh server that ends with the test, and that of its control API."""
    command = [sys.executable, "-m", "mockserver", "0", *ARGUMENTS, "--supervised"]
    with (tmp_path / "server.log").open("wb") as log:
        life = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        with life:
            assert life.stdout is not None
            assert life.stdin is not None
            try:
                ready = life.stdout.readline()
                assert ready, (tmp_path / "server.log").read_text()
                yield f"http://127.0.0.1:{json.loads(ready)['port']}", json.loads(ready)["control_url"]
            finally:
                life.kill()


def test_transcripts(server: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every transcript of the real server is the mock server's as well."""
    wanted = os.environ.get("COMFYMOCK_SCENARIOS", "")
    recorded = tmp_path / "recorded"
    # The process that a scenario starts must be the server itself: it is sent signals.
    # Its prompts need not end: each is at work still when the signal comes.
    arguments = shlex.join([*ARGUMENTS, "--duration=c5=3600"])
    launcher = shlex.join([sys.executable, "-m", "mockserver"]) + " {port} " + arguments + " {args}"
    base, control = server
    options = [f"--only={wanted}", f"--control={control}", f"--launcher={launcher}"]
    subprocess.run([sys.executable, HERE / "record.py", base, recorded, *options], check=True, timeout=540)
    reference = _chosen(wanted, tmp_path / "golden") if wanted else GOLDEN
    comparison = subprocess.run(
        [sys.executable, HERE / "compare.py", reference, recorded], check=False, capture_output=True, text=True
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{comparison.stdout.splitlines()[-1]}\n")
    assert comparison.returncode == 0, comparison.stdout


def _chosen(wanted: str, folder: Path) -> Path:
    """A folder with only the wanted transcripts."""
    folder.mkdir()
    for number in wanted.split(","):
        for transcript in GOLDEN.glob(f"{int(number):02}_*"):
            (folder / transcript.name).write_bytes(transcript.read_bytes())
    return folder
