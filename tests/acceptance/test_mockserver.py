"""``python -m mockserver`` and its HTTP API."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from mockserver_process import (
    DEADLINE,
    QUICK,
    ROOT,
    TWO_NODES,
    MockProcess,
    chain,
    eventually,
    has_ended,
    node,
    read_line,
    sampling,
    types,
)
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    StartMockProcess = Callable[..., MockProcess]

with_and_without_api = pytest.mark.parametrize("prefix", ["", "/api"])

SLOW = ("--status-interval", "0", "--node-duration", "3600")
"""The first prompt does not end within the test, the others wait."""


def shortly(value: object) -> str:
    """A body in the name of a test."""
    return repr(value)[:70]


def run_to_its_end(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A mock server that ends by itself, because it cannot start."""
    return subprocess.run(
        [sys.executable, "-m", "mockserver", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


class TestStart:
    def test_by_hand_the_first_line_says_where_it_is_and_how_to_stop_it(
        self, start_mock_process: StartMockProcess
    ) -> None:
        server = start_mock_process(supervised=False)
        where = f"127.0.0.1:{server.port}"
        assert re.fullmatch(
            rf"Mock ComfyUI \S+ listens on http://{where} \(websocket ws://{where}/ws\)\. Stop it with Ctrl-C\.\n",
            server.first_line,
        )
        assert server.ask("GET", "/queue").status == 200

    def test_supervised_the_first_line_is_json(self, start_mock_process: StartMockProcess) -> None:
        server = start_mock_process("--life-id", "life-7")
        assert server.ready == {
            "port": server.port,
            "pid": server.pid,
            "life_id": "life-7",
            "control_url": server.ready["control_url"],
        }
        assert server.control("/life").json["life_id"] == "life-7"
        assert server.ask("GET", "/queue").status == 200

    def test_one_port_serves_several_addresses(self, start_mock_process: StartMockProcess) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 here")
        server = start_mock_process("--listen", "127.0.0.1,::1")
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, server.port), DEADLINE).close()

    def test_a_port_that_is_taken_is_told_in_one_line_with_its_owner(self, mock_process: MockProcess) -> None:
        ended = run_to_its_end(str(mock_process.port))
        assert ended.returncode == 1
        assert ended.stdout == ""
        (line,) = ended.stderr.splitlines()
        assert line.startswith(f"Port {mock_process.port} on 127.0.0.1 is taken by process {mock_process.pid} ")
        assert line.endswith("Choose another one with --port, or any free one with --port 0.")

    def test_a_control_port_that_is_taken_is_told_so_too(self, mock_process: MockProcess) -> None:
        ended = run_to_its_end("0", "--control-listen", f"127.0.0.1:{mock_process.port}")
        assert ended.returncode == 1
        (line,) = ended.stderr.splitlines()
        assert f"Port {mock_process.port} on 127.0.0.1 is taken by process {mock_process.pid} " in line
        assert line.endswith("; choose another one with --control-listen.")

    def test_a_journal_that_exists_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "journal").write_text("mine")
        ended = run_to_its_end("0", "--journal", str(tmp_path / "journal"))
        assert ended.returncode == 1
        assert len(ended.stderr.splitlines()) == 1
        assert str(tmp_path / "journal") in ended.stderr
        assert (tmp_path / "journal").read_text() == "mine"

    @pytest.mark.parametrize("option", ["--listen", "--control-listen"])
    def test_an_address_that_is_not_here_is_told_in_one_line(self, option: str) -> None:
        ended = run_to_its_end("0", option, "192.0.2.1")
        assert ended.returncode == 1
        assert ended.stderr.startswith("The mock server cannot start: ")
        assert len(ended.stderr.splitlines()) == 1

    def test_a_life_dies_with_the_parent_that_it_was_given_even_while_frozen(self) -> None:
        parent = subprocess.Popen(
            [sys.executable, "-c", STARTS_A_LIFE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            life = psutil.Process(json.loads(read_line(parent))["pid"])
            try:
                life.suspend()
                parent.kill()
                eventually("The end of the life", lambda: has_ended(life))
            finally:
                with suppress(psutil.NoSuchProcess):
                    life.kill()
        finally:
            parent.kill()
            parent.communicate()


STARTS_A_LIFE = """\
import subprocess, sys
command = [sys.executable, "-m", "mockserver", "0", "--supervised", "--kill-with-parent"]
subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL).wait()
"""


class TestRoutes:
    @with_and_without_api
    def test_queue_shows_what_runs_and_what_waits(self, start_mock_process: StartMockProcess, prefix: str) -> None:
        server = start_mock_process(*SLOW)
        assert server.ask("GET", f"{prefix}/queue").json == {"queue_running": [], "queue_pending": []}
        client = server.connect("me")
        for prompt_id in ("a", "b", "c"):
            server.queue(QUICK, prompt_id=prompt_id, client_id="me", extra_data={"x": 1})
        client.until("executing")
        extra_data = {"x": 1, "client_id": "me"}
        assert server.ask("GET", f"{prefix}/queue").json == {
            "queue_running": [[0, "a", QUICK, extra_data, ["1"]]],
            "queue_pending": [[1, "b", QUICK, extra_data, ["1"]], [2, "c", QUICK, extra_data, ["1"]]],
        }
        assert server.ask("GET", f"{prefix}/prompt").json == {"exec_info": {"queue_remaining": 3}}

    @with_and_without_api
    def test_waiting_prompts_can_be_deleted_and_cleared(
        self, start_mock_process: StartMockProcess, prefix: str
    ) -> None:
        server = start_mock_process(*SLOW)
        client = server.connect("me")
        for prompt_id in "abcde":
            server.queue(QUICK, prompt_id=prompt_id, client_id="me")
        client.until("executing")

        def waiting() -> list[str]:
            return [item[1] for item in server.ask("GET", "/queue").json["queue_pending"]]

        answer = server.ask("POST", f"{prefix}/queue", {"delete": ["c", "a", "unknown"]})
        assert (answer.status, answer.body) == (200, b"")
        assert "Content-Type" not in answer.headers
        assert sorted(waiting()) == ["b", "d", "e"]
        assert server.ask("POST", f"{prefix}/queue", {"clear": True}).status == 200
        assert waiting() == []
        assert [item[1] for item in server.ask("GET", "/queue").json["queue_running"]] == ["a"]

    @with_and_without_api
    def test_prompt_is_queued_and_answered_with_its_number(self, mock_process: MockProcess, prefix: str) -> None:
        answer = mock_process.ask("POST", f"{prefix}/prompt", {"prompt": QUICK, "prompt_id": "mine"})
        assert (answer.status, answer.json) == (200, {"prompt_id": "mine", "number": 0, "node_errors": {}})
        answer = mock_process.ask("POST", f"{prefix}/prompt", {"prompt": QUICK})
        assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.json["prompt_id"])
        assert answer.json["number"] == 1

    @with_and_without_api
    def test_history_has_what_was_run_oldest_first(self, mock_process: MockProcess, prefix: str) -> None:
        for prompt_id in ("c", "a", "b"):
            mock_process.run(TWO_NODES, prompt_id=prompt_id, client_id="me")
        history = mock_process.ask("GET", f"{prefix}/history").json
        assert list(history) == ["c", "a", "b"]
        assert mock_process.ask("GET", f"{prefix}/history/a").json == {"a": history["a"]}
        assert mock_process.ask("GET", f"{prefix}/history/unknown").json == {}
        assert list(mock_process.ask("GET", f"{prefix}/history?max_items=2").json) == ["a", "b"]
        entry = history["c"]
        assert entry["prompt"] == [0, "c", TWO_NODES, {"client_id": "me"}, ["2"]]
        assert entry["status"]["status_str"] == "success"
        assert entry["outputs"] == {"2": {"images": [{"filename": "a_00001_.png", "subfolder": "", "type": "output"}]}}
        assert mock_process.ask("POST", f"{prefix}/history", {"delete": ["a"]}).status == 200
        assert list(mock_process.ask("GET", "/history").json) == ["c", "b"]
        assert mock_process.ask("POST", f"{prefix}/history", {"clear": True}).status == 200
        assert mock_process.ask("GET", "/history").json == {}

    @with_and_without_api
    def test_interrupt_ends_what_runs(self, start_mock_process: StartMockProcess, prefix: str) -> None:
        server = start_mock_process("--status-interval", "0", "--duration", "KSampler=100")
        client = server.connect("me")
        prompt_id = server.queue(sampling(1000), client_id="me")
        client.until("progress")
        answer = server.ask("POST", f"{prefix}/interrupt")
        assert (answer.status, answer.body) == (200, b"")
        ending = client.until("executing", node=None)
        assert types(ending)[-3:] == ["execution_interrupted", "status", "executing"]
        status = server.ask("GET", f"/history/{prompt_id}").json[prompt_id]["status"]
        assert (status["status_str"], status["completed"]) == ("error", False)

    @pytest.mark.parametrize("body", [None, b"", b"no JSON", b"{}", b'{"prompt_id": "unknown"}'])
    def test_interrupt_is_never_an_error(self, mock_process: MockProcess, body: bytes | None) -> None:
        assert mock_process.ask("POST", "/interrupt", body).status == 200
        assert mock_process.run(QUICK)["status"]["status_str"] == "success"

    @with_and_without_api
    def test_system_stats(self, mock_process: MockProcess, prefix: str) -> None:
        stats = mock_process.ask("GET", f"{prefix}/system_stats").json
        assert stats["system"]["comfyui_version"] == "0.3.64"
        assert stats["system"]["argv"][0] == "main.py"
        (device,) = stats["devices"]
        assert device.keys() == {
            "name",
            "type",
            "index",
            "vram_total",
            "vram_free",
            "torch_vram_total",
            "torch_vram_free",
        }

    @with_and_without_api
    def test_features(self, mock_process: MockProcess, prefix: str) -> None:
        assert mock_process.ask("GET", f"{prefix}/features").json == {
            "supports_preview_metadata": True,
            "max_upload_size": 104857600,
        }

    @with_and_without_api
    def test_ws_greets_with_a_status(self, mock_process: MockProcess, prefix: str) -> None:
        client = mock_process.connect("me", f"{prefix}/ws")
        assert client.message() == {
            "type": "status",
            "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"},
        }

    def test_ws_without_an_upgrade_is_refused(self, mock_process: MockProcess) -> None:
        assert mock_process.ask("GET", "/ws").status == 400

    def test_json_is_written_as_python_writes_it(self, mock_process: MockProcess) -> None:
        answer = mock_process.ask("GET", "/prompt")
        assert answer.body == b'{"exec_info": {"queue_remaining": 0}}'
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"

    @pytest.mark.parametrize(("arguments", "named"), [((), True), (("--strict",), False)])
    def test_the_life_is_named_in_answers_unless_strict_and_in_handshakes_always(
        self, start_mock_process: StartMockProcess, arguments: tuple[str, ...], named: bool
    ) -> None:
        server = start_mock_process("--life-id", "life-7", *arguments)
        for path in ("/queue", "/unknown"):
            assert server.ask("GET", path).headers.get("X-Mock-Life") == ("life-7" if named else None)
        handshake = server.connect().websocket.handshake_response
        assert handshake is not None
        assert handshake.headers["x-mock-life"] == "life-7"


