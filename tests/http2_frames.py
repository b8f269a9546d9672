"""Frames and field blocks of HTTP/2, written by hand so that they can be wrong, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence

from edgegw.wire.http2 import PREFACE, ClientConnection, ConnectionFault, Limits, ServerConnection
from edgegw.wire.http2.frames import FRAME_HEAD, SETTING, frame

Pair = tuple[bytes, bytes]

GET: list[Pair] = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/")]
POST: list[Pair] = [(b":method", b"POST"), *GET[1:]]
SETTINGS = frame(4, 0, 0, b"")


def block(fields: Sequence[Pair]) -> bytes:
    """Give a field block of literals that leave the table alone."""
    return b"".join(b"\0" + string(name) + string(value) for name, value in fields)


def string(text: bytes) -> bytes:
    """Give a string without Huffman coding."""
    return integer(len(text), 0x7F, 0) + text


def integer(value: int, prefix: int, pattern: int) -> bytes:
    """Give an integer of HPACK."""
    if value < prefix:
        return bytes((pattern | value,))
    value -= prefix
    out = [pattern | prefix]
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def headers(stream: int, fields: Sequence[Pair], flags: int = 5) -> bytes:
    """Give HEADERS, by default with END_STREAM and END_HEADERS."""
    return frame(1, flags, stream, block(fields))


def setting(name: int, value: int) -> bytes:
    """Give SETTINGS with one of them."""
    return frame(4, 0, 0, SETTING.pack(name, value))


def sent(output: bytes) -> list[tuple[int, int, int, bytes]]:
    """Take frames apart: type, flags, stream, payload."""
    found = []
    output = output.removeprefix(PREFACE)
    while output:
        high, length, kind, flags, stream = FRAME_HEAD.unpack_from(output)
        length += high << 16
        found.append((kind, flags, stream, output[9 : 9 + length]))
        output = output[9 + length :]
    return found


class Clock:
    """Time that stands unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def server(limits: Limits | None = None, clock: Clock | None = None) -> ServerConnection:
    """Give a server whose client has sent its preface, settings and acknowledgement."""
    one = ServerConnection(limits or Limits(), clock or Clock())
    one.receive(PREFACE + SETTINGS + frame(4, 1, 0, b""))
    one.take_output()
    return one


def client(limits: Limits | None = None, clock: Clock | None = None) -> ClientConnection:
    """Give a client whose server has sent its settings and acknowledgement."""
    one = ClientConnection(limits or Limits(), clock or Clock())
    one.receive(SETTINGS + frame(4, 1, 0, b""))
    one.take_output()
    return one


def outcome(one: ServerConnection | ClientConnection, data: bytes) -> tuple[str, int] | str:
    """Say what became of ``data``: the connection's or a stream's end with its code, or what else came of it."""
    events = one.receive(data)
    for kind, _, _, payload in sent(one.take_output()):
        if kind == 7:
            last = events[-1]
            assert isinstance(last, ConnectionFault) and last.code == int.from_bytes(payload[4:8], "big")
            return "connection", last.code
        if kind == 3:
            return "stream", int.from_bytes(payload, "big")
    return " ".join(type(event).__name__ for event in events)
