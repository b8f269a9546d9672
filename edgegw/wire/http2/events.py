"""What comes of bytes that were received."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from edgegw.wire.http1 import Field

from .errors import Reason
from .field_rules import RequestHead, ResponseHead

__all__ = [
    "ConnectionFault", "DataReceived", "Event", "GoAwayReceived", "PingAcknowledged", "RequestOversized",
    "RequestReceived", "ResponseReceived", "SettingsReceived", "StreamReset", "TrailersReceived", "WindowOpened",
]


class RequestReceived:
    """A request's head.

    :ivar head: belongs to the codec, which may give the same one for a later equal request.
    :ivar ended: whether neither a body nor trailers follow.
    """

    __slots__ = ("ended", "head", "stream")

    def __init__(self, stream: int, head: RequestHead, ended: bool) -> None:
        self.stream = stream
        self.head = head
        self.ended = ended


class RequestOversized:
    """A request with more header than the limits allow: to be answered with 431, and reset unless it has ended."""

    __slots__ = ("ended", "stream")

    def __init__(self, stream: int, ended: bool) -> None:
        self.stream = stream
        self.ended = ended


class ResponseReceived:
    """A response's head; an interim one if its status is below 200, and then another follows."""

    __slots__ = ("ended", "head", "stream")

    def __init__(self, stream: int, head: ResponseHead, ended: bool) -> None:
        self.stream = stream
        self.head = head
        self.ended = ended


class DataReceived:
    """A piece of a body.

    :ivar size: what it takes of the windows, padding included: to be given to ``acknowledge`` when the data is gone.
    """

    __slots__ = ("data", "ended", "size", "stream")

    def __init__(self, stream: int, data: bytes, size: int, ended: bool) -> None:
        self.stream = stream
        self.data = data
        self.size = size
        self.ended = ended


class TrailersReceived:
    """The end of a message, with its trailers."""

    __slots__ = ("fields", "stream")

    def __init__(self, stream: int, fields: Sequence[Field]) -> None:
        self.stream = stream
        self.fields = fields


class StreamReset:
    """A stream that is no more.

    :ivar code: of RST_STREAM; see :func:`edgegw.wire.http2.code_name`.
    :ivar reason: ``PEER`` if the peer reset it; otherwise the codec did, because of what the peer sent.
    :ivar unprocessed: the peer has said that it did nothing with the request, which may be sent again.
    """

    __slots__ = ("code", "detail", "reason", "stream", "unprocessed")

    def __init__(self, stream: int, code: int, reason: Reason, detail: str = "", unprocessed: bool = False) -> None:
        self.stream = stream
        self.code = code
        self.reason = reason
        self.detail = detail
        self.unprocessed = unprocessed


class GoAwayReceived:
    """The peer takes no further streams.  Those of a client above ``last_stream`` are reported as reset before."""

    __slots__ = ("code", "debug", "last_stream")

    def __init__(self, last_stream: int, code: int, debug: bytes) -> None:
        self.last_stream = last_stream
        self.code = code
        self.debug = debug


class WindowOpened:
    """There is room where there was none: on a stream, or (0) on the connection."""

    __slots__ = ("stream",)

    def __init__(self, stream: int) -> None:
        self.stream = stream


class PingAcknowledged:
    """The peer has answered a PING that was sent."""

    __slots__ = ("opaque",)

    def __init__(self, opaque: bytes) -> None:
        self.opaque = opaque


class SettingsReceived:
    """The peer's settings are in force; they stand in the connection's attributes."""

    __slots__ = ()


class ConnectionFault:
    """The connection is over; GOAWAY with ``code`` is in the output, and nothing more will be read."""

    __slots__ = ("code", "detail", "reason")

    def __init__(self, code: int, reason: Reason, detail: str) -> None:
        self.code = code
        self.reason = reason
        self.detail = detail


Event = Union[
    RequestReceived, RequestOversized, ResponseReceived, DataReceived, TrailersReceived, StreamReset, GoAwayReceived,
    WindowOpened, PingAcknowledged, SettingsReceived, ConnectionFault,
]
