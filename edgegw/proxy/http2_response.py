"""How responses stand on a stream of a client's HTTP/2 connection, and what of them waits for the client.

What the client has no window for waits here, up to a bound: then the upstream is not read from.
"""
from __future__ import annotations

from collections import deque
from math import inf
from time import monotonic
from typing import Any, Final, Protocol

from edgegw.headers.response import http_date
from edgegw.identity import ConnectionInfo
from edgegw.proxy.answers import answer_body, new_request_id
from edgegw.proxy.exchange import Exchange
from edgegw.proxy.filtering import FilteredRequest
from edgegw.proxy.gate import RequestGate
from edgegw.proxy.grpc_errors import STATUS_FIELDS, denial_text, grpc_error, grpc_media_type
from edgegw.proxy.site import Site
from edgegw.wire.http1 import Field, RequestHead, ResponseHead, read_fields
from edgegw.wire.http2 import ErrorCode, ServerConnection

__all__ = ["Pairs", "RespondingStream", "StreamOwner"]

#: Bytes of a response that wait for the client's window beyond which its upstream is not read from.
MAX_QUEUED: Final = 16_384
#: The same for all streams of a connection together: beyond it nothing is read for a stream that has any.
MAX_QUEUED_TOGETHER: Final = 1_048_576
#: How long the rest of a request is waited for and taken whose response is complete, and bytes of it.
LINGER_IDLE: Final = 2.0
LINGER_SECONDS: Final = 30.0
LINGER_BYTES: Final = 16_777_216

#: Names in lower case and values.
Pairs = tuple[tuple[bytes, bytes], ...]


class StreamOwner(Protocol):
    """A stream's connection.

    :ivar full: whether the transport takes no more data for now.
    :ivar queued: bytes that wait in all of its streams.
    :ivar gate: looks at the next request.
    """

    transport: Any
    info: ConnectionInfo
    site: Site
    codec: ServerConnection
    gate: RequestGate
    full: bool
    queued: int
    last_fields: Pairs

    def written(self, size: int) -> None:
        """Something is in the codec's output."""

    def wait(self, stream: RespondingStream) -> None:
        """Have :meth:`RespondingStream.send_some` called when the client takes more."""

    def over(self, stream: RespondingStream) -> None:
        """A stream has ended."""

    def count_reset(self, by: str, code: int) -> None:
        """A stream was reset.

        :param by: ``client`` or ``gateway``.
        """

    def gate_waits(self) -> None:
        """The gate has a decision to wait for: the next request gets another."""

    def refuse_more(self) -> None:
        """Nothing more is wanted of this client: close when the streams have ended."""


