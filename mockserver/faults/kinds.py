"""Every kind of fault as data: its name, what it needs, when it begins and when it ends.

A fault is a JSON object with the name of its kind under ``fault``. Times are in seconds, sizes in bytes. The schemas
of the control API and of outages are made of these classes.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

if TYPE_CHECKING:
    from collections.abc import Sequence

Seconds = Annotated[float, Meta(ge=0, le=86_400, description="Seconds.")]
Length = Annotated[int, Meta(ge=0, description="Bytes.")]
Count = Annotated[int, Meta(ge=1)]
Probability = Annotated[float, Meta(ge=0, le=1, description="From 0 to 1.")]
Status = Annotated[int, Meta(ge=200, le=599, description="HTTP status.")]
FaultId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_.-]{1,64}(?!\s)$",
        description="1 to 64 letters of ASCII, digits, dots, hyphens and underscores.",
    ),
]
HeaderValue = Annotated[str, Meta(pattern=r"^[ -~]*(?!\s)$", description="Printable ASCII.")]
Hex = Annotated[str, Meta(pattern=r"^([0-9a-fA-F]{2} *)*(?!\s)$", description="Pairs of hexadecimal digits.")]
PathPattern = Annotated[str, Meta(pattern=r"^[/*?[]", description="A path that begins with / or *.")]
Direction = Literal["to_client", "to_server", "both"]
Moment = Literal["before", "after"]
Distribution = Literal["fixed", "uniform", "normal", "lognormal", "pareto"]

LONGEST_REASON = 123
"""Longest reason of a close frame in bytes."""

TERMINAL = "terminal"
"""Stands for every message that ends a prompt: success, error, interrupted, and ``executing`` with node null."""


class Client(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom a fault concerns. Everybody if nothing is given."""

    client_id: str | None = None
    """The client with this ``clientId``; of requests without one, those from this address."""


class Who(Client, frozen=True, kw_only=True):
    """Whose connections a fault concerns. Everybody's if nothing is given."""

    connection: Count | None = None
    """The n-th connection of that client in this life; without ``client_id`` the n-th that was accepted.

    Where a fault is about websockets, only these are counted.
    """


