"""Frames of HTTP/2 (RFC 9113 §4 and §6): their numbers, how they are written, how padding is taken off."""
from __future__ import annotations

from struct import Struct

from .errors import CodecFault, ErrorCode, Reason

__all__ = [
    "ACK", "CONTINUATION", "DATA", "DEFAULT_FRAME_SIZE", "DEFAULT_WINDOW", "ENABLE_CONNECT_PROTOCOL", "ENABLE_PUSH",
    "END_HEADERS", "END_STREAM", "FRAME_HEAD", "GOAWAY", "HEADERS", "HEADER_TABLE_SIZE", "INITIAL_WINDOW_SIZE",
    "LAST_STREAM", "MAX_CONCURRENT_STREAMS", "MAX_FRAME_SIZE", "MAX_HEADER_LIST_SIZE", "MAX_WINDOW", "PADDED", "PING",
    "PREFACE", "PRIORITY", "PRIORITY_FLAG", "PUSH_PROMISE", "RST_STREAM", "SETTING", "SETTINGS", "WINDOW_UPDATE",
    "frame", "goaway", "rst_stream", "settings", "unpadded", "window_update",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
ENABLE_CONNECT_PROTOCOL = 8

DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
LAST_STREAM = 2**31 - 1
DEFAULT_FRAME_SIZE = 16_384

#: The length in two parts (above and below 16 bits), type, flags, stream with its reserved bit.
FRAME_HEAD = Struct(">BHBBI")
_RST_STREAM = Struct(">BHBBII")
_GOAWAY = Struct(">BHBBIII")
#: One setting: its number and value.
SETTING = Struct(">HI")


def frame(type: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Give a frame."""
    length = len(payload)
    return FRAME_HEAD.pack(length >> 16, length & 0xFFFF, type, flags, stream) + payload


def rst_stream(stream: int, code: int) -> bytes:
    """Give a RST_STREAM frame."""
    return _RST_STREAM.pack(0, 4, RST_STREAM, 0, stream, code)


def window_update(stream: int, increment: int) -> bytes:
    """Give a WINDOW_UPDATE frame; stream 0 is the connection."""
    return _RST_STREAM.pack(0, 4, WINDOW_UPDATE, 0, stream, increment)


def goaway(last_stream: int, code: int, debug: bytes = b"") -> bytes:
    """Give a GOAWAY frame."""
    return _GOAWAY.pack(0, 8 + len(debug), GOAWAY, 0, 0, last_stream, code) + debug


def settings(values: dict[int, int]) -> bytes:
    """Give a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*one) for one in values.items()))


def unpadded(payload: bytes) -> bytes:
    """Take the padding off the payload of a frame with the flag PADDED (RFC 9113 §6.1).

    :raises CodecFault: there is more padding than payload.
    """
    if not payload:
        raise CodecFault(ErrorCode.FRAME_SIZE_ERROR, Reason.FRAME_SIZE, "a padded frame without a pad length")
    end = len(payload) - payload[0]
    if end < 1:
        raise CodecFault(ErrorCode.PROTOCOL_ERROR, Reason.PROTOCOL, "padding as long as the payload or longer")
    return payload[1:end]
