"""Command line of the mock server: ``python -m mockserver [PORT]``."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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
    if "mockserver.startup" not in sys.modules:
        with _without_collections(), _without_certificates():
            import mockserver.startup  # noqa: F401


@contextmanager
def _without_collections() -> Iterator[None]:
    """Lets the garbage collector rest: what is imported stays, and looking through it again and again takes time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _without_certificates() -> Iterator[None]:
    """Lets OpenSSL find no trusted certificates. Aiohttp reads all of the system's when it is imported, for a client.

    A server needs none; a client made in this process needs an SSL context of its own to trust anybody.
    """
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


if __name__ == "__main__":
    sys.exit(main())
