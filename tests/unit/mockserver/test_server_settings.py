"""The command line of a life."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mockserver import __version__
from mockserver.settings import Settings, parse_arguments

DEFAULTS = Settings(life_id="id")


def parsed(*arguments: str) -> Settings:
    """Settings of a command line."""
    return parse_arguments(["--life-id", "id", *arguments])


def test_defaults() -> None:
    assert parsed() == DEFAULTS
    assert (DEFAULTS.port, DEFAULTS.listen, DEFAULTS.status_interval) == (8188, ("127.0.0.1",), 5.0)
    assert (DEFAULTS.close_code, DEFAULTS.close_reason) == (1001, "server shutting down")


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["0"], {"port": 0}),
        (["65535"], {"port": 65535}),
        (["--port", "8190"], {"port": 8190}),
        (["8190", "--port", "8190"], {"port": 8190}),
        (["--listen", "::1"], {"listen": ("::1",)}),
        (["--listen", "127.0.0.1, ::1"], {"listen": ("127.0.0.1", "::1")}),
        (["--status-interval", "0.25"], {"status_interval": 0.25}),
        (["--status-interval", "0"], {"status_interval": 0.0}),
        (["--node-duration", "2"], {"node_duration": 2.0}),
        (["--strict"], {"strict": True, "status_interval": 0.0}),
        (["--strict", "--status-interval", "1"], {"strict": True, "status_interval": 1.0}),
        (["--close-code", "4001"], {"close_code": 4001}),
        (["--close-reason", ""], {"close_reason": ""}),
        (["--close-reason", "x" * 123], {"close_reason": "x" * 123}),
        (["--grace-time", "0"], {"grace_time": 0.0}),
        (["--log-level", "debug"], {"log_level": "DEBUG"}),
        (["--journal", "a/b.jsonl"], {"journal": Path("a/b.jsonl")}),
        (["--supervised"], {"supervised": True}),
        (["--kill-with-parent"], {"kill_with_parent": True}),
        (["--life-id", "Life-2"], {"life_id": "Life-2"}),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_each_option_sets_what_it_says(arguments: list[str], changes: dict[str, Any]) -> None:
    assert parsed(*arguments) == replace(DEFAULTS, **changes)


def test_a_life_gets_an_id_of_its_own() -> None:
    ids = {parse_arguments([]).life_id for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch("[0-9a-f]{12}", life_id) for life_id in ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "'x' is no port; give a number from 0 to 65535"),
        (["65536"], "'65536' is no port"),
        (["--port", "-1"], "'-1' is no port"),
        (["8188", "--port", "8189"], "the port is given twice: 8188 and --port 8189"),
        (["--listen", " , "], "give an address, for example 127.0.0.1"),
        (["--status-interval", "5s"], "'5s' is no duration; give seconds, for example 0.5"),
        (["--node-duration=-1"], "'-1' is no duration"),
        (["--node-duration", "inf"], "'inf' is no duration"),
        (["--grace-time", "nan"], "'nan' is no duration"),
        (["--close-code", "999"], "'999' is no close code; give a number from 1000 to 4999 (RFC 6455, 7.4)"),
        (["--close-code", "5000"], "'5000' is no close code"),
        (["--close-reason", "ü" * 62], "a close reason has at most 123 bytes (RFC 6455, 5.5)"),
        (["--log-level", "loud"], "LOUD"),
        (["--life-id", "a b"], "'a b' is no life id; give up to 64 letters, digits and hyphens"),
        (["--life-id", "x" * 65], "is no life id"),
        (["--life-id", ""], "'' is no life id"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_wrong_command_line_says_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(arguments)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_help_shows_every_option_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for name in Settings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in printed
    assert "python -m mockserver --supervised 0" in printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--version"])
    assert capsys.readouterr().out == f"mockserver {__version__}\n"
