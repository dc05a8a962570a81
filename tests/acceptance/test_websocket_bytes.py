"""No bytes on a websocket harm anybody else: the server lives, other sockets get their messages, HTTP goes on."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mockserver_process import eventually
from raw_websocket import BINARY, CONTINUATION, PING, TEXT, RawWebsocket, raw_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mockserver_process import MockProcess

LONGEST_MESSAGE = 4 * 1024 * 1024
FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}).encode()
DEFLATE = {"Sec_WebSocket_Extensions": "permessage-deflate"}

first_bytes = st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8A, 0xC1, 0x41]) | st.integers(0, 255)
texts = st.sampled_from([b"", b"{}", b"[]", b'{"type": "feature_flags"}', FLAGS, b"\xff", b"\x03\xe8", b"\x03\xee"])
lengths = st.sampled_from(
    [0, 1, 125, 126, 127, 65535, 65536, LONGEST_MESSAGE - 1, LONGEST_MESSAGE, 2**31, 2**63 - 1, 2**63, 2**64 - 1]
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame, more or less: any first byte, a payload under a mask or not, a length that may be a lie."""
    first = draw(first_bytes)
    return raw_frame(
        first & 0xF,
        draw(texts | st.binary(max_size=130)),
        fin=bool(first & 0x80),
        rsv=first >> 4 & 0x7,
        mask=draw(st.none() | st.binary(min_size=4, max_size=4)),
        length=draw(st.none() | st.none() | st.none() | lengths),
        form=draw(st.sampled_from(["shortest", "16 bits", "64 bits"])),
    )


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """What a client sends, in pieces: frames and noise, cut off anywhere."""
    data = b"".join(draw(st.lists(frames() | st.binary(max_size=20), max_size=6)))
    data = data[: draw(st.none() | st.integers(0, len(data)))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class Witness:
    """Another client of the same server, to whom nothing may happen."""

    def __init__(self, server: MockProcess) -> None:
        self.server = server
        self._client = server.connect("witness")
        self._client.message()

    def is_well(self) -> bool:
        """Whether HTTP answers, and the message of a change of the queue, and no other one, comes."""
        assert self.server.ask("POST", "/queue", {"clear": True}).status == 200, self.server.log
        expected = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}
        return self._client.message() == expected


@pytest.fixture
def witness(mock_process: MockProcess) -> Iterator[Witness]:
    """A witness. After the test the server lives, has no socket left but this one, and nothing to complain of."""
    witness = Witness(mock_process)
    yield witness
    assert witness.is_well()

    def only_the_witness_is_left() -> bool:
        opened = {record["socket"] for record in mock_process.records("socket_opened")}
        return opened - {record["socket"] for record in mock_process.records("socket_closed")} == {1}

    eventually("The end of all other sockets", only_the_witness_is_left, lambda: mock_process.log)
    assert mock_process.process.poll() is None
    assert "Traceback" not in mock_process.log
    assert "rror" not in mock_process.log


def end(client: RawWebsocket, how: str) -> None:
    """Ends a connection."""
    {"reads to the end": client.rest, "drops": client.close, "resets": client.reset}[how]()


ends = st.sampled_from(["reads to the end", "reads to the end", "drops", "resets"])


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=streams(), compressed=st.booleans(), how=ends)
def test_frames_right_and_wrong(witness: Witness, pieces: list[bytes], compressed: bool, how: str) -> None:
    client = RawWebsocket(witness.server.port, **(DEFLATE if compressed else {}))
    assert client.status == 101
    client.send(*pieces)
    end(client, how)
    assert witness.is_well()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), how=ends)
@example(data=b"\0" * 300, how="drops")
@example(data=b"GET /queue HTTP/1.1\r\n\r\n", how="reads to the end")
def test_noise(witness: Witness, data: bytes, how: str) -> None:
    client = RawWebsocket(witness.server.port)
    client.send(data)
    end(client, how)
    assert witness.is_well()


words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
parameters = st.sampled_from(
    [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
        *(f"{side}_max_window_bits={bits}" for side in ("server", "client") for bits in (-1, 0, 8, 9, 15, 16, 10**30)),
    ]
)
offers = st.lists(st.lists(parameters | words, max_size=4).map(lambda each: "; ".join(["permessage-deflate", *each])))
headers = st.fixed_dictionaries(
    {},
    optional={
        "Sec_WebSocket_Key": words,
        "Sec_WebSocket_Version": words | st.sampled_from(["7", "8", "14"]),
        "Sec_WebSocket_Protocol": words,
        "Sec_WebSocket_Extensions": words | offers.map(", ".join),
        "Upgrade": words,
        "Connection": words,
    },
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=headers, query=st.binary(max_size=20))
def test_handshakes(witness: Witness, asked: dict[str, str], query: bytes) -> None:
    client = RawWebsocket(witness.server.port, f"/ws?clientId=x{quote(query)}", **asked)
    assert client.status in (101, 400)
    if client.status == 101:
        client.send(raw_frame(TEXT, FLAGS))
    end(client, "reads to the end")
    assert witness.is_well()


@pytest.mark.parametrize("how", ["drops", "resets"])
def test_handshakes_of_clients_that_go_at_once(witness: Witness, how: str) -> None:
    for _ in range(100):
        client = RawWebsocket(witness.server.port, await_answer=False)
        client.send(raw_frame(PING, b"x" * 125))
        end(client, how)
    assert witness.is_well()


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    "make",
    [
        lambda: raw_frame(PING, b"x" * 125) * 20_000,
        lambda: raw_frame(TEXT, b"", fin=False) + raw_frame(CONTINUATION, b"", fin=False) * 100_000,
        lambda: raw_frame(TEXT, b"", fin=False) + raw_frame(CONTINUATION, b"x", fin=False) * 100_000,
        lambda: raw_frame(TEXT, b"{}") * 20_000,
        lambda: raw_frame(BINARY, b"") * 30_000,
        lambda: raw_frame(TEXT, b"x" * (LONGEST_MESSAGE - 1)) * 3,
        lambda: raw_frame(TEXT, deflated(bytes(LONGEST_MESSAGE + 1)), rsv=4) * 20,
        lambda: raw_frame(BINARY, deflated(bytes(LONGEST_MESSAGE - 1)), rsv=4) * 20,
        lambda: raw_frame(TEXT, b"\x07no deflate", rsv=4),
    ],
    ids=[
        "pings",
        "empty fragments",
        "endless message",
        "texts",
        "empty messages",
        "long messages",
        "bombs",
        "bombs that are just small enough",
        "no deflate",
    ],
)
@pytest.mark.parametrize("how", ["reads to the end", "drops"])
def test_too_much(witness: Witness, make: Callable[[], bytes], how: str) -> None:
    client = RawWebsocket(witness.server.port, **DEFLATE)
    client.send(make())
    end(client, how)
    assert witness.is_well()
