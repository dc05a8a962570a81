"""Times and shares as people write them: ``200 ms``, ``1 min 30 s``, ``5%``."""

from __future__ import annotations

import re

DURATION_PATTERN = r"^\s*([0-9.]+\s*(ms|milliseconds?|s|secs?|seconds?|m|min|mins|minutes?|h|hours?)\s*)+$"
"""What a duration looks like as a text."""

SHARE_PATTERN = r"^\s*[0-9.]+\s*%\s*$"
"""What a share looks like as a text."""

_PLAIN = re.compile(r"\s*[0-9.]+\s*")
_LONGEST = 100
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9.]+)\s*([a-z]+)\s*")


def duration(text: str) -> float:
    """A duration in seconds; a number without unit is one already. Raises ValueError."""
    if _PLAIN.fullmatch(text):
        text += "s"
    if len(text) > _LONGEST or not re.match(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is no duration. Write for example 200 ms, 2 s, 1 min 30 s, or plain seconds.")
    try:
        return sum(float(number) * _unit(word) for number, word in _PART.findall(text))
    except ValueError:
        raise ValueError(f"{text!r} is no duration: a number in it is none.") from None


def share(text: str) -> float:
    """A share from 0 to 1, from a percentage or a number. Raises ValueError."""
    try:
        if re.match(SHARE_PATTERN, text):
            return float(text.strip().removesuffix("%")) / 100
        if _PLAIN.fullmatch(text):
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no share. Write for example 5%, or 0.05.")


def _unit(word: str) -> float:
    if word.startswith("milli") or word == "ms":
        return 0.001
    return _UNITS[word[0]]
