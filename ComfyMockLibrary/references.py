"""How arguments that name a server, a client, an event, a prompt or a fault are taken from suites.

Robot shows the texts of these functions as the documentation of the types. They convert nothing: a name is looked up by
the keyword, since a dry run has names but no servers.
"""

from __future__ import annotations

from typing import Any

from ComfyMockLibrary import quantities, triggers
from ComfyMockLibrary.engine.client.client import Client
from ComfyMockLibrary.engine.client.comfy_client import ComfyClient
from ComfyMockLibrary.engine.client.custom_client import ClientUnderTest
from ComfyMockLibrary.engine.client_process import ClientProcess
from ComfyMockLibrary.engine.evidence import ConnectionLoss, RecordedMessage, RecordedRequest, RecordedSocket
from ComfyMockLibrary.engine.faults import Fault
from ComfyMockLibrary.engine.journal import Event
from ComfyMockLibrary.engine.lossy_network import LossyRun
from ComfyMockLibrary.engine.outages import OutageResult, OutageRun
from ComfyMockLibrary.engine.prompts import PromptOutcome, QueuedPrompt
from ComfyMockLibrary.engine.proxies import NetworkProxy
from ComfyMockLibrary.engine.servers import MockServer


def _server(value: MockServer | NetworkProxy | str | int) -> Any:
    """A mock server: its alias, its port, or what `Start Mock Server` returned.

    Attributes: ``alias``, ``port``, ``url``, ``ws_url``, ``seed``, ``is_running``, ``is_frozen``, ``lives`` (all lives,
    oldest first), and of the latest life ``pid``, ``life_id``, ``log_file``, ``journal_file`` and ``control_url``. A
    life has ``number``, ``life_id``, ``pid``, ``seed``, ``exit_status``, ``log_file`` and ``journal_file``.
    """
    return value


def _client(value: Client | str) -> Any:
    """A client: its alias, or what `Connect Client` returned.

    Attributes: ``alias``, ``client_id``, ``state``, ``is_connected``, ``path`` (all states, oldest first), ``life_id``.
    """
    return value


def _client_under_test(value: object) -> Any:
    """A Python client of your own: the dotted name of its class, ``my_package.MyClient``, or an object.

    It has two methods. ``connect(url, on_event)`` begins to connect to the server at a URL such as
    ``http://127.0.0.1:8188``, and returns. From then on the client calls ``on_event(name, data)``, from any thread: for
    what happens to its connection, by the names that the introduction has under *Events and the cursor*, at least
    ``connected`` and ``disconnected``; and for each message of the server by its type, with its data. ``data`` is a
    dictionary, and may be left out. ``close()`` ends everything.

    What else it may have: ``client_id``, its clientId, which `Queue Prompt` needs; ``reconnect()`` for
    `Reconnect Client`; ``abort_reconnect()`` for `Abort Reconnect`.
    """
    return value


def _process(value: ClientProcess | str) -> Any:
    """A client process: its alias, or what `Start Client Process` returned.

    Attributes: ``alias``, ``command`` (with the server's address filled in), ``pid``, ``is_running``, ``exit_status``
    (None while it runs), ``log_file``.
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


def _fault(value: Fault | str) -> Any:
    """A fault: its id, or what the keyword that set it returned.

    Attributes: ``id``, ``name`` (its kind, for example ``drop_message``), ``server`` (alias), ``description`` (as the
    server's control API takes it), ``outlives_restart``, and always up to date ``state`` (``waiting`` for its event or
    for the next life, ``active``, ``ended``) and ``strikes`` (how often it has struck, in all lives).
    """
    return value


def _request(value: RecordedRequest) -> Any:
    """An HTTP request that a server has received, with its answer.

    Attributes: ``method``, ``path``, ``query``, ``headers`` and ``answer_headers`` (lower-case names), ``body`` (text),
    ``json`` (the body as JSON), ``status`` (``None`` if the answer never went out), ``seconds`` (time to the answer),
    ``answer_body``, ``answer_json``, ``client_id``, ``life`` (number), ``at`` (monotonic seconds), ``remote``,
    ``is_handshake``.
    """
    return value


def _socket(value: RecordedSocket) -> Any:
    """A websocket that a client had to a server.

    Attributes: ``client_id``, ``life`` (number), ``number`` (within its life), ``ordinal`` (of its client in its life),
    ``at`` and ``closed_at`` (monotonic seconds), ``is_open``, ``code`` (close code), ``closed_by`` (``client``,
    ``server``, ``lost`` or ``life``), ``headers``, ``flags``, ``remote``.
    """
    return value


def _message(value: RecordedMessage) -> Any:
    """A message on websockets.

    Attributes: ``direction`` (``sent`` by the server or ``received`` by it), ``type``, ``data``, ``client_ids``
    (whom it went to, or who sent it), ``life`` (number), ``at`` (monotonic seconds).
    """
    return value


def _connection_loss(value: ConnectionLoss) -> Any:
    """From the loss of a client's websocket until it had one again.

    Attributes: ``client_id``, ``lost_at`` and ``back_at`` (monotonic seconds), ``attempts`` (each with ``at``,
    ``outcome`` and ``life``), ``delays`` (seconds between them).
    """
    return value


def _proxy(value: NetworkProxy | str) -> Any:
    """A proxy: its alias, or what `Start Network Proxy` or `Connect To Toxiproxy` returned.

    Attributes: ``alias``, ``url`` and ``ws_url`` (where clients connect to), ``upstream`` (address of the server),
    ``api_url``, ``name`` (there).
    """
    return value


CONVERTERS: dict[type, Any] = {
    MockServer: _server,
    ComfyClient: _client,
    ClientUnderTest: _client_under_test,
    ClientProcess: _process,
    Event: _event,
    QueuedPrompt: _prompt,
    PromptOutcome: _outcome,
    RecordedRequest: _request,
    RecordedSocket: _socket,
    RecordedMessage: _message,
    ConnectionLoss: _connection_loss,
    Fault: _fault,
    NetworkProxy: _proxy,
    **quantities.CONVERTERS,
    **triggers.CONVERTERS,
    LossyRun: _lossy_run,
    OutageRun: _outage_run,
    OutageResult: _outage_result,
}
