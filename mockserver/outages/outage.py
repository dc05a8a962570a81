"""An outage as data: what a server is like, what goes wrong over time and events, and what a good client does.

The fields of a file are those of these classes. Times are in seconds; files may write them as ``200 ms`` too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mockserver.faults.kinds import AnyFault, Count, FaultId, Seconds, name_of

Signal = Literal["SIGTERM", "SIGINT", "SIGKILL"]
OutageName = Annotated[
    str,
    Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}(?!\s)$", description="1 to 64 small letters of ASCII, digits, hyphens."),
]

ALL = "all"
"""What ``clear`` names to end every fault."""

LIFE_ENDED = "life_ended"
"""The event that a life has ended by itself, as at a crash."""

FAULT_EVENTS = ("fault_begun", "fault_struck", "fault_ended")
"""Events of faults, as journals name them."""


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all parts of an outage have."""


class Server(_Part, frozen=True, kw_only=True):
    """What the server is like. What is left out is as the server has it by itself."""

    node_duration: Seconds | None = None
    """How long each node of a prompt takes."""
    step_duration: Seconds | None = None
    """How long each step of a sampler takes."""
    durations: dict[str, Seconds] = {}
    """How long nodes of a class, or the node with an id, take."""
    status_interval: Seconds | None = None
    """Time between periodic status messages; 0 for silence when idle."""
    strict: bool = False
    """Do nothing that the real server does not do."""
    realtime: bool = False
    """Nodes take about as long as on a machine with a GPU."""
    profile: Literal["0.3", "0.38", "latest"] | None = None
    """Version of ComfyUI to behave as."""
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] | None = None
    """Seed of the draws of all faults."""
    options: list[str] = []
    """Any further options of the mock server, as on its command line."""

    def arguments(self, *, with_seed: bool = True) -> list[str]:
        """The settings as arguments of ``python -m mockserver``."""
        times = {
            "--node-duration": self.node_duration,
            "--step-duration": self.step_duration,
            "--status-interval": self.status_interval,
            "--profile": self.profile,
            "--seed": self.seed if with_seed else None,
        }
        given = [text for name, value in times.items() if value is not None for text in (name, str(value))]
        for node, seconds in self.durations.items():
            given += ["--duration", f"{node}={seconds}"]
        switches = [name for name, is_on in (("--strict", self.strict), ("--realtime", self.realtime)) if is_on]
        return [*given, *switches, *self.options]


class RestartLife(_Part, frozen=True, kw_only=True):
    """The life ends, and after the downtime the next one begins on the same port."""

    signal: Signal = "SIGTERM"
    downtime: Seconds = 0.0


class KillLife(_Part, frozen=True, kw_only=True):
    """The life ends, and the server stays down until ``start``."""

    signal: Signal = "SIGKILL"


class StartLife(_Part, frozen=True, kw_only=True):
    """The next life begins. One that still runs has ended by itself a moment later, or this fails."""


class FreezeLife(_Part, frozen=True, kw_only=True):
    """The process stands still: sockets stay open, connections are accepted, nothing is answered."""

    seconds: Seconds | None = None
    """How long; until ``thaw`` if left out."""


class ThawLife(_Part, frozen=True, kw_only=True):
    """The frozen process goes on."""


class QueuePrompt(_Part, frozen=True, kw_only=True):
    """Prompts are queued beside those of the client, so that the server is busy."""

    times: Count = 1
    """How many."""
    client_id: str | None = None
    """Whose they are; nobody's if left out."""
    workflow: dict[str, Any] | None = None
    """In API format; a small one without models if left out."""


class WaitFor(_Part, frozen=True, kw_only=True):
    """An event, or a number of clients, that the script waits for. It looks from where the step before began."""

    event: str | None = None
    """Type of a message, ``terminal``, ``connected``, ``disconnected``, ``request`` (when it has been answered),
    ``fault_begun``, ``fault_struck``, ``fault_ended``, or ``life_ended`` when a fault ends the process."""
    clients: Count | None = None
    """Instead of an event: so many websockets are open."""
    node: str | UnsetType | None = UNSET
    """Id of the node that the message is about; null for the ``executing`` that ends a prompt."""
    prompt_id: str | None = None
    value: float | None = None
    """Value of a ``progress`` message."""
    client_id: str | None = None
    """Whom it concerns."""
    method: str | None = None
    """Method of a request."""
    path: str | None = None
    """Path of a request, without ``/api``; ``*`` stands for anything."""
    status: int | None = None
    """Status of the answer to a request."""
    fault: FaultId | None = None
    """Id of the fault that an event of faults is about."""
    nth: Count = 1
    """The n-th such event."""
    timeout: Seconds | None = None
    """Longest time to wait; the outage's ``patience`` if left out."""
    optional: bool = False
    """Go on with the script when it has not come by then."""


class Repeat(_Part, frozen=True, kw_only=True):
    """Steps that are taken several times."""

    times: Annotated[int, Meta(ge=1, le=1000)]
    steps: Annotated[list[Step], Meta(min_length=1)]


