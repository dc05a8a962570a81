"""Leads a mock server, and whoever is its client, through an outage, and says what happened when."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from ComfyMockLibrary.engine.client.wire import Patience
from ComfyMockLibrary.engine.deadline import Deadline, Guard, now, wait_until
from ComfyMockLibrary.engine.http import HttpError, ask_json
from ComfyMockLibrary.engine.journal_files import JournalFile
from ComfyMockLibrary.engine.launcher import KILL_TIMEOUT
from ComfyMockLibrary.engine.prompts import example_workflow
from ComfyMockLibrary.engine.records import shown
from ComfyMockLibrary.engine.servers import MockServer, ServerManager, ServerOptions
from ComfyMockLibrary.engine.waiting import describe_server, next_step
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ComfyMockLibrary.engine.faults import Fault
    from mockserver.outages.outage import NumberedStep, Outage, QueuePrompt, Step, WaitFor

DIRECTORY = Path(__file__).parents[1] / "outages"
"""Where the outages are that come with the library."""

LOOK_INTERVAL = 0.02
"""Seconds between two looks at the journals while an event is awaited."""

REQUEST_TIMEOUT = 10.0

_UNFORESEEN = "it ran into an error that nobody has foreseen, whose traceback is on stderr"

StepOutcome = Literal["done", "timed out", "failed"]


def shipped() -> list[Path]:
    """The files of the outages that come with the library, in the order of their names."""
    return sorted(DIRECTORY.glob("*.yaml"))


def load(name: str | Path) -> Outage:
    """An outage that comes with the library, by its name, or one from a file. Raises ValueError."""
    from mockserver.outages.reading import read_outage

    file = Path(name)
    if file.suffix not in (".yaml", ".yml", ".json") and len(file.parts) == 1:
        known = {each.stem: each for each in shipped()}
        if str(name) not in known:
            raise ValueError(f"There is no outage {str(name)!r}.{_nearest(str(name), list(known))}")
        file = known[str(name)]
    try:
        return read_outage(file)
    except OSError as failure:
        raise ValueError(f"The outage {shown(file)} cannot be read: {failure.strerror}.") from failure


def server_options(outage: Outage) -> ServerOptions:
    """What a server is started with that is led through an outage."""
    return ServerOptions(seed=outage.server.seed, raw=tuple(outage.server.arguments(with_seed=False)))


@dataclass(frozen=True)
class TakenStep:
    """A step of a script that was taken. Times are monotonic seconds."""

    number: str
    words: str
    began_at: float
    ended_at: float
    outcome: StepOutcome = "done"
    problem: str = ""
    """Why it was not done."""

    wall: str = ""
    """Date and time at its end, as logs have them."""

    def __str__(self) -> str:
        problem = f": {self.outcome}, {self.problem}" if self.problem else ""
        return f"step {self.number}: {self.words}{problem}"


@dataclass(frozen=True)
class OutageResult:
    """What became of a run. Times are monotonic seconds, the clock of all journals."""

    outage: Outage
    server: str
    """Alias of the server."""

    began_at: float
    ended_at: float
    """When the script was over and the server healed."""

    steps: tuple[TakenStep, ...]
    """All steps that were taken, in their order; the healing at the end is the last one."""

    problem: str = ""
    """Why the script was not taken to its end; empty if it was."""

    @property
    def name(self) -> str:
        """Name of the outage."""
        return self.outage.name

    @property
    def is_complete(self) -> bool:
        """Whether the script was taken to its end."""
        return not self.problem

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_at - self.began_at


class _Stuck(Exception):
    """A step cannot be done. The words say why."""


class _TimedOut(_Stuck):
    """What a step has waited for did not come."""


class _Aborted(Exception):
    """The run was told to end."""

    def __init__(self) -> None:
        super().__init__("it was aborted")


class OutageRun:
    """One run of a script on one server, in a thread of its own, which never logs: see ``taken``."""

    def __init__(
        self,
        outage: Outage,
        servers: ServerManager,
        server: MockServer,
        *,
        since: int = 0,
        patience: float | None = None,
    ) -> None:
        """``since`` is the position in the server's journals from which the first wait looks.

        ``patience`` is the longest time to wait for an event, in place of the outage's own.
        """
        self.outage = outage
        self.server = server
        self.taken: list[TakenStep] = []
        """The steps that were taken so far. Only grows."""

        self.position = since
        """Position in the server's journals from which the next wait looks."""

        self._servers = servers
        self._patience = outage.patience if patience is None else patience
        self._journals = _Journals(server)
        self._faults: dict[str, Fault] = {}
        self._anonymous: list[Fault] = []
        self._condition = Guard()
        self._has_begun = False
        self._is_aborted = False
        self._result: OutageResult | None = None
        self._thread = threading.Thread(target=self._run, name=f"OutageRun {outage.name}", daemon=True)

    def start(self) -> None:
        """Begins, and returns when what the script begins with is there: the faults before its first time or wait.

        Whoever comes then cannot be too early for them.
        """
        self._thread.start()
        beginning = sum(1 for _ in takewhile(_is_done_at_once, (each.step for each in self.outage.steps())))
        wait_until(
            lambda: self.is_over or (self._has_begun and len(self.taken) >= beginning) or None,
            Deadline(float("inf")),
            self._condition,
        )

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._result is not None

    def wait(self, timeout: float | None) -> OutageResult | None:
        """Waits for its end. None if it goes on at the timeout; without one the script's own limits end it."""
        deadline = Deadline(float("inf") if timeout is None else timeout)
        result = wait_until(lambda: self._result, deadline, self._condition)
        if result is not None:
            self._thread.join()
        return result

    def abort(self) -> None:
        """Ends it, healed, and returns when it has ended."""
        with self._condition:
            self._is_aborted = True
            self._condition.notify_all()
            has_begun = self._has_begun
        if has_begun:
            self.wait(None)

    def describe(self) -> str:
        """How far it is, in words."""
        last = str(self.taken[-1]) if self.taken else "no step is done yet"
        return f"Outage '{self.outage.name}' {'is over' if self.is_over else 'is under way'}; last: {last}"

    # In the thread

    def _run(self) -> None:
        with self._condition:
            if self._is_aborted:  # its start was interrupted
                return
            self._has_begun = True
            self._condition.notify_all()
        began_at = now()
        problem = _UNFORESEEN
        try:
            problem = self._lead(began_at)
        finally:
            with self._condition:
                self._result = OutageResult(self.outage, self.server.alias, began_at, now(), tuple(self.taken), problem)
                self._condition.notify_all()

    def _lead(self, began_at: float) -> str:
        """Takes all steps and heals. Why that was not possible, or nothing."""
        problem = ""
        try:
            for numbered in self.outage.steps():
                self._take(numbered, began_at)
        except _Aborted as aborted:
            problem = str(aborted)
        except _Stuck as stuck:
            problem = f"step {self.taken[-1].number} ({self.taken[-1].words}) {self.taken[-1].outcome}: {stuck}"
        finally:
            problem = self._heal() or problem
            self.position = self._journals.read()
        return problem

    def _take(self, numbered: NumberedStep, script_began_at: float) -> None:
        step = numbered.step
        self._pause(max(0.0, script_began_at + step.at - now()) if step.at is not None else step.after or 0.0)
        began_at = now()
        outcome: StepOutcome = "done"
        problem = ""
        try:
            self._do(step)
        except _TimedOut as stuck:
            outcome, problem = "timed out", str(stuck)
            if step.wait_for is None or not step.wait_for.optional:
                raise
        except (_Stuck, _Aborted) as stuck:
            outcome, problem = "failed", str(stuck)
            raise
        except (RuntimeError, ValueError, LookupError, OSError) as failure:
            outcome, problem = "failed", str(failure)
            raise _Stuck(str(failure)) from failure
        finally:
            self._note(numbered.number, str(step), began_at, outcome, problem)

    def _note(self, number: str, words: str, began_at: float, outcome: StepOutcome, problem: str) -> None:
        wall = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        with self._condition:
            self.taken.append(TakenStep(number, words, began_at, now(), outcome, problem, wall))
            self._condition.notify_all()

    def _do(self, step: Step) -> None:
        if step.wait_for is not None:
            self._wait_for(step.wait_for)
            return
        if step.actions:
            self.position = self._journals.read()
        if step.fault is not None:
            self._set(step)
        elif step.clear is not None:
            self._clear(step.cleared)
        elif step.queue_prompt is not None:
            self._queue(step.queue_prompt)
        else:
            self._change_life(step)

    def _change_life(self, step: Step) -> None:
        if step.restart is not None:
            self._servers.kill(self.server, StopSignal[step.restart.signal])
            self._pause(step.restart.downtime)
            self._servers.restart(self.server)
        elif step.kill is not None:
            self._servers.kill(self.server, StopSignal[step.kill.signal])
        elif step.start is not None:
            if self.server.is_running:
                raise _Stuck("the server runs; let the script wait for life_ended, or kill it, before")
            self._servers.restart(self.server)
        elif step.freeze is not None:
            self._servers.freeze(self.server)
            if step.freeze.seconds is not None:
                self._pause(step.freeze.seconds)
                self._servers.thaw(self.server)
        elif step.thaw is not None:
            self._servers.thaw(self.server)

    def _set(self, step: Step) -> None:
        from mockserver.faults.kinds import as_json

        assert step.fault is not None
        fault = self.server.faults.set(self._journals.filled(as_json(step.fault)))
        if step.fault.id is None:
            self._anonymous.append(fault)
        else:
            self._faults[step.fault.id] = fault

    def _clear(self, names: list[str]) -> None:
        for name in names:
            if name == "all":
                self.server.faults.clear(*self._all_faults())
            else:
                self.server.faults.clear(self._faults[name])

    def _all_faults(self) -> list[Fault]:
        return [*self._anonymous, *self._faults.values()]

    def _queue(self, order: QueuePrompt) -> None:
        owner = {} if order.client_id is None else {"client_id": order.client_id}
        for _ in range(order.times):
            body: dict[str, Any] = {"prompt": order.workflow or example_workflow(), **owner}
            try:
                ask_json(self.server.endpoint, "POST", "/prompt", Patience(REQUEST_TIMEOUT), body=body)
            except HttpError as failure:
                raise _Stuck(str(failure)) from failure

    def _wait_for(self, wait: WaitFor) -> None:
        limit = self._patience if wait.timeout is None else wait.timeout

        def look() -> int | None:
            if self._is_aborted:
                raise _Aborted
            return self._found(wait)

        found = wait_until(look, Deadline(limit), self._condition, LOOK_INTERVAL)
        if found is None:
            raise _TimedOut(f"it had not come within {limit:g} s. {self._journals.seen()}")
        self.position = found

    def _found(self, wait: WaitFor) -> int | None:
        if wait.event == "life_ended":
            return None if self.server.is_running else self._journals.read()
        return self._journals.find(wait, self.position)

    def _pause(self, seconds: float) -> None:
        """Lets time pass because the script says so, unless the run is aborted."""
        if seconds > 0:
            wait_until(lambda: self._is_aborted or None, Deadline(seconds), self._condition)
        if self._is_aborted:
            raise _Aborted

    def _heal(self) -> str:
        """Leaves a server that runs and has none of this run's faults. Why that was not possible, or nothing."""
        began_at = now()
        try:
            if self.server.is_frozen:
                self._thaw_unless_ended()
            self.server.faults.clear(*self._all_faults())
            if not self.server.is_running:
                self._servers.restart(self.server)
        except (RuntimeError, ValueError, LookupError, OSError) as failure:
            self._note("end", "heal", began_at, "failed", str(failure))
            return f"the server could not be healed: {failure}"
        self._note("end", "heal", began_at, "done", "")
        return ""

    def _thaw_unless_ended(self) -> None:
        try:
            self._servers.thaw(self.server)
        except RuntimeError:
            if self._servers.wait_for_stop(self.server, KILL_TIMEOUT) is None:
                raise


