"""How arguments that name a server, a client, an event or a prompt are taken from suites.

Robot shows the texts of these functions as the documentation of the types. They convert nothing: a name is looked up by
the keyword, since a dry run has names but no servers.
"""

from __future__ import annotations

from typing import Any

from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
from ComfyMockLibrary.engine.journal import Event
from ComfyMockLibrary.engine.lossy_network import LossyRun
from ComfyMockLibrary.engine.outages import OutageResult, OutageRun
from ComfyMockLibrary.engine.prompts import PromptOutcome, QueuedPrompt
from ComfyMockLibrary.engine.servers import MockServer


def _server(value: MockServer | str | int) -> Any:
    """A mock server: its alias, its port, or what `Start Mock Server` returned.

    Attributes: ``alias``, ``port``, ``url``, ``ws_url``, ``seed``, ``is_running``, ``is_frozen``, ``lives`` (all lives,
    oldest first), and of the latest life ``pid``, ``life_id``, ``log_file``, ``journal_file`` and ``control_url``. A
    life has ``number``, ``life_id``, ``pid``, ``seed``, ``exit_status``, ``log_file`` and ``journal_file``.
    """
    return value


def _client(value: ComfyClient | str) -> Any:
    """A client: its alias, or what `Connect Client` returned.

    Attributes: ``alias``, ``client_id``, ``state``, ``is_connected``, ``path`` (all states, oldest first), ``life_id``.
    """
    return value


def _event(value: Event) -> Event:
    """An event that a client saw, as `Wait For Event` returns it.

    Attributes: ``name``, ``source`` (``client`` or ``server``), ``data`` (with attribute access), ``index`` (position
    in the client's journal), ``at`` (monotonic seconds), ``wall`` (date and time), ``client`` (alias), ``life_id``.
    """
    if isinstance(value, Event):
        return value
    raise ValueError("Give an event that `Wait For Event` returned.")


def _prompt(value: QueuedPrompt) -> QueuedPrompt:
    """A prompt, as `Queue Prompt` returns it.

    Attributes: ``prompt_id``, ``number``, ``workflow``.
    """
    if isinstance(value, QueuedPrompt):
        return value
    raise ValueError("Give what `Queue Prompt` returned.")


def _outcome(value: PromptOutcome) -> PromptOutcome:
    """What became of a prompt, as `Wait For Prompt` returns it.

    Attributes: ``prompt_id``, ``result`` (a PromptResult), ``outputs`` (by node id), ``error`` (why it did not
    succeed).
    """
    return value


def _outage_run(value: OutageRun) -> OutageRun:
    """An outage that is under way, as `Start Outage` returns it.

    Attributes: ``outage`` (as its file has it), ``server``, ``taken`` (the steps so far), ``is_over``.
    """
    if isinstance(value, OutageRun):
        return value
    raise ValueError("Give what `Start Outage` returned.")


def _outage_result(value: OutageResult) -> OutageResult:
    """What became of an outage, as `Run Outage` returns it.

    Attributes: ``name``, ``outage`` (as its file has it, with ``title``, ``expectation``, ``report`` and so on),
    ``server`` (alias), ``steps``, ``seconds``, ``began_at`` and ``ended_at`` (monotonic seconds). A step has
    ``number``, ``words``, ``outcome``, ``began_at`` and ``ended_at``.
    """
    return value


def _lossy_run(value: LossyRun) -> LossyRun:
    """A command that was run with packet loss, as `Run In Lossy Network` returns it.

    Attributes: ``exit_status``, ``output``, ``packets`` (how many there were), ``lost`` (how many of them were lost).
    """
    return value


CONVERTERS = {
    MockServer: _server,
    ComfyClient: _client,
    Event: _event,
    QueuedPrompt: _prompt,
    PromptOutcome: _outcome,
    LossyRun: _lossy_run,
    OutageRun: _outage_run,
    OutageResult: _outage_result,
}
