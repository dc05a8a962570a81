"""The command line of a life."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mockserver import __version__
from mockserver.settings import Pace, Settings, parse_arguments

DEFAULTS = Settings(life_id="id")
FOLDER = str(Path(__file__).parent)
TLS_FILES = ("tls_keyfile", "tls_certfile")
OPTIONS_NAMED_OTHERWISE = {"pace": "--realtime", "durations": "--duration", "control_port": "--control-listen"}


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
        (["--max-sockets", "3"], {"max_sockets": 3}),
        (["--journal-limit", "0.5"], {"journal_limit": 512 * 1024}),
        (["--status-interval", "0.25"], {"status_interval": 0.25}),
        (["--status-interval", "0"], {"status_interval": 0.0}),
        (["--node-duration", "2"], {"node_duration": 2.0}),
        (["--strict"], {"strict": True, "status_interval": 0.0, "pace": Pace.RECORDED}),
        (
            ["--strict", "--status-interval", "1"],
            {"strict": True, "status_interval": 1.0, "pace": Pace.RECORDED},
        ),
        (
            ["--strict", "--node-duration", "2"],
            {"strict": True, "status_interval": 0.0, "node_duration": 2.0},
        ),
        (["--realtime"], {"pace": Pace.REALISTIC}),
        (
            ["--strict", "--realtime"],
            {"strict": True, "status_interval": 0.0, "pace": Pace.REALISTIC},
        ),
        (["--duration", "KSampler=2", "--duration", "5=0.1"], {"durations": {"KSampler": 2.0, "5": 0.1}}),
        (["--duration", "a=b=1"], {"durations": {"a=b": 1.0}}),
        (["--step-duration", "0.5"], {"step_duration": 0.5}),
        (["--profile", "0.38"], {"profile": "0.38"}),
        (["--nodes", __file__, "--nodes", __file__], {"nodes": (Path(__file__), Path(__file__))}),
        (["--models", __file__], {"models": Path(__file__)}),
        (["--any-model"], {"any_model": True}),
        (["--tls-keyfile", __file__, "--tls-certfile", __file__], dict.fromkeys(TLS_FILES, Path(__file__))),
        (["--frontend"], {"frontend": True}),
        (["--front-end-root", FOLDER], {"front_end_root": Path(FOLDER)}),
        (["--base-directory", "new"], {"base_directory": Path("new")}),
        (["--output-directory", "new"], {"output_directory": Path("new")}),
        (["--input-directory", "new"], {"input_directory": Path("new")}),
        (["--temp-directory", "new"], {"temp_directory": Path("new")}),
        (["--user-directory", FOLDER], {"user_directory": Path(FOLDER)}),
        (["--enable-compress-response-body"], {"enable_compress_response_body": True}),
        (["--max-upload-size", "0.5"], {"max_upload_size": 0.5}),
        (["--preview-method", "taesd"], {"preview_method": "taesd"}),
        (["--preview-size", "64"], {"preview_size": 64}),
        (["--cache-none"], {"cache_none": True}),
        (["--cache-lru", "3"], {"cache_lru": 3}),
        (["--disable-api-nodes"], {"disable_api_nodes": True}),
        (["--disable-metadata"], {"disable_metadata": True}),
        (["--verbose", "ERROR"], {"log_level": "ERROR"}),
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
        (["--close-code", "1005"], "1005 must not be in a close frame (RFC 6455, 7.4.1); 1001 is usual"),
        (["--close-code", "1006"], "1006 must not be in a close frame"),
        (["--close-code", "1015"], "1015 must not be in a close frame"),
        (["--close-reason", "ü" * 62], "a close reason has at most 123 bytes (RFC 6455, 5.5)"),
        (["--log-level", "loud"], "LOUD"),
        (["--life-id", "a b"], "'a b' is no life id; give up to 64 letters, digits and hyphens"),
        (["--life-id", "x" * 65], "is no life id"),
        (["--life-id", ""], "'' is no life id"),
        (["--duration", "=2"], "'=2' is no node with its duration"),
        (["--duration", "5=long"], "'long' is no duration"),
        (["--step-duration", "x"], "'x' is no duration"),
        (["--profile", "0.4"], "invalid choice: '0.4'"),
        (["--models", "no/such/file"], "there is no file 'no/such/file'"),
        (["--tls-keyfile", "no/such/file"], "there is no file 'no/such/file'"),
        (["--tls-keyfile", __file__], "TLS needs both --tls-keyfile and --tls-certfile"),
        (["--front-end-root", __file__], "there is no directory"),
        (["--max-upload-size", "100MB"], "'100MB' is no size; give MiB, for example 100"),
        (["--max-upload-size", "inf"], "'inf' is no size"),
        (["--max-upload-size", "-1"], "'-1' is no size"),
        (["--preview-method", "best"], "invalid choice: 'best'"),
        (["--preview-size", "1.5"], "'1.5' is no size; give a number above 0"),
        (["--cache-lru", "many"], "invalid int value: 'many'"),
        (["--verbose", "LOUD"], "invalid choice: 'LOUD'"),
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
    for name in Settings.__dataclass_fields__.keys() - {"meaningless"}:
        assert OPTIONS_NAMED_OTHERWISE.get(name, f"--{name.replace('_', '-')}") in printed
    assert "python -m mockserver --supervised 0" in printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--version"])
    assert capsys.readouterr().out == f"mockserver {__version__}\n"
