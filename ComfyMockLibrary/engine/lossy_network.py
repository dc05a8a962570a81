"""Real packet loss, for a command and all that it starts: on Linux, without being root.

The command runs in a network namespace of its own, whose loopback device drops packets at random (nftables). TCP finds
them again, as on any lossy line: nothing is missing in the end, but it comes late. Nothing outside is touched, and
nothing outside can be reached.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ComfyMockLibrary.engine import lossy_namespace
from ComfyMockLibrary.engine.deadline import Deadline, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAMS = {"unshare": "util-linux", "nft": "nftables"}
"""What it needs, and the packages that have it."""

_END_TIMEOUT = 10.0
_SEARCHED = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"


class NotAvailable(RuntimeError):
    """There is no real packet loss on this machine. The words say why."""


@dataclass(frozen=True)
class LossyRun:
    """A command that was run with packet loss."""

    exit_status: int
    output: str
    """What it has written to stdout and stderr."""

    packets: int
    """How many packets of TCP there were, those that were lost included."""

    lost: int
    """How many of them were lost."""


def require() -> None:
    """Makes sure that packets can be lost here. Raises NotAvailable."""
    run([sys.executable, "-c", ""], 0.5, timeout=60.0)


def run(command: Sequence[str], loss: float, *, timeout: float) -> LossyRun:
    """Runs a command to its end with this share of packets lost, from 0 to 1.

    It ends with this process too. Raises NotAvailable, and TimeoutError when it has not ended in time; it is ended
    then.
    """
    unshare, nft = _program("unshare"), _program("nft")
    with tempfile.TemporaryDirectory(prefix="lossy-") as directory:
        output, report = Path(directory) / "output", Path(directory) / "report"
        wrapper = [sys.executable, lossy_namespace.__file__, nft, str(loss), str(report), *command]
        with output.open("wb") as written:
            process = subprocess.Popen(
                [unshare, "--user", "--map-root-user", "--net", *wrapper],
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            status = wait_until(process.poll, Deadline(timeout))
        finally:
            _end(process)
        said = output.read_text(encoding="utf-8", errors="replace")
        if status is None:
            raise TimeoutError(f"It did not end within {timeout:g} s. End of its output:\n{said[-2000:]}")
        if not report.exists():
            raise NotAvailable(f"Packets cannot be lost here: {said.strip() or 'namespaces are forbidden'}")
        counted = json.loads(report.read_text(encoding="utf-8"))
        return LossyRun(counted["status"], said, counted["packets"], counted["lost"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends what still runs: the end of its stdin tells the program in the namespace to."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_END_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _program(name: str) -> str:
    if sys.platform != "linux":
        raise NotAvailable("Real packet loss needs Linux. `Stall Network` shows what an application sees of it.")
    found = shutil.which(name) or shutil.which(name, path=_SEARCHED)
    if found is None:
        raise NotAvailable(f"Packets cannot be lost here: there is no program {name}. Install {PROGRAMS[name]}.")
    return found
