"""One HTTP/2 connection to an upstream, on which many requests are at a time (RFC 9113).

It is open, and may be given requests, once the upstream's SETTINGS have come: until then nothing says that it speaks
HTTP/2, nor how many requests it takes.  So whoever does not, is an upstream that cannot be connected to.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import Any, Final

from twisted.internet import error, protocol
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.upstream.connection import CLOSE_SECONDS, MAX_FIELDS, MAX_HEAD_BYTES
from edgegw.upstream.failure import TLSAlert, TLSFailure
from edgegw.upstream.http2_fields import Pair, RequestFields
from edgegw.upstream.http2_stream import RequestStream
from edgegw.wire.http2 import (
    ClientConnection,
    ConnectionFault,
    DataReceived,
    Event,
    GoAwayReceived,
    Limits,
    Reason,
    ResponseReceived,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
    WindowOpened,
    code_name,
)

__all__ = ["HTTP2Connection", "STREAM_WINDOW", "connection_limits"]

_log = Logger("edgegw.upstream")

#: Bytes of a response's body that the upstream may send ahead of the client.
STREAM_WINDOW: Final = 262_144


def connection_limits(max_streams: int) -> Limits:
    """Give what an upstream may do to a connection, and how many requests are on it at most."""
    return Limits(
        max_concurrent_streams=max_streams, max_header_list=MAX_HEAD_BYTES, max_fields=MAX_FIELDS,
        stream_window=STREAM_WINDOW,
    )


@implementer(IPushProducer)
class HTTP2Connection(protocol.Protocol):
    """A connection to one endpoint.

    It is the producer of what its own transport sends, so that it stops when too much is queued there.

    :param pool: as an :class:`~edgegw.upstream.connection.UpstreamConnection` has it; it is given the connection back
        whenever a request is over.  Its ``connect_timeout``, seconds, is for the upstream's first word, and for a sign
        of life where one is asked for.
    :param limits: see :func:`connection_limits`.
    :param opened: called once with a stream, when it can be used.
    :param not_opened: called in its place with why it cannot.
    :ivar used: requests that were sent on it.
    :ivar streams: by their numbers.
    :ivar reserved: streams that were given out and have no request yet.
    :ivar idle: whether the pool keeps it with no request on it.
    :ivar sharing: requests beyond the first, as the pool has counted them.
    :ivar full: whether so much is queued for the upstream that nothing more is taken from requests' bodies.
    :ivar expires: when it takes no further requests.
    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    transport: Any
    deadline = inf
    watched_until = inf
    expires: float = inf

    def __init__(
        self,
        pool: Any,
        fields: RequestFields,
        limits: Limits,
        opened: Callable[[RequestStream], None],
        not_opened: Callable[[Failure], None],
    ) -> None:
        self.pool = pool
        self.fields = fields
        self.codec = ClientConnection(limits, monotonic)
        self._opened: Callable[[RequestStream], None] | None = opened
        self._not_opened: Callable[[Failure], None] | None = not_opened
        self.used = 0
        self.streams: dict[int, RequestStream] = {}
        self.reserved = 0
        self.idle = False
        self.sharing = 0
        self.full = False
        self._leaving = False
        self._closing = False
        self._lost = False
        self._was_open = False
        #: Whether any request was answered: so it was good for a while, and may have been closed as any idle one may.
        self._answered = False
        self._receiving = False
        self._doubted = False

    # --- requests ---------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """Requests that are on it, or are to be soon."""
        return len(self.streams) + self.reserved

    @property
    def can_begin(self) -> bool:
        """Whether a request that has its place may be sent."""
        return not self._closing and not self._lost and self.codec.room > 0

    @property
    def room(self) -> int:
        """Give how many more requests it takes now."""
        if self._leaving or self._lost or self._doubted or self._opened is not None:
            return 0
        return self.codec.room - self.reserved

    def begin(self) -> RequestStream:
        """Give a stream for a request; there must be :attr:`room`."""
        self.reserved += 1
        return RequestStream(self)

    def send_head(self, stream: RequestStream, fields: Sequence[Pair], ended: bool, head_only: bool) -> int:
        """Send a request's head on a stream that was begun; give its number."""
        self.used += 1
        self.reserved -= 1
        if not self.can_begin:
            # Whoever sends is to hear of that, but not within his call.
            number = -self.used
            self.transport.reactor.callLater(0, self._not_sent, number)
        else:
            number = self.codec.send_request(
                fields, ended, head=head_only, never_indexed=self.fields.never_indexed
            )
        self.streams[number] = stream
        return number

    def _not_sent(self, number: int) -> None:
        stream = self.streams.get(number)
        if stream is not None:
            stream.failed("refused", "the connection takes no more requests", True)

    def finished(self, stream: RequestStream) -> None:
        """A stream is over."""
        if stream.id:
            self.streams.pop(stream.id, None)
        else:
            self.reserved -= 1
        if self._lost:
            return
        if self._leaving or self.codec.going:
            self._end_if_empty()
        elif not self._doubted:
            self.pool.put_back(self)

    def flush(self) -> None:
        """Write what the codec has to say."""
        if self._receiving or self._lost:
            return
        data = self.codec.take_output()
        if data and not self._closing:
            self.transport.write(data)
            if not self.transport.unsent:
                self.codec.output_read()

    # --- responses --------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Called by the transport."""
        doubted, self._doubted = self._doubted, False
        if doubted:
            self.deadline = inf
        self._receiving = True
        try:
            self._take(self.codec.receive(data))
        finally:
            self._receiving = False
        self.flush()
        if self.codec.closed:
            if not self._closing:
                self._end()
        elif doubted and not self._leaving:
            self.pool.put_back(self)

    def _take(self, events: list[Event]) -> None:
        count = len(events)
        at = 0
        while at < count:
            event = events[at]
            at += 1
            try:
                if isinstance(event, DataReceived):
                    data, size, ended, at = _joined(event.data, event.size, event.ended, event.stream, events, at)
                    stream = self.streams.get(event.stream)
                    if stream is not None:
                        stream.data_received(data, size, ended)
                elif isinstance(event, ResponseReceived):
                    data, size, ended, self._answered = b"", 0, event.ended, True
                    if event.head.status >= 200:
                        data, size, ended, at = _joined(data, size, ended, event.stream, events, at)
                    stream = self.streams.get(event.stream)
                    if stream is not None:
                        stream.head_received(event.head, data, size, ended)
                elif isinstance(event, TrailersReceived):
                    stream = self.streams.get(event.stream)
                    if stream is not None:
                        stream.trailers_received(list(event.fields))
                else:
                    self._take_rest(event)
            except Exception:
                # The others on the connection have nothing to do with it.
                _log.failure("in {event!r} of an upstream", event=event)
                stream = self.streams.get(getattr(event, "stream", 0))
                if stream is not None:
                    self.codec.reset(stream.id)
                    stream.failed("bad_response", "the gateway failed")

    def _take_rest(self, event: Event) -> None:
        if isinstance(event, StreamReset):
            stream = self.streams.get(event.stream)
            if stream is not None:
                # Whoever has begun to answer cannot have done nothing.
                if event.unprocessed and stream.silent:
                    stream.failed("refused", event.detail or "REFUSED_STREAM", True)
                elif event.reason is Reason.PEER:
                    stream.failed("reset", f"the upstream reset the stream: {code_name(event.code)}")
                else:
                    stream.failed("bad_response", event.detail)
        elif isinstance(event, WindowOpened):
            self._pump(event.stream)
        elif isinstance(event, SettingsReceived):
            self._settings_received()
        elif isinstance(event, GoAwayReceived):
            if self._opened is not None:
                self._refuse_to_open(f"GOAWAY: {code_name(event.code)}")
            else:
                self.retire()
        elif isinstance(event, ConnectionFault):
            self._fault(event)

    def _settings_received(self) -> None:
        opened = self._opened
        # One that takes no request at all may yet change its mind, as long as it is waited for.
        if opened is not None and self.codec.room:
            self._opened = self._not_opened = None
            self._was_open = True
            self.deadline = inf
            opened(self.begin())

    def _pump(self, number: int) -> None:
        if number:
            stream = self.streams.get(number)
            if stream is not None:
                stream.pump()
            return
        # Each in turn is the first to use what a connection has room for.
        for stream in list(self.streams.values()):
            if self.full:
                break
            if stream.transport.unsent:
                self.streams[stream.id] = self.streams.pop(stream.id)
                stream.pump()

    def _fault(self, fault: ConnectionFault) -> None:
        if self._opened is not None:
            self._refuse_to_open(fault.detail)
        else:
            self._leaving = True
            _log.info(
                "HTTP/2 connection to {peer}: {reason}: {detail}",
                peer=self.transport.getPeer(), reason=str(fault.reason), detail=fault.detail,
            )
            self._fail_all("bad_response", fault.detail)

    def _fail_all(self, failure: str, detail: str, unanswered: bool = False) -> None:
        for stream in list(self.streams.values()):
            stream.failed(failure, detail, unanswered and stream.silent)

    # --- back-pressure ----------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """Called by the transport: too much is queued."""
        self.full = True

    def resumeProducing(self) -> None:
        """Called by the transport: all of it is sent."""
        self.full = False
        self.codec.output_read()
        self._pump(0)
        self.flush()

    def stopProducing(self) -> None:
        """Called by the transport when it is gone; :meth:`connectionLost` follows."""

    # --- the connection ---------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Called by the transport."""
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        if self.pool.watch is not None:
            self.expires = self.pool.watch.expiry()
        self.pool.deadlines.watch(self, monotonic() + self.pool.connect_timeout)
        self.flush()

    def doubt(self) -> None:
        """A request got no answer in time: unless the upstream gives a sign of life, the connection is dead."""
        if not self._doubted and not self._closing and not self._lost:
            self._doubted = True
            self.codec.ping()
            self.flush()
            self.pool.deadlines.watch(self, monotonic() + self.pool.connect_timeout)

    def deadline_passed(self) -> None:
        """See ``Deadlines``: the upstream is silent, does not take our last words, or has had no request."""
        if self._opened is not None:
            self._give_up(error.TimeoutError(string="no HTTP/2 SETTINGS in time"))
        elif self._closing:
            self.transport.abortConnection()
        elif self._doubted:
            self._leaving = True
            self.transport.abortConnection()
        elif not self.busy:
            self.retire()

    def _refuse_to_open(self, detail: str) -> None:
        self._give_up(error.ConnectError(string=f"the upstream does not speak HTTP/2: {detail}"))

    def _give_up(self, why: Exception) -> None:
        not_opened, self._not_opened, self._opened = self._not_opened, None, None
        self._leaving = self._closing = True
        self.deadline = inf
        self.transport.abortConnection()
        if not_opened is not None:
            not_opened(Failure(why))

    def retire(self) -> None:
        """Take no further requests; close when those on it are answered."""
        if not self._leaving:
            self._leaving = True
            self.pool.forget(self)
            self._end_if_empty()

    def _end_if_empty(self) -> None:
        if not self.busy and not self._closing:
            self.codec.go_away()
            self._end()

    def _end(self) -> None:
        """Close once everything is sent; an upstream that takes nothing is cut off after a while."""
        self._receiving = False
        self.flush()
        self._closing = self._leaving = True
        self.pool.forget(self)
        self.pool.deadlines.watch(self, monotonic() + CLOSE_SECONDS)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    close = retire

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Called by the transport."""
        self._lost = True
        self.pool.deadlines.forget(self)
        not_opened, self._not_opened, self._opened = self._not_opened, None, None
        if not_opened is not None:
            if isinstance(reason.value, TLSAlert):
                reason = Failure(TLSFailure("alert", reason.getErrorMessage()))
            else:
                reason = Failure(error.ConnectError(string="the upstream closed the connection before its SETTINGS"))
            not_opened(reason)
        if not self._was_open:
            return
        self.pool.lost(self)
        clean = reason.check(error.ConnectionDone) is not None
        self._fail_all("closed" if clean else "reset", "the upstream closed the connection", self._answered)


def _joined(
    data: bytes, size: int, ended: bool, stream: int, events: list[Event], at: int
) -> tuple[bytes, int, bool, int]:
    """Put data together with what follows it on the same stream, so that it is passed on as one piece.

    :returns: the data, its size for flow control, whether it ends the stream, and which event is next.
    """
    pieces = [data]
    while not ended and at < len(events):
        event = events[at]
        if not isinstance(event, DataReceived) or event.stream != stream:
            break
        pieces.append(event.data)
        size += event.size
        ended = event.ended
        at += 1
    return data if len(pieces) == 1 else b"".join(pieces), size, ended, at
