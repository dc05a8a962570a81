"""Chance that repeats: every draw is a function of a seed and of what it is drawn for, and of nothing else."""

from __future__ import annotations

import hashlib
from enum import Enum


class Direction(Enum):
    """Which way bytes go."""

    to_client = "to_client"
    to_server = "to_server"


class Draws:
    """The draws of one fault for one direction of one connection.

    A draw depends neither on other draws nor on how many there were, so that bytes that are read in other portions, a
    further client or a further fault change nothing.
    """

    def __init__(self, seed: int, client: str, connection: int, direction: Direction, fault: str) -> None:
        """``connection``: it is the n-th one of the client."""
        text = "\0".join((str(seed), client, str(connection), direction.value, fault))
        self._stream = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)

    def at(self, k: int) -> float:
        """Draw number ``k``: evenly distributed, from 0 up to but without 1."""
        draw = self._stream.copy()
        draw.update(b"\0%d" % k)
        return (int.from_bytes(draw.digest(), "big") >> 11) / (1 << 53)
