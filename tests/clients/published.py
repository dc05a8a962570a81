"""The published clients that tests lead through jobs: what they are called, how they are installed and started."""

from __future__ import annotations

import functools
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
INSTALLING = 300.0
"""Longest time in seconds for one step of an installation."""

PIP = ("--quiet", "--disable-pip-version-check", "--retries", "1")
NPM = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier", "--fetch-retries=1")

Report = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """A client on PyPI or npm, at one version, with what it needs besides."""

    registry: str
    name: str
    version: str
    driver: str
    besides: tuple[str, ...] = ()
    websocket: bool = True
    """Whether it uses one; else it polls."""
    too_fast: str = ""
    """Why it may lose a job that lasts a few milliseconds only; the real server's slowness protects it."""

    def __str__(self) -> str:
        return f"{self.registry}-{self.name.replace('/', '-').replace('[', '-').strip('@]')}-{self.version}"

    def install(self, folder: Path, **more: str) -> Path:
        """Installs it below the folder, once; gives the folder of its own. Skips the test when it cannot be had.

        More variables of the environment may be given for the installer.
        """
        home = self.home(folder)
        reason = _why_not(self, home, tuple(more.items()))
        if reason:
            pytest.skip(f"{self} could not be had: {reason}")
        return home

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed, as its installer names it."""
        at = "@" if self.registry == "npm" else "=="
        return (f"{self.name}{at}{self.version}", *self.besides)

    def home(self, folder: Path) -> Path:
        """Where it is installed below a folder."""
        python = f"-python{sys.version_info[0]}.{sys.version_info[1]}" if self.registry == "pypi" else ""
        return folder / f"{self}{python}"

    def command(self, home: Path, *arguments: str) -> list[str]:
        """What starts its driver, in the folder that it is installed in."""
        program = str(_python(home)) if self.registry == "pypi" else "node"
        return [program, str(DRIVERS / self.driver), *arguments]

    def installation(self, home: Path) -> list[list[str]]:
        """The commands that install it."""
        if self.registry == "npm":
            return [["npm", "install", *NPM, *self.packages]]
        return [
            [sys.executable, "-m", "venv", "--clear", str(home / "venv")],
            [str(_python(home)), "-m", "pip", "install", *PIP, *self.packages],
        ]


def _python(home: Path) -> Path:
    return home / "venv" / "bin" / "python"


@functools.cache  # What cannot be had is not asked for again by the next test.
def _why_not(client: Published, home: Path, more: tuple[tuple[str, str], ...]) -> str:
    """Installs a client unless it is there; gives the reason when that fails."""
    if os.name != "posix":
        return "its installation is locked and laid out as on POSIX"
    if client.registry == "npm" and not (shutil.which("npm") and shutil.which("node")):
        return "there is no npm or no node"
    import fcntl

    home.mkdir(parents=True, exist_ok=True)
    done = home / "installed"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_text(encoding="utf-8") == repr(client.packages):
            return ""
        if client.registry == "npm":
            (home / "package.json").write_text('{"private": true}', encoding="utf-8")
        for command in client.installation(home):
            try:
                ran = subprocess.run(
                    command,
                    cwd=home,
                    env={**os.environ, **dict(more)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=INSTALLING,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return f"its installation took more than {INSTALLING:g} s"
            if ran.returncode != 0:
                return _reason(ran.stdout.decode(errors="replace")) or f"{command[0]} ended with {ran.returncode}"
        done.write_text(repr(client.packages), encoding="utf-8")
    return ""


def _reason(output: str) -> str:
    """Why an installer gave up. pip says it last, npm after its error code, before advice and the path of a log."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    after_code = [text for code, text in itertools.pairwise(lines) if code.startswith("npm error code")]
    return (after_code or lines[-1:] or [""])[0]


def reports(lines: Iterable[str]) -> list[Report]:
    """What a driver has reported, among the lines that its client prints."""
    return [json.loads(line) for line in lines if line.startswith('{"job":')]


def environment() -> dict[str, str]:
    """What drivers run with: as the tests, but no proxy stands between a client and loopback."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


AFTER = "it begins to listen for the end of a job after the answer to its POST, and waits for ever if that was too late"

SCRIPT = ("aiohttp==3.14.5", "nest-asyncio2==1.7.4", "pillow==12.2.0", "tqdm==4.67.1")
"""What comfy-script imports; its own extra brings half a gigabyte."""

CLIENTS = [
    Published("pypi", "comfy-api-client", "0.1.0", "drive_comfy_api_client.py", websocket=False),
    Published("pypi", "comfy-api-simplified", "1.6.0", "drive_comfy_api_simplified.py"),
    Published("pypi", "comfy-catapult", "3.0.0", "drive_comfy_catapult.py"),
    Published(
        "pypi", "comfy-headless[websocket]", "3.1.1", "drive_comfy_headless.py", ("httpx==0.28.1",), too_fast=AFTER
    ),
    Published("pypi", "comfy-proxy", "0.2.1", "drive_comfy_proxy.py", too_fast=AFTER),
    Published("pypi", "comfy-script", "0.6.1", "drive_comfy_script.py", SCRIPT),
    Published("pypi", "comfy-toolkit[ws]", "0.1.0", "drive_comfy_toolkit.py"),
    Published("pypi", "comfy-ui-client", "0.0.1.10", "drive_comfy_ui_client.py"),
    Published("pypi", "comfyapi", "2.0.1", "drive_comfyapi.py", websocket=False),
    Published("pypi", "comfyui-async-api-tool", "0.1.0", "drive_comfyui_async_api_tool.py"),
    Published("pypi", "comfyui-utils", "0.0.1", "drive_comfyui_utils.py"),
    Published("pypi", "comfyui-workflow-client", "0.1.0", "drive_comfyui_workflow_client.py"),
    Published("pypi", "pycomfy", "0.4.0", "drive_pycomfy.py"),
    Published("npm", "@artifyfun/comfy-ui-client", "0.2.1", "drive_artifyfun_comfy_ui_client.mjs", too_fast=AFTER),
    Published("npm", "@saintno/comfyui-sdk", "0.3.1", "drive_saintno_comfyui_sdk.mjs"),
    Published(
        "npm",
        "@stable-canvas/comfyui-client",
        "1.5.9",
        "drive_stable_canvas_comfyui_client.mjs",
        ("ws@8.18.3",),
        too_fast=AFTER,
    ),
    Published("npm", "comfy-ui-client", "0.1.2", "drive_comfy_ui_client.mjs", too_fast=AFTER),
]