class TestPromptBody:
    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "text/plain", "application/x-www-form-urlencoded", "image/png", "multipart/form-data"],
    )
    def test_its_content_type_does_not_matter(self, mock_process: MockProcess, content_type: str) -> None:
        answer = mock_process.ask("POST", "/prompt", {"prompt": QUICK}, Content_Type=content_type)
        assert answer.status == 200
        assert mock_process.ask("POST", "/queue", {"clear": True}, Content_Type=content_type).status == 200

    def test_the_first_one_is_cached_like_any_other(self, start_mock_process: StartMockProcess, tmp_path: Path) -> None:
        Image.new("RGB", (2, 2)).save(tmp_path / "in.png")
        server = start_mock_process("--input-directory", str(tmp_path), "--node-duration", "0")
        prompt = {"1": node("LoadImage", image="in.png"), "2": node("PreviewImage", images=["1", 0])}
        server.run(prompt)
        (cached,) = (data for name, data in server.run(prompt)["status"]["messages"] if name == "execution_cached")
        assert cached["nodes"] == ["1", "2"]

    def test_rejected_prompts_use_a_number_up(self, mock_process: MockProcess) -> None:
        refused = mock_process.ask("POST", "/prompt", {"prompt": {}})
        assert refused.status == 400
        assert refused.json == {
            "error": {
                "type": "prompt_no_outputs",
                "message": "Prompt has no outputs",
                "details": "",
                "extra_info": {},
            },
            "node_errors": {},
        }
        assert mock_process.ask("POST", "/prompt", {"prompt": QUICK}).json["number"] == 1
        assert mock_process.ask("POST", "/prompt", {"prompt": QUICK, "front": True}).json["number"] == -2
        answer = mock_process.ask("POST", "/prompt", {"prompt": QUICK, "number": "1", "front": True})
        assert answer.body.startswith(b'{"prompt_id": ')
        assert b'"number": 1.0' in answer.body
        assert mock_process.ask("POST", "/prompt", {"prompt": QUICK}).json["number"] == 3

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", 500),
            (b"no JSON", 500),
            (b"\xff\xfe", 500),
            (b"null", 500),
            (b"7", 500),
            (b'"prompt"', 500),
            (b'"number"', 500),
            (b"[]", 400),
            (b'["prompt"]', 500),
            (b"[" * 100_000, 500),
            ({}, 400),
            ({"prompt": None}, 500),
            ({"prompt": []}, 400),
            ({"prompt": "text"}, 500),
            ({"prompt": {"1": None}}, 500),
            ({"prompt": {"1": {"class_type": ["x"]}}}, 500),
            ({"prompt": {"1": {"class_type": {}}}}, 500),
            ({"prompt": {"1": {"class_type": 7}}}, 400),
            ({"prompt": {"1": {"class_type": "PreviewAny"}}}, 400),
            ({"prompt": {"1": {"class_type": "PreviewAny", "inputs": None}}}, 400),
            ({"prompt": {"1": {"class_type": "PreviewAny", "inputs": []}}}, 400),
            ({"prompt": {"1": {"class_type": "PreviewAny", "inputs": "source"}}}, 400),
            ({"prompt": {"1": node("PreviewAny", source=["77", 0])}}, 400),
            ({"prompt": {"1": node("PreviewAny", source=["1", 0])}}, 400),
            ({"prompt": {"1": node("PreviewAny", source=1, x=["1", 0])}}, 200),
            ({"prompt": {"1": node("PreviewAny", source=1, x=["77", 0])}}, 200),
            ({"prompt": {**QUICK, "2": {"class_type": "ImageInvert"}}}, 200),
            ({"prompt": {**QUICK, "2": {"class_type": "ImageInvert", "inputs": [1]}}}, 200),
            ({"prompt": {"1": node("PreviewAny", source=1, x=["2", 0]), "2": {"class_type": "ImageInvert"}}}, 200),
            ({"prompt": {**QUICK, "2": node("ImageInvert", image=["2", 0])}}, 200),
            ({"prompt": sampling(10**400)}, 400),
            ({"prompt": sampling(-5)}, 400),
            ({"prompt": {"1": node("PreviewAny", source="\ud800")}}, 200),
            ({"prompt": {"1": node("PreviewAny", source=float("nan"))}}, 200),
            ({"prompt": {"\ud800": node("PreviewAny", source=float("inf"))}}, 200),
            ({"prompt": QUICK, "number": None}, 500),
            ({"prompt": QUICK, "number": []}, 500),
            ({"prompt": QUICK, "number": "many"}, 500),
            ({"prompt": QUICK, "number": float("nan")}, 200),
            ({"prompt": QUICK, "number": float("-inf")}, 200),
            ({"prompt": QUICK, "front": "yes"}, 200),
            ({"prompt": QUICK, "prompt_id": None}, 200),
            ({"prompt": QUICK, "prompt_id": [1, {}]}, 200),
            ({"prompt": QUICK, "prompt_id": "a/b?\ud800"}, 200),
            ({"prompt": QUICK, "client_id": None}, 200),
            ({"prompt": QUICK, "client_id": ["me"]}, 200),
            ({"prompt": QUICK, "client_id": {"a": 1}}, 200),
            ({"prompt": QUICK, "extra_data": None, "client_id": "me"}, 500),
            ({"prompt": QUICK, "extra_data": []}, 200),
            ({"prompt": QUICK, "extra_data": {"client_id": [[]]}}, 200),
            ({"prompt": QUICK, "partial_execution_targets": 7}, 500),
            ({"prompt": QUICK, "partial_execution_targets": ["77"]}, 400),
        ],
        ids=shortly,
    )
    def test_no_body_keeps_the_server_from_running_the_next_prompt(
        self, robust_mock_process: MockProcess, body: Any, status: int
    ) -> None:
        answer = robust_mock_process.ask("POST", "/prompt", body)
        assert answer.status == status, f"{answer}\n{robust_mock_process.log}"
        robust_mock_process.ask("POST", "/interrupt")
        check_that_it_works(robust_mock_process)
        assert "itself failed" not in robust_mock_process.log

    @pytest.mark.parametrize("depth", [950, 5000])
    def test_no_depth_of_nesting_does_either(self, mock_process: MockProcess, depth: int) -> None:
        source = b'{"a":' * depth + b"1" + b"}" * depth
        body = b'{"prompt": {"1": {"class_type": "PreviewAny", "inputs": {"source": %s}}}}' % source
        assert mock_process.ask("POST", "/prompt", body).status in (200, 500)
        check_that_it_works(mock_process)

    @pytest.mark.parametrize("path", ["/queue", "/history", "/interrupt"])
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"no JSON",
            b"\xff",
            b"[" * 100_000,
            b"null",
            b"7",
            b'"delete"',
            b"[]",
            b'["delete", "clear", "prompt_id"]',
            {"delete": None},
            {"delete": 7},
            {"delete": "abc"},
            {"delete": [None, [], {}, "\ud800"]},
            {"clear": None, "delete": {}},
            {"prompt_id": []},
        ],
        ids=shortly,
    )
    def test_no_other_body_does_either(self, robust_mock_process: MockProcess, path: str, body: Any) -> None:
        assert robust_mock_process.ask("POST", path, body).status in (200, 500)
        check_that_it_works(robust_mock_process)

    @pytest.mark.parametrize("query", ["max_items=x", "offset=x", f"max_items={'9' * 4400}", "max_items=-5&offset=-5"])
    def test_no_query_does_either(self, robust_mock_process: MockProcess, query: str) -> None:
        assert robust_mock_process.ask("GET", f"/history?{query}").status in (200, 500)
        check_that_it_works(robust_mock_process)

    def test_a_chain_of_thousands_of_nodes_is_queued_run_and_interrupted(
        self, start_mock_process: StartMockProcess
    ) -> None:
        server = start_mock_process("--status-interval", "0", "--log-level", "WARNING")
        client = server.connect("me")
        prompt_id = server.queue(chain(3000), client_id="me")
        client.until("executing", node="1")
        server.ask("POST", "/interrupt", {"prompt_id": prompt_id})
        client.until("execution_interrupted")
        check_that_it_works(server)

    def test_equal_numbers_and_ids_are_queued_all_the_same(self, start_mock_process: StartMockProcess) -> None:
        server = start_mock_process("--status-interval", "0", "--node-duration", "0.1")
        first = server.queue(chain(3000))
        statuses = [
            server.ask(
                "POST", "/prompt", {"prompt": QUICK, "number": 1, "prompt_id": "twin", "extra_data": {"n": n}}
            ).status
            for n in range(5)
        ]
        assert statuses[0] == 200
        assert 500 in statuses[1:]
        server.ask("POST", "/interrupt", {"prompt_id": first})
        server.wait_for_history(first)
        server.wait_for_history("twin")
        check_that_it_works(server)


