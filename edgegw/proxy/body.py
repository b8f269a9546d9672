"""A request's body on its way from a client's framing to the upstream's."""
from __future__ import annotations

from typing import Protocol

from edgegw.observe.metrics import RequestMetrics
from edgegw.wire.chunked import LAST_CHUNK, ChunkedDecoder, encode_chunk, encode_trailers
from edgegw.wire.http1 import Field

__all__ = ["BodyTooLarge", "RequestBody", "TrailerRules"]


class TrailerRules(Protocol):
    """What of the trailers goes on; :class:`edgegw.headers.request.ConnectionHeaders`."""

    def trailers(self, fields: list[Field]) -> list[Field]:
        """Give the trailers that go on."""


class BodyTooLarge(Exception):
    """More bytes than the listener, or the rule, lets through.

    :ivar status: 413.
    """

    status = 413


class RequestBody:
    """Counts a body down, or takes its chunks apart and makes new ones.

    :param length: bytes, or ``CHUNKED``.
    :param limit: bytes of payload; ``None`` for no limit.
    :param headers: the rules for trailers.
    :param metrics: counts the payload.
    :ivar done: whether the body is complete.
    :ivar rest: what came behind it, when it is.
    """

    __slots__ = ("_decoder", "_headers", "_left", "_limit", "_metrics", "_total", "done", "rest")

    def __init__(
        self, length: int, limit: int | None, headers: TrailerRules | None, metrics: RequestMetrics
    ) -> None:
        self._metrics = metrics
        self._left = length
        self._limit = limit
        self._headers = headers
        self._total = 0
        self._decoder = ChunkedDecoder() if length < 0 else None
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Give what is to be sent upstream.

        :raises HTTPFault: the chunks are broken.
        :raises BodyTooLarge: the limit is passed.
        """
        decoder = self._decoder
        if decoder is None:
            left = self._left - len(data)
            if left > 0:
                self._left = left
                self._metrics.request_bytes += len(data)
                return data
            self._left = 0
            self.done = True
            if left:
                self.rest = data[left:]
                data = data[:left]
            self._metrics.request_bytes += len(data)
            return data
        payload = decoder.feed(data)
        self._total += len(payload)
        self._metrics.request_bytes += len(payload)
        if self._limit is not None and self._total > self._limit:
            raise BodyTooLarge(f"a body of more than {self._limit} bytes")
        wire = encode_chunk(payload) if payload else b""
        if decoder.done:
            self.done = True
            self.rest = decoder.rest
            trailers = self._headers.trailers(decoder.trailers) if self._headers is not None else []
            wire += encode_trailers(trailers) if trailers else LAST_CHUNK
        return wire
