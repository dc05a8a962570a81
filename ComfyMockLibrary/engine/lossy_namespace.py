"""Runs inside a new network namespace: makes its loopback lossy, runs a command, and reports. A program, not a module.

Arguments: path of ``nft``, share of packets lost, file for the report, command. The report (JSON) is written when the
command has ended; without one, nothing was run. The end of stdin ends the command.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_PARTS = 10_000

_RULES = """
table inet lossy {{
    chain arriving {{
        type filter hook input priority 0; policy accept;
        iif "lo" meta l4proto tcp counter
        iif "lo" meta l4proto tcp numgen random mod {parts} < {lost} counter drop
    }}
}}
"""


def main(nft: str, loss: float, report: Path, command: list[str]) -> int:
    """Gives the command's exit status; 1 if there can be no loss."""
    _bring_loopback_up()
    rules = _RULES.format(parts=_PARTS, lost=round(loss * _PARTS))
    made = subprocess.run([nft, "-f", "-"], input=rules, text=True, capture_output=True, check=False)
    if made.returncode != 0:
        sys.stderr.write(f"nft takes no rules: {made.stderr.strip()}\n")
        return 1
    status = _run(command)
    packets, lost = _counters(nft)
    report.write_text(json.dumps({"status": status, "packets": packets, "lost": lost}), encoding="utf-8")
    return status


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _run(command: list[str]) -> int:
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as failure:
        sys.stderr.write(f"{command[0]}: {failure.strerror}\n")
        return 127

    def end() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def end_with_stdin() -> None:
        os.read(0, 1)
        end()

    threading.Thread(target=end_with_stdin, daemon=True).start()
    status = process.wait()
    end()  # what the command has left in its session
    return status


def _counters(nft: str) -> tuple[int, int]:
    listed = subprocess.run([nft, "-j", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    rules = [each["rule"] for each in json.loads(listed)["nftables"] if "rule" in each]
    packets, lost = (next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part) for rule in rules)
    return packets, lost


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
