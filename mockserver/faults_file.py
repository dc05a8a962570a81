"""The file that ``--faults`` names: the faults that a life begins with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mockserver.faults.kinds import Fault


class FaultsFileError(Exception):
    """What is wrong with the file, and where."""


def read_faults_file(path: Path) -> list[Fault]:
    """The faults in a JSON list. Raises FaultsFileError."""
    from mockserver.faults.kinds import FaultError, read_fault

    try:
        descriptions = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as failure:
        raise FaultsFileError(f"{path.name}: {failure}") from None
    if not isinstance(descriptions, list):
        raise FaultsFileError(f"{path.name}: give a list of faults, not {type(descriptions).__name__}.")
    faults: list[Fault] = []
    for position, description in enumerate(descriptions, start=1):
        try:
            faults.append(read_fault(description))
        except FaultError as failure:
            raise FaultsFileError(f"{path.name}: fault {position}: {failure}") from None
        if any(faults[-1].id is not None and faults[-1].id == each.id for each in faults[:-1]):
            raise FaultsFileError(f"{path.name}: fault {position}: the id {faults[-1].id!r} is given twice.")
    return faults


def refuse_at_once(faults: list[Fault]) -> bool:
    """Whether no connection may ever be accepted before these faults are in force."""
    from mockserver.faults.kinds import RefuseConnections, SlowStart

    return any(
        (isinstance(fault, RefuseConnections) and fault.when is None and not fault.after)
        or (isinstance(fault, SlowStart) and fault.refused > 0)
        for fault in faults
    )
