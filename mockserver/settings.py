"""What one life of the server can be told on its command line."""

from __future__ import annotations

import argparse
import functools
import ipaddress
import secrets
import uuid
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mockserver.comfyui_arguments import add_meaningless_arguments
from mockserver.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mockserver.outages.outage import Outage

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

PreviewMethod = Literal["none", "auto", "latent2rgb", "taesd"]
PREVIEW_METHODS: tuple[PreviewMethod, ...] = ("none", "auto", "latent2rgb", "taesd")

PROFILES = {"0.3": "0.3", "0.38": "0.38", "latest": "0.38"}
"""Versions of ComfyUI by the names that ``--profile`` takes."""

_SHORTEST_JOURNAL = 4096
"""Lowest limit of a journal in bytes: with less there is nothing in it."""

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


class Pace(Enum):
    """How long nodes take where nothing else is said."""

    QUICK = "quick"
    """A moment: ``node_duration`` each."""

    RECORDED = "recorded"
    """As long as on the machine that the transcripts were recorded on, which had no GPU."""

    REALISTIC = "realistic"
    """What a person would believe of a machine with a GPU."""


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
    journal_limit: int = 1 << 30
    """Longest file of the journal in bytes."""
    max_sockets: int | None = None
    """How many websockets may be open at a time; None: as many as the system lets it have, as with the real server."""
    life_id: str = ""
    supervised: bool = False
    kill_with_parent: bool = False
    control_listen: str = "127.0.0.1"
    control_port: int = 0
    control_token: str | None = None
    """What the control API asks of everybody; None where it listens on loopback."""
    seed: int | None = None
    """Seed of the draws of all faults; None leaves it to chance."""
    faults: Path | None = None
    """File with the faults that the life begins with."""
    scenario: Outage | None = None
    """The outage whose first life this is."""
    profile: str = "0.3"
    pace: Pace = Pace.QUICK
    durations: Mapping[str, float] = field(default_factory=dict)
    """Duration of nodes by class or by node id; an id goes before a class."""
    step_duration: float | None = None
    """Duration of each step of a sampler; None leaves it to the pace."""
    nodes: tuple[Path, ...] = ()
    models: Path | None = None
    any_model: bool = False
    frontend: bool = False
    front_end_root: Path | None = None
    base_directory: Path | None = None
    output_directory: Path | None = None
    input_directory: Path | None = None
    temp_directory: Path | None = None
    user_directory: Path | None = None
    enable_cors_header: str | None = None
    """Origin that may read answers, ``*`` for any; None: requests of other origins are refused."""
    enable_compress_response_body: bool = False
    max_upload_size: float = 100
    """Longest request body in MiB. The default is an int, a given one a float: ``/features`` shows the difference."""
    multi_user: bool = False
    preview_method: PreviewMethod = "none"
    preview_size: int = 512
    cache_none: bool = False
    cache_lru: int = 0
    disable_api_nodes: bool = False
    disable_metadata: bool = False
    tls_keyfile: Path | None = None
    tls_certfile: Path | None = None
    meaningless: tuple[str, ...] = ()
    """Arguments of ComfyUI that were given and mean nothing here."""


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Turns a command line into settings. Ends the process with status 2 when the command line is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    scenario = None
    if given.scenario is not None:
        scenario = _read_scenario(given.scenario, parser)
        given = parser.parse_args([*scenario.server.arguments(), *arguments])
    if given.port_argument is not None and given.port is not None and given.port_argument != given.port:
        parser.error(f"the port is given twice: {given.port_argument} and --port {given.port}")
    if (given.tls_keyfile is None) != (given.tls_certfile is None):
        parser.error("TLS needs both --tls-keyfile and --tls-certfile")
    port = next((port for port in (given.port_argument, given.port) if port is not None), Settings.port)
    interval = given.status_interval
    if interval is None:
        interval = 0.0 if given.strict else Settings.status_interval
    pace = given.pace or (Pace.RECORDED if given.strict else Pace.QUICK)
    if given.node_duration is not None:
        pace = Pace.QUICK
    control_host, control_port = given.control_listen
    return Settings(
        port=port,
        listen=given.listen,
        status_interval=interval,
        node_duration=Settings.node_duration if given.node_duration is None else given.node_duration,
        strict=given.strict,
        close_code=given.close_code,
        close_reason=given.close_reason,
        grace_time=given.grace_time,
        log_level=given.log_level or Settings.log_level,
        journal=given.journal,
        journal_limit=round(given.journal_limit * 1024 * 1024),
        max_sockets=given.max_sockets,
        life_id=given.life_id or uuid.uuid4().hex[:12],
        supervised=given.supervised,
        kill_with_parent=given.kill_with_parent,
        control_listen=control_host,
        control_port=control_port,
        control_token=given.control_token or (None if is_loopback(control_host) else secrets.token_urlsafe(24)),
        seed=given.seed,
        faults=given.faults,
        scenario=scenario,
        profile=PROFILES[given.profile],
        pace=pace,
        durations=dict(given.duration),
        step_duration=given.step_duration,
        nodes=tuple(given.nodes),
        models=given.models,
        any_model=given.any_model,
        frontend=given.frontend,
        front_end_root=given.front_end_root,
        base_directory=given.base_directory,
        output_directory=given.output_directory,
        input_directory=given.input_directory,
        temp_directory=given.temp_directory,
        user_directory=given.user_directory,
        enable_cors_header=given.enable_cors_header,
        enable_compress_response_body=given.enable_compress_response_body,
        max_upload_size=given.max_upload_size,
        multi_user=given.multi_user,
        preview_method=given.preview_method,
        preview_size=given.preview_size,
        cache_none=given.cache_none,
        cache_lru=given.cache_lru,
        disable_api_nodes=given.disable_api_nodes,
        disable_metadata=given.disable_metadata,
        tls_keyfile=given.tls_keyfile,
        tls_certfile=given.tls_certfile,
        meaningless=tuple(given.meaningless),
    )


