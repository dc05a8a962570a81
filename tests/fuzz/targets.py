"""What is fuzzed: each target makes an input, hands it over, and says what must not happen."""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mockserver_process import ROOT, TWO_NODES, MockProcess
from mutation import ODD_BYTES, json_bytes, mutated_bytes, mutated_json, mutated_lines, odd_json

from ComfyMockLibrary.engine.evidence import Evidence
from ComfyMockLibrary.engine.timeline.files import JournalError, read_journals
from ComfyMockLibrary.engine.timeline.page import page
from ComfyMockLibrary.engine.timeline.story import tell
from mockserver.control.examples import EXAMPLES
from mockserver.faults.kinds import EndsOrFreezes, SlowStart, Stop, name_of
from mockserver.outages.reading import OutageError, parse_outage, read_outage

if TYPE_CHECKING:
    from random import Random

Json = dict[str, Any]

PATIENCE = 30.0
"""Seconds within which whatever was sent is answered, or its connection ended."""

SECRET = b"a secret beside the directories of the life"


class Finding(AssertionError):
    """An input did what none may do."""

    def __init__(self, what: str, data: bytes) -> None:
        super().__init__(f"{what}\nInput: {data[:4000]!r}")
        self.data = data


class Target:
    """One kind of input."""

    name = ""

    def __init__(self) -> None:
        self.notes: dict[str, int] = {}
        """What is for people to judge, and how often it was."""

    def one(self, rng: Random) -> None:
        """Makes an input and hands it over. Raises Finding."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what it has started."""


def _is_about_the_client(entry: str) -> bool:
    """Whether an entry of the log is what aiohttp has to say about bytes that are no HTTP."""
    return any(line.startswith("aiohttp.http_exceptions.") for line in entry.splitlines())


