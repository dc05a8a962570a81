"""Forgotten prompts: nothing is said about them any more, and then nothing is left of them."""

from __future__ import annotations

from mockserver.comfyui import messages
from mockserver.faults.events import Occurrence
from mockserver.faults.forgotten import Forgotten


def test_a_prompt_is_silent_up_to_its_last_message_and_is_nobodys_business_then() -> None:
    changes: list[int] = []
    forgotten = Forgotten(lambda: changes.append(len(forgotten)))
    silenced = [
        messages.progress("gone", "1", 1, 2),
        messages.preview_image(b"", "png"),
        messages.execution_interrupted("gone", "1", "X", [], 0),
        messages.executing_ended("gone"),
    ]
    others = [messages.status(0), messages.executing_ended("other"), messages.progress("other", "1", 1, 2)]
    assert not any(forgotten.silences(Occurrence.of_message(each, "me")) for each in silenced)
    forgotten.add("gone")
    for _ in range(2):
        assert not any(forgotten.silences(Occurrence.of_message(each, "me")) for each in others)
    assert "gone" in forgotten
    assert all(forgotten.silences(Occurrence.of_message(each, "me")) for each in silenced)
    assert "gone" not in forgotten
    assert not any(forgotten.silences(Occurrence.of_message(each, "me")) for each in silenced)
    assert changes == [1, 0]
