"""A client's HTTP/2 connection (RFC 9113): its streams, its windows, its time-outs and its end.

What a request is and becomes is said in :mod:`edgegw.proxy.http2_stream`, what stands on the wire in
:mod:`edgegw.wire.http2`, and how it gets there in :mod:`edgegw.proxy.http2_sending`.
"""
from __future__ import annotations

from math import inf
from time import monotonic
from typing import Final

from twisted.internet import protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.identity import ConnectionInfo
from edgegw.proxy.gate import RequestGate
from edgegw.proxy.http2_connect import ConnectStream
from edgegw.proxy.http2_response import Pairs, RespondingStream
from edgegw.proxy.http2_sending import SendingConnection
from edgegw.proxy.http2_stream import HTTP2Stream
from edgegw.proxy.site import Site
from edgegw.verdict import Reject
from edgegw.wire.http2 import (
    ConnectionFault,
    DataReceived,
    ErrorCode,
    Event,
    GoAwayReceived,
    PingAcknowledged,
    Reason,
    RequestOversized,
    RequestReceived,
    ServerConnection,
    StreamReset,
    TrailersReceived,
    WindowOpened,
    code_name,
)

__all__ = ["HTTP2Connection"]

#: Seconds that a client has to hear that the connection is drained, before streams are no longer taken.
DRAIN_SECONDS: Final = 2.0

#: Pieces of bodies, too small to be passed on alone, of one read, after which no more is read of a connection at a time
#: than is worked off in some milliseconds.
MANY_PIECES: Final = 1000

_DRAIN: Final = b"drained?"
_ALIVE: Final = b"alive??\0"
_SERVING, _ANNOUNCED, _DRAINING, _CLOSING = range(4)
_log = Logger("edgegw.http")


