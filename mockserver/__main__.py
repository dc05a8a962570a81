"""Command line of the mock server: ``python -m mockserver [PORT]``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one life of the server and returns its exit status."""
    from mockserver.settings import parse_arguments

    settings = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    # Native sendfile writes past every wrapper of a transport. Aiohttp reads this when it is imported.
    os.environ["AIOHTTP_NOSENDFILE"] = "1"
    from mockserver.startup import run

    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