class Step(_Part, frozen=True, kw_only=True):
    """One thing that happens, and when. With a time and nothing else, time passes."""

    at: Seconds | None = None
    """Time since the script has begun."""
    after: Seconds | None = None
    """Time since the step before was done."""
    fault: AnyFault | None = None
    """Sets a fault. With ``when`` in it, it strikes at exactly that event while the script goes on. Texts may be
    ``{client_id}`` and ``{prompt_id}``: of the client that has connected last, of the prompt that the script has
    waited for, or else of the one that was queued last."""
    clear: FaultId | list[FaultId] | None = None
    """Ends faults by their ids, or ``all``."""
    restart: RestartLife | None = None
    kill: KillLife | None = None
    start: StartLife | None = None
    freeze: FreezeLife | None = None
    thaw: ThawLife | None = None
    queue_prompt: QueuePrompt | None = None
    wait_for: WaitFor | None = None
    repeat: Repeat | None = None

    @property
    def actions(self) -> list[str]:
        """The names of what happens: one, or none where only time passes."""
        return [name for name in ACTIONS if getattr(self, name) is not None]

    def __str__(self) -> str:
        """The step in words."""
        when = f"at {self.at:g} s " if self.at is not None else f"after {self.after:g} s " if self.after else ""
        return f"{when}{self._what()}".strip()

    def _what(self) -> str:
        for name in self.actions:
            if name == "clear":
                return f"clear {', '.join(self.cleared)}"
            if name == "fault":
                assert self.fault is not None
                return f"fault {name_of(type(self.fault))}{_given(self.fault)}"
            if name == "repeat":
                assert self.repeat is not None
                return f"repeat {len(self.repeat.steps)} steps {self.repeat.times} times"
            return f"{name.replace('_', ' ')}{_given(getattr(self, name))}"
        return "time passes"

    @property
    def cleared(self) -> list[str]:
        """Ids of the faults that it clears."""
        return [self.clear] if isinstance(self.clear, str) else list(self.clear or ())


ACTIONS = (
    "fault",
    "clear",
    "restart",
    "kill",
    "start",
    "freeze",
    "thaw",
    "queue_prompt",
    "wait_for",
    "repeat",
)
"""The fields of a step that say what happens. Each step has one of them, or a time alone."""


class Expectation(_Part, frozen=True, kw_only=True):
    """What a good client does. What is left out is not asked."""

    words: str
    """In a sentence or two, for people."""
    reconnects: Annotated[int, Meta(ge=0)] | None = None
    """How often it comes back: once for each outage of the script."""
    within: Seconds | None = None
    """Longest time until it is back, from when it can be."""
    attempts_at_most: Count | None = None
    """How often it tries to connect while it cannot be served, for each outage."""
    stays_connected: bool | None = None
    """It takes this without losing its connection."""
    notices_within: Seconds | None = None
    """Longest time until it gives up a connection that is dead."""
    keeps_client_id: bool | None = None
    """It comes back under the clientId that it had."""
    finds_result: bool | None = None
    """Its job succeeds, and it fetches the result, by whatever way."""
    says_lost: bool | None = None
    """It says that its job is lost, and neither waits for ever nor reports success."""
    no_duplicate_prompts: bool | None = None
    """It sends its prompt once."""
    waits_at_least: Seconds | None = None
    """Shortest time before it asks again, where the server has said how long to wait."""


class Outage(_Part, frozen=True, kw_only=True):
    """A named sequence of faults and lives that a client is led through, with what a good client does."""

    name: OutageName
    """Small letters, digits and hyphens; the name of the file without its ending."""
    title: Annotated[str, Meta(min_length=1, max_length=120)]
    """One line."""
    documentation: str
    """What happens, and why it matters."""
    report: str | list[str] = []
    """Where the case was reported, for example ``owner/project issue 7``."""
    needs: Literal["connection", "job"] = "connection"
    """What the client has to do: be connected, or queue a prompt and follow it too."""
    clients: Count = 1
    """How many clients it takes to see it."""
    patience: Seconds = 30.0
    """Longest time that the script waits for an event where the step says nothing else."""
    server: Server = Server()
    """What the server is like."""
    script: Annotated[list[Step], Meta(min_length=1)]
    """What happens, in this order."""
    expectation: Expectation
    """What a good client does."""

    @property
    def reports(self) -> list[str]:
        """Where the case was reported."""
        return [self.report] if isinstance(self.report, str) else list(self.report)

    def steps(self) -> list[NumberedStep]:
        """All steps in the order in which they are taken, with repetitions written out."""
        return _numbered(self.script, "")


class NumberedStep(Struct, frozen=True):
    """A step with its place in the script."""

    number: str
    """``3``, or ``3.1`` in a repetition, with the round behind it: ``3.1 (round 2)``."""
    step: Step

    def __str__(self) -> str:
        return f"step {self.number}: {self.step}"


def _numbered(steps: list[Step], prefix: str, suffix: str = "") -> list[NumberedStep]:
    found: list[NumberedStep] = []
    for number, step in enumerate(steps, start=1):
        label = f"{prefix}{number}"
        if step.repeat is None:
            found.append(NumberedStep(f"{label}{suffix}", step))
            continue
        if step.after or step.at:
            found.append(NumberedStep(f"{label}{suffix}", Step(at=step.at, after=step.after)))
        for round_ in range(1, step.repeat.times + 1):
            found += _numbered(step.repeat.steps, f"{label}.", f"{suffix} (round {round_})")
    return found


def _given(part: Struct) -> str:
    """The fields of a part that were given, in words."""
    given = msgspec.to_builtins(part)
    return "".join(
        f" {name}={_shown(value)}" for name, value in given.items() if name != part.__struct_config__.tag_field
    )


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{name}={_shown(each)}' for name, each in value.items())})"
    return f"{value:g}" if isinstance(value, float) else str(value)
