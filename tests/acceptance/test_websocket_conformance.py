"""The websocket protocol's own rules (RFC 6455, RFC 7692), as an independent implementation sees the server keep them.

The numbers in names are sections of RFC 6455. Where the server lets something pass that it should refuse, it is because
the real one does: both read frames with aiohttp.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from mockserver_process import MockProcess, eventually
from raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawWebsocket, raw_frame
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto_peer import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POUND = "κόσμε £ 漢字 🎈"
UTF8 = POUND.encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProcess]:
    """One server for all of these tests: they harm nobody else."""
    server = MockProcess(tmp_path_factory.mktemp("server") / "life", "--status-interval", "0")
    yield server
    assert server.process.poll() is None
    assert "Traceback" not in server.log
    server.end()


@pytest.fixture
def connect(server: MockProcess) -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def connect(*extensions: PerMessageDeflate) -> Peer:
        peers.append(Peer(server, extensions))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture
def peer(connect: Callable[..., Peer]) -> Peer:
    return connect()


def fragments(opcode: int, *payloads: bytes) -> bytes:
    """A message in fragments."""
    last = len(payloads) - 1
    return b"".join(
        raw_frame(CONTINUATION if position else opcode, payload, fin=position == last)
        for position, payload in enumerate(payloads)
    )


def close(code: int, reason: bytes = b"") -> bytes:
    return raw_frame(CLOSE, code.to_bytes(2, "big") + reason)


class TestFrames:
    """5.2 to 5.6: lengths, fragments, control frames."""

    @pytest.mark.parametrize("length", [0, 1, 124, 125, 126, 127, 128, 65535, 65536, 100_000])
    def test_messages_of_each_length(self, peer: Peer, length: int) -> None:
        peer.send(TextMessage("*" * length), BytesMessage(bytes(length)))
        assert peer.pongs() == []
        assert peer.taken() == ["*" * length, length]

    @pytest.mark.parametrize("piece", [1, 7])
    def test_frames_that_come_in_pieces(self, peer: Peer, piece: int) -> None:
        data = fragments(TEXT, b"in ", b"", b"pieces") + raw_frame(TEXT, b"x" * 126) + raw_frame(PING, b"between")
        for begin in range(0, len(data), piece):
            peer.send_bytes(data[begin : begin + piece])
        assert peer.pongs() == [b"between"]
        assert peer.taken() == ["in pieces", "x" * 126]

    @pytest.mark.parametrize(
        "payloads",
        [[b"one", b"two"], [b"", b"", b""], [b"", b"whole", b""], [b"x"] * 100],
        ids=["two", "empty", "empty ends", "many"],
    )
    def test_fragments_make_one_message(self, peer: Peer, payloads: list[bytes]) -> None:
        peer.send_bytes(fragments(TEXT, *payloads) + fragments(BINARY, *payloads))
        assert peer.pongs() == []
        whole = b"".join(payloads)
        assert peer.taken() == [whole.decode(), len(whole)]

    def test_a_ping_between_fragments_is_answered_before_the_message_ends(self, peer: Peer) -> None:
        peer.send(TextMessage("one, ", message_finished=False), Ping(b"now"))
        assert peer.event() == Pong(bytearray(b"now"))
        peer.send(Pong(b"unasked"), TextMessage("two"))
        assert peer.pongs() == []
        assert peer.taken() == ["one, two"]

    @pytest.mark.parametrize("payload", [b"", b"Hello", b"\0\xff\xfe", b"x" * 125], ids=len)
    def test_a_ping_is_answered_with_its_payload(self, peer: Peer, payload: bytes) -> None:
        peer.send(Ping(payload))
        assert peer.pongs() == [payload]

    def test_many_pings_are_answered_in_their_order(self, peer: Peer) -> None:
        payloads = [str(number).encode() for number in range(50)]
        peer.send_bytes(b"".join(raw_frame(PING, payload) for payload in payloads))
        assert peer.pongs() == payloads

    @pytest.mark.parametrize("payload", [b"", b"unasked", b"x" * 125], ids=len)
    def test_an_unasked_pong_is_ignored(self, peer: Peer, payload: bytes) -> None:
        peer.send(Pong(payload))
        assert peer.pongs() == []

    @pytest.mark.parametrize("position", range(len(UTF8)))
    def test_utf_8_may_be_cut_anywhere(self, peer: Peer, position: int) -> None:
        peer.send_bytes(fragments(TEXT, UTF8[:position], UTF8[position:]))
        assert peer.pongs() == []
        assert peer.taken() == [POUND]

    @pytest.mark.parametrize(
        "data",
        [
            *(raw_frame(TEXT, b"x", rsv=rsv) for rsv in range(1, 8)),
            raw_frame(PING, b"x", rsv=4),
            *(raw_frame(opcode, b"x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
            *(raw_frame(opcode, b"x" * 126) for opcode in (CLOSE, PING, PONG)),
            *(raw_frame(opcode, b"", fin=False) for opcode in (CLOSE, PING, PONG)),
            raw_frame(CONTINUATION, b"nothing to go on with"),
            raw_frame(CONTINUATION, b"nothing to go on with", fin=False),
            fragments(TEXT, b"a", b"b") + raw_frame(CONTINUATION, b"more"),
            raw_frame(TEXT, b"a", fin=False) + raw_frame(TEXT, b"b"),
            raw_frame(TEXT, b"a", fin=False) + raw_frame(BINARY, b"b", fin=False),
        ],
    )
    def test_what_breaks_the_rules_is_closed_with_1002(self, peer: Peer, data: bytes) -> None:
        peer.send_bytes(data)
        assert peer.meets_close() == 1002

    @pytest.mark.parametrize("claimed", [4 * 1024 * 1024, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    def test_what_is_too_long_is_closed_with_1009_before_it_comes(self, peer: Peer, opcode: int, claimed: int) -> None:
        peer.send_bytes(raw_frame(opcode, length=claimed))
        assert peer.meets_close() == 1009

    @pytest.mark.parametrize(
        "text",
        [
            b"\x80",
            b"\xc3",
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xff",
        ],
        ids=bytes.hex,
    )
    @pytest.mark.parametrize("cut", [0, 1])
    def test_what_is_no_utf_8_is_closed_with_1007(self, peer: Peer, text: bytes, cut: int) -> None:
        peer.send_bytes(fragments(TEXT, b"fine, " + text[:cut], text[cut:]))
        assert peer.meets_close() == 1007

    @pytest.mark.parametrize(
        "data",
        [
            raw_frame(TEXT, b"x", mask=None),
            raw_frame(TEXT, b"x", form="16 bits"),
            raw_frame(TEXT, b"x", form="64 bits"),
            raw_frame(TEXT, b"", fin=False) + raw_frame(TEXT, b"x"),
        ],
        ids=["no mask", "length in 16 bits", "length in 64 bits", "a message in an empty one"],
    )
    def test_what_the_real_server_lets_pass(self, peer: Peer, data: bytes) -> None:
        peer.send_bytes(data)
        assert peer.pongs() == []
        assert peer.taken() == ["x"]


class TestClosing:
    """5.5.1 and 7: the closing handshake."""

    @pytest.mark.parametrize(
        "payload",
        [b"", b"\x03\xe8", b"\x03\xe8" + b"x" * 123, b"\x03\xe8" + UTF8],
        ids=["no code", "no reason", "longest reason", "reason"],
    )
    def test_a_close_frame_is_answered_and_the_connection_ends(self, peer: Peer, payload: bytes) -> None:
        peer.send_bytes(raw_frame(CLOSE, payload))
        assert peer.meets_close() == 1000

    @pytest.mark.parametrize(
        "code",
        [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999],
    )
    def test_codes_that_a_client_may_send(self, peer: Peer, code: int) -> None:
        peer.send(CloseConnection(code))
        assert peer.meets_close() == 1000

    @pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1015, 1016, 1100, 2000, 2999])
    def test_codes_that_it_may_not(self, peer: Peer, code: int) -> None:
        peer.send_bytes(close(code))
        assert peer.meets_close() == 1002

    @pytest.mark.parametrize("code", [1006, 5000, 65535])
    def test_codes_that_it_may_not_and_that_the_real_server_lets_pass(self, peer: Peer, code: int) -> None:
        peer.send_bytes(close(code))
        assert peer.meets_close() == 1000

    def test_half_a_code(self, peer: Peer) -> None:
        peer.send_bytes(raw_frame(CLOSE, b"\x03"))
        assert peer.meets_close() == 1002

    def test_a_reason_that_is_no_utf_8(self, peer: Peer) -> None:
        peer.send_bytes(close(1000, b"\xed\xa0\x80"))
        assert peer.meets_close() == 1007

    def test_nothing_is_taken_after_a_close_frame(self, peer: Peer) -> None:
        peer.send_bytes(close(1000) + raw_frame(PING, b"late") + raw_frame(TEXT, b"late") + close(1001))
        assert peer.meets_close() == 1000
        assert peer.taken() == []

    def test_between_fragments(self, peer: Peer) -> None:
        peer.send_bytes(raw_frame(TEXT, b"unfinished", fin=False) + close(1001))
        assert peer.meets_close() == 1000
        assert peer.taken() == []


DEFLATE = PerMessageDeflate
STATUS = '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "%s"}}'
FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})


def inflated(*payloads: bytes, window_bits: int = 15) -> list[bytes]:
    """What compressed messages hold, read in one context."""
    decompressor = zlib.decompressobj(-window_bits)
    return [decompressor.decompress(payload + b"\0\0\xff\xff") for payload in payloads]


class TestCompression:
    """Permessage-deflate (RFC 7692)."""

    @pytest.mark.parametrize(
        ("offer", "accepted"),
        [
            ("permessage-deflate", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits=10", "permessage-deflate"),
            ("permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=9"),
            ("permessage-deflate; server_max_window_bits=15", "permessage-deflate"),
            ("permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=12",
                "permessage-deflate; server_max_window_bits=12",
            ),
            ("permessage-deflate; server_max_window_bits=8", None),
            ("permessage-deflate; server_max_window_bits=16", None),
            ("permessage-deflate; unknown", None),
            ("x-webkit-deflate-frame", None),
            ("", None),
        ],
    )
    def test_offers(self, server: MockProcess, offer: str, accepted: str | None) -> None:
        client = RawWebsocket(server.port, Sec_WebSocket_Extensions=offer)
        answer = dict(line.split(": ", 1) for line in client.answer.split("\r\n")[1:])
        assert answer.get("Sec-WebSocket-Extensions") == accepted
        client.send(close(1000))
        first_frame = client.rest()[0]
        assert first_frame == (0x81 if accepted is None else 0xC1)

    @pytest.mark.parametrize(
        "extension",
        [
            DEFLATE(),
            DEFLATE(server_no_context_takeover=True),
            DEFLATE(server_max_window_bits=9),
            DEFLATE(server_max_window_bits=12, server_no_context_takeover=True),
        ],
        ids=["plain", "no takeover", "window of 9 bits", "both"],
    )
    def test_everybody_reads_the_same_texts(
        self, server: MockProcess, connect: Callable[..., Peer], extension: Any
    ) -> None:
        peer, plain = connect(extension), connect()
        assert [each.name for each in peer.extensions] == ["permessage-deflate"]
        for each in (peer, plain):
            assert each.first_status == STATUS % each.client_id
            each.send(TextMessage(FLAGS))
            assert json.loads(each.message())["data"]["supports_preview_metadata"] is True
        for _ in range(3):
            server.ask("POST", "/queue", {"clear": True})
            told = [json.loads(each.message()) for each in (peer, plain)]
            assert told == [{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}] * 2

    def test_images_and_long_texts(self, server: MockProcess, connect: Callable[..., Peer]) -> None:
        peer = connect(DEFLATE())
        image = {"class_type": "EmptyImage", "inputs": {"width": 300, "height": 300, "batch_size": 2, "color": 255}}
        prompt = {"1": image, "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
        server.queue(prompt, client_id=peer.client_id)
        messages: list[str | bytes] = []
        while not (
            messages and isinstance(messages[-1], str) and json.loads(messages[-1])["data"].get("node", "") is None
        ):
            messages.append(peer.message())
        binary = [each for each in messages if isinstance(each, bytes)]
        assert [each[:8] for each in binary] == [b"\0\0\0\1\0\0\0\2"] * 2
        assert all(each[8:].startswith(b"\x89PNG") and each.endswith(b"IEND\xaeB`\x82") for each in binary)

    def test_on_the_wire(self, server: MockProcess) -> None:
        client = RawWebsocket(server.port, "/ws?clientId=wire", Sec_WebSocket_Extensions="permessage-deflate")
        client.send(raw_frame(TEXT, FLAGS.encode()), raw_frame(PING, b"plain"), close(1000))
        data = client.rest()
        seen: list[tuple[int, bytes]] = []
        while data:
            length = int.from_bytes(data[2:4], "big") if data[1] == 126 else data[1]
            begin = 4 if data[1] == 126 else 2
            seen.append((data[0], data[begin : begin + length]))
            data = data[begin + length :]
        assert [first for first, _ in seen] == [0xC1, 0xC1, 0x8A, 0x88]  # control frames are never compressed
        for status, flags in (inflated(seen[0][1], seen[1][1]), [inflated(each)[0] for _, each in seen[:2]]):
            assert status.decode() == STATUS % "wire"
            assert json.loads(flags)["type"] == "feature_flags"
        assert [payload for _, payload in seen[2:]] == [b"plain", b"\x03\xe8"]

    def test_what_a_client_compresses_is_read(self, connect: Callable[..., Peer]) -> None:
        peer = connect(DEFLATE())
        peer.send(TextMessage("one ", message_finished=False), Ping(b"between"), TextMessage("two " * 100))
        peer.send(TextMessage("one two"), BytesMessage(bytes(1000)), TextMessage(""))
        assert peer.pongs() == [b"between"]
        assert peer.taken() == ["one " + "two " * 100, "one two", 1000, ""]

    def test_a_client_need_not_compress(self, connect: Callable[..., Peer]) -> None:
        peer = connect(DEFLATE())
        peer.send_bytes(raw_frame(TEXT, b"as it is") + fragments(BINARY, b"as", b"it is"))
        assert peer.pongs() == []
        assert peer.taken() == ["as it is", 7]

    def test_only_the_first_fragment_says_that_a_message_is_compressed(self, connect: Callable[..., Peer]) -> None:
        peer = connect(DEFLATE())
        peer.send_bytes(raw_frame(TEXT, b"x", fin=False) + raw_frame(CONTINUATION, b"y", rsv=4))
        assert peer.meets_close() == 1002

    def test_what_does_not_inflate_ends_its_socket_only(
        self, server: MockProcess, connect: Callable[..., Peer]
    ) -> None:
        peer, other = connect(DEFLATE()), connect(DEFLATE())
        peer.send_bytes(raw_frame(TEXT, b"\x07no deflate", rsv=4))
        peer.meets_close()
        eventually("The record of its end", lambda: is_closed(server, peer))
        assert other.pongs() == []

    def test_a_bomb_is_too_long(self, connect: Callable[..., Peer]) -> None:
        peer = connect(DEFLATE())
        compressor = zlib.compressobj(wbits=-15)
        bomb = compressor.compress(bytes(5_000_000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
        peer.send_bytes(raw_frame(BINARY, bomb[:-4], rsv=4))
        assert peer.meets_close() == 1009


def is_closed(server: MockProcess, peer: Peer) -> bool:
    return any(record["client_id"] == peer.client_id for record in server.records("socket_closed"))
