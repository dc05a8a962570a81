"""The published clients that tests lead through jobs: what they are called, how they are installed and started."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

DRIVERS = Path(__file__).with_name("drivers")
INSTALLING = 600.0
"""Longest time in seconds for one step of an installation."""

Report = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """A client on PyPI or npm, at one version, with what it needs besides."""

    registry: str
    name: str
    version: str
    driver: str
    besides: tuple[str, ...] = ()
    too_fast: str = ""
    """Why it may lose a job that lasts a few milliseconds only; the real server's slowness protects it."""

    def __str__(self) -> str:
        return f"{self.registry}-{self.name.replace('/', '-').replace('[', '-').strip('@]')}-{self.version}"

    def install(self, folder: Path, **more: str) -> Path:
        """Installs it below the folder, once; gives the folder of its own. Skips the test when it cannot be had.

        More variables of the environment may be given for the installer.
        """
        fcntl = pytest.importorskip("fcntl", reason="Installations are locked by a file, as POSIX has it.")
        python = f"-python{sys.version_info[0]}.{sys.version_info[1]}" if self.registry == "pypi" else ""
        home = folder / f"{self}{python}"
        home.mkdir(parents=True, exist_ok=True)
        done = home / "installed"
        with (home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                for command in self._installation(home):
                    self._run(command, home, {**os.environ, **more})
                done.touch()
        return home

    def command(self, home: Path, *arguments: str) -> list[str]:
        """What starts its driver, in the folder that it is installed in."""
        program = str(_python(home)) if self.registry == "pypi" else "node"
        return [program, str(DRIVERS / self.driver), *arguments]

    def _installation(self, home: Path) -> list[list[str]]:
        if self.registry == "pypi":
            pip = [str(_python(home)), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            return [
                [sys.executable, "-m", "venv", "--clear", str(home / "venv")],
                [*pip, f"{self.name}=={self.version}", *self.besides],
            ]
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            pytest.skip(f"{self} could not be had: there is no node or npm.")
        (home / "package.json").write_text('{"private": true}', encoding="utf-8")
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier"]
        return [[npm, "install", *quiet, f"{self.name}@{self.version}", *self.besides]]

    def _run(self, command: list[str], home: Path, environment: dict[str, str]) -> None:
        try:
            ran = subprocess.run(
                command,
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=INSTALLING,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"{self} could not be had: its installation took more than {INSTALLING:g} s.")
        if ran.returncode != 0:
            said = _reason(ran.stdout.decode(errors="replace")) or f"exit status {ran.returncode}"
            pytest.skip(f"{self} could not be had: {said}")


def _reason(output: str) -> str:
    """Why an installer gave up. pip says it last, npm after its error code, before advice and the path of a log."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    after_code = [text for code, text in itertools.pairwise(lines) if code.startswith("npm error code")]
    return (after_code or lines[-1:] or [""])[0]


def _python(home: Path) -> Path:
    return home / "venv" / "bin" / "python"


def reports(lines: Iterable[str]) -> list[Report]:
    """What a driver has reported, among the lines that its client prints."""
    return [json.loads(line) for line in lines if line.startswith('{"job":')]


def environment() -> dict[str, str]:
    """What drivers run with: as the tests, but no proxy stands between a client and loopback."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


AFTER = "it begins to listen for the end of a job after the answer to its POST, and waits for ever if that was too late"

CLIENTS = [
    Published("pypi", "comfy-api-simplified", "1.6.0", "drive_comfy_api_simplified.py"),
    Published("pypi", "comfy-catapult", "3.0.0", "drive_comfy_catapult.py"),
    Published("pypi", "comfy-headless[websocket]", "3.1.1", "drive_comfy_headless.py", ("httpx==0.28.1",), AFTER),
    Published("pypi", "comfy-proxy", "0.2.1", "drive_comfy_proxy.py", too_fast=AFTER),
    Published("pypi", "comfy-toolkit[ws]", "0.1.0", "drive_comfy_toolkit.py"),
    Published("pypi", "comfy-ui-client", "0.0.1.10", "drive_comfy_ui_client.py"),
    Published("pypi", "comfyui-async-api-tool", "0.1.0", "drive_comfyui_async_api_tool.py"),
    Published("pypi", "comfyui-utils", "0.0.1", "drive_comfyui_utils.py"),
    Published("pypi", "comfyui-workflow-client", "0.1.0", "drive_comfyui_workflow_client.py"),
    Published("pypi", "pycomfy", "0.4.0", "drive_pycomfy.py"),
    Published("npm", "@artifyfun/comfy-ui-client", "0.2.1", "drive_artifyfun_comfy_ui_client.mjs", too_fast=AFTER),
    Published("npm", "@saintno/comfyui-sdk", "0.3.1", "drive_saintno_comfyui_sdk.mjs"),
    Published(
        "npm", "@stable-canvas/comfyui-client", "1.5.9", "drive_stable_canvas_comfyui_client.mjs", ("ws@8.18.3",), AFTER
    ),
    Published("npm", "comfy-ui-client", "0.1.2", "drive_comfy_ui_client.mjs", too_fast=AFTER),
]