@functools.cache
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mockserver",
        usage="%(prog)s [PORT] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
        nargs="?",
        const=("0.0.0.0", "::"),
        default=Settings.listen,
        help="address to listen on, several with commas (default: 127.0.0.1; all of them without ADDRESS)",
    )
    where.add_argument(
        "--max-sockets",
        metavar="N",
        type=_positive,
        help="websockets that may be open at a time; more are refused with 503 (default: no limit, as the real server)",
    )
    where.add_argument("--tls-keyfile", metavar="FILE", type=_file, help="key for TLS; needs --tls-certfile")
    where.add_argument("--tls-certfile", metavar="FILE", type=_file, help="certificate for TLS; needs --tls-keyfile")

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
        help=f"how long each node of a prompt takes for which --duration says nothing (default: "
        f"{Settings.node_duration}, or what --realtime and --strict say)",
    )
    behaviour.add_argument(
        "--strict",
        action="store_true",
        help="do nothing that the real server does not do: silent when idle, no close frames when stopped, "
        "nodes take as long as recorded",
    )
    behaviour.add_argument(
        "--profile",
        choices=tuple(PROFILES),
        default=Settings.profile,
        help="version of ComfyUI to behave as: 0.3 (0.3.64, recorded; the default) or 0.38 (latest; from its source)",
    )
    behaviour.add_argument(
        "--realtime",
        dest="pace",
        action="store_const",
        const=Pace.REALISTIC,
        help="nodes take about as long as on a machine with a GPU",
    )
    behaviour.add_argument(
        "--duration",
        metavar="NODE=SECONDS",
        type=_duration,
        action="append",
        default=[],
        help="how long nodes of a class, or the node with an id, take: KSampler=2, 5=0.1 (may be repeated)",
    )
    behaviour.add_argument(
        "--step-duration", metavar="SECONDS", type=_seconds, help="how long each step of a sampler takes"
    )

    knowledge = parser.add_argument_group("what it knows")
    knowledge.add_argument(
        "--nodes",
        metavar="FILE",
        type=_file,
        action="append",
        default=[],
        help="an /object_info, whose node classes are added to those that are known (may be repeated)",
    )
    knowledge.add_argument(
        "--models", metavar="FILE", type=_file, help="a JSON object of model folders and the file names in each"
    )
    knowledge.add_argument("--any-model", action="store_true", help="accept any name of a model file in prompts")

    comfyui = parser.add_argument_group(
        "as ComfyUI has them", "Its other arguments are accepted too, and mean nothing to a server without GPU."
    )
    for name in ("base", "output", "input", "temp", "user"):
        comfyui.add_argument(
            f"--{name}-directory",
            metavar="DIRECTORY",
            type=_existing_directory if name == "user" else Path,
            help=_DIRECTORY_HELP[name],
        )
    comfyui.add_argument(
        "--enable-cors-header",
        metavar="ORIGIN",
        nargs="?",
        const="*",
        help="let pages of this origin use the server (of any one without ORIGIN)",
    )
    comfyui.add_argument(
        "--enable-compress-response-body", action="store_true", help="compress answers for clients that accept it"
    )
    comfyui.add_argument(
        "--max-upload-size",
        metavar="MIB",
        type=_mebibytes,
        default=Settings.max_upload_size,
        help="longest request body (default: %(default)s)",
    )
    comfyui.add_argument("--multi-user", action="store_true", help="keep settings and user data per user")
    comfyui.add_argument(
        "--preview-method",
        choices=PREVIEW_METHODS,
        default=Settings.preview_method,
        help="whether samplers send previews (default: %(default)s)",
    )
    comfyui.add_argument(
        "--preview-size",
        metavar="PIXELS",
        type=_positive,
        default=Settings.preview_size,
        help="longer side of a sampler's preview (default: %(default)s)",
    )
    caching = comfyui.add_mutually_exclusive_group()
    caching.add_argument("--cache-none", action="store_true", help="run every node of every prompt")
    caching.add_argument("--cache-lru", metavar="N", type=int, default=0, help="keep the results of N nodes")
    comfyui.add_argument("--disable-api-nodes", action="store_true", help="know no nodes of paid services")
    comfyui.add_argument("--disable-metadata", action="store_true", help="write no prompt into images")
    comfyui.add_argument(
        "--front-end-root", metavar="DIRECTORY", type=_existing_directory, help="web page to serve at /"
    )
    comfyui.add_argument(
        "--frontend", action="store_true", help="serve the installed comfyui-frontend-package at / (not of ComfyUI)"
    )
    comfyui.add_argument(
        "--verbose",
        dest="log_level",
        nargs="?",
        const="DEBUG",
        choices=(*LOG_LEVELS, "CRITICAL"),
        help="same as --log-level; DEBUG where no level is given",
    )
    add_meaningless_arguments(parser)

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

    _add_faults(parser)

    _add_records(parser)

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


