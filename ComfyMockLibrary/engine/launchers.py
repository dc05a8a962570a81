"""Which launcher is used."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from ComfyMockLibrary.engine.fork_launcher import ForkLauncher
from ComfyMockLibrary.engine.popen_launcher import PopenLauncher

if TYPE_CHECKING:
    from collections.abc import Callable

    from ComfyMockLibrary.engine.launcher import Launcher

SWITCH = "COMFYMOCK_LAUNCHER"
"""Environment variable: ``popen`` starts each life as a new process also where forking is possible."""


def default() -> Launcher:
    """The quickest launcher of this system, one for all servers of this process."""
    wanted = os.environ.get(SWITCH) or ("fork" if hasattr(os, "fork") else "popen")
    if wanted not in _LAUNCHERS:
        raise ValueError(f"{SWITCH}={wanted} is no launcher; set it to one of {', '.join(_LAUNCHERS)}.")
    return _shared(wanted)


def of_programs() -> PopenLauncher:
    """What starts programs beside lives, one for all of this process."""
    launcher = _shared("popen")
    assert isinstance(launcher, PopenLauncher)
    return launcher


_LAUNCHERS: dict[str, Callable[[], Launcher]] = {"fork": ForkLauncher, "popen": PopenLauncher}


@functools.cache
def _shared(kind: str) -> Launcher:
    return _LAUNCHERS[kind]()
