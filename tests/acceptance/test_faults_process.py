"""Faults of the process: it ends or stands still exactly where it is told to."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from faulty import PLAIN, Life, Wire, exchange, get, sampler, shapes, three_nodes
from mockserver_process import DEADLINE, ROOT, eventually

from mockserver.faults.process import set_alarm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockserver_process import MockProcess

Json = dict[str, Any]


class Flood:
    """A client that sends all the time, and reads as well.

    It may see the reset in its sending thread, and then FIN in the reading one: the end says nothing.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.messages: list[Json] = []
        self._threads = [threading.Thread(target=each) for each in (self._send, self._read)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._wire.socket.sendall(BIG_FRAME)

    def _read(self) -> None:
        self.messages = self._wire.messages_of_rest()

    def seen(self) -> list[Json]:
        """What it has seen, when all is over."""
        for thread in self._threads:
            thread.join()
        return self.messages


BIG_FRAME = b"\x82\xfe\xff\xff" + 4 * b"\0" + 65_535 * b"x"
"""A binary message, masked with zeros."""


@pytest.mark.parametrize("repetition", range(20))
def test_a_crash_at_an_event_is_exactly_there_for_everybody(life: Life, repetition: int) -> None:
    me, others = life.wire("me"), [life.wire(f"flood{number}") for number in range(2)]
    at_progress: Json = {"event": "progress", "value": 7}
    life.set("send_message", type="mark", when=at_progress, data={"pad": "x" * 20_000})
    life.set("crash", when=at_progress, id="crash")
    floods = [Flood(wire) for wire in others]
    if repetition % 2:  # the owner of the prompt sends as well
        floods.append(Flood(me))
    life.queue(sampler(20), client_id="me")
    seen = floods[-1].seen() if repetition % 2 else me.messages_of_rest()
    assert [each["data"]["value"] for each in seen if each["type"] == "progress"] == list(range(1, 8))
    assert [each["type"] for each in seen[-2:]] == ["progress", "mark"]
    for flood in floods:
        assert flood.seen()[-1]["type"] == "mark"
    assert life.exit_status() == -signal.SIGKILL
    assert life.records()[-1] | {"at": 0} == {
        "at": 0,
        "kind": "fault_struck",
        "fault": "crash",
        "strike": 1,
        "event": "progress",
        "client_id": "me",
    }


def test_a_client_that_only_reads_meets_fin_after_the_last_message(life: Life) -> None:
    wire = life.wire("me")
    life.set("crash", when={"event": "executing", "node": "2"})
    life.queue(three_nodes(), client_id="me")
    data, end = wire.rest()
    assert end == "FIN"
    assert data.endswith(b"}")
    assert shapes(wire.messages_of_rest())[-1] == "executing 2"
    assert life.exit_status() == -signal.SIGKILL


def test_a_crash_before_an_event_keeps_the_message_back(life: Life) -> None:
    wire = life.wire("me")
    life.set("crash", when={"event": "executing", "nth": 2, "moment": "before"})
    life.queue(three_nodes(), client_id="me")
    assert shapes(wire.messages_of_rest()) == PLAIN[:3]
    assert life.exit_status() == -signal.SIGKILL


def test_a_client_that_does_not_read_does_not_hold_a_crash(life: Life) -> None:
    life.wire("lazy")
    wire = life.wire("me")
    big = {"pad": "x" * 7_000_000}
    at_node_3 = {"event": "executing", "node": "3"}  # no message to all follows, which would wait for the lazy one
    life.set("send_message", type="big", data=big, who={"client_id": "lazy"}, when=at_node_3)
    life.set("crash", when={"event": "executed"})
    life.queue(three_nodes(), client_id="me")
    assert shapes(wire.messages_of_rest()) == PLAIN[:6]
    assert life.exit_status() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("kind", "fields", "status"),
    [
        ("crash", {}, -9),
        ("crash", {"after": 0.1}, -9),
        ("exit", {}, 1),
        ("exit", {"status": 77}, 77),
        ("exit", {"status": 0}, 0),
    ],
    ids=str,
)
def test_an_end_at_once_is_answered_before(life: Life, kind: str, fields: Json, status: int) -> None:
    wire = life.wire("me")
    assert life.set(kind, **fields) | {"seed": 0} == {
        "fault": kind,
        "id": f"{kind}-1",
        "seed": 0,
        "state": "waiting",
        "strikes": 0,
        **fields,
    }
    assert wire.rest() == (b"", "FIN")
    assert life.exit_status() == status


