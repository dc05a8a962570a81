"""Shares, rates and sizes as people write them. Robot shows the texts of the converters as documentation of types."""

from __future__ import annotations

import re
from typing import Any

_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z%/]*)\s*")

_PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SIZES = {f"{prefix}b": factor for prefix, factor in _PREFIXES.items()} | {"": 1, "byte": 1, "bytes": 1}
_RATES = (
    {f"{unit}/s": float(factor) for unit, factor in _SIZES.items() if unit}
    | {f"{prefix}bit/s": factor / 8 for prefix, factor in _PREFIXES.items()}
    | {"": 1.0}
)


class Percent(float):
    """A share from 0 to 1."""


class Rate(float):
    """Bytes per second."""


class Size(int):
    """Bytes."""


def percent(value: Percent | str | float) -> Percent:
    """A share: ``5%``, or the number from 0 to 1 that it is, ``0.05``."""
    number, unit = _parts(value, "a share such as 5% or 0.05")
    if unit not in ("", "%"):
        raise ValueError(f"'{unit}' is no unit of a share; give for example 5% or 0.05.")
    share = number / 100 if unit else number
    if not 0 <= share <= 1:
        raise ValueError(
            f"It is more than all; did you mean {number:g}%?" if not unit and number <= 100 else "It is more than 100%."
        )
    return Percent(share)


def rate(value: Rate | str | float) -> Rate:
    """Bytes per second: ``100 kB/s``, ``1.5 MB/s``, ``64 KiB/s``, ``10 Mbit/s``, or a number.

    ``k``, ``M`` and ``G`` are powers of 1000, ``Ki``, ``Mi`` and ``Gi`` powers of 1024.
    """
    number, unit = _parts(value, "a rate such as 100 kB/s")
    factor = _RATES.get(unit.lower())
    if factor is None:
        raise ValueError(f"'{unit}' is no unit of a rate; give for example 100 kB/s, 1 MiB/s or 10 Mbit/s.")
    if number == 0:
        raise ValueError("At this rate nothing ever arrives; use `Hold Network` or `Silence Network`.")
    return Rate(number * factor)


def size(value: Size | str | float) -> Size:
    """Bytes: ``100``, ``16 kB``, ``16 KiB``, ``1 MB``, ``16 MiB``.

    ``k``, ``M`` and ``G`` are powers of 1000, ``Ki``, ``Mi`` and ``Gi`` powers of 1024.
    """
    number, unit = _parts(value, "a size such as 16 KiB")
    factor = _SIZES.get(unit.lower())
    if factor is None:
        raise ValueError(f"'{unit}' is no unit of a size; give for example 16 kB or 16 MiB.")
    total = number * factor
    if total != int(total):
        raise ValueError("It is no whole number of bytes.")
    return Size(total)


def _parts(value: str | float, example: str) -> tuple[float, str]:
    if isinstance(value, int | float):
        value = repr(float(value)) if value < 1e15 else str(int(value))
    match = _NUMBER_AND_UNIT.fullmatch(value)
    if match is None:
        raise ValueError(f"Give {example}.")
    return float(match[1]), match[2]


CONVERTERS: dict[type, Any] = {Percent: percent, Rate: rate, Size: size}
