"""Deterministic draws: one stream for each seed, client, connection, direction and fault."""

from __future__ import annotations

import hashlib
from enum import Enum


class Direction(Enum):
    """Which way bytes go."""

    to_client = "to_client"
    to_server = "to_server"


class Draws:
    """A stream of numbers that depends on nothing but its five names."""

    def __init__(self, seed: int, client: str, connection: int, direction: Direction, fault: str) -> None:
        self._key = repr((seed, client, connection, direction.value, fault)).encode()

    def at(self, position: int) -> float:
        """The draw at a position, from 0.0 up to but not including 1.0."""
        digest = hashlib.blake2b(self._key + position.to_bytes(8, "big"), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64
