"""docs/server_settings.md: everything that it shows is done as it says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from mockserver_process import DEADLINE, ROOT, node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockserver_process import MockProcess

    StartMockProcess = Callable[..., MockProcess]

PAGE = (ROOT / "docs" / "server_settings.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"For example `(\w+\.json)`:\n\n```json\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"^python -m mockserver (.+)$", PAGE, re.MULTILINE)
PROMPT = json.loads(re.findall(r"`POST /prompt`:\n\n```json\n(.*?)```", PAGE, re.DOTALL)[0])
WRONG = re.findall(r"^\| `(\{.*\})` \| `(.*)` \|$", PAGE, re.MULTILINE)
KEYS = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Where the files of the page are, by name."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    return {name: str(tmp_path / name) for name in FILES}


@pytest.fixture
def start(start_mock_process: StartMockProcess, files: dict[str, str]) -> Callable[[str], MockProcess]:
    """Starts a server as a command of the page says."""
    return lambda command: start_mock_process(*(files.get(word, word) for word in shlex.split(command)))


def test_the_page_has_its_samples() -> None:
    assert list(FILES) == ["models.json", "lighthouse.json"]
    assert len(COMMANDS) == 3
    assert len(WRONG) == 6


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_starts_a_server(start: Callable[[str], MockProcess], command: str) -> None:
    assert start(command).ask("GET", "/queue").status == 200


def test_models(start: Callable[[str], MockProcess]) -> None:
    server = start("--models models.json")
    expected = json.loads(FILES["models.json"])
    folders = server.ask("GET", "/models").json
    assert folders[-1] == "my_models"
    for folder in folders:
        assert server.ask("GET", f"/models/{folder}").json == expected.get(folder, [])
    info = server.ask("GET", "/object_info/CheckpointLoaderSimple").json["CheckpointLoaderSimple"]
    assert info["input"]["required"]["ckpt_name"][0] == expected["checkpoints"]
    for name, status in ((expected["checkpoints"][1], 200), ("v1-5-pruned-emaonly.safetensors", 400)):
        prompt = {
            "1": node("CheckpointLoaderSimple", ckpt_name=name),
            "2": node("CLIPTextEncode", text="", clip=["1", 1]),
            "3": node("PreviewAny", source=["2", 0]),
        }
        assert server.ask("POST", "/prompt", {"prompt": prompt}).status == status


def test_node_classes(start: Callable[[str], MockProcess]) -> None:
    server = start("--nodes lighthouse.json --status-interval 0 --duration Lighthouse=0")
    classes = json.loads(FILES["lighthouse.json"])
    for name, entry in classes.items():
        shown = server.ask("GET", f"/object_info/{name}").json[name]
        assert "mock" not in shown
        given: dict[str, Any] = {"input": {}, "output": [], "output_node": False, **entry}
        del given["mock"]
        assert {key: shown[key] for key in given} == given
    client, other = server.connect("me"), server.connect("other")
    for each in (client, other):
        each.message()
    prompt_id = server.queue(PROMPT["prompt"], client_id="me")
    texts, previews, values = [], 0, []
    while True:
        opcode, payload = client.frame()
        if opcode == 1:
            message = json.loads(payload)
            if message["type"] == "progress":
                values.append(message["data"]["value"])
            if message["type"] == "executing" and message["data"]["node"] is None:
                break
        elif payload[3] == 3:
            texts.append(payload[9:].decode())
        else:
            previews += 1
    block = classes["Lighthouse"]["mock"]
    assert texts == [block["texts"][0]["text"].format(text="a lighthouse"), block["texts"][1]["text"]]
    assert (values, previews) == ([1, 2, 3], 3)
    outputs = server.ask("GET", f"/history/{prompt_id}").json[prompt_id]["outputs"]
    assert outputs["4"] == {"text": [block["outputs"][1]]}
    assert (len(outputs["3"]["images"]), outputs["3"]["note"]) == (1, ["saved"])
    seen = [other.frame() for _ in range(3)]
    assert [payload[9:].decode() for opcode, payload in seen if opcode == 2] == [block["texts"][1]["text"]]


def test_a_class_that_fails(start: Callable[[str], MockProcess]) -> None:
    server = start("--nodes lighthouse.json")
    entry = server.run({"1": node("BrokenLighthouse"), "2": node("SaveLighthouse", images=["1", 0])})
    assert entry["status"]["messages"][-1][1]["exception_message"] == "the lamp is broken\n"


def test_all_keys_of_mock_blocks_are_told() -> None:
    from mockserver.comfyui.mock_blocks import _KEYS

    assert tuple(KEYS) == _KEYS


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_wrong_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "nodes.json").write_text(content)
    command = [sys.executable, "-m", "mockserver", "0", "--nodes", str(tmp_path / "nodes.json")]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"The mock server cannot start: nodes.json: {message}")
    assert ended.stderr.count("\n") == 1