def _is_done_at_once(step: Step) -> bool:
    return step.at is None and step.after is None and (step.fault is not None or step.clear is not None)


class OutageRuns:
    """The runs on the servers of one manager: at most one at a time on each."""

    def __init__(self) -> None:
        self._runs: list[OutageRun] = []
        self._positions: WeakKeyDictionary[MockServer, int] = WeakKeyDictionary()

    @property
    def all(self) -> list[OutageRun]:
        """All runs, oldest first."""
        return list(self._runs)

    @property
    def latest(self) -> OutageRun:
        """The run that was started last. Raises ValueError."""
        if not self._runs:
            raise ValueError("No outage was started. Start one with `Start Outage`.")
        return self._runs[-1]

    def start(
        self, outage: Outage, servers: ServerManager, server: MockServer, *, patience: float | None = None
    ) -> OutageRun:
        """Begins to lead a server through an outage. Raises ValueError while another one is under way.

        Waits look from where the run before ended; in the first run, from the beginning of the life that runs.
        """
        for run in self._runs:
            if run.server is server and not run.is_over:
                raise ValueError(f"{run.describe()}. Wait for its end with `Wait For Outage To End`.")
            if run.server is server:
                self._positions[server] = run.position
        since = self._positions.get(server)
        run = OutageRun(
            outage,
            servers,
            server,
            since=_beginning_of_life(server) if since is None else since,
            patience=patience,
        )
        self._runs.append(run)
        run.start()
        return run

    def end(self, run: OutageRun) -> None:
        """Ends a run, healed, and forgets it; where it ended is where the next one on its server looks from."""
        run.abort()
        self._positions[run.server] = run.position
        self._runs.remove(run)

    def close(self) -> None:
        """Ends all runs."""
        for run in reversed(self.all):
            self.end(run)


