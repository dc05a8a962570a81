"""The page on faults is up to date, and what it shows is true."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from fault_descriptions import VALIDATOR
from mockserver_process import DEADLINE, ROOT

from mockserver.control.examples import EXAMPLES
from mockserver.control.faults_page import page
from mockserver.faults.kinds import KINDS, name_of, read_fault

if TYPE_CHECKING:
    from faulty import Life

PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def test_it_is_up_to_date() -> None:
    assert page() == PAGE, "Run: python -m mockserver.control.faults_page > docs/faults.md"


def test_it_has_a_row_for_each_kind() -> None:
    rows = re.findall(r"^\| `(\w+)`(?: ↻)? \| .+ \| (?:happens|lasts|strikes)", PAGE, re.MULTILINE)
    assert rows == [name_of(kind) for kind in KINDS]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in PAGE.splitlines() if line.startswith("|")} == {4, 6}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["fault"])
def test_its_examples_are_right(example: dict[str, object]) -> None:
    read_fault(example)
    VALIDATOR.validate(example)


def test_there_is_an_example_of_each_kind() -> None:
    assert [example["fault"] for example in EXAMPLES] == [name_of(kind) for kind in KINDS]


def test_all_its_json_is_right() -> None:
    for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            read_fault(json.loads(line))


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
def test_its_commands_do_what_they_say(life: Life) -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    server = f"http://127.0.0.1:{life.port}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.replace("\ncurl", "\necho; curl")],
        env={**os.environ, "CONTROL": life.ready["control_url"], "SERVER": server},
        capture_output=True,
        timeout=DEADLINE,
        check=True,
    )
    set_, *statuses, stands, journal, cleared = done.stdout.decode().replace("\n\n", "\n").strip().split("\n")
    assert json.loads(set_)["state"] == "active"
    assert statuses == re.findall(r"# (\d{3})$", commands, re.MULTILINE) == ["503", "503", "200"]
    assert (json.loads(stands)["state"], json.loads(stands)["strikes"]) == ("ended", 2)
    assert [record["strike"] for record in json.loads(journal)["records"]] == [1, 2]
    assert json.loads(cleared) == {"faults": []}
