"""Command line of the library: ``python -m ComfyMockLibrary COMMAND``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ComfyMockLibrary import __version__
from ComfyMockLibrary.commands import check, timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (check, timeline)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command, and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ComfyMockLibrary", description="Looks at what clients do when ComfyUI goes away."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    parsed = parser.parse_args(arguments)
    return int(parsed.run(parsed))


if __name__ == "__main__":
    sys.exit(main())