def _add_records(parser: argparse.ArgumentParser) -> None:
    records = parser.add_argument_group("what it records")
    records.add_argument(
        "--log-level",
        type=str.upper,
        choices=LOG_LEVELS,
        help=f"least severe level written to stderr (default: {Settings.log_level})",
    )
    records.add_argument(
        "--journal", metavar="FILE", type=Path, help="write the life's journal, a JSON object a line, to this new file"
    )
    records.add_argument(
        "--journal-limit",
        metavar="MIB",
        type=_limit,
        default=Settings.journal_limit // (1024 * 1024),
        help="longest file of the journal; it ends there, and the life goes on (default: %(default)s)",
    )


def _add_faults(parser: argparse.ArgumentParser) -> None:
    going_wrong = parser.add_argument_group("what goes wrong")
    going_wrong.add_argument(
        "--faults",
        metavar="FILE",
        type=_file,
        help="a JSON list of faults that it begins with, as the control API has them",
    )
    going_wrong.add_argument(
        "--scenario",
        metavar="FILE",
        type=_file,
        help="an outage in YAML, whose settings it takes and whose script it plays, up to the end of this one life",
    )
    going_wrong.add_argument(
        "--seed", metavar="N", type=_seed, help="seed of the draws of all faults (default: a random one, which it logs)"
    )
    going_wrong.add_argument(
        "--control-listen",
        metavar="ADDRESS[:PORT]",
        type=_control_address,
        default=(Settings.control_listen, Settings.control_port),
        help="where the control API listens (default: any free port of 127.0.0.1); elsewhere it wants a token",
    )
    going_wrong.add_argument(
        "--control-token",
        metavar="TOKEN",
        help="what the control API asks of everybody (default: none on loopback, a random one elsewhere, printed)",
    )