@pytest.mark.parametrize("strict", [False, True], ids=["polite", "strict"])
def test_a_stop_is_graceful(start_life: Callable[..., Life], strict: bool) -> None:
    life = start_life(*(["--strict"] if strict else ["--close-code", "1012", "--close-reason", "bye"]))
    wire = life.wire("me")
    life.set("hold_execution", id="h")
    life.queue(three_nodes(), client_id="me")
    life.wait_for_strike("h")
    life.set("stop")
    seen = []
    while (frame := wire.frame())[0] == 0x81 and not strict:
        seen.append(frame)
    if not strict:
        assert frame == (0x88, b"\x03\xf4bye")
        wire.send(0x8, b"\x03\xf4")
    assert wire.rest()[1] == "FIN"
    assert life.exit_status() == 0
    kinds = [record["kind"] for record in life.records()]
    assert kinds[-1] == "life"
    assert [r["reason"] for r in life.records("fault_ended")] == ["done", "life"]


# Freezing


def is_frozen(life: Life) -> bool:
    """Whether the process stands still."""
    return psutil.Process(life.pid).status() == psutil.STATUS_STOPPED


def test_a_freeze_lasts_until_it_is_thawed(life: Life) -> None:
    wire = life.wire("me")
    life.set("freeze", id="f")
    eventually("A frozen process", lambda: is_frozen(life))
    wire.send(0x9, b"anybody?")
    late = Wire(life.port, "late")  # the system accepts it
    assert wire.is_silent()
    assert not late.unread
    life.signal(signal.SIGCONT)
    assert wire.frame() == (0x8A, b"anybody?")
    late.expect_upgrade()
    late.close()
    assert life.fault("f")["state"] == "ended"


@pytest.mark.parametrize("thaw_after", [0, 0.3])
def test_a_freeze_at_an_event_loses_nothing(life: Life, thaw_after: float) -> None:
    wire = life.wire("me")
    life.set("freeze", thaw_after=thaw_after, when={"event": "executing", "node": "2"}, id="f")
    began = time.monotonic()
    prompt_id = life.queue(three_nodes(), client_id="me")
    assert shapes(wire.run_of(prompt_id)) == PLAIN
    assert time.monotonic() - began >= thaw_after
    assert life.fault("f")["state"] == "ended"
    assert psutil.Process(life.pid).children() == []


def test_nothing_is_sent_between_the_event_and_the_freeze(life: Life) -> None:
    wire = life.wire("me")
    life.set("freeze", when={"event": "executing", "node": "2"})
    prompt_id = life.queue(three_nodes(), client_id="me")
    eventually("A frozen process", lambda: is_frozen(life))
    seen = wire.until_message("executing", node="2")
    assert not wire.unread
    assert not select.select([wire.socket], [], [], 0.1)[0]
    life.signal(signal.SIGCONT)
    assert shapes(seen + wire.run_of(prompt_id)) == PLAIN


def test_a_life_may_freeze_several_times(life: Life) -> None:
    wire = life.wire("me")
    life.set("freeze", thaw_after=0.05, times=3, when={"event": "executing"}, id="f")
    prompt_id = life.queue(three_nodes(), client_id="me")
    assert shapes(wire.run_of(prompt_id)) == PLAIN
    assert life.fault("f")["strikes"] == 3


def test_what_would_thaw_a_life_ends_with_it(life: Life) -> None:
    life.set("freeze", thaw_after=80_000)
    eventually("A frozen process", lambda: is_frozen(life))
    (alarm,) = psutil.Process(life.pid).children()
    life.signal(signal.SIGKILL)
    assert life.exit_status() == -signal.SIGKILL
    eventually("The end of what would thaw it", lambda: not alarm.is_running())


