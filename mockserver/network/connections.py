from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mockserver.network.draws import Direction
from mockserver.network.stages import Stage


@dataclass(frozen=True)
class Who:
    client_id: str | None = None
    connection: int | None = None


@dataclass(frozen=True)
class ByteRule:
    fault: str
    stage: Stage
    direction: Direction
    who: Who
    seed: int


class Connection:
    number: int
    address: str
    client: str
    ordinal: int
    is_websocket: bool
    transport: asyncio.Transport


class Connections:
    on_strike: Callable[[ByteRule, Connection, dict[str, Any]], None] | None = None

    def apply(self, rules: tuple[ByteRule, ...]) -> None: ...
    def matching(self, who: Who) -> list[Connection]:
        return []

    def clear(self) -> None: ...
