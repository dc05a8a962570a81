"""Prompts about which nothing is said any more, although they run to their end behind the scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockserver.faults.events import Occurrence


class Forgotten:
    """Ids of such prompts, each until its last message has been kept back."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._ids: set[str] = set()
        self._on_change = on_change

    def __contains__(self, prompt_id: object) -> bool:
        return prompt_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, prompt_id: str) -> None:
        """Forgets a prompt that runs."""
        self._ids.add(prompt_id)
        self._on_change()

    def silences(self, occurrence: Occurrence) -> bool:
        """Whether a message is about one of them, so that it must not be sent."""
        if not self._ids:
            return False
        if occurrence.event.startswith("binary_"):  # these are always about the prompt that runs
            return True
        if occurrence.prompt_id not in self._ids:
            return False
        if occurrence.event == "executing" and occurrence.node is None:  # the last message of a prompt
            self._ids.discard(occurrence.prompt_id)
            self._on_change()
        return True