@pytest.fixture(scope="module")
def robust_mock_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProcess]:
    """One mock server that gets all the odd requests of this module."""
    directory = tmp_path_factory.mktemp("robust") / "mockserver"
    server = MockProcess(directory, "--status-interval", "0", "--node-duration", "0")
    yield server
    server.end()


def check_that_it_works(server: MockProcess) -> None:
    """Runs a prompt for a client of its own, and looks at its messages."""
    client = server.connect("check")
    assert "sid" in client.message()["data"]
    server.queue(QUICK, client_id="check")
    assert "execution_success" in types(client.until("executing", node=None))
    client.close()
    assert server.process.poll() is None
    assert "background work" not in server.log


class TestControl:
    def test_life_tells_what_it_is_and_does(self, start_mock_process: StartMockProcess) -> None:
        server = start_mock_process("--strict", "--life-id", "life-7", "--seed", "5", *SLOW)
        server.connect("me").message()
        server.queue(QUICK)
        life = server.control("/life").json
        assert life.pop("tasks") > 0
        assert life == {
            "life_id": "life-7",
            "pid": server.pid,
            "port": server.port,
            "strict": True,
            "seed": 5,
            "sockets": 1,
            "queue_remaining": 1,
            "journal": str(server.journal_file),
            "journal_lost": None,
        }

    def test_pages_of_other_origins_are_refused(self, mock_process: MockProcess) -> None:
        for origin in ("http://example.com", f"http://127.0.0.1:{mock_process.port}", "null"):
            assert mock_process.control("/life", Origin=origin).status == 403
        assert mock_process.control("/life", Origin=mock_process.ready["control_url"]).status == 200

    def test_it_is_apart_from_the_public_port(self, mock_process: MockProcess) -> None:
        assert mock_process.ask("GET", "/life").status == 404
        assert mock_process.control("/queue").status == 404


