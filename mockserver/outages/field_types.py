"""Types of the fields of outages, as msgspec sees them, and the units that their numbers may be written with."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from msgspec import inspect

from mockserver.outages.outage import Outage

Quantity = Literal["duration", "share"]


@cache
def outage_type() -> inspect.Type:
    """The type of a whole outage."""
    return inspect.type_info(Outage)


def quantity_of(description: str) -> Quantity | None:
    """What a number with this description is, where people write it with a unit."""
    if description.startswith("Seconds"):
        return "duration"
    return "share" if description.endswith("rom 0 to 1.") else None


def alternatives(kind: Any) -> list[Any]:
    """The types that a value may have, one by one."""
    if isinstance(kind, inspect.UnionType):
        return [each for part in kind.types for each in alternatives(part)]
    return [kind]


def plain(kind: Any) -> Any:
    """A type without its description."""
    return plain(kind.type) if isinstance(kind, inspect.Metadata) else kind


def quantity(kinds: list[Any]) -> Quantity | None:
    """What a text means where one of these types is a number that people write with a unit."""
    for kind in kinds:
        if isinstance(kind, inspect.Metadata) and isinstance(plain(kind), inspect.FloatType):
            found = quantity_of(str((kind.extra_json_schema or {}).get("description", "")))
            if found is not None:
                return found
    return None
