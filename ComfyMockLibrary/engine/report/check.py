"""Leads a client through outages, each on a fresh server and with a fresh process of the client."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ComfyMockLibrary.engine.client_process import ClientProcess, ClientProcesses
from ComfyMockLibrary.engine.deadline import Deadline, now, wait_until
from ComfyMockLibrary.engine.evidence import Evidence
from ComfyMockLibrary.engine.outages import OutageRun, load, server_options, shipped
from ComfyMockLibrary.engine.report.card import Entry
from ComfyMockLibrary.engine.report.course import Course, course_of
from ComfyMockLibrary.engine.report.habits import Habits, NoSuchClient, habits_of
from ComfyMockLibrary.engine.report.judge import Case, Judgement, judge, limits_of, not_applicable
from ComfyMockLibrary.engine.servers import MockServer, ServerManager, ServerOptions
from ComfyMockLibrary.types import StopSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ComfyMockLibrary.engine.report.judge import Limits
    from mockserver.outages.outage import Outage, Step

Found = TypeVar("Found")
Part = TypeVar("Part", bound=msgspec.Struct)

LOOK_INTERVAL = 0.1
"""Seconds between two looks at the journals."""

QUIET = 8.0
"""Seconds without a further job after which a client is taken for one that queues no more."""

START_LIMIT = 60.0
"""Seconds until a client has done its first job, or is cut off as the outage wants it."""

REHEARSAL_PACE = 0.3
OUTAGE_PACE = 1.0
"""Seconds that a node takes: long enough that a job is under way when an outage strikes, wherever that is not said."""

SETTLING = 2.0
"""Seconds for which a client must go on as it does when it seems to have survived."""

AS_REAL = ("--status-interval", "0")
"""The real server is silent when idle: a client must not be saved by status messages that it would never get."""

STARTUP_TIMEOUT = 60.0
_LAST_WORDS = 12


def outages_for_one_client() -> list[Outage]:
    """The outages of a report card: all that come with the library but for those that take several clients."""
    return [outage for outage in map(load, shipped()) if outage.clients == 1]


class _WatchingServers(ServerManager):
    """Watches the port of each server that is down, so that attempts can be counted."""

    def kill(
        self,
        server: MockServer,
        how: StopSignal = StopSignal.SIGTERM,
        shutdown_timeout: float = 5.0,
        *,
        watch_attempts: bool = True,
    ) -> int:
        return super().kill(server, how, shutdown_timeout, watch_attempts=watch_attempts)


class Check:
    """Checks one client. Nothing of it is left after ``close``, or after the end of this process."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        timeout: float | None = None,
        server: Sequence[str] = (),
        directory: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        habits: Habits | None = None,
    ) -> None:
        """``command`` is the client's, with ``{url}`` and so on in its arguments.

        ``timeout`` is how long it may take to notice an outage, and to be back, in seconds; left out, each outage says
        so itself. ``server`` are further options of the mock server. ``directory`` keeps journals and outputs.
        ``habits`` are what an earlier check of the same client has found.
        """
        self._command = list(command)
        self._timeout = timeout
        self._server = tuple(server)
        self._env = env
        self._cwd = cwd
        self._temporary = directory is None
        self._directory = Path(tempfile.mkdtemp(prefix="comfymock-check-")) if directory is None else directory
        self._servers = _WatchingServers(self._directory)
        self._processes = ClientProcesses()
        self._habits = habits

    def keep_directory(self) -> None:
        """Leaves the directory where it is, also if nobody has named one: a failure names files in it."""
        self._temporary = False

    def close(self) -> None:
        """Ends everything."""
        self._processes.close()
        self._servers.close()
        if self._temporary:
            shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def habits(self) -> Habits:
        """What the client does when nothing goes wrong, tried out at the first use.

        Raises RuntimeError when it does not work even then, or cannot be started.
        """
        if self._habits is None:
            self._habits = self._rehearse()
        return self._habits

    def run(self, outage: Outage) -> Entry:
        """Leads the client through one outage. Raises RuntimeError as ``habits`` does."""
        habits = self.habits
        reason = not_applicable(outage, habits)
        if reason:
            return Entry(outage, Judgement("not applicable", (reason,)))
        began_at = now()
        script = for_websockets(outage) if habits.websocket else for_pollers(outage)
        with self._started_server(outage, self._options_for(outage, habits)) as server:
            watched = _Watched(self, outage, habits, limits_of(outage, self._timeout), server)
            run = OutageRun(script, self._servers, server, patience=watched.limits.patience)
            try:
                judgement, course = self._lead(run, watched)
            finally:
                watched.stop()
                run.abort()
        return Entry(outage, judgement, now() - began_at, course)

    def start_client(self, server: MockServer, name: str) -> ClientProcess:
        """Starts the client for a server. Raises RuntimeError if it cannot be started."""
        return self._processes.start(
            self._command, server.endpoint, self._directory, server=server, alias=name, env=self._env, cwd=self._cwd
        )

    def stop_client(self, process: ClientProcess) -> None:
        """Ends the client."""
        self._processes.close_process(process, 1.0)

    def _lead(self, run: OutageRun, watched: _Watched) -> tuple[Judgement, Course]:
        if run.outage.needs == "job":
            run.start()
            wait_until(lambda: _waits(run) or None, Deadline(START_LIMIT), interval=LOOK_INTERVAL)
            watched.start()
        else:
            watched.start()
            if not watched.until_settled():
                course = watched.course(run)
                return Judgement("not applicable", ("did not get to work before the outage",)), course
            run.start()

        def look() -> tuple[Judgement, Course] | None:
            return watched.judged(run)

        found = _until(look)
        if found[0].verdict == "survived" and found[1].exit_status is None:
            # What is good now must last: clients have come back, and died of it, or queued their job once more.
            wait_until(lambda: watched.has_ended or None, Deadline(SETTLING), interval=LOOK_INTERVAL)
            found = _until(look)
        return found

    def _rehearse(self) -> Habits:
        options = ServerOptions(raw=(*AS_REAL, "--node-duration", str(REHEARSAL_PACE), *self._server))
        with self._started_server(None, options) as server, ExitStack() as stack:
            evidence = Evidence(server)
            process = self.start_client(server, "rehearsal")
            stack.callback(self.stop_client, process)

            def look() -> Course | None:
                ended_at = now() if not process.is_running else None  # before the journals are read
                course = course_of(
                    evidence,
                    began_at=process.started_at,
                    until=now(),
                    exit_status=process.exit_status if ended_at is not None else None,
                    ended_at=ended_at,
                )
                return course if _is_known(course) else None

            found = wait_until(look, Deadline(START_LIMIT * 2), interval=LOOK_INTERVAL)
            assert found is not None
            try:
                return habits_of(found)
            except NoSuchClient as failure:
                process.stop(StopSignal.SIGKILL)
                raise RuntimeError(
                    f"The client does not work with a server that has no fault. {failure} It {process.describe()}."
                    f"{process.last_words()}"
                ) from None

    def _options_for(self, outage: Outage, habits: Habits) -> ServerOptions:
        options = server_options(outage)
        paced = outage.server.node_duration is not None or outage.server.realtime or outage.needs == "job"
        pace = () if paced or habits.jobs == "none" else ("--node-duration", str(OUTAGE_PACE))
        return replace(options, raw=(*AS_REAL, *options.raw, *pace, *self._server))

    @contextmanager
    def _started_server(self, outage: Outage | None, options: ServerOptions) -> Iterator[MockServer]:
        alias = "rehearsal" if outage is None else outage.name
        server = self._servers.start(options, alias=alias, startup_timeout=STARTUP_TIMEOUT)
        try:
            yield server
        finally:
            self._servers.close_server(server)


