"""ComfyUI's own command line arguments."""

from __future__ import annotations

import shlex

import pytest

from mockserver.settings import Settings, parse_arguments


def test_a_launcher_made_for_the_real_server_starts_this_one() -> None:
    settings = parse_arguments(
        shlex.split(
            "--listen 0.0.0.0 --port 8190 --cpu --lowvram --fast fp16_accumulation cublas_ops --cuda-device 0 "
            "--preview-method auto --max-upload-size 50 --multi-user --enable-cors-header --disable-all-custom-nodes "
            "--whitelist-custom-nodes a b --base-directory b --extra-model-paths-config x.yaml --verbose"
        )
    )
    assert (settings.listen, settings.port, settings.preview_method) == (("0.0.0.0",), 8190, "auto")
    assert (settings.max_upload_size, settings.multi_user, settings.enable_cors_header) == (50.0, True, "*")
    assert settings.log_level == "DEBUG"
    assert settings.meaningless == (
        "--cpu",
        "--lowvram",
        "--fast",
        "--cuda-device",
        "--disable-all-custom-nodes",
        "--whitelist-custom-nodes",
        "--extra-model-paths-config",
    )


def test_listen_without_an_address_is_everywhere() -> None:
    assert parse_arguments(["--listen"]).listen == ("0.0.0.0", "::")


def test_upload_limit_is_an_int_only_by_default() -> None:
    assert isinstance(parse_arguments([]).max_upload_size, int)
    assert isinstance(parse_arguments(["--max-upload-size", "100"]).max_upload_size, float)


def test_cors_takes_an_origin() -> None:
    assert parse_arguments(["--enable-cors-header", "http://a.b"]).enable_cors_header == "http://a.b"
    assert parse_arguments([]).enable_cors_header is None


def test_latest_is_a_name_of_the_newest_profile() -> None:
    assert parse_arguments(["--profile", "latest"]).profile == parse_arguments(["--profile", "0.38"]).profile == "0.38"
    assert Settings().profile == "0.3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--no-such-argument", "unrecognized arguments"),
        ("--cache-none --cache-lru 3", "not allowed with argument"),
        ("--user-directory no/such/directory", "there is no directory 'no/such/directory'"),
        ("--nodes no/such/file", "there is no file 'no/such/file'"),
        ("--duration KSampler", "'KSampler' is no node with its duration; give for example KSampler=2.5"),
        ("--tls-certfile pyproject.toml", "TLS needs both --tls-keyfile and --tls-certfile"),
        ("--preview-size 0", "'0' is no size"),
    ],
)
def test_wrong_ones_say_what_is_wrong(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments.split())
    assert message in capsys.readouterr().err