_DIRECTORY_HELP = {
    "base": "keep output, input, temp and user directories in this one (default: a temporary one of the life's own)",
    "output": "write images here",
    "input": "keep uploads here",
    "temp": "write previews into a directory temp in this one",
    "user": "keep settings and user data in this existing directory",
}


def _read_scenario(file: Path, parser: argparse.ArgumentParser) -> Outage:
    from mockserver.outages.reading import OutageError, read_outage

    try:
        return read_outage(file)
    except (OSError, OutageError) as failure:
        parser.error(str(failure))


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 0 to 65535")


def _seed(text: str) -> int:
    if text.isdecimal() and int(text) < 1 << 63:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no seed; give a whole number from 0 on")


def _control_address(text: str) -> tuple[str, int]:
    """Address and port; a port alone is one of loopback's, an address alone takes any free port."""
    if text.isdecimal():
        return Settings.control_listen, _port(text)
    host, colon, port = text.rpartition(":")
    if colon and (host.endswith("]") or ":" not in host):
        return host.strip("[]"), _port(port)
    return text.strip("[]"), 0


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds < float("inf"):
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no duration; give seconds, for example 0.5")


def _mebibytes(text: str) -> float:
    try:
        return _seconds(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give MiB, for example 100") from None


def _limit(text: str) -> float:
    limit = _mebibytes(text)
    if limit * 1024 * 1024 >= _SHORTEST_JOURNAL:
        return limit
    raise argparse.ArgumentTypeError(f"{text!r} has no room for records; give MiB, for example 100")


def _duration(text: str) -> tuple[str, float]:
    node, equals, seconds = text.rpartition("=")
    if node and equals:
        return node, _seconds(seconds)
    raise argparse.ArgumentTypeError(f"{text!r} is no node with its duration; give for example KSampler=2.5")


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no size; give a number above 0")


def _file(text: str) -> Path:
    if Path(text).is_file():
        return Path(text)
    raise argparse.ArgumentTypeError(f"there is no file {text!r}")


def _existing_directory(text: str) -> Path:
    if Path(text).is_dir():
        return Path(text)
    raise argparse.ArgumentTypeError(f"there is no directory {text!r}")


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(address.strip() for address in text.split(",") if address.strip())
    if addresses:
        return addresses
    raise argparse.ArgumentTypeError("give an address, for example 127.0.0.1")


def _close_code(text: str) -> int:
    code = int(text) if text.isdecimal() else 0
    if code in (1005, 1006, 1015):
        raise argparse.ArgumentTypeError(f"{code} must not be in a close frame (RFC 6455, 7.4.1); 1001 is usual")
    if 1000 <= code <= 4999:
        return code
    raise argparse.ArgumentTypeError(f"{text!r} is no close code; give a number from 1000 to 4999 (RFC 6455, 7.4)")


def _close_reason(text: str) -> str:
    if len(text.encode()) <= 123:
        return text
    raise argparse.ArgumentTypeError("a close reason has at most 123 bytes (RFC 6455, 5.5)")


def _life_id(text: str) -> str:
    if text and len(text) <= 64 and text.isascii() and text.replace("-", "").isalnum():
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no life id; give up to 64 letters, digits and hyphens")
