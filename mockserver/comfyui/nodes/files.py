"""Small valid files of the kinds that nodes write and that Pillow does not."""

from __future__ import annotations

import io
import json
import math
import struct
from typing import TYPE_CHECKING, Any

from mockserver.comfyui.pictures import encoded, rgb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mockserver.comfyui.pictures import Picture

Json = dict[str, Any]

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64" fill="#888"/></svg>'


def safetensors(tensors: Mapping[str, tuple[int, ...]], metadata: Json) -> bytes:
    """Tensors of zeros, 32 bit, with texts beside them."""
    header: Json = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in tensors.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(end)


def glb() -> bytes:
    """One triangle (glTF 2.0)."""
    points = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    scene = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(points)}],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(points), b"BIN\0") + points
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def flac() -> bytes:
    """A second of silence, 44.1 kHz mono (FLAC, RFC 9639)."""
    rate, block, samples = 44_100, 4410, 44_100
    info = struct.pack(">HH", block, block) + bytes(6)
    info += struct.pack(">Q", rate << 44 | 0 << 41 | 15 << 36 | samples) + bytes(16)
    stream = b"fLaC" + struct.pack(">I", 0x80 << 24 | len(info))[:4] + info
    for number in range(samples // block):
        # Fixed block size, explicit 16 bit length, rate of the stream, mono, 16 bit; then one constant subframe.
        header = bytes([0xFF, 0xF8, 0x70, 0x08, number]) + struct.pack(">H", block - 1)
        header += bytes([_crc(header, 8, 0x07)])
        frame = header + bytes([0x00, 0x00, 0x00])
        stream += frame + struct.pack(">H", _crc(frame, 16, 0x8005))
    return stream


def mp3() -> bytes:
    """About a second of silence: empty frames of MPEG-1 layer III, 128 kbit/s, 44.1 kHz, mono."""
    return (bytes([0xFF, 0xFB, 0x90, 0xC4]) + bytes(413)) * 38


def opus() -> bytes:
    """A second of silence: packets that code nothing, in Ogg pages (RFC 7845)."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48_000, 0, 0)
    vendor = b"mockserver"
    tags = b"OpusTags" + struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", 0)
    silence = [bytes([0xF8, 0xFF, 0xFE])] * 50  # 20 ms each
    return _ogg_page(0, 2, 0, [head]) + _ogg_page(1, 0, 0, [tags]) + _ogg_page(2, 4, 48_000, silence)


def _ogg_page(number: int, flags: int, position: int, packets: list[bytes]) -> bytes:
    head = struct.pack("<4sBBQII", b"OggS", 0, flags, position, 1, number)
    tail = bytes([len(packets)]) + bytes(len(packet) for packet in packets) + b"".join(packets)
    checksum = _crc(head + bytes(4) + tail, 32, 0x04C11DB7)
    return head + struct.pack("<I", checksum) + tail


def _crc(data: bytes, width: int, polynomial: int) -> int:
    """A plain cyclic redundancy check: most significant bit first, starts at 0."""
    mask, top, value = (1 << width) - 1, 1 << (width - 1), 0
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value


def mp4(frames: Sequence[Picture], fps: float) -> bytes:
    """A movie of JPEG frames (ISO base media file format)."""
    images = [encoded(frame, "jpeg") for frame in frames]
    width, height, count = frames[0].width, frames[0].height, len(images)
    tick, rate = 1000, 90_000
    ticks, step = int(count * tick / fps), int(rate / fps)
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    brand = _box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
    movie = struct.pack(">IIIIIIHH", 0, 0, 0, tick, ticks, 0x10000, 0x0100, 0) + bytes(8) + matrix + bytes(24)
    track = struct.pack(">IIIIII", 3, 0, 0, 1, 0, ticks) + bytes(16) + matrix
    track += struct.pack(">II", width << 16, height << 16)
    sample = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HHII", width, height, 72 << 16, 72 << 16)
    sample += struct.pack(">IH", 0, 1) + bytes(32) + struct.pack(">Hh", 24, -1)
    table = b"".join(
        (
            _box(b"stsd", struct.pack(">II", 0, 1) + _box(b"jpeg", sample)),
            _box(b"stts", struct.pack(">IIII", 0, 1, count, step)),
            _box(b"stsc", struct.pack(">IIIII", 0, 1, 1, count, 1)),
            _box(b"stsz", struct.pack(">III", 0, 0, count) + b"".join(struct.pack(">I", len(each)) for each in images)),
            _box(b"stco", struct.pack(">III", 0, 1, len(brand) + 8)),
        )
    )
    here = _box(b"dinf", _box(b"dref", struct.pack(">II", 0, 1) + _box(b"url ", struct.pack(">I", 1))))
    information = _box(b"minf", _box(b"vmhd", struct.pack(">IQ", 1, 0)) + here + _box(b"stbl", table))
    header = _box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, rate, count * step, 0x55C4, 0))
    handler = _box(b"hdlr", bytes(8) + b"vide" + bytes(12) + b"mock\0")
    media = _box(b"mdia", header + handler + information)
    movie_box = _box(b"mvhd", movie + struct.pack(">I", 2)) + _box(b"trak", _box(b"tkhd", track) + media)
    return brand + _box(b"mdat", b"".join(images)) + _box(b"moov", movie_box)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def webm(frames: Sequence[Picture], fps: float) -> bytes:
    """A movie of VP8 key frames (Matroska)."""
    header = _element("1A45DFA3", _element("4282", b"webm") + _number("4287", 4) + _number("4285", 2))
    length = _element("4489", struct.pack(">d", len(frames) * 1000 / fps))
    info = _element("1549A966", _number("2AD7B1", 1_000_000) + length + _element("4D80", b"mock"))
    size = _element("E0", _number("B0", frames[0].width) + _number("BA", frames[0].height))
    track = _number("D7", 1) + _number("73C5", 1) + _number("83", 1) + _element("86", b"V_VP8") + size
    tracks = _element("1654AE6B", _element("AE", track))
    clusters = [
        _element("1F43B675", _number("E7", int(at * 1000 / fps)) + _element("A3", b"\x81\0\0\x80" + _vp8(frame)))
        for at, frame in enumerate(frames)
    ]
    return header + _element("18538067", info + tracks + b"".join(clusters))


def _vp8(frame: Picture) -> bytes:
    """The picture as a VP8 key frame, which is what a lossy WebP holds after two headers."""
    buffer = io.BytesIO()
    rgb(frame).save(buffer, "WEBP", quality=80)
    data = buffer.getvalue()
    return data[20 : 20 + int.from_bytes(data[16:20], "little")]


def _element(identifier: str, content: bytes) -> bytes:
    return bytes.fromhex(identifier) + struct.pack(">Q", 1 << 56 | len(content)) + content


def _number(identifier: str, value: int) -> bytes:
    return _element(identifier, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))