class Event(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event in the server: a message that is sent, a websocket that opens or closes, a request that comes."""

    event: str
    """Type of a message (``executing``, ``progress`` …), ``terminal``, ``connected``, ``disconnected``, ``request``."""
    node: str | UnsetType | None = UNSET
    """Id of the node that the message is about; null for the ``executing`` that ends a prompt."""
    prompt_id: str | None = None
    value: float | None = None
    """Value of a ``progress`` message."""
    client_id: str | None = None
    """Whom it concerns: the owner of the prompt, the client that connects."""
    method: str | None = None
    """Method of a request."""
    path: PathPattern | None = None
    """Path of a request, without ``/api``; ``*`` stands for anything."""
    nth: Count = 1
    """The n-th such event from when the fault was set."""
    moment: Moment = "after"
    """``before`` or ``after`` the message goes out; a request is met before it is answered."""


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="fault"):
    """What all faults have."""

    level: ClassVar[str] = ""
    outlives_restart: ClassVar[bool] = False
    """Whether it concerns the network, which is still disturbed when the server comes back."""

    id: FaultId | None = None
    """Its handle; made from its name if left out."""
    when: Event | None = None
    """The event at which it begins; at once if left out."""
    after: Seconds = 0.0
    """How long after that."""
    seed: int | None = None
    """Seed of its draws; that of the life if left out."""


class Action(Fault, frozen=True, kw_only=True):
    """Happens once, or at each of several events."""

    times: Count = 1
    """At how many events in a row it happens; needs ``when``."""


class State(Fault, frozen=True, kw_only=True):
    """Lasts until it is cleared."""

    seconds: Seconds | None = None
    """How long it lasts; until it is cleared if left out."""


class Matching(State, frozen=True, kw_only=True):
    """Lasts, and strikes what matches it."""

    nth: Count | None = None
    """The n-th match is the first that it strikes; without ``times`` the only one."""
    times: Count | None = None
    """How often it strikes; always if left out."""
    probability: Probability = 1.0
    """Share of the matches that it strikes, drawn with the seed."""
    who: Client = Client()

    holds: ClassVar[bool] = False
    """Whether what it has struck is held until it is cleared, so that it does not end with its last strike."""


# Process


class Crash(Action, frozen=True, kw_only=True, tag="crash"):
    """The process ends as by SIGKILL.

    What it has sent before has reached the system of every client that reads; nothing is sent afterwards.
    """

    level: ClassVar[str] = "process"


class Stop(Action, frozen=True, kw_only=True, tag="stop"):
    """The process stops gracefully, with a close frame to each client."""

    level: ClassVar[str] = "process"


class Exit(Action, frozen=True, kw_only=True, tag="exit"):
    """The process ends at once with an exit status, without a word to anybody."""

    level: ClassVar[str] = "process"
    status: Annotated[int, Meta(ge=0, le=255)] = 1


class Freeze(Action, frozen=True, kw_only=True, tag="freeze"):
    """The process stands still (SIGSTOP): sockets stay open, connections are accepted, nothing is answered.

    The control API stands still with it.
    """

    level: ClassVar[str] = "process"
    thaw_after: Seconds | None = None
    """Time after which it goes on; until it is thawed, by hand with ``kill -CONT PID``, if left out."""


EndsOrFreezes = Crash | Exit | Freeze
"""After these the process does not go on, at least not at once."""


class SlowStart(Fault, frozen=True, kw_only=True, tag="slow_start"):
    """A life takes its time to start: connections are refused, then requests answered with 503, then all is well.

    It begins with a life that begins with it (``--faults``); set in a life that runs, it is for later ones.
    """

    level: ClassVar[str] = "process"
    outlives_restart: ClassVar[bool] = True
    refused: Seconds = 0.0
    """How long connections are refused."""
    unavailable: Seconds = 0.0
    """How long requests and handshakes are answered with 503 after that."""
    times: Count = 1
    """How many lives start like this, where somebody starts the next ones with it."""


# Listener


class RefuseConnections(State, frozen=True, kw_only=True, tag="refuse_connections"):
    """New connections are refused (ECONNREFUSED)."""

    level: ClassVar[str] = "listener"
    outlives_restart: ClassVar[bool] = True
    established: Literal["keep", "drop"] = "keep"
    """Whether connections that are open stay, or are reset."""


class IgnoreConnections(State, frozen=True, kw_only=True, tag="ignore_connections"):
    """Attempts to connect get no answer and time out (no SYN is answered). Open connections stay."""

    level: ClassVar[str] = "listener"
    outlives_restart: ClassVar[bool] = True


class SlowAccept(State, frozen=True, kw_only=True, tag="slow_accept"):
    """Connections are made by the system, and served only after a delay."""

    level: ClassVar[str] = "listener"
    outlives_restart: ClassVar[bool] = True
    delay: Seconds


class Flap(State, frozen=True, kw_only=True, tag="flap"):
    """The listener goes down and comes up again by turns; it begins with down, which resets open connections."""

    level: ClassVar[str] = "listener"
    outlives_restart: ClassVar[bool] = True
    down: Annotated[float, Meta(gt=0)]
    up: Annotated[float, Meta(gt=0)]


# Bytes


class ByteFault(State, frozen=True, kw_only=True):
    """Concerns the bytes of connections, in one direction or in both."""

    level: ClassVar[str] = "bytes"
    outlives_restart: ClassVar[bool] = True
    direction: Direction
    who: Who = Who()


class Latency(ByteFault, frozen=True, kw_only=True, tag="latency"):
    """Bytes arrive later, in order."""

    delay: Seconds
    jitter: Seconds = 0.0
    """How far the delay varies to either side; its standard deviation, scale or tail for the other distributions."""
    distribution: Distribution = "uniform"


class Bandwidth(ByteFault, frozen=True, kw_only=True, tag="bandwidth"):
    """Bytes arrive no faster than at a rate."""

    rate: Annotated[float, Meta(gt=0, description="Bytes per second.")]


class Slice(ByteFault, frozen=True, kw_only=True, tag="slice"):
    """Bytes arrive in small pieces."""

    size: Annotated[int, Meta(ge=1, description="Bytes.")]
    variation: Length = 0
    """How far the size varies to either side."""
    delay: Seconds = 0.0
    """Time between two pieces."""


class StallNetwork(ByteFault, frozen=True, kw_only=True, tag="stall"):
    """What an application sees of packet loss: bytes that wait for what was lost to be sent again. None is missing."""

    loss: Annotated[float, Meta(ge=0, lt=1, description="Share of segments lost, from 0 to 1.")]


class HoldNetwork(ByteFault, frozen=True, kw_only=True, tag="hold_network"):
    """A partition that heals: nothing arrives until it is cleared, then everything does."""


class SilenceNetwork(ByteFault, frozen=True, kw_only=True, tag="silence"):
    """A half-open connection: bytes vanish and so does its end."""


class Cut(ByteFault, frozen=True, kw_only=True, tag="cut"):
    """The connection ends after so many bytes in this direction."""

    after_bytes: Length
    ending: Literal["reset", "fin"] = "reset"


class StopReading(State, frozen=True, kw_only=True, tag="stop_reading"):
    """The server reads nothing more: what clients send fills the buffers on the way."""

    level: ClassVar[str] = "bytes"
    outlives_restart: ClassVar[bool] = True
    who: Who = Who()


# Closing


class ResetConnections(Action, frozen=True, kw_only=True, tag="reset_connections"):
    """Connections end with RST, idle ones too, and what was on the way is lost."""

    level: ClassVar[str] = "closing"
    who: Who = Who()


class EndConnections(Action, frozen=True, kw_only=True, tag="end_connections"):
    """Connections end with FIN, websockets without a close frame (clients say 1006)."""

    level: ClassVar[str] = "closing"
    who: Who = Who()


class HalfCloseConnections(Action, frozen=True, kw_only=True, tag="half_close_connections"):
    """The server's side of connections ends with FIN; clients can still send, and are read."""

    level: ClassVar[str] = "closing"
    who: Who = Who()


class SlowClose(State, frozen=True, kw_only=True, tag="slow_close"):
    """The end of a connection (FIN), or the reply to a client's close frame, reaches the client later."""

    level: ClassVar[str] = "closing"
    outlives_restart: ClassVar[bool] = True
    delay: Seconds
    what: Literal["fin", "close_reply"] = "fin"
    who: Who = Who()


# Websocket


class RefuseUpgrade(Matching, frozen=True, kw_only=True, tag="refuse_upgrade"):
    """A websocket handshake is answered with this status. The other routes work."""

    level: ClassVar[str] = "websocket"
    outlives_restart: ClassVar[bool] = True
    status: Annotated[int, Meta(ge=200, le=599)] = 503
    retry_after: Seconds | None = None
    body: str = ""


class HangUpgrade(Matching, frozen=True, kw_only=True, tag="hang_upgrade"):
    """A websocket handshake is accepted by TCP and answered by nobody, until the fault ends."""

    level: ClassVar[str] = "websocket"
    holds: ClassVar[bool] = True
    outlives_restart: ClassVar[bool] = True


class CloseSockets(Action, frozen=True, kw_only=True, tag="close_sockets"):
    """Websockets are closed with any code, also one that must not be on the wire (RFC 6455, section 7.4)."""

    level: ClassVar[str] = "websocket"
    code: Annotated[int, Meta(ge=0, le=65_535)] = 1001
    reason: Annotated[str, Meta(max_length=LONGEST_REASON)] = ""
    who: Who = Who()


class Pong(Matching, frozen=True, kw_only=True, tag="pong"):
    """Pings of clients are not answered, late, or with the wrong payload."""

    level: ClassVar[str] = "websocket"
    answer: Literal["none", "late", "wrong"] = "none"
    delay: Seconds = 0.0
    """How late."""
    who: Who = Who()


FrameName = Literal[
    "rsv_bit",
    "reserved_opcode",
    "masked",
    "length_63_bits",
    "fragmented_control",
    "long_control",
    "bad_utf8",
    "continuation_without_start",
    "one_byte_close",
    "unasked_pong",
    "oversized_announced",
    "oversized",
    "one_byte_fragments",
    "truncated",
]


class SendRawFrame(Action, frozen=True, kw_only=True, tag="send_raw_frame"):
    """Bytes go out on websockets as they are: a frame by name, or any in hexadecimal digits."""

    level: ClassVar[str] = "websocket"
    frame: FrameName | None = None
    """A frame that breaks RFC 6455, or one that a client must take although it is rare."""
    hex: Hex | None = None
    """Any bytes, for example ``88 02 03 e8``."""
    size: Annotated[int, Meta(ge=1, le=64 * 1024 * 1024)] = 16 * 1024 * 1024
    """Payload of ``oversized`` and ``oversized_announced``."""
    who: Who = Who()


# Messages


class MessageFault(Matching, frozen=True, kw_only=True):
    """Strikes messages by their type, node, prompt; ``nth`` and ``times`` count for each client on its own."""

    level: ClassVar[str] = "messages"
    message: str
    """Type as on the wire, ``terminal``, or ``*`` for any."""
    node: str | UnsetType | None = UNSET
    prompt_id: str | None = None
    value: float | None = None
    """Value of a ``progress`` message."""
    who: Who = Who()


class DropMessage(MessageFault, frozen=True, kw_only=True, tag="drop_message"):
    """Messages are never sent. The websocket stays open."""


class DuplicateMessage(MessageFault, frozen=True, kw_only=True, tag="duplicate_message"):
    """Messages are sent twice in a row."""

    copies: Count = 1
    """How many more than one."""


class DelayMessage(MessageFault, frozen=True, kw_only=True, tag="delay_message"):
    """Messages are sent later; those behind them overtake."""

    delay: Seconds


class ReorderMessage(MessageFault, frozen=True, kw_only=True, tag="reorder_message"):
    """Messages are sent behind later ones."""

    holds: ClassVar[bool] = True
    behind: Count = 1
    """How many later messages of the same client go first."""


class SendMessage(Action, frozen=True, kw_only=True, tag="send_message"):
    """A message that no prompt has caused: of any type, about a foreign prompt, about one that is over."""

    level: ClassVar[str] = "messages"
    type: str = "mock_unknown"
    data: dict[str, Any] = {}
    who: Who = Who()


# HTTP


class RequestFault(Matching, frozen=True, kw_only=True):
    """Strikes requests by method and path; never websocket handshakes."""

    level: ClassVar[str] = "http"
    method: str | None = None
    path: PathPattern | None = None
    """Without ``/api``, as routes are the same with it; ``*`` stands for anything."""


class FailRequest(RequestFault, frozen=True, kw_only=True, tag="fail_request"):
    """Requests are answered with this status, and are not carried out."""

    status: Status = 500
    retry_after: Seconds | None = None
    body: str = ""
    content_type: HeaderValue = "text/plain"


class DelayRequest(RequestFault, frozen=True, kw_only=True, tag="delay_request"):
    """Requests are carried out and answered later; not for clients that have given up by then."""

    delay: Seconds


class HangRequest(RequestFault, frozen=True, kw_only=True, tag="hang_request"):
    """Requests are carried out and answered only when the fault ends; not for clients that have given up by then."""

    holds: ClassVar[bool] = True


class TruncateAnswer(RequestFault, frozen=True, kw_only=True, tag="truncate_answer"):
    """Answers announce their whole length, and end with FIN before it."""

    keep: Length | None = None
    """How much of the body is sent; half of it if left out."""


class MalformJson(RequestFault, frozen=True, kw_only=True, tag="malform_json"):
    """Answers are whole for HTTP, but their JSON breaks off; those without JSON break off too: name a ``path``."""


class DribbleAnswer(RequestFault, frozen=True, kw_only=True, tag="dribble_answer"):
    """Answers come in small pieces."""

    size: Annotated[int, Meta(ge=1)] = 1
    delay: Seconds = 0.05
    """Time between two pieces."""


class EmptyAnswer(RequestFault, frozen=True, kw_only=True, tag="empty_answer"):
    """Requests are carried out, and answered with their status and no body."""


class WrongContentType(RequestFault, frozen=True, kw_only=True, tag="wrong_content_type"):
    """Answers have their body, under another content type."""

    content_type: HeaderValue = "text/html; charset=utf-8"


class ResetRequest(RequestFault, frozen=True, kw_only=True, tag="reset_request"):
    """The connection is reset in the middle of the answer."""

    keep: Length | None = None
    """How much of the body is sent before; half of it if left out."""


# Application


class NodeFault(Matching, frozen=True, kw_only=True):
    """Strikes where a node is run."""

    level: ClassVar[str] = "application"
    node: str | None = None
    """Id of the node; any one if left out."""
    class_type: str | None = None
    prompt_id: str | None = None


class FailPrompt(NodeFault, frozen=True, kw_only=True, tag="fail_prompt"):
    """The node fails: ``execution_error``, and an error in the history."""

    type: str = "RuntimeError"
    """Type of the exception, as a client reads it."""
    message: str | None = None


class InterruptPrompt(NodeFault, frozen=True, kw_only=True, tag="interrupt_prompt"):
    """The prompt is interrupted at the node, though nobody has asked for it."""


class HoldExecution(NodeFault, frozen=True, kw_only=True, tag="hold_execution"):
    """The prompt stands still at the node until the fault is cleared; an interrupt takes effect only then."""

    holds: ClassVar[bool] = True
    value: Annotated[int, Meta(ge=0)] = 0
    """How many updates of its progress the node has reported before; fewer than it reports in all."""


class LoseQueue(Action, frozen=True, kw_only=True, tag="lose_queue"):
    """The server forgets every prompt that waits or runs: no message, no history, only the status."""

    level: ClassVar[str] = "application"


class LoseHistory(Action, frozen=True, kw_only=True, tag="lose_history"):
    """The server forgets every prompt that has ended."""

    level: ClassVar[str] = "application"


class ForgetPrompt(Action, frozen=True, kw_only=True, tag="forget_prompt"):
    """The server forgets one prompt, wherever it is: queue, execution or history."""

    level: ClassVar[str] = "application"
    prompt_id: str | None = None
    """The one that runs if left out."""


class PromptFault(Matching, frozen=True, kw_only=True):
    """Strikes when a prompt goes into the history."""

    level: ClassVar[str] = "application"
    prompt_id: str | None = None


class DelayHistory(PromptFault, frozen=True, kw_only=True, tag="delay_history"):
    """The history knows a prompt later than its messages say."""

    delay: Seconds


class SkipHistory(PromptFault, frozen=True, kw_only=True, tag="skip_history"):
    """The history never knows the prompt, whatever its messages said."""


class LoseOutputFiles(PromptFault, frozen=True, kw_only=True, tag="lose_output_files"):
    """The files that a prompt has written are gone, though messages and history name them."""


class TakeOverClientId(State, frozen=True, kw_only=True, tag="take_over_client_id"):
    """Somebody else connects under a clientId: the older socket stays open and gets nothing.

    When the fault ends, the other one leaves, and with it the registration, as in the real server.
    """

    level: ClassVar[str] = "application"
    client_id: str


AnyFault = (
    Crash
    | Stop
    | Exit
    | Freeze
    | SlowStart
    | RefuseConnections
    | IgnoreConnections
    | SlowAccept
    | Flap
    | Latency
    | Bandwidth
    | Slice
    | StallNetwork
    | HoldNetwork
    | SilenceNetwork
    | Cut
    | StopReading
    | ResetConnections
    | EndConnections
    | HalfCloseConnections
    | SlowClose
    | RefuseUpgrade
    | HangUpgrade
    | CloseSockets
    | Pong
    | SendRawFrame
    | DropMessage
    | DuplicateMessage
    | DelayMessage
    | ReorderMessage
    | SendMessage
    | FailRequest
    | DelayRequest
    | HangRequest
    | TruncateAnswer
    | MalformJson
    | DribbleAnswer
    | EmptyAnswer
    | WrongContentType
    | ResetRequest
    | FailPrompt
    | InterruptPrompt
    | HoldExecution
    | LoseQueue
    | LoseHistory
    | ForgetPrompt
    | DelayHistory
    | SkipHistory
    | LoseOutputFiles
    | TakeOverClientId
)

KINDS: tuple[type[Fault], ...] = get_args(AnyFault)


class FaultError(ValueError):
    """A description of a fault that is none. The message says where and what."""


def name_of(kind: type[Fault]) -> str:
    """The kind's name, as it stands under ``fault``."""
    return str(kind.__struct_config__.tag)


TEXTS = (FaultId, HeaderValue, Hex, PathPattern)
"""Types of texts that are of a certain form, and say so in words."""

BY_NAME = {name_of(kind): kind for kind in KINDS}


def read_fault(description: Any) -> Fault:
    """A fault from JSON values. Raises FaultError."""
    name = description.get("fault") if isinstance(description, dict) else None
    if not isinstance(name, str):
        raise FaultError('A fault is an object that names its kind under "fault", for example {"fault": "crash"}.')
    if name not in BY_NAME:
        raise FaultError(f"There is no fault {name!r}. {_advice(name, list(BY_NAME))}")
    kind = BY_NAME[name]
    try:
        json.dumps(description, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise FaultError(
            f"{name}: give finite numbers, text without lone surrogates, and no endless nesting."
        ) from None
    try:
        fault: Fault = msgspec.convert(description, kind)
    except msgspec.ValidationError as failure:
        raise FaultError(
            f"{name}: {without_regexes(str(failure))}. Fields: {', '.join(kind.__struct_fields__)}."
        ) from None
    except OverflowError:
        raise FaultError(f"{name}: a number is too large.") from None
    _check(name, fault)
    return fault


def without_regexes(message: str, texts: Sequence[Any] = TEXTS) -> str:
    """What msgspec says of a text, with words instead of regular expressions."""
    for text in texts:
        form: Meta = get_args(text)[1]
        assert form.description is not None
        words = form.description[0].lower() + form.description[1:].removesuffix(".")
        message = message.replace(f"`str` matching regex {form.pattern!r}", words)
    return message


def _advice(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."


def _check(name: str, fault: Fault) -> None:
    """What the types do not say."""
    if fault.when is not None and fault.when.event != "request" and (fault.when.method or fault.when.path):
        raise FaultError(f"{name}: method and path belong to the event 'request', not to {fault.when.event!r}.")
    if isinstance(fault, Action) and fault.times > 1 and fault.when is None:
        raise FaultError(f"{name}: times needs an event under when, at which it happens again.")
    if isinstance(fault, SendRawFrame) and (fault.frame is None) == (fault.hex is None):
        raise FaultError(f"{name}: give either frame, a name, or hex, the bytes.")
    if isinstance(fault, CloseSockets) and len(fault.reason.encode()) > LONGEST_REASON:
        raise FaultError(f"{name}: a reason has at most {LONGEST_REASON} bytes (RFC 6455, section 5.5); shorten it.")


def as_json(fault: Fault) -> dict[str, Any]:
    """The fault as it was described, without what was left out."""
    described: dict[str, Any] = msgspec.to_builtins(fault)
    return described
