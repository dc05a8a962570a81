"""How long nodes take."""

from __future__ import annotations

import pytest

from mockserver.comfyui.tempo import Tempo
from mockserver.settings import Pace, parse_arguments


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ([], 0.01),
        (["--node-duration=0.5"], 0.5),
        (["--strict", "--node-duration=0.5"], 0.5),
        (["--step-duration=0.2"], 2.0),
        (["--duration=KSampler=3"], 3.0),
        (["--duration=KSampler=3", "--duration=7=4"], 4.0),
        (["--duration=Other=3", "--duration=8=4"], 0.01),
    ],
)
def test_the_most_particular_setting_counts(arguments: list[str], seconds: float) -> None:
    tempo = Tempo.of(parse_arguments(arguments))
    assert tempo.seconds("7", "KSampler", 10, 1.0) == seconds


def test_a_mock_block_goes_before_the_pace_only() -> None:
    assert Tempo(step_duration=9).seconds("7", "Mine", 1, 0, of_mock_block=2) == 2
    assert Tempo(durations={"Mine": 1}).seconds("7", "Mine", 1, 0, of_mock_block=2) == 1


def test_strict_takes_as_long_as_was_recorded() -> None:
    tempo = Tempo.of(parse_arguments(["--strict"]))
    assert 0.02 <= tempo.seconds("1", "ImageScale", 0, 1.05) <= 0.05
    assert tempo.seconds("1", "ImageInvert", 0, 0.0003) < 0.002


def test_realtime_is_what_a_person_believes() -> None:
    tempo = Tempo.of(parse_arguments(["--realtime"]))
    assert tempo.pace is Pace.REALISTIC
    assert 1 < tempo.seconds("1", "CheckpointLoaderSimple", 0, 0) < 3
    assert 2 < tempo.seconds("1", "KSampler", 20, 0.3) < 5
