"""Shares, rates and sizes as people write them."""

from __future__ import annotations

import re

import pytest

from ComfyMockLibrary.quantities import Percent, Rate, Size, percent, rate, size


@pytest.mark.parametrize(
    ("written", "share"),
    [("5%", 0.05), ("5 %", 0.05), ("0.05", 0.05), (".5", 0.5), ("0", 0.0), ("100%", 1.0), (1, 1.0), (0.25, 0.25)],
)
def test_a_share(written: str | float, share: float) -> None:
    assert percent(written) == share
    assert isinstance(percent(written), Percent)
    assert percent(percent(written)) == share


@pytest.mark.parametrize(
    ("written", "per_second"),
    [
        ("100 kB/s", 100_000),
        ("1.5MB/s", 1_500_000),
        ("64 KiB/s", 65_536),
        ("2 GB/s", 2_000_000_000),
        ("10 Mbit/s", 1_250_000),
        ("8 bit/s", 1),
        ("20 B/s", 20),
        ("20", 20),
        (20, 20),
        (0.5, 0.5),
    ],
)
def test_a_rate(written: str | float, per_second: float) -> None:
    assert rate(written) == per_second
    assert isinstance(rate(written), Rate)
    assert rate(rate(written)) == per_second


@pytest.mark.parametrize(
    ("written", "length"),
    [
        ("100", 100),
        ("16 B", 16),
        ("3 bytes", 3),
        ("1.5 kB", 1500),
        ("16 KiB", 16_384),
        ("16 MiB", 16_777_216),
        ("1 GiB", 1 << 30),
        ("0", 0),
        (7, 7),
    ],
)
def test_a_size(written: str | float, length: int) -> None:
    assert size(written) == length
    assert isinstance(size(written), Size)
    assert size(size(written)) == length


@pytest.mark.parametrize(
    ("read", "written", "words"),
    [
        (percent, "5", "It is more than all; did you mean 5%?"),
        (percent, "101%", "It is more than 100%."),
        (percent, "some", "Give a share such as 5% or 0.05."),
        (percent, "-5%", "Give a share such as 5% or 0.05."),
        (percent, "5 kB", "'kB' is no unit of a share; give for example 5% or 0.05."),
        (rate, "3 zB/s", "'zB/s' is no unit of a rate; give for example 100 kB/s, 1 MiB/s or 10 Mbit/s."),
        (rate, "100 kB", "'kB' is no unit of a rate"),
        (rate, "0 kB/s", "nothing ever arrives; use `Hold Network` or `Silence Network`"),
        (rate, "fast", "Give a rate such as 100 kB/s."),
        (size, "16 MBs", "'MBs' is no unit of a size; give for example 16 kB or 16 MiB."),
        (size, "1.5", "It is no whole number of bytes."),
        (size, "", "Give a size such as 16 KiB."),
    ],
)
def test_what_is_none(read: object, written: str, words: str) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match=re.escape(words)):
        read(written)