class TestJournal:
    def test_it_has_a_request_whose_body_breaks_off(self, mock_process: MockProcess) -> None:
        with socket.create_connection(("127.0.0.1", mock_process.port), timeout=DEADLINE) as raw:
            raw.sendall(b"POST /prompt HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        mock_process.wait_for_record("request", path="/prompt", length=9, body=None)
        (number,) = [record["request"] for record in mock_process.records("request")]
        mock_process.wait_for_record("answer", request=number, status=None)
        assert "Traceback" not in mock_process.log

    def test_it_is_complete_when_the_life_is_killed(
        self, mock_process: MockProcess, check_records: Callable[[list[dict[str, Any]]], None]
    ) -> None:
        server = mock_process
        client = server.connect("me")
        client.message()
        client.websocket.send("hello")
        client.websocket.send_binary(b"123")
        prompt_id = server.run(TWO_NODES, client_id="me")["prompt"][1]
        client.until("executing", node=None)
        paths = [f"/queue?number={number}" for number in range(200)]
        for path in paths:
            server.ask("GET", path)
        for body in ({"delete": ["unknown"]}, {"clear": True}):
            server.ask("POST", "/queue", body)
        client.until("status")
        server.wait_for_record("message_received", length=3)
        server.signal(signal.SIGKILL)
        assert server.exit_status() == -signal.SIGKILL

        assert server.journal_file.read_bytes().endswith(b"\n")
        records = server.records()
        check_records(records)
        assert [record["at"] for record in records] == sorted(record["at"] for record in records)
        assert (records[0]["kind"], records[0]["pid"], records[0]["party"]) == ("journal", server.pid, "server")
        life = {"state": "ready", "port": server.port, "control_url": server.ready["control_url"]}
        assert life.items() <= records[1].items()
        queried = [record for record in records if record.get("path", "").startswith("/queue?")]
        assert [record["path"] for record in queried] == paths
        asked = [record["request"] for record in queried]
        answers = [record for record in records if record["kind"] == "answer" and record["request"] in asked]
        assert [(record["request"], record["status"]) for record in answers] == [(number, 200) for number in asked]
        assert [(r["text"], r["length"]) for r in server.records("message_received")] == [("hello", 5), (None, 3)]
        assert [(r["state"], r["client_id"]) for r in server.records("prompt") if r["prompt_id"] == prompt_id] == [
            ("queued", "me"),
            ("started", "me"),
            ("success", "me"),
        ]
        sent = server.records("message_sent")
        assert [{"type": r["type"], "data": r["data"]} for r in sent if 1 in r["sockets"]] == client.seen
        assert len(server.records("queue_cleared")) == 1

    def test_it_tells_a_graceful_life_to_its_end(
        self, start_mock_process: StartMockProcess, check_records: Callable[[list[dict[str, Any]]], None]
    ) -> None:
        server = start_mock_process(*SLOW, "--grace-time", "3600")
        client = server.connect("me")
        client.message()
        server.queue(QUICK, prompt_id="a", client_id="me")
        server.queue(QUICK, prompt_id="b")
        client.until("executing")
        server.ask("POST", "/queue", {"delete": ["b"]})
        server.ask("POST", "/prompt", b"no JSON")
        server.ask("GET", "/unknown")
        server.signal(signal.SIGTERM)
        code, _ = client.close_frame()
        client.answer_close(code)
        assert server.exit_status() == 0
        check_records(server.records())
        assert [record["state"] for record in server.records("life")] == ["ready", "stopping", "stopped"]
        assert server.records("socket_closed")[0]["code"] == 1001
        assert server.records("prompt")[-1]["state"] == "deleted"
        requests = server.records("request")
        statuses = {answer["request"]: answer["status"] for answer in server.records("answer")}
        assert [(each["path"], statuses[each["request"]]) for each in requests if each["path"] != "/prompt"] == [
            ("/ws?clientId=me", 101),
            ("/queue", 200),
            ("/unknown", 404),
        ]
        assert (requests[-2]["body"], statuses[requests[-2]["request"]]) == ("no JSON", 500)


@pytest.fixture(scope="session")
def check_records() -> Callable[[list[dict[str, Any]]], None]:
    """Holds records against the format that is written down."""
    from jsonschema import Draft202012Validator

    schema = json.loads((ROOT / "mockserver" / "journal.schema.json").read_text(encoding="utf-8"))
    validator = Draft202012Validator(schema)

    def check(records: list[dict[str, Any]]) -> None:
        for record in records:
            validator.validate(record)

    return check