class _Journals:
    """The journals of all lives of a server, read as they grow."""

    def __init__(self, server: MockServer) -> None:
        from mockserver.outages.recorded import Recorded

        self._server = server
        self._files: dict[str, JournalFile] = {}
        self._recorded = Recorded()

    def read(self) -> int:
        """Reads what is new. The position behind it."""
        for record in self._news():
            self._recorded.add(record)
        return len(self._recorded)

    def find(self, wait: WaitFor, since: int) -> int | None:
        """The position behind the record that is awaited, if it is there."""
        self.read()
        return self._recorded.find(wait, since)

    def filled(self, description: Any) -> Any:
        """A description with ``{client_id}`` and ``{prompt_id}`` replaced by those that came last."""
        return self._recorded.filled(description)

    def seen(self) -> str:
        """What there is instead, in words."""
        clients = self._recorded.clients
        open_ = (
            f"{clients} client{' is' if clients == 1 else 's are'} connected" if clients else "No client is connected"
        )
        return f"{open_}."

    def _news(self) -> Iterator[dict[str, Any]]:
        for life in list(self._server.lives):
            yield from self._files.setdefault(life.life_id, JournalFile(life.journal_file)).news()


def _beginning_of_life(server: MockServer) -> int:
    """The position in all journals of a server at which its latest life begins."""
    return sum(len(JournalFile(life.journal_file).news()) for life in server.lives[:-1])


def failure_of(result: OutageResult, server: MockServer) -> str:
    """Why a run was not taken to its end, and what to do about it."""
    advice = ""
    last = next((step for step in reversed(result.steps) if step.number != "end"), None)
    if last is not None and last.outcome == "timed out":
        needs = "queue a prompt" if result.outage.needs == "job" else "be connected"
        advice = f"The client has to {needs} before or while the outage runs; a slow one needs a longer patience."
    sentences = [
        f"Outage '{result.name}' was not led to its end: {result.problem.rstrip('.')}.",
        *describe_server(server),
        next_step(server),
        advice,
    ]
    return " ".join(filter(None, sentences))


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known) or 'none'}."
