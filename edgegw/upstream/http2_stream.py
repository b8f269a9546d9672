"""One request on an HTTP/2 connection to an upstream, and its response.

To whoever sends the request it looks like an :class:`~edgegw.upstream.connection.UpstreamConnection` of its own: it is
given the request as it would stand on an HTTP/1.1 wire, and tells a
:class:`~edgegw.upstream.connection.Receiver` of the response.
"""
from __future__ import annotations

from collections import deque
from http import HTTPStatus
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from edgegw.upstream.connection import MAX_INTERIM, Receiver
from edgegw.upstream.watched import watched
from edgegw.wire.chunked import ChunkedDecoder
from edgegw.wire.http1 import CHUNKED, Field
from edgegw.wire.http2 import ErrorCode, ResponseHead

if TYPE_CHECKING:
    from edgegw.upstream.http2_connection import HTTP2Connection

__all__ = ["RequestStream", "WaitingPieces"]

#: HTTP/2 has none, and there are clients of HTTP/1.1 that want one.
_PHRASES: Final = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}

_UNSENT, _HEAD, _BODY, _OVER = range(4)


@implementer(IConsumer)
class WaitingPieces:
    """What of a request's body waits for a window: stands where a connection's transport would.

    :ivar unsent: bytes that wait; producers are paused as a transport pauses them.
    """

    #: Bytes queued beyond which a producer is paused.
    bufferSize = 65_536
    disconnecting = False

    def __init__(self) -> None:
        self.producer: Any = None
        self.producerPaused = False
        self.unsent = 0
        self._pieces: deque[bytes] = deque()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""
        self.producer = producer

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        self.producer = None
        self.producerPaused = False

    def write(self, data: bytes) -> None:
        """Queue a piece."""
        self._pieces.append(data)
        self.unsent += len(data)

    def pause_if_full(self) -> None:
        """Pause the producer if too much waits."""
        if self.unsent > self.bufferSize and self.producer is not None and not self.producerPaused:
            self.producerPaused = True
            self.producer.pauseProducing()

    def resume_if_empty(self) -> None:
        """Let the producer go on if nothing waits."""
        if self.producerPaused and not self.unsent and self.producer is not None:
            self.producerPaused = False
            self.producer.resumeProducing()

    def take(self, size: int) -> bytes:
        """Give at most so many bytes, which may be fewer."""
        piece = self._pieces.popleft()
        if len(piece) > size:
            self._pieces.appendleft(piece[size:])
            piece = piece[:size]
        self.unsent -= len(piece)
        return piece

    def clear(self) -> None:
        """Nobody wants it any more."""
        self._pieces.clear()
        self.unsent = 0