class _Watched:
    """One client in one outage, and what is known of it so far."""

    def __init__(self, check: Check, outage: Outage, habits: Habits, limits: Limits, server: MockServer) -> None:
        self.limits = limits
        self._check = check
        self._outage = outage
        self._habits = habits
        self._server = server
        self._evidence = Evidence(server)
        self._process: ClientProcess | None = None
        self._ended_at: float | None = None

    def start(self) -> None:
        """Starts the client."""
        self._process = self._check.start_client(self._server, self._outage.name)

    def stop(self) -> None:
        """Ends the client."""
        if self._process is not None:
            self._check.stop_client(self._process)

    @property
    def has_ended(self) -> bool:
        """Whether the client's process has ended."""
        return self._process is not None and not self._process.is_running

    def until_settled(self) -> bool:
        """Waits until the client is where an outage meets it: connected, and its job under way if it has one."""
        return bool(wait_until(lambda: self._is_settled() or None, Deadline(START_LIMIT), interval=LOOK_INTERVAL / 2))

    def course(self, run: OutageRun | None = None) -> Course:
        """What has happened so far."""
        assert self._process is not None
        if self._ended_at is None and not self._process.is_running:
            self._ended_at = now()
        status = None if self._ended_at is None else self._process.exit_status
        return course_of(
            self._evidence,
            began_at=self._process.started_at,
            until=now(),
            steps=() if run is None else tuple(run.taken),
            exit_status=status,
            ended_at=self._ended_at,
            words=self._process.output().splitlines()[-_LAST_WORDS:],
        )

    def judged(self, run: OutageRun) -> tuple[Judgement, Course] | None:
        """The verdict, once there is one."""
        result = run.wait(0)  # before the journals are read, or something would be taken for missing
        course = self.course(run)
        if course.exit_status is not None and result is None:
            run.abort()
            result = run.wait(0)
            course = self.course(run)
        case = Case(
            outage=self._outage,
            habits=self._habits,
            course=course,
            limits=self.limits,
            script_is_over=result is not None,
            time_is_up=result is not None and self._time_is_up(course, result.ended_at, bool(result.problem)),
            is_stuck=result is not None
            and any(step.outcome == "timed out" for step in result.steps[-2:])
            and bool(result.problem),
        )
        judgement = judge(case)
        return None if judgement is None else (judgement, course)

    def _time_is_up(self, course: Course, script_ended_at: float, is_stuck: bool) -> bool:
        if is_stuck or course.exit_status is not None:
            return True
        job = course.jobs[0] if course.jobs else None
        since = [script_ended_at, course.served_again_at or 0.0]
        if job is not None:
            since.append(course.until if job.runs else job.ended_at or job.lost_at or 0.0)
        return course.until > max(since) + self.limits.back

    def _is_settled(self) -> bool:
        course = self.course()
        if self._habits.websocket and not course.open_sockets:
            return False
        if self._habits.jobs == "none":
            return self._habits.websocket or len(course.requests) > 1
        job = next((each for each in reversed(course.jobs) if each.runs and each.started_at is not None), None)
        if job is None or job.started_at is None:
            return False
        return self._habits.websocket or any(each.at > job.started_at for each in course.requests)


