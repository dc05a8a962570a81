"""A TCP proxy for faults, in front of any server: ``python -m mockserver.proxy --listen … --upstream …``."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mockserver.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = """\
Carries TCP connections to a server, a real ComfyUI for instance, and does to them
what it is told over HTTP: the API is that of Toxiproxy 2, and its clients work.
"""

_EPILOG = """\
The proxy that --listen and --upstream describe has the name "comfyui"; more can be
made over the API. Toxics: latency, bandwidth, slow_close, timeout, reset_peer, slicer
and limit_data as of Toxiproxy, but for reset_peer, which resets idle connections too;
and stall (loss: 0 to 1; what an application sees of lost packets: nothing is missing,
much is late), hold (nothing passes until it is removed, then everything), silence
(bytes vanish, the connection stays) and stop_reading.

  python -m mockserver.proxy --listen 127.0.0.1:9188 --upstream 127.0.0.1:8188
  curl -d '{"type": "latency", "attributes": {"latency": 300}}' \\
      http://127.0.0.1:8474/proxies/comfyui/toxics
"""

NAME = "comfyui"


@dataclass(frozen=True)
class ProxySettings:
    """The command line."""

    listen: str | None
    upstream: str | None
    api: str
    seed: int
    supervised: bool
    kill_with_parent: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the proxy and returns its exit status."""
    settings = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    from mockserver.toxiproxy.startup import run

    return run(settings)


def parse_arguments(arguments: Sequence[str]) -> ProxySettings:
    """Settings from a command line; a wrong one ends the process with advice."""
    parser = argparse.ArgumentParser(
        prog="python -m mockserver.proxy",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mockserver {__version__}")
    parser.add_argument("--listen", metavar="HOST:PORT", type=_address, help="where clients connect to; port 0 = any")
    parser.add_argument("--upstream", metavar="HOST:PORT", type=_address, help="the server")
    parser.add_argument(
        "--api",
        metavar="HOST:PORT",
        type=_address,
        default="127.0.0.1:8474",
        help="where it takes orders (default: %(default)s; port 0 = any)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, help="makes all draws repeat (default: a random one, which is logged)"
    )
    parser.add_argument(
        "--supervised",
        action="store_true",
        help="first line of stdout is a JSON object (port, pid, api_url) as soon as it is ready; "
        'a line "stop" on stdin stops it gracefully, end of stdin ends it at once',
    )
    parser.add_argument(
        "--kill-with-parent",
        action="store_true",
        help="on Linux, be killed when the thread that started this process ends, even while frozen",
    )
    given = parser.parse_args(arguments)
    if (given.listen is None) != (given.upstream is None):
        parser.error("--listen and --upstream belong together")
    if given.seed is None:
        given.seed = int.from_bytes(os.urandom(4), "big")
    return ProxySettings(**vars(given))


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if host and port.isdecimal() and int(port) <= 65535:
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no address; give HOST:PORT, for example 127.0.0.1:9188")


if __name__ == "__main__":
    sys.exit(main())
