"""Makes wrong inputs of right ones. All of it is drawn from a ``random.Random``: a seed makes the same again."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "a", "\0", "\ud800", "é", "\u202e", "x" * 300, "../secret", "%2e%2e/secret", "{x}", "1", "null", "{}"),
    *([], {}, [[]], {"": None}, ["1", 0], [None], {"a": {"a": {"a": []}}}),
)
ODD_BYTES = (
    b"",
    b"\0",
    b"\r\n",
    b"\n",
    b"\r",
    b"\xff\xfe",
    b"\x80",
    b"%00",
    b"%",
    b"..",
    b"/",
    b"\\",
    b"?",
    b"#",
    b":",
)
ODD_BYTES += (b"x" * 9000, b"-1", b"18446744073709551616", b"\r\n\r\n", b"{", b"[", b'"', b"\t", b";", b",", b"=", b"&")


def odd_json(rng: Random) -> Any:
    """Any JSON value, and some that are none."""
    return copy.deepcopy(rng.choice(ODD_VALUES))


def mutated_json(rng: Random, value: Any, times: int | None = None) -> Any:
    """A value with some of its parts replaced, removed, renamed, doubled or moved elsewhere."""
    root = [json.loads(json.dumps(value))]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3)) if times is None else times):
        places = list(_places(root))
        container, key = rng.choice(places)
        what = rng.randrange(6)
        if what <= 1:
            container[key] = odd_json(rng)
        elif what == 2:
            _other, other_key = rng.choice(places)
            container[key] = json.loads(json.dumps(_other[other_key]))
        elif what == 3 and container is not root:
            del container[key]
        elif what == 4 and isinstance(container, dict):
            container[rng.choice([str(odd_json(rng)), f"{key}_", key.upper()])] = container.pop(key)
        elif what == 5 and isinstance(container, list) and container is not root:
            container.insert(key, container[key])
        else:
            container[key] = [container[key]]
    return root[0]


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(inner)


def json_bytes(rng: Random, value: Any) -> bytes:
    """The value as JSON, or as what comes close to it."""
    data = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    return mutated_bytes(rng, data, 1) if rng.random() < 0.1 else data


def mutated_bytes(rng: Random, data: bytes, times: int | None = None) -> bytes:
    """Bytes of which some are flipped, cut out, doubled or put in."""
    for _ in range(rng.choice((1, 1, 2, 4, 8)) if times is None else times):
        at = rng.randrange(len(data) + 1)
        until = min(len(data), at + rng.choice((1, 1, 2, 8, 40)))
        what = rng.randrange(5)
        if what == 0:
            data = data[:at] + rng.choice(ODD_BYTES) + data[at:]
        elif what == 1:
            data = data[:at] + data[until:]
        elif what == 2:
            data = data[:at] + data[at:until] * rng.choice((2, 2, 50)) + data[until:]
        elif what == 3:
            data = data[:at] + rng.randbytes(until - at) + data[until:]
        else:
            data = data[:at]
    return data


def mutated_lines(rng: Random, text: str) -> str:
    """A text of which lines are left out, doubled, moved, indented or joined."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        what = rng.randrange(6)
        if what == 0 and len(lines) > 1:
            del lines[at]
        elif what == 1:
            lines.insert(other, lines[at])
        elif what == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif what == 3:
            lines[at] = " " * rng.randrange(1, 5) + lines[at]
        elif what == 4:
            lines[at] = lines[at].lstrip()
        else:
            name, colon, _ = lines[at].partition(":")
            lines[at] = f"{name}{colon} {rng.choice(ODD_SCALARS)}"
    return "\n".join(lines)


ODD_SCALARS = (
    *(
        "",
        "null",
        "true",
        "yes",
        "0x10",
        "1e999",
        ".nan",
        "-1",
        "9" * 400,
        "12:30:45",
        "2001-01-01",
        "1 s",
        "5 %",
        "-5 ms",
    ),
    *(
        "&a b",
        "*a",
        "<<: *a",
        "!!python/object/apply:os.system [id]",
        "!x y",
        "|",
        ">",
        "[",
        "{",
        "[a, b",
        "{a: b",
        "- - -",
    ),
    *(
        "'",
        '"',
        '"\\x"',
        "%",
        "@",
        "`",
        "? a",
        "---",
        "...",
        "\t",
        "\x07",
        "\ufeff",
        "\U0001f600",
        "a: b: c",
        "[[[[[[[[[[",
    ),
)