def _until(look: Callable[[], Found | None]) -> Found:
    """Looks until something is found, however long that takes: whoever looks knows the limits."""
    found = wait_until(look, Deadline(float("inf")), interval=LOOK_INTERVAL)
    assert found is not None
    return found


def for_websockets(outage: Outage) -> Outage:
    """The outage for a client that may open its websocket behind its prompt: what disturbs a job waits for both."""
    from mockserver.outages.outage import Step, WaitFor

    place = next((place for place, step in enumerate(outage.script) if step.wait_for is not None), 0)
    first = outage.script[place].wait_for
    if first is None or first.prompt_id is None:
        return outage
    opened = Step(wait_for=WaitFor(clients=1, optional=True, timeout=START_LIMIT))
    return _replaced(outage, script=[*outage.script[: place + 1], opened, *outage.script[place + 1 :]])


def for_pollers(outage: Outage) -> Outage:
    """The outage for a client without a websocket: where the script waits for one, a request does."""
    return _replaced(outage, script=[_for_pollers(step) for step in outage.script])


def _for_pollers(step: Step) -> Step:
    from mockserver.outages.outage import WaitFor

    if step.repeat is not None:
        steps = [_for_pollers(each) for each in step.repeat.steps]
        return _replaced(step, repeat=_replaced(step.repeat, steps=steps))
    wait = step.wait_for
    if wait is None or (wait.clients is None and wait.event != "connected"):
        return step
    return _replaced(step, wait_for=WaitFor(event="request", timeout=wait.timeout, optional=wait.optional))


def _replaced(part: Part, **changes: Any) -> Part:
    return msgspec.structs.replace(part, **changes)


def _waits(run: OutageRun) -> bool:
    """Whether a run has done all that comes before its first wait, so that the client may come."""
    first = [each.step.wait_for is None for each in run.outage.steps()]
    leading = first.index(False) if False in first else len(first)
    return len(run.taken) >= leading or run.is_over


def _is_known(course: Course) -> bool:
    """Whether a rehearsal has shown what a client does."""
    if course.exit_status is not None:
        return True
    seen = [*(each.at for each in course.requests), *(each.at for each in course.attempts)]
    if not seen:
        return course.until - course.began_at > START_LIMIT
    ended = [each.ended_at for each in course.jobs if each.ended_at is not None]
    if len(ended) > 1:
        return True
    if any(each.runs for each in course.jobs):
        return False
    last = max([min(seen), *ended])
    return course.until - last > QUIET
