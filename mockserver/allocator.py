"""Where the memory of a process that reads and writes much comes from."""

from __future__ import annotations

from functools import cache

_BLOCK = 320 * 1024


@cache
def keep_freed_blocks() -> None:
    """Lets the C library keep blocks of up to 1 MiB that are freed, for the next that asks for one.

    Asyncio reads each time into a new block of 256 KiB. Glibc has the system map and unmap each of them, unless it has
    seen a longer one freed: from then on it takes those for ones that come and go (``M_MMAP_THRESHOLD`` in mallopt(3)).
    A small request takes two thirds of the time then. Other C libraries are not changed by it. Said once, it holds for
    what is forked later too.
    """
    bytes(_BLOCK)
