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
    prepare_imports()
    from mockserver.startup import run

    return run(settings)


def prepare_imports() -> None:
    """Imports what a life needs. Only now, so that ``--help`` and a wrong command line answer quickly."""
    # Native sendfile writes past every wrapper of a transport. Aiohttp reads this when it is imported.
    os.environ["AIOHTTP_NOSENDFILE"] = "1"
    import mockserver.startup  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
