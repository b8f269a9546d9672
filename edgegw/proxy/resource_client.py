"""A request of twisted.web on its way to an upstream; the client's side of an exchange."""
from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from math import inf
from time import monotonic
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer

from edgegw.deadlines import Deadlines
from edgegw.headers.response import ResponseHeaders, http_date
from edgegw.identity import ConnectionInfo
from edgegw.proxy.exchange import Exchange
from edgegw.wire.chunked import LAST_CHUNK, encode_chunk
from edgegw.wire.http1 import Field, ResponseHead, read_fields

__all__ = ["ResourceClient", "answer_request"]

#: Bytes of a kept body that are sent at once.
PIECE: Final = 65_536


def answer_request(request: Request, status: int) -> None:
    """Send the gateway's own answer."""
    text = f"{status} {HTTPStatus(status).phrase}\n".encode("ascii")
    request.setResponseCode(status)
    request.setHeader(b"date", http_date())
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"content-length", b"%d" % len(text))
    request.write(text)
    _end(request)


def _end(request: Request) -> None:
    getattr(request, "end_response", request.finish)()


@implementer(IPushProducer)
class _Watched:
    """An upstream's connection, whose client must not leave it paused for ever.

    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    deadline = inf
    watched_until = inf

    def __init__(self, source: Any, deadlines: Deadlines, seconds: float, cut: Callable[[], None]) -> None:
        self._source = source
        self._deadlines = deadlines
        self._seconds = seconds
        self._cut = cut

    def pauseProducing(self) -> None:
        """Called by twisted.web when too much waits for the client."""
        self._deadlines.watch(self, monotonic() + self._seconds)
        self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """Called when the client has taken all of it."""
        self.deadline = inf
        self._source.resumeProducing()

    def stopProducing(self) -> None:
        """Called when the client is gone."""
        self._deadlines.forget(self)

    def deadline_passed(self) -> None:
        """The client has not taken what waits for it."""
        self._cut()


class ResourceClient:
    """Provides :class:`edgegw.proxy.exchange.Downstream`.

    :param length: of a body that is still to come; ``None`` where its end alone will tell.
    :param streams: whether the body is still to come.
    :param gone: called once, when nothing more becomes of the request.
    :param write_timeout: seconds that the client has to take what waits for it.
    :ivar framing: the header line that frames the body for the upstream.
    :ivar exchange: set by whoever makes it, before anything else is called.
    """

    exchange: Exchange

    def __init__(
        self,
        request: Request,
        info: ConnectionInfo,
        response_headers: ResponseHeaders,
        length: int | None,
        streams: bool,
        gone: Callable[[ResourceClient], None],
        deadlines: Deadlines,
        write_timeout: float,
    ) -> None:
        self.info = info
        self.transport: Any = request.transport
        self._request = request
        self._response_headers = response_headers
        self._gone = gone
        self._deadlines = deadlines
        self._write_timeout = write_timeout
        self._streams = streams
        self._chunked = streams and length is None
        self._content = None if streams else request.content
        self._left = 0
        self._paused = False
        self._sending = False
        self._over = False
        self._producer: _Watched | None = None
        if not streams:
            self._left = length = _size_of(request.content)
        self.framing = b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length
        if length == 0 and request.method in (b"GET", b"HEAD"):
            self.framing = b""
        finished: Deferred[None] = request.notifyFinish()
        finished.addErrback(self._left_by_client)

    # --- the request's body -----------------------------------------------------------------

    def start(self, body: bytes, ended: bool) -> None:
        """Begin with the request."""
        self.exchange.start(body, ended, False)

    def body(self, data: bytes, ended: bool) -> None:
        """Send what has come of the body on."""
        if self._over:
            return
        self.exchange.metrics.request_bytes += len(data)
        if self._chunked:
            data = (encode_chunk(data) if data else b"") + (LAST_CHUNK if ended else b"")
        self.exchange.body(data, ended)
        if self._paused and not self._over:
            # twisted.web resumes its transport for reasons of its own.
            self.transport.pauseProducing()

    def send_content(self) -> None:
        """Send a body that is whole, no faster than the upstream takes it."""
        first = self._next_piece()
        self._sending = True
        self.start(first, not self._left)
        self._sending = False
        self._send_rest()

    def _next_piece(self) -> bytes:
        if not self._left or self._content is None:
            return b""
        piece: bytes = self._content.read(min(PIECE, self._left))
        self._left -= len(piece)
        self.exchange.metrics.request_bytes += len(piece)
        return piece

    def _send_rest(self) -> None:
        if self._sending:
            return
        self._sending = True
        while self._left and not self._paused and not self._over:
            piece = self._next_piece()
            self.exchange.body(piece, not self._left)
        self._sending = False

    def pause_body(self) -> None:
        """See ``Downstream``."""
        self._paused = True
        if self._streams:
            self.transport.pauseProducing()

    def resume_body(self) -> None:
        """See ``Downstream``."""
        if not self._paused:
            return
        self._paused = False
        if self._streams:
            self.transport.resumeProducing()
        else:
            self._send_rest()

    # --- the response -----------------------------------------------------------------------

    def interim(self, head: ResponseHead) -> None:
        """See ``Downstream``: twisted.web has sent its own where the client waits for one."""

    def respond(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """See ``Downstream``."""
        request = self._request
        request.defaultContentType = None
        request.setResponseCode(head.status, head.reason)
        headers = request.responseHeaders
        headers.removeHeader(b"server")
        headers.removeHeader(b"date")
        lines, _ = self._response_headers.block(head.fields, head.options, head.version)
        for name, value, _line in read_fields(lines):
            headers.addRawHeader(name, value)
        if head.status in (204, 304) or request.method == b"HEAD":
            length = head.length if head.status != 204 else -1
        if length >= 0:
            headers.setRawHeaders(b"content-length", [b"%d" % length])
        # Even an empty write sends the head.
        request.write(data)
        if ended:
            self._finish()
        elif not self._over:
            connection = self.exchange.connection
            if connection is not None:
                producer = self._producer = _Watched(connection, self._deadlines, self._write_timeout, self._give_up)
                request.registerProducer(producer, True)
                if getattr(request.channel, "_waitingForTransport", False):
                    producer.pauseProducing()

    def respond_more(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """See ``Downstream``; twisted.web has no trailers."""
        if data:
            self._request.write(data)
        if ended:
            self._finish()

    def answer(self, status: int) -> None:
        """See ``Downstream``."""
        if not self._end():
            return
        answer_request(self._request, status)

    def cut(self) -> None:
        """See ``Downstream``."""
        if not self._end():
            return
        abort = getattr(self.transport, "abortConnection", None)
        if abort is not None:
            abort()
        else:
            self._request.loseConnection()

    # --- ends -------------------------------------------------------------------------------

    def _finish(self) -> None:
        if self._end():
            _end(self._request)

    def _end(self) -> bool:
        """Whether this is the end, and not something that comes behind it."""
        if self._over:
            return False
        self._over = True
        if self._producer is not None:
            self._request.unregisterProducer()
            self._deadlines.forget(self._producer)
        if self._paused and self._streams:
            self._paused = False
            self.transport.resumeProducing()
        self._gone(self)
        return True

    def _give_up(self) -> None:
        """The client takes nothing: it and the upstream's connection are let go."""
        exchange = self.exchange
        self.cut()
        exchange.abandon(0)

    def _left_by_client(self, _: object) -> None:
        if self._over:
            return
        self._over = True
        self._gone(self)
        self.exchange.abandon(0)


def _size_of(content: Any) -> int:
    content.seek(0, 2)
    size: int = content.tell()
    content.seek(0)
    return size