def test_what_thaws_a_process_tries_until_it_has_succeeded() -> None:
    """The first time it may come before the process is frozen."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        with set_alarm(victim.pid, 0) as alarm:
            for _ in range(3):
                victim.send_signal(signal.SIGSTOP)
                eventually(
                    "A process that goes on", lambda: psutil.Process(victim.pid).status() != psutil.STATUS_STOPPED
                )
            assert alarm.stdin is not None
            alarm.stdin.close()
        victim.kill()


def test_somebody_else_may_thaw_it_earlier(life: Life) -> None:
    life.set("freeze", thaw_after=80_000)
    eventually("A frozen process", lambda: is_frozen(life))
    (alarm,) = psutil.Process(life.pid).children()
    life.signal(signal.SIGCONT)
    assert life.ask("GET", "/queue").status == 200
    eventually("The end of what would thaw it", lambda: not alarm.is_running())


# From the beginning of a life


@pytest.fixture
def with_faults(start_life: Callable[..., Life], tmp_path: Path) -> Callable[..., Life]:
    """Starts lives with a file of faults."""

    def start(*faults: Json) -> Life:
        (tmp_path / "faults.json").write_text(json.dumps(faults))
        return start_life("--faults", str(tmp_path / "faults.json"))

    return start


SLOW_PARTS = ["refuse_connections-1", "fail_request-1", "refuse_upgrade-1"]


def test_a_life_that_starts_slowly_refuses_first_and_is_unavailable_then(with_faults: Callable[..., Life]) -> None:
    life = with_faults({"fault": "slow_start", "refused": 40_000, "unavailable": 40_000})
    assert life.strikes("slow_start-1")[0]["faults"] == SLOW_PARTS
    with pytest.raises(ConnectionRefusedError):
        life.ask("GET", "/queue")
    life.clear(SLOW_PARTS[0])
    assert exchange(life.port, get("/queue"))[0].startswith(b"HTTP/1.1 503 ")
    wire = life.wire("me", greeted=False)
    assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 503 ")
    life.steer("DELETE", "/faults")
    assert life.ask("GET", "/queue").status == 200
    life.wire("me")


def test_a_life_that_starts_slowly_gets_there_by_itself(with_faults: Callable[..., Life]) -> None:
    began = time.monotonic()
    life = with_faults({"fault": "slow_start", "refused": 0.3, "unavailable": 0.3})
    eventually("Its end", lambda: life.fault("refuse_upgrade-1")["state"] == "ended")
    assert time.monotonic() - began >= 0.6
    assert life.ask("GET", "/queue").status == 200
    life.wire("me")
    assert {record["fault"]: record["reason"] for record in life.records("fault_ended")} == {
        "slow_start-1": "done",
        **dict.fromkeys(SLOW_PARTS, "seconds"),
    }


def test_a_slow_start_does_not_concern_the_life_in_which_it_is_set(life: Life) -> None:
    assert life.set("slow_start", unavailable=80_000)["state"] == "waiting"
    assert life.ask("GET", "/queue").status == 200


def test_lives_crash_one_after_the_other(with_faults: Callable[..., Life]) -> None:
    for _ in range(3):
        life = with_faults({"fault": "crash", "when": {"event": "connected"}})
        wire = life.wire("me", greeted=False)
        assert wire.rest()[0].startswith(b"HTTP/1.1 101 ")
        assert life.exit_status() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "faults.json: give a list of faults, not dict."),
        ("[", "faults.json: Expecting value: line 1 column 2 (char 1)"),
        (
            '[{"fault": "stop"}, {"fault": "stopp"}]',
            "faults.json: fault 2: There is no fault 'stopp'. Did you mean 'stop'?",
        ),
        (
            '[{"fault": "pong", "id": "a"}, {"fault": "pong", "id": "a"}]',
            "faults.json: fault 2: the id 'a' is given twice.",
        ),
    ],
)
def test_a_file_of_faults_that_is_wrong_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "faults.json").write_text(content)
    command = [sys.executable, "-m", "mockserver", "0", "--faults", str(tmp_path / "faults.json")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=DEADLINE, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode().splitlines()[-1] == f"The mock server cannot start: {said}"


def test_a_life_that_no_fork_server_has_started_freezes_as_well(start_mock_process: Callable[..., MockProcess]) -> None:
    server = start_mock_process("--node-duration", "0.001")
    wire = Wire(server.port, "me")
    wire.expect_upgrade()
    control = int(server.ready["control_url"].rpartition(":")[2])
    body = b'{"fault": "freeze", "thaw_after": 0.1, "when": {"event": "executing", "node": "2"}}'
    request = b"POST /faults HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert exchange(control, request + body)[0].startswith(b"HTTP/1.1 201 ")
    prompt_id = server.queue(three_nodes(), client_id="me")
    assert shapes(wire.run_of(prompt_id)) == PLAIN
    wire.close()