class HTTP2Connection(SendingConnection):
    """The server's side of one connection.

    :ivar info: what is known of the connection.
    :ivar gate: looks at the next request.
    :ivar streams: the requests that are under way, by number.
    :ivar last_fields: of the last response's head.
    """

    def __init__(self, site: Site, info: ConnectionInfo, refusal: Reject | None = None) -> None:
        """:param refusal: see :class:`~edgegw.proxy.gate.RequestGate`."""
        super().__init__(site, ServerConnection(site.http2_limits, monotonic))
        self.info = info
        self.streams: dict[int, HTTP2Stream] = {}
        self.last_fields: Pairs = ()
        self._refusal = refusal
        self._http2 = site.listener.http2
        self.gate = self.new_gate()
        self._state = _SERVING
        self._requests = 0
        self._heard = self._asked = False
        self._sent_before = 0
        self._begun = 0
        # Until when something must have happened; :meth:`deadline_passed` looks which it was.
        self._settled_until = self._unfinished_until = self._idle_until = inf
        self._silent_until = self._drained_until = inf

    def new_gate(self) -> RequestGate:
        """Make what looks at requests."""
        return RequestGate(self.site, self.info, self._refusal)

    # --- reading ------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Called by the transport."""
        http = self.site.http
        now = monotonic()
        self.transport.registerProducer(self, True)
        self._settled_until = now + http.head_timeout
        self._idle_until = now + http.keep_alive_timeout
        self.site.deadlines.watch(self, min(self._settled_until, self._idle_until))
        if self.site.retired:
            self.retire()
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        """Called by the transport."""
        self.site.metrics.bytes_received += len(data)
        self.take(data)

    def take(self, data: bytes) -> None:
        """Take bytes that have been counted."""
        if self._state == _CLOSING:
            return
        codec = self.codec
        self._heard = self._receiving = True
        events = codec.receive(data)
        if codec.pieces:
            if codec.pieces > MANY_PIECES:
                # Others are to have their turns meanwhile.
                self.transport.read_less()
            codec.pieces = 0
        skip = False
        for at, event in enumerate(events, 1):
            if skip:
                skip = False
            elif type(event) is RequestReceived:
                head = event.head
                kind = HTTP2Stream if not head.protocol else ConnectStream
                stream = self._open(event.stream, kind(self, event.stream, head, event.ended))
                if not event.ended and at < len(events):
                    # A small body mostly comes with its head: so it goes to the upstream.
                    first = events[at]
                    if type(first) is DataReceived and first.stream == event.stream:
                        stream.hold_early(first.data, first.size, first.ended)
                        skip = True
                stream.begin()
            elif type(event) is DataReceived:
                one = self.streams.get(event.stream)
                if one is not None:
                    one.take_body(event.data, event.size, event.ended)
                else:
                    codec.acknowledge(event.stream, event.size)
            else:
                self._take_other(event)
                if self._state == _CLOSING:
                    break
        self._receiving = False
        if self._state == _DRAINING and not self.streams:
            self._close()
        if self._state == _CLOSING:
            return
        if codec.unfinished:
            if codec.begun != self._begun or self._unfinished_until == inf:
                self._begun = codec.begun
                self._unfinished_until = self._watch(self.site.http.head_timeout)
        else:
            self._unfinished_until = inf
        self.flush()

    def _open(self, number: int, stream: HTTP2Stream) -> HTTP2Stream:
        if not self.streams:
            self._idle_until = inf
            if self._http2.ping_interval is not None:
                self._silent_until = self._watch(self._http2.ping_interval)
        self.streams[number] = stream
        self._requests += 1
        site = self.site
        most = site.http.max_requests
        if site.retired or (most is not None and self._requests >= most):
            self.retire()
        return stream

    def _take_other(self, event: Event) -> None:
        """Take what is rarer than a request and its body."""
        if isinstance(event, WindowOpened):
            if not event.stream:
                self._go_on()
            elif (stream := self.streams.get(event.stream)) is not None:
                # It is told again only after the window was shut again.
                while stream in self._waiting and self._serve(stream):
                    pass
        elif isinstance(event, TrailersReceived):
            if (stream := self.streams.get(event.stream)) is not None:
                stream.take_trailers(event.fields)
        elif isinstance(event, StreamReset):
            self.count_reset("client" if event.reason is Reason.PEER else "gateway", event.code)
            if (stream := self.streams.get(event.stream)) is not None:
                stream.lost()
        elif isinstance(event, RequestOversized):
            self._open(event.stream, HTTP2Stream(self, event.stream, None, event.ended)).begin()
        elif isinstance(event, PingAcknowledged):
            if event.opaque == _DRAIN:
                self._drain()
        elif isinstance(event, GoAwayReceived):
            self._state = max(self._state, _DRAINING)
            self._drained_until = inf
            self._close_if_idle()
        elif isinstance(event, ConnectionFault):
            self._ended(event.reason, event.detail)
            self._close()

    # --- streams ------------------------------------------------------------------------------

    def over(self, stream: RespondingStream) -> None:
        """See ``StreamOwner``."""
        self._waiting.pop(stream, None)
        if self.streams.pop(stream.id, None) is None or self.streams:
            return
        self._silent_until = inf
        if self._state == _SERVING:
            self._idle_until = self._watch(self.site.http.keep_alive_timeout)
        elif not self._receiving:
            self._close_if_idle()

    def count_reset(self, by: str, code: int) -> None:
        """See ``StreamOwner``."""
        self.site.metrics.http2_reset(by, code_name(code))

    def gate_waits(self) -> None:
        """See ``StreamOwner``."""
        self.gate = self.new_gate()

    def refuse_more(self) -> None:
        """See ``StreamOwner``."""
        self._drain()

    # --- time ---------------------------------------------------------------------------------

    def deadline_passed(self) -> None:
        """See ``Deadlines``: look what has taken too long, if anything has."""
        now = monotonic()
        http, http2 = self.site.http, self._http2
        if self._stalled_until <= now:
            unsent = self.transport.unsent
            taken = self._sent - unsent
            if unsent and taken == self._taken:
                self._cut(Reason.WRITE_TIMEOUT, "the client takes nothing")
                return
            self._taken = taken
            self._stalled_until = now + http.write_timeout if unsent else inf
        if self._silent_until <= now and http2.ping_interval is not None:
            if not self._heard and self._asked:
                self._cut(Reason.PING_TIMEOUT, "the client does not answer")
                return
            # Who is sent something takes it first: the answer would be long in coming.
            self._asked = not self._heard and self._sent == self._sent_before
            self._sent_before = self._sent
            if self._asked:
                self.codec.ping(_ALIVE)
                self.flush()
            self._heard = False
            self._silent_until = now + (http2.ping_timeout if self._asked else http2.ping_interval)
        if self._settled_until <= now:
            self._settled_until = inf
            if not self.codec.settings_acknowledged:
                self._give_up(ErrorCode.SETTINGS_TIMEOUT, Reason.SETTINGS_TIMEOUT, "no SETTINGS in time, or no answer")
                return
        if self._unfinished_until <= now:
            self._give_up(ErrorCode.PROTOCOL_ERROR, Reason.FRAME_TIMEOUT, "a frame or field block has no end")
            return
        if self._idle_until <= now:
            self._drain()
            return
        if self._drained_until <= now:
            self._drain()
            return
        self._look_again()

    def _look_again(self) -> None:
        if self._state == _CLOSING:
            due = self._stalled_until
        else:
            due = min(
                self._stalled_until, self._silent_until, self._settled_until, self._unfinished_until, self._idle_until,
                self._drained_until,
            )
        if due != inf:
            self.site.deadlines.watch(self, due)

    # --- ends ---------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, so that it may :meth:`move`."""
        return self._state == _SERVING and not self.streams and not self._receiving

    def move(self, site: Site) -> None:
        """Go on with a newer configuration's site for the same listener."""
        self.site.deadlines.forget(self)
        self.site = site
        self.gate = self.new_gate()
        self._look_again()

    def retire(self) -> None:
        """Take no more requests: say so, and close when those that are under way have been answered."""
        if self._state == _SERVING:
            self._state = _ANNOUNCED
            self.codec.announce_drain()
            self.codec.ping(_DRAIN)
            self._drained_until = self._watch(DRAIN_SECONDS)
            if not self._receiving:
                self.flush()

    def _drain(self) -> None:
        """Tell the client the last stream that is taken."""
        if self._state < _DRAINING:
            self._state = _DRAINING
            self._idle_until = self._drained_until = inf
            self.codec.go_away()
        if not self._receiving:
            self._look_again()
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._state == _DRAINING and not self.streams:
            self._close()
        elif not self._receiving and self._state != _CLOSING:
            self.flush()

    def _ended(self, reason: Reason, detail: str) -> None:
        """Note that the client brought the connection to its end."""
        self.site.metrics.http2_ended(reason)
        _log.info(
            "HTTP/2 connection of {peer} on {listener}: {reason}: {detail}",
            peer=self.info.peer, listener=self.info.listener, reason=str(reason), detail=detail,
        )

    def _give_up(self, code: ErrorCode, reason: Reason, detail: str) -> None:
        """Close at once, and say why."""
        self._ended(reason, detail)
        self.codec.go_away(code, reason=reason)
        self._close()

    def _close(self) -> None:
        """Close when everything is sent; what the client still sends is not looked at."""
        if self._state == _CLOSING:
            return
        self._state = _CLOSING
        self._settled_until = self._unfinished_until = self._idle_until = self._silent_until = self._drained_until = inf
        self._lose_streams()
        self.flush()
        transport = self.transport
        if transport.producer is not None:
            transport.unregisterProducer()
        if not self._reading:
            self._reading = True
            transport.resumeProducing()
        transport.lose_connection_lingering()
        if transport.connected:
            self._look_again()

    def _cut(self, reason: Reason, detail: str) -> None:
        self._ended(reason, detail)
        self._state = _CLOSING
        self._lose_streams()
        self.transport.abortConnection()

    def _lose_streams(self) -> None:
        for stream in tuple(self.streams.values()):
            stream.lost()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Called by the transport: whatever is under way has nobody waiting for it."""
        self._state = _CLOSING
        self.gate.close()
        self._lose_streams()
        self._stop_gathering()
        self.site.deadlines.forget(self)