class _OfServer(Target):
    """Of a server process of its own, whose directories lie beside a secret."""

    arguments: tuple[str, ...] = ()
    lives_for = 2_000
    """Inputs after which another life takes over: what one has set must not be the reason of all that follows."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self._place = self._directory / "place"
        self._place.mkdir()
        (self._place / "secret").write_bytes(SECRET)
        self._number = 0
        self._server: MockProcess | None = None
        self._log_read = 0

    @property
    def server(self) -> MockProcess:
        """The life whose turn it is."""
        if self._number % self.lives_for == 0:
            self._end_life()
        self._number += 1
        if self._server is None:
            base = self._place / "base"
            base.mkdir()
            quiet = ("--status-interval", "0", "--node-duration", "0", "--log-level", "WARNING")
            self._server = MockProcess(self._directory / "life", *quiet, "--base-directory", str(base), *self.arguments)
            self._log_read = 0
        return self._server

    def check(self, data: bytes, answer: bytes) -> None:
        """Looks what an input has done."""
        server = self._server
        assert server is not None
        if server.process.poll() is not None:
            raise Finding(f"The server has ended with {server.process.returncode}.\n{server.log[-3000:]}", data)
        if SECRET in answer:
            raise Finding("A file outside of the directories of the life was read.", data)
        with server.log_file.open("rb") as log:
            log.seek(self._log_read)
            new = log.read()
        self._log_read += len(new)
        for entry in re.split(r"(?m)^(?=\d{4}-\d\d-\d\d )", new.decode(errors="replace")):
            if "Traceback" in entry and not _is_about_the_client(entry) and not self._is_an_answer(entry):
                raise Finding(f"A failure of the server itself:\n{entry[-6000:]}", data)
        if self._number % 50 == 0:
            self.look_around(data)

    def _is_an_answer(self, entry: str) -> bool:
        """Whether what ComfyUI or aiohttp does has failed with 500: the real server fails in many ways too."""
        frames = re.findall(r'File ".*?/((?:mockserver|site-packages)/.+?)", line (\d+)', entry)
        ours = [frame for frame in frames if frame[0].startswith("mockserver/")]
        if "Error handling request" not in entry or (ours and not ours[-1][0].startswith("mockserver/comfyui/")):
            return False
        frames = ours or frames
        kind = entry.strip().splitlines()[-1].partition(":")[0]
        where = f"{kind} in {frames[-1][0]}:{frames[-1][1]}"
        self.notes[where] = self.notes.get(where, 0) + 1
        return True

    def look_around(self, data: bytes) -> None:
        """Checks now and then what takes longer."""
        assert self._server is not None
        there = {each.name for each in self._place.iterdir()} | {each.name for each in self._directory.iterdir()}
        if there != {"secret", "base", "place", "life"} or (self._place / "secret").read_bytes() != SECRET:
            raise Finding(f"A file outside of the directories of the life was written: {there}", data)
        if self._server.ask("GET", "/queue").status != 200:
            raise Finding("The server answers no more.", data)
        if self._server.control("/life").json["queue_remaining"] > 5_000:
            self._end_life()

    def exchange(self, data: bytes, port: int, silence: float = PATIENCE) -> bytes:
        """Sends bytes and gives what comes until the server ends the connection.

        One that says nothing for ``silence`` seconds may wait for more, and is told by FIN that nothing comes.
        """
        assert self._server is not None
        answer = b""
        try:
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
        except OSError as failure:
            raise Finding(f"{failure} {self._server.process.poll()}\n{self._server.log[-3000:]}", data) from None
        with connection:
            with suppress(ConnectionError):
                connection.sendall(data)
            with suppress(ConnectionError):
                if silence < PATIENCE:
                    connection.settimeout(silence)
                    with suppress(TimeoutError):
                        while received := connection.recv(65536):
                            answer += received
                    connection.settimeout(PATIENCE)
                    with suppress(OSError):  # it has ended
                        connection.shutdown(socket.SHUT_WR)
                try:
                    while received := connection.recv(65536):
                        answer += received
                except TimeoutError:
                    raise Finding(f"The connection was still open after {PATIENCE:g} s.", data) from None
        return answer

    def close(self) -> None:
        self._end_life()
        shutil.rmtree(self._directory)

    def _end_life(self) -> None:
        if self._server is not None:
            self._server.end()
            shutil.rmtree(self._directory / "life")
            shutil.rmtree(self._place / "base")
            self._server = None


class Http(_OfServer):
    """Bytes on the public port: requests that are nearly right, and what is none."""

    name = "http"

    def one(self, rng: Random) -> None:
        server = self.server
        data = b"".join(self._request(rng) for _ in range(rng.choice((1, 1, 1, 2, 5))))
        data += b"GET /features HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        if rng.random() < 0.2:
            data = mutated_bytes(rng, data)
        self.check(data, self.exchange(data, server.port, silence=0.1))

    def _request(self, rng: Random) -> bytes:
        method, path, body = rng.choice(REQUESTS)
        if rng.random() < 0.2:
            method = rng.choice(("GET", "POST", "DELETE", "PATCH", "PUT", "OPTIONS", "HEAD", "BREW"))
        target = path.encode()
        if rng.random() < 0.5:
            target = self._target(rng, target)
        headers = {b"Host": b"127.0.0.1", b"Connection": rng.choice((b"keep-alive", b"close"))}
        content = b""
        if isinstance(body, bytes):
            boundary = b"b"
            headers[b"Content-Type"] = b"multipart/form-data; boundary=" + boundary
            content = mutated_bytes(rng, body) if rng.random() < 0.7 else body
        elif body is not None:
            content = json_bytes(rng, mutated_json(rng, body))
            headers[b"Content-Type"] = b"application/json"
        if content or method in ("POST", "PUT", "PATCH"):
            headers[b"Content-Length"] = str(len(content)).encode()
        if rng.random() < 0.1 and content:
            del headers[b"Content-Length"]
            headers[b"Transfer-Encoding"] = b"chunked"
            content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
        for _ in range(rng.choice((0, 0, 1, 2))):
            headers[rng.choice(HEADERS)] = rng.choice(
                (*ODD_BYTES, b"127.0.0.1", b"http://127.0.0.1:1", b"bytes=0-", b"gzip")
            )
        head = b"".join(b"%s: %s\r\n" % each for each in headers.items())
        return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method.encode(), target, head, content)

    def _target(self, rng: Random, target: bytes) -> bytes:
        path = rng.choice((*PATHS, bytes(self._place / "secret")))
        what = rng.randrange(4)
        if what == 0:
            return mutated_bytes(rng, target, 1).replace(b" ", b"")
        if what == 1:
            return target + rng.choice((b"?", b"&")) + b"%s=%s" % (rng.choice(PARAMETERS), path)
        if what == 2:
            return b"/%s/%s" % (rng.choice((b"userdata", b"view", b"templates", b"api/userdata", b"")), path)
        return b"/view?filename=%s&type=%s&subfolder=%s" % (
            path,
            rng.choice((b"output", b"input", b"temp", b"x")),
            rng.choice((b"", *PATHS)),
        )


class Websocket(_OfServer):
    """Bytes after a handshake: frames of all kinds, broken ones among them."""

    name = "websocket"

    def one(self, rng: Random) -> None:
        server = self.server
        extension = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if rng.random() < 0.5 else b""
        client_id = rng.choice(
            (b"", b"?clientId=me", b"?clientId=" + str(rng.randrange(10**9)).encode(), b"?clientId=%00")
        )
        head = (
            b"GET /ws" + client_id + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n" + extension + b"\r\n"
        )
        frames = b"".join(self._frame(rng) for _ in range(rng.choice((1, 2, 5, 20))))
        if rng.random() < 0.3:
            frames = mutated_bytes(rng, frames)
        frames += b"\x88\x80\0\0\0\0"  # a close frame: whoever has understood all of it answers that
        self.check(head + frames, self.exchange(head + frames, server.port, silence=0.1))

    @staticmethod
    def _frame(rng: Random) -> bytes:
        flags = json.dumps(mutated_json(rng, {"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        payload = rng.choice((b"", b"x", flags.encode(), b"[" * 5000, b"\xc3", rng.randbytes(200), b"x" * 70_000))
        opcode = rng.choice((0, 1, 1, 1, 2, 2, 8, 9, 10, rng.randrange(16)))
        if opcode == 8:
            payload = rng.choice(
                (b"", b"\x03", struct.pack(">H", rng.randrange(65536)), struct.pack(">H", 1000) + payload[:200])
            )
        first = opcode | rng.choice((0x80, 0x80, 0x80, 0)) | rng.choice((0, 0, 0, 0x40, 0x20, 0x10))
        if first & 0x40:
            payload = zlib.compress(payload, wbits=-15) if rng.random() < 0.7 else payload
        length = (
            len(payload)
            if rng.random() < 0.95
            else rng.choice((0, 125, 126, 65535, 2**20, 2**31, 2**63 - 1, 2**64 - 1))
        )
        is_masked = rng.random() < 0.95
        bit = 0x80 if is_masked else 0
        if length < 126:
            head = struct.pack(">BB", first, bit | length)
        elif length < 65536:
            head = struct.pack(">BBH", first, bit | 126, length)
        else:
            head = struct.pack(">BBQ", first, bit | 127, length)
        if not is_masked:
            return head + payload
        mask = rng.randbytes(4)
        return head + mask + bytes(each ^ mask[index % 4] for index, each in enumerate(payload[:300])) + payload[300:]


class Control(_OfServer):
    """JSON on the control API: descriptions of faults that are nearly right."""

    name = "control"
    lives_for = 500

    def one(self, rng: Random) -> None:
        server = self.server
        port = int(server.ready["control_url"].rpartition(":")[2])
        data = self._request(rng)
        answer = self.exchange(data, port)
        status = answer[9:12]
        if not status.isdigit() or status.startswith(b"5"):
            raise Finding(f"Answered with {answer[:300]!r}.\n{server.log[-3000:]}", data)
        self.check(data, answer)

    def look_around(self, data: bytes) -> None:
        assert self._server is not None
        cleared = self.exchange(_http("DELETE", "/faults"), int(self._server.ready["control_url"].rpartition(":")[2]))
        if cleared[9:12] != b"200":
            raise Finding(f"Faults cannot be cleared: {cleared[:300]!r}", data)
        super().look_around(data)

    @staticmethod
    def _request(rng: Random) -> bytes:
        what = rng.randrange(10)
        if what == 0:
            return _http(
                rng.choice(("GET", "DELETE", "POST")), rng.choice((b"/faults/", b"/faults/x", b"/queue")).decode()
            )
        if what == 1:
            query = (
                rng.choice(("since", "wait", "kind", "x"))
                + "="
                + rng.choice(("0", "-1", "nan", "1e9", "life", "%00", "9" * 400))
            )
            return _http("GET", f"/journal?{query.replace('wait=1e9', 'wait=0')}")
        if what == 2:
            return _http("POST", "/release", json_bytes(rng, rng.choice((odd_json(rng), {"what": odd_json(rng)}))))
        example = rng.choice(HARMLESS)
        wanted = mutated_json(rng, rng.choice((example, [example, rng.choice(HARMLESS)])))
        body = json_bytes(rng, wanted)
        with suppress(ValueError, RecursionError):
            wanted = json.loads(body)
        for each in wanted if isinstance(wanted, list) else [wanted]:
            if isinstance(each, dict) and str(each.get("fault")) in DEADLY:
                each["fault"] = "none"
                body = json.dumps(wanted).encode()
        return _http("POST", "/faults", body)


class Outages(Target):
    """Outages in YAML."""

    name = "outages"

    def __init__(self) -> None:
        super().__init__()
        folder = ROOT / "ComfyMockLibrary" / "outages"
        self._texts = [each.read_text(encoding="utf-8") for each in sorted(folder.glob("*.yaml"))]
        self._directory = Path(tempfile.mkdtemp(prefix="fuzz-"))
        assert self._texts

    def one(self, rng: Random) -> None:
        text = rng.choice(self._texts)
        what = rng.randrange(3)
        if what:
            text = mutated_lines(rng, text)
        data = text.encode("utf-8", "surrogatepass")
        if what == 2:
            data = mutated_bytes(rng, data)
        try:
            if rng.random() < 0.02:
                file = self._directory / "outage.yaml"
                file.write_bytes(data)
                read_outage(file)
            else:
                parse_outage(data.decode("utf-8-sig"), "outage.yaml")
        except (OutageError, UnicodeDecodeError) as failure:
            if isinstance(failure, OutageError) and not str(failure).startswith("outage.yaml:"):
                raise Finding(f"The error does not say where: {failure}", data) from failure
        except Exception as failure:
            raise Finding(f"{type(failure).__name__}: {failure}", data) from failure

    def close(self) -> None:
        shutil.rmtree(self._directory)


class Journals(Target):
    """Journal files, as a timeline reads them from anywhere, and evidence the torn file of a life."""

    name = "journals"

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(prefix="fuzz-"))
        suite = self._directory / "a.robot"
        suite.write_text(SUITE, encoding="utf-8")
        subprocess.run(
            [
                sys.executable,
                "-m",
                "robot",
                "--outputdir",
                str(self._directory),
                "--log",
                "NONE",
                "--report",
                "NONE",
                str(suite),
            ],
            check=True,
            capture_output=True,
            cwd=self._directory,
        )
        self._journals = [each.read_bytes() for each in sorted(self._directory.rglob("*.journal.jsonl"))]
        self._lives = [each for each in self._journals if b'"party":"server"' in each]
        assert len(self._journals) == 4, self._journals
        assert len(self._lives) == 2, self._lives

    def one(self, rng: Random) -> None:
        if rng.random() < 0.7:
            self._timeline(rng)
        else:
            self._evidence(rng)

    def _timeline(self, rng: Random) -> None:
        paths = []
        for number, journal in enumerate(rng.sample(self._journals, rng.randrange(1, 5))):
            paths.append(self._directory / f"{number}.jsonl")
            lines = self._lines(rng, journal)
            for _ in range(rng.choice((0, 1, 1, 2))):
                at = rng.randrange(len(lines))
                with suppress(ValueError):
                    lines[at] = json.dumps(mutated_json(rng, json.loads(lines[at]), 1)).encode("utf-8", "surrogatepass")
            data = b"\n".join(lines) + b"\n"
            paths[-1].write_bytes(mutated_bytes(rng, data) if rng.random() < 0.1 else data)
        try:
            timeline = tell(read_journals(paths))
            if rng.random() < 0.2:
                page(timeline, "A title")
        except JournalError:
            return
        except Exception as failure:
            raise Finding(
                f"{type(failure).__name__}: {failure}", b"\n\n".join(each.read_bytes() for each in paths)
            ) from failure

    def _evidence(self, rng: Random) -> None:
        path = self._directory / "life.jsonl"
        data = b"\n".join(self._lines(rng, rng.choice(self._lives))) + b"\n"
        if rng.random() < 0.3:  # torn, or with something in it that is no record
            at = rng.randrange(len(data))
            data = data[:at] if rng.random() < 0.5 else data[:at] + b"\n" + rng.choice(ODD_BYTES) + data[at:]
        path.write_bytes(data)
        life = SimpleNamespace(number=1, life_id="a", journal_file=path, is_running=False)
        evidence = Evidence(SimpleNamespace(alias="a", lives=[life], outside_file=path.with_name("none")))  # type: ignore[arg-type]
        try:
            evidence.requests()
            evidence.sockets()
            evidence.messages()
            evidence.losses()
        except RuntimeError:
            return
        except Exception as failure:
            raise Finding(f"{type(failure).__name__}: {failure}", path.read_bytes()) from failure

    @staticmethod
    def _lines(rng: Random, journal: bytes) -> list[bytes]:
        """The lines of a journal, some of them lost, doubled or out of order."""
        lines = journal.splitlines()
        for _ in range(rng.choice((0, 1, 3))):
            at, other = rng.randrange(1, len(lines)), rng.randrange(1, len(lines))
            what = rng.randrange(3)
            if what == 0 and len(lines) > 3:
                del lines[at]
            elif what == 1:
                lines.insert(other, lines[at])
            else:
                lines[at], lines[other] = lines[other], lines[at]
        return lines

    def close(self) -> None:
        shutil.rmtree(self._directory)


TARGETS: dict[str, type[Target]] = {each.name: each for each in (Http, Websocket, Control, Outages, Journals)}

DEADLY = {name_of(each) for each in (*EndsOrFreezes.__args__, SlowStart, Stop)}
"""Faults that end a life or hold it up, as they are meant to."""

HARMLESS = [each for each in EXAMPLES if each["fault"] not in DEADLY]

PATHS = (
    *(
        b"secret",
        b"../secret",
        b"..%2fsecret",
        b"%2e%2e%2fsecret",
        b"..%5csecret",
        b"../../place/secret",
        b"....//secret",
    ),
    *(b"a/../../secret", b"%00", b"", b".", b"..", b"/etc/hostname", b"file:///etc/hostname", b"a%00b", b"x" * 300),
    *(b"a.png", b"a.png%20[output]", b"a.png [input]", b"../secret%20[temp]", b"%c3%28", b"~", b"C:\\x", b"con"),
)
PARAMETERS = (b"filename", b"type", b"subfolder", b"dir", b"path", b"recurse", b"split", b"full_info", b"overwrite")
PARAMETERS += (b"preview", b"channel", b"max_items", b"offset", b"clientId", b"user", b"x")

HEADERS = (
    b"Content-Length",
    b"Content-Type",
    b"Transfer-Encoding",
    b"Content-Encoding",
    b"Range",
    b"If-Modified-Since",
)
HEADERS += (b"Accept-Encoding", b"Expect", b"Comfy-User", b"Upgrade", b"Sec-WebSocket-Key", b"Connection")
HEADERS += (b"Sec-Fetch-Site", b"Cookie", b"X\0", b"")

_PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
_UPLOAD = (
    _PART % (b"image", b'; filename="a.png"', b"\x89PNG\r\n\x1a\n")
    + _PART % (b"subfolder", b"", b"sub")
    + _PART % (b"type", b"", b"input")
    + _PART % (b"overwrite", b"", b"true")
    + b"--b--\r\n"
)
_MASK = _PART % (b"original_ref", b"", b'{"filename": "a.png", "type": "output", "subfolder": ""}') + _UPLOAD

REQUESTS: tuple[tuple[str, str, Any], ...] = (
    *(
        ("GET", path, None)
        for path in ("/", "/queue", "/history", "/history/x", "/history?max_items=1", "/prompt", "/ws")
    ),
    *(
        ("GET", path, None)
        for path in ("/object_info", "/object_info/KSampler", "/embeddings", "/models", "/models/loras")
    ),
    *(
        ("GET", path, None)
        for path in ("/system_stats", "/features", "/extensions", "/settings", "/settings/a", "/users")
    ),
    *(("GET", path, None) for path in ("/view?filename=a.png", "/view_metadata/loras?filename=x", "/userdata?dir=a")),
    *(
        ("GET", path, None)
        for path in ("/v2/userdata?path=a", "/userdata/a", "/internal/logs", "/internal/files/output")
    ),
    *(
        ("GET", path, None)
        for path in ("/experiment/models", "/experiment/models/loras", "/api/jobs", "/templates/index.json")
    ),
    ("POST", "/prompt", {"prompt": TWO_NODES, "client_id": "me", "extra_data": {"a": 1}, "number": 1, "front": True}),
    ("POST", "/prompt", {"prompt": TWO_NODES, "partial_execution_targets": ["2"]}),
    ("POST", "/queue", {"clear": True}),
    ("POST", "/queue", {"delete": ["x"]}),
    ("POST", "/history", {"clear": True}),
    ("POST", "/history", {"delete": ["x"]}),
    ("POST", "/interrupt", {"prompt_id": "x"}),
    ("POST", "/free", {"unload_models": True, "free_memory": True}),
    ("POST", "/users", {"username": "a"}),
    ("POST", "/settings", {"a": 1}),
    ("POST", "/settings/a", 1),
    ("POST", "/userdata/a?overwrite=true&full_info=true", {"a": 1}),
    ("POST", "/userdata/a/move/b", None),
    ("DELETE", "/userdata/a", None),
    ("PATCH", "/internal/logs/subscribe", {"clientId": "me", "enabled": True}),
    ("POST", "/upload/image", _UPLOAD),
    ("POST", "/upload/mask", _MASK),
)

SUITE = """\
*** Settings ***
Library    ComfyMockLibrary

*** Test Cases ***
A Story
    Start Mock Server
    Connect Client
    ${prompt} =    Queue Prompt
    Wait For Prompt    ${prompt}    success
    Add Latency    1 ms    direction=to client
    Send Message    status    {}
    Is Connected
    Restart Mock Server    signal=SIGKILL    watch_attempts=True    downtime=100 ms
    Wait For Connection
    Freeze Mock Server
    Thaw Mock Server
    Queue Prompt
"""


def _http(method: str, target: str, body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