@implementer(IPushProducer)
class RequestStream:
    """A stream; it is the producer of its response's body, and who is sent that may pause it.

    :ivar connection: what it is on.
    :ivar pool: of the connection.
    :ivar transport: takes the request's body.
    :ivar used: requests that were sent on the connection.
    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    deadline = inf
    watched_until = inf

    def __init__(self, connection: HTTP2Connection) -> None:
        self.connection = connection
        self.pool: Any = connection.pool
        self.transport = WaitingPieces()
        self.used = connection.used
        self.receiver: Receiver | None = None
        self.id = 0
        self._state = _UNSENT
        self._request_open = False
        self._end_unsent = False
        self._trailers: list[Field] = []
        self._waits = False
        self._decoder: ChunkedDecoder | None = None
        self._interim = 0
        self._sent = 0
        self._taken = 0
        self._paused = False
        self._unacknowledged = 0
        self._response_timeout: float = self.pool.response_timeout
        self._head_only = False

    @property
    def open(self) -> bool:
        """Whether a request can still be sent on it."""
        return self._state == _UNSENT and self.connection.can_begin

    def allow(self, seconds: float | None) -> None:
        """See :meth:`edgegw.upstream.connection.UpstreamConnection.allow`."""
        self._response_timeout = self.pool.response_timeout if seconds is None else seconds

    def close(self) -> None:
        """Give no further requests to the connection, and close it when those on it are answered."""
        self.connection.retire()
        if self._state == _UNSENT:
            self.abandon()

    # --- the request ------------------------------------------------------------------------

    def send_request(self, data: bytes, receiver: Any, head_only: bool, ended: bool, waits: bool) -> None:
        """See :meth:`edgegw.upstream.connection.UpstreamConnection.send_request`."""
        pool, connection = self.pool, self.connection
        self.receiver = receiver if pool.watch is None else watched(pool, receiver)
        self._head_only = head_only
        self._waits = waits
        self._request_open = not ended
        self._state = _HEAD
        fields, chunked, rest = connection.fields.read(data)
        self._decoder = ChunkedDecoder() if chunked else None
        pool.deadlines.watch(self, monotonic() + self._response_timeout)
        self._queue(rest, ended)
        ended = ended and not self.transport.unsent and not self._trailers
        self._end_unsent = self._end_unsent and not ended
        self.id = connection.send_head(self, fields, ended, head_only)
        if not ended:
            self.pump()
        connection.flush()

    def _enter_head(self) -> None:
        self._state = _HEAD

    def _enter_body(self) -> None:
        self._state = _BODY

    def _queue(self, data: bytes, ended: bool) -> None:
        decoder = self._decoder
        if decoder is not None and data:
            data = decoder.feed(data)
            if decoder.done:
                self._trailers = decoder.trailers
        if data:
            self._sent += len(data)
            self.transport.write(data)
        self._end_unsent = ended

    def send_body(self, data: bytes, ended: bool) -> None:
        """Send more of the body, as it would stand on an HTTP/1.1 wire."""
        if self._state == _OVER:
            return
        if data:
            self._waits = False
        self._queue(data, ended)
        if ended:
            self._request_open = False
            if self._state == _HEAD:
                # The time for the response begins when the upstream can have the whole request.
                self.pool.deadlines.watch(self, monotonic() + self._response_timeout)
        self.pump()
        self.connection.flush()
        self.transport.pause_if_full()

    def pump(self) -> None:
        """Send what the windows, and the connection's transport, have room for."""
        connection, transport = self.connection, self.transport
        codec = connection.codec
        if self._state == _OVER or not self.id:
            return
        while transport.unsent and not connection.full:
            room = codec.sendable(self.id)
            if not room:
                break
            piece = transport.take(room)
            if transport.unsent or not self._end_unsent or self._trailers:
                codec.send_data(self.id, piece, False)
            else:
                self._end_unsent = False
                codec.send_data(self.id, piece, True)
        if self._end_unsent and not transport.unsent:
            self._end_unsent = False
            if self._trailers:
                codec.send_headers(self.id, [(name, value) for name, value, _ in self._trailers], True)
            else:
                codec.send_data(self.id, b"", True)
        transport.resume_if_empty()

    # --- the response -----------------------------------------------------------------------

    def head_received(self, head: ResponseHead, data: bytes, size: int, ended: bool) -> None:
        """A response's head has come, and perhaps the beginning of its body."""
        receiver = self.receiver
        assert receiver is not None
        if not head.reason:
            head.reason = _PHRASES.get(head.status, b"")
        if head.status < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._reset("bad_response", f"status {head.status} that was not asked for")
                return
            if head.status == 100:
                self._waits = False
            receiver.interim_response(head)
            return
        length = head.length if head.length >= 0 else CHUNKED
        if self._head_only or head.status == 204 or head.status == 304:
            length = 0
        if ended:
            if length < 0:
                length = len(data)
            self._ended()
            receiver.response_started(head, length, data, True)
            return
        self._state = _BODY
        self.pool.deadlines.watch(self, monotonic() + self.pool.idle_timeout)
        self._unacknowledged += size
        receiver.response_started(head, length, data, False)
        self._acknowledge()

    def data_received(self, data: bytes, size: int, ended: bool) -> None:
        """More of the body has come."""
        receiver = self.receiver
        assert receiver is not None
        if ended:
            self._ended()
            receiver.response_data(data, True, [])
            return
        if not self._paused:
            self.deadline = monotonic() + self.pool.idle_timeout
        self._unacknowledged += size
        if data:
            receiver.response_data(data, False, [])
        self._acknowledge()

    def trailers_received(self, trailers: list[Field]) -> None:
        """The response has ended with trailers."""
        receiver = self.receiver
        assert receiver is not None
        self._ended()
        receiver.response_data(b"", True, trailers)

    def _acknowledge(self) -> None:
        """Let the upstream send as much again as the client has taken."""
        if self._unacknowledged and not self._paused and self._state == _BODY:
            self.connection.codec.acknowledge(self.id, self._unacknowledged)
            self._unacknowledged = 0

    # --- ends -------------------------------------------------------------------------------

    def _leave(self) -> Receiver | None:
        receiver, self.receiver = self.receiver, None
        self._state = _OVER
        self.pool.deadlines.forget(self)
        self.transport.clear()
        return receiver

    def _ended(self) -> None:
        """The response is complete."""
        unread = self._request_open or self._end_unsent or self.transport.unsent
        self._leave()
        if unread:
            # The rest of the request is of no use (RFC 9113 §8.1).
            self.connection.codec.reset(self.id, ErrorCode.CANCEL)
        self.connection.finished(self)

    def failed(self, failure: str, detail: str, unanswered: bool = False) -> None:
        """There will be no (complete) response; the codec knows nothing of the stream any more."""
        receiver = self._leave()
        self.connection.finished(self)
        if receiver is not None:
            self.pool.metrics.response_failures[failure] += 1
            receiver.response_failed(failure, detail, unanswered)

    def _reset(self, failure: str, detail: str) -> None:
        self.connection.codec.reset(self.id)
        self.failed(failure, detail)
        self.connection.flush()

    @property
    def silent(self) -> bool:
        """Whether nothing of an answer has come."""
        return self._state == _HEAD and not self._interim

    def abandon(self) -> None:
        """Nobody waits for the rest of this exchange any more, or will send any."""
        if self._state == _OVER:
            return
        self._leave()
        if self.id:
            self.connection.codec.reset(self.id)
        self.connection.finished(self)
        self.connection.flush()

    def overdue(self) -> None:
        """Nobody waits any more, because the endpoint had the whole request and took too long to answer it."""
        watch = self.pool.watch
        if watch is not None and watch.detector is not None and self.receiver is not None:
            watch.detector.failed(self.pool.state)
        self.connection.doubt()
        self.abandon()

    def deadline_passed(self) -> None:
        """See ``Deadlines``: the upstream took too long."""
        if self.receiver is None or ((self._state == _HEAD or self._request_open) and self._may_go_on()):
            return
        detail = "no response in time" if self._state == _HEAD else "the response stopped"
        self.connection.doubt()
        self._reset("timeout", detail)

    def _may_go_on(self) -> bool:
        """Whether the response's absence is not the upstream's fault: it has not got all of the request."""
        unsent = self.transport.unsent
        taken = self._sent - unsent
        if unsent:
            late = taken == self._taken
        else:
            late = not self._request_open or self._waits
        self._taken = taken
        if not late:
            timeout = self.pool.idle_timeout if unsent else self._response_timeout
            self.pool.deadlines.watch(self, monotonic() + timeout)
        return not late

    # --- back-pressure ----------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client takes no more for now: the upstream may fill the stream's window, and then has to wait."""
        if self.receiver is not None:
            self._paused = True
            self.deadline = inf

    def resumeProducing(self) -> None:
        """The client takes more."""
        self._paused = False
        if self.receiver is not None:
            self.pool.deadlines.watch(self, monotonic() + self.pool.idle_timeout)
            self._acknowledge()
            self.connection.flush()

    def stopProducing(self) -> None:
        """The client is gone; whoever sent the request abandons it."""
