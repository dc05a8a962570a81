"""What one life of the server can be told on its command line."""

from __future__ import annotations

import argparse
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mockserver.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_DESCRIPTION = """\
A mock ComfyUI: speaks ComfyUI's HTTP and websocket protocol on one port, without GPU or models.
Prompts really go through queue, execution and history. Stop it with Ctrl-C."""

_EPILOG = """\
examples:
  python -m mockserver                       listen on http://127.0.0.1:8188
  python -m mockserver 0                     any free port; the first line says which
  python -m mockserver --node-duration 0.5   every node takes half a second
  python -m mockserver --supervised 0        for programs: one JSON line on stdout when ready,
                                             "stop" on stdin stops it, end of stdin ends it
"""


@dataclass(frozen=True)
class Settings:
    """Settings of one life. Durations are in seconds."""

    port: int = 8188
    listen: tuple[str, ...] = ("127.0.0.1",)
    status_interval: float = 5.0
    node_duration: float = 0.01
    strict: bool = False
    close_code: int = 1001
    close_reason: str = "server shutting down"
    grace_time: float = 1.0
    log_level: str = "INFO"
    journal: Path | None = None
    life_id: str = ""
    supervised: bool = False
    kill_with_parent: bool = False


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Turns a command line into settings. Ends the process with status 2 when the command line is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.port_argument is not None and given.port is not None and given.port_argument != given.port:
        parser.error(f"the port is given twice: {given.port_argument} and --port {given.port}")
    port = next((port for port in (given.port_argument, given.port) if port is not None), Settings.port)
    interval = given.status_interval
    if interval is None:
        interval = 0.0 if given.strict else Settings.status_interval
    return Settings(
        port=port,
        listen=given.listen,
        status_interval=interval,
        node_duration=given.node_duration,
        strict=given.strict,
        close_code=given.close_code,
        close_reason=given.close_reason,
        grace_time=given.grace_time,
        log_level=given.log_level,
        journal=given.journal,
        life_id=given.life_id or uuid.uuid4().hex[:12],
        supervised=given.supervised,
        kill_with_parent=given.kill_with_parent,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mockserver",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mockserver {__version__}")

    where = parser.add_argument_group("where it listens")
    where.add_argument(
        "port_argument", metavar="PORT", nargs="?", type=_port, help="same as --port (default: 8188; 0 = any free one)"
    )
    where.add_argument("--port", metavar="PORT", type=_port, help="TCP port of HTTP and websocket; 0 = any free one")
    where.add_argument(
        "--listen",
        metavar="ADDRESS",
        type=_addresses,
        default=Settings.listen,
        help="address to listen on, several with commas (default: 127.0.0.1)",
    )

    behaviour = parser.add_argument_group("how it behaves")
    behaviour.add_argument(
        "--status-interval",
        metavar="SECONDS",
        type=_seconds,
        help="time between periodic status messages to all clients (default: 5; 0 = silent when idle)",
    )
    behaviour.add_argument(
        "--node-duration",
        metavar="SECONDS",
        type=_seconds,
        default=Settings.node_duration,
        help="how long each node of a prompt takes (default: %(default)s)",
    )
    behaviour.add_argument(
        "--strict",
        action="store_true",
        help="do nothing that the real server does not do: silent when idle, no close frames when stopped",
    )

    stopping = parser.add_argument_group("how it stops")
    stopping.add_argument(
        "--close-code",
        metavar="CODE",
        type=_close_code,
        default=Settings.close_code,
        help="websocket close code sent on a graceful stop (default: %(default)s)",
    )
    stopping.add_argument(
        "--close-reason",
        metavar="TEXT",
        type=_close_reason,
        default=Settings.close_reason,
        help='websocket close reason sent on a graceful stop (default: "%(default)s")',
    )
    stopping.add_argument(
        "--grace-time",
        metavar="SECONDS",
        type=_seconds,
        default=Settings.grace_time,
        help="longest time that a graceful stop waits for the clients' close replies (default: %(default)s)",
    )

    records = parser.add_argument_group("what it records")
    records.add_argument(
        "--log-level",
        type=str.upper,
        choices=LOG_LEVELS,
        default=Settings.log_level,
        help="least severe level written to stderr (default: %(default)s)",
    )
    records.add_argument(
        "--journal", metavar="FILE", type=Path, help="write the life's journal, a JSON object a line, to this new file"
    )

    programs = parser.add_argument_group("for programs that start it")
    programs.add_argument(
        "--supervised",
        action="store_true",
        help="first line of stdout is a JSON object (port, pid, life_id, control_url) as soon as it is ready; "
        'a line "stop" on stdin stops it gracefully, end of stdin ends it at once',
    )
    programs.add_argument(
        "--kill-with-parent",
        action="store_true",
        help="on Linux, be killed when the thread that started this process ends, even while frozen",
    )
    programs.add_argument("--life-id", metavar="ID", type=_life_id, help="id of this life (default: a random one)")
    return parser


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 0 to 65535")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds < float("inf"):
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no duration; give seconds, for example 0.5")


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(address.strip() for address in text.split(",") if address.strip())
    if addresses:
        return addresses
    raise argparse.ArgumentTypeError("give an address, for example 127.0.0.1")


def _close_code(text: str) -> int:
    if text.isdecimal() and 1000 <= int(text) <= 4999:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no close code; give a number from 1000 to 4999 (RFC 6455, 7.4)")


def _close_reason(text: str) -> str:
    if len(text.encode()) <= 123:
        return text
    raise argparse.ArgumentTypeError("a close reason has at most 123 bytes (RFC 6455, 5.5)")


def _life_id(text: str) -> str:
    if text and len(text) <= 64 and text.isascii() and text.replace("-", "").isalnum():
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no life id; give up to 64 letters, digits and hyphens")