class RespondingStream:
    """What :class:`edgegw.proxy.http2_stream.HTTP2Stream` stands on: it puts heads and bodies of responses into frames.

    What was asked, and whether its body has been read, is said by whoever takes requests.

    :param ended: whether the head was the whole request.
    :ivar info: what is known of the connection.
    :ivar transport: the connection's.
    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    __slots__ = (
        "_connection", "_ending", "_exchange", "_head", "_lingering", "_lingers_until", "_moved", "_offset", "_patient",
        "_producer", "_queue", "_queued", "_request_ended", "_responding", "_site", "deadline", "id", "info",
        "transport", "watched_until",
    )

    def __init__(self, connection: StreamOwner, id: int, head: RequestHead | None, ended: bool) -> None:
        self._connection = connection
        self.id = id
        self.info = connection.info
        self.transport = connection.transport
        self.deadline = inf
        self.watched_until = inf
        self._head = head
        self._site = connection.site
        self._exchange: Exchange | FilteredRequest | None = None
        self._request_ended = ended
        self._responding = False
        self._patient = False
        self._queue: deque[bytes] | None = None
        self._queued = 0
        self._offset = 0
        self._ending: Pairs | None = None
        self._producer: Any = None
        self._moved = 0
        # Bytes that may still come of a request whose response is complete.
        self._lingering = 0

    # --- the response -------------------------------------------------------------------------

    def interim(self, head: ResponseHead) -> None:
        """See ``Downstream``."""
        lines, _ = self._site.response_headers.block(head.fields, head.options, head.version)
        fields = ((b":status", b"%d" % head.status), *_pairs(lines))
        self._connection.codec.send_headers(self.id, fields, False)
        self._connection.written(0)
        if head.status == 100 and not self._request_ended:
            self._watch_body()

    def respond(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """See ``Downstream``."""
        request = self._head
        assert request is not None
        self._responding = True
        if head.status == 204 or head.status == 304 or request.method == b"HEAD":
            length = head.length if head.status != 204 else -1
        made = head.pairs
        if made is not None and made[0] is self._site and made[1] == length:
            fields = made[2]
        else:
            fields = self._response_fields(head, length)
        if ended:
            self._exchange = None
        self._connection.codec.send_headers(self.id, fields, ended and not data)
        if data:
            self._put(data, ended, ())
        elif ended:
            self._sent_all(0)
        else:
            self._connection.written(0)
            if not self._request_ended:
                self._watch_body()

    def _response_fields(self, head: ResponseHead, length: int) -> Pairs:
        site = self._site
        lines, same_again = site.response_headers.block(head.fields, head.options, head.version)
        fields: Pairs = ((b":status", b"%d" % head.status), *_pairs(lines))
        if length >= 0:
            fields = (*fields, (b"content-length", b"%d" % length))
        connection = self._connection
        if fields == connection.last_fields:
            # The encoder knows it again by the object.
            fields = connection.last_fields
        else:
            connection.last_fields = fields
        if same_again:
            head.pairs = (site, length, fields)
        return fields

    def respond_more(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """See ``Downstream``."""
        end: Pairs = ()
        if ended:
            self._exchange = None
            if trailers:
                kept = self._site.response_headers.trailers(trailers)
                end = tuple((name, value) for name, value, _ in kept)
        elif not self._request_ended:
            self._watch_body()
        self._put(data, ended, end)

    def own_response(self, head: ResponseHead, body: bytes) -> None:
        """See ``FilteredDownstream``."""
        request = self._head
        assert request is not None
        head.length = len(body)
        if request.method == b"HEAD" or head.status in (204, 304):
            body = b""
        self.respond(head, head.length, body, True)

    def denied(self, head: ResponseHead, body: bytes) -> None:
        """See ``FilteredDownstream``: a gRPC client reads neither statuses nor bodies that are no messages."""
        media_type = grpc_media_type(self._head)
        if not media_type:
            self.own_response(head, body)
            return
        self._exchange = None
        self._responding = True
        told = [one for one in head.fields if one[0] not in STATUS_FIELDS]
        lines, _ = self._site.response_headers.block(told, head.options, head.version)
        fields = (*grpc_error(head.status, media_type, "", denial_text(body)), *_pairs(lines))
        self._connection.codec.send_headers(self.id, fields, True)
        self._sent_all(0)

    def _put(self, data: bytes, ended: bool, trailers: Pairs) -> None:
        """Send a piece of the response's body, or queue what cannot be sent now."""
        connection = self._connection
        size = len(data)
        if not self._queued and not connection.full and (size <= connection.codec.sendable(self.id)):
            if ended and not trailers:
                connection.codec.send_data(self.id, data, True)
                self._sent_all(size)
                return
            if data:
                connection.codec.send_data(self.id, data, False)
            if ended:
                connection.codec.send_headers(self.id, trailers, True)
                self._sent_all(size)
            else:
                connection.written(size)
            return
        if ended:
            self._ending = trailers
        waited = self._queued
        if data:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(data)
            self._queued += size
            connection.queued += size
        connection.wait(self)
        self.send_some(self._queued)
        if self._queued:
            # The head may be in the output, and goes whatever becomes of the body.
            connection.written(0)
            self._hold_upstream()
            if not waited:
                self._moved = 0
                self._watch_response()

    def _hold_upstream(self) -> None:
        """Read no more from an upstream whose client is behind."""
        connection = self._connection
        if self._producer is None and self._exchange is not None and (
            self._queued > MAX_QUEUED or connection.queued > MAX_QUEUED_TOGETHER
        ):
            self._producer = self._exchange.connection
            if self._producer is not None:
                self._producer.pauseProducing()

    def send_some(self, most: int) -> bool:
        """Send what waits, as far as the windows and ``most`` allow; whether anything was sent.

        It calls ``over`` or ``written`` of its connection; what still waits then is called for again.
        """
        connection = self._connection
        if connection.full:
            return False
        codec = connection.codec
        queue = self._queue
        sent = 0
        while queue and sent < most:
            room = min(codec.sendable(self.id), most - sent)
            if not room:
                break
            data, offset = queue[0], self._offset
            if len(data) - offset <= room:
                piece = data[offset:] if offset else data
                queue.popleft()
                self._offset = 0
            else:
                piece = data[offset : offset + room]
                self._offset = offset + room
            last = self._ending == () and not queue
            sent += len(piece)
            if not codec.send_data(self.id, piece, last):
                break
        self._queued -= sent
        connection.queued -= sent
        self._moved += sent
        if not queue and self._ending is not None:
            if self._ending:
                codec.send_headers(self.id, self._ending, True)
            elif not sent:
                codec.send_data(self.id, b"", True)
            self._sent_all(sent)
            return True
        if sent:
            connection.written(sent)
            producer = self._producer
            if not queue and not self._request_ended:
                # It is the client's time to send again, not to take.
                self._watch_body()
            if not queue and producer is not None:
                self._producer = None
                producer.resumeProducing()
        return sent > 0

    @property
    def waits(self) -> bool:
        """Whether anything of the response waits to be sent."""
        return self._queued > 0 or self._ending is not None

    def _sent_all(self, size: int) -> None:
        """The response is complete."""
        if self._request_ended:
            self._end()
        else:
            self._linger()
        self._connection.written(size)

    def _linger(self) -> None:
        """Let the rest of the request come, and throw it away.

        RST_STREAM with NO_ERROR would do (RFC 9113 §8.1), but many clients take it for a failure and drop the response,
        or wait for ever to send the rest.  Most of those that see an error stop by themselves.
        """
        # One that broke off may have left some of it here.
        self._connection.queued -= self._queued
        self._queued = 0
        self._queue = None
        self._ending = None
        self._producer = None
        self._lingering = LINGER_BYTES
        self._lingers_until = monotonic() + LINGER_SECONDS
        self._watch_rest()

    def _watch_rest(self) -> None:
        """Give the client time to send more of what is thrown away."""
        self._site.deadlines.watch(self, min(monotonic() + LINGER_IDLE, self._lingers_until))

    def _stop_lingering(self) -> None:
        """Ask the client not to send the rest."""
        self._connection.codec.reset(self.id, ErrorCode.NO_ERROR)
        self._connection.count_reset("gateway", ErrorCode.NO_ERROR)
        self._end()
        self._connection.written(0)

    def answer(self, status: int, extra: bytes = b"", reason: str = "", request_id: bytes = b"") -> None:
        """See ``FilteredDownstream``."""
        self._exchange = None
        self._responding = True
        head = self._head
        request_id = request_id or new_request_id()
        media_type = grpc_media_type(head) if status >= 400 else b""
        body = b""
        if media_type:
            fields = grpc_error(status, media_type, reason)
        else:
            kind, body = answer_body(status, head, reason, request_id)
            fields = (
                (b":status", b"%d" % status), (b"content-type", kind), (b"content-length", b"%d" % len(body)),
            )
            if head is not None and head.method == b"HEAD":
                body = b""
        fields = (
            *fields, (b"server", b"edgegw"), (b"date", http_date()), (b"x-request-id", request_id), *_pairs(extra),
        )
        self._connection.codec.send_headers(self.id, fields, not body)
        if body:
            self._put(body, True, ())
        else:
            self._sent_all(0)

    # --- time ---------------------------------------------------------------------------------

    def _watch_body(self) -> None:
        """Give the client time to send more of the request."""
        site = self._site
        patient = self._responding or self._patient
        seconds = site.listener.http2.stream_idle_timeout if patient else site.http.body_idle_timeout
        site.deadlines.watch(self, monotonic() + seconds)

    def _watch_response(self) -> None:
        """Give the client time to take what waits for it, if anything does."""
        if self._queued:
            self._site.deadlines.watch(self, monotonic() + self._site.http.write_timeout)
        else:
            self.deadline = inf

    def deadline_passed(self) -> None:
        """See ``Deadlines``."""
        raise NotImplementedError

    # --- ends ---------------------------------------------------------------------------------

    def _end(self) -> None:
        """Nothing more comes of it."""
        connection = self._connection
        connection.queued -= self._queued
        self._queued = 0
        self._queue = None
        self._ending = None
        self._producer = None
        self._request_ended = True
        if self.watched_until != inf:
            self._site.deadlines.forget(self)
        connection.over(self)


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value, _ in read_fields(lines)] if lines else []
