"""Extended CONNECT (RFC 8441): a stream of a client's HTTP/2 connection that becomes a tunnel of another protocol.

Until the upstream has agreed it is a request like the upgrade that it would have been over HTTP/1.1.  Then it is the
transport of an :class:`~edgegw.proxy.upgraded_tunnel.UpgradedTunnel`: what the tunnel writes goes out in DATA as the
windows allow, END_STREAM is half-close, and RST_STREAM a reset.
"""
from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from edgegw.headers.request import HeaderRefusal
from edgegw.observe.tunnel_counters import TunnelMetrics
from edgegw.proxy.body import TrailerRules
from edgegw.proxy.exchange import Exchange
from edgegw.proxy.filtering import FilteredRequest, begin
from edgegw.proxy.http2_response import MAX_QUEUED, MAX_QUEUED_TOGETHER, StreamOwner
from edgegw.proxy.http2_stream import HTTP2Stream
from edgegw.proxy.site import Target
from edgegw.proxy.upgraded_tunnel import UpgradedTunnel
from edgegw.proxy.upgrading import SwitchedUpstream, upgrade_of
from edgegw.wire.extended_connect import as_upgrade, without_upgrade
from edgegw.wire.http1 import RequestHead, ResponseHead
from edgegw.wire.http2 import ErrorCode
from edgegw.wire.http2 import RequestHead as HTTP2RequestHead
from edgegw.wire.upgrades import HandshakeFault

__all__ = ["ConnectStream"]


class ConnectStream(HTTP2Stream):
    """A stream that asks for another protocol.

    :ivar protocol: the tunnel, once there is one: what comes on the stream is for it.
    :ivar connected: whether the tunnel may still write, or hear of anything.
    """

    __slots__ = ("_closing", "_ended", "_finishing", "_held", "_source", "_write_ended", "connected", "protocol")

    def __init__(self, connection: StreamOwner, id: int, head: HTTP2RequestHead, ended: bool) -> None:
        super().__init__(connection, id, as_upgrade(head), ended)
        self.protocol: Any = None
        self.connected = 0
        self._held = bytearray()
        self._source: Any = None
        self._write_ended = False
        self._closing = False
        self._ended = False
        self._finishing = False

    # --- the request's way --------------------------------------------------------------------

    def forward(self, head: RequestHead, target: Target) -> None:
        """See ``Gated``."""
        destination = self._gate.destination
        site = self._site = destination.site
        try:
            upgrade = upgrade_of(head, target.upgrades, self._switched, True)
        except HandshakeFault as fault:
            # 426 has to say Upgrade (RFC 9110 §15.5.22), which HTTP/2 has not.
            lines = b"".join(b"%b: %b\r\n" % pair for pair in without_upgrade(fault.lines))
            self.refuse(400, fault.detail, lines)
            return
        if upgrade is None:
            self.own_answer(501)
            return
        self._started = True
        if target.filters is not None:
            begin(self, head, target, target.filters, destination, upgrade)
            return
        backend = target.choose()
        if backend is None:
            self.own_answer(500)
            return
        try:
            lines = destination.request_lines(head)
        except HeaderRefusal as refusal:
            self.refuse(refusal.status, refusal.detail)
            return
        exchange = self._exchange = upgrade.exchange(
            self, backend, head.method, b"%b %b HTTP/1.1\r\n" % (head.method, head.target),
            head.host if site.preserve_host else b"", lines,
        )
        exchange.start(b"", True, False)

    def carry(
        self, head: RequestHead, exchange: Exchange | FilteredRequest, limit: int | None, trailers: TrailerRules
    ) -> None:
        """See ``FilteredDownstream``."""
        self._exchange = exchange
        exchange.start(b"", True, False)

    def take_body(self, data: bytes, size: int, ended: bool) -> None:
        """Take what the client sends of the protocol; before the upstream has agreed it waits, and the client too."""
        self._unacknowledged += size
        self._request_ended = self._request_ended or ended
        if self.protocol is not None:
            if data:
                self.protocol.dataReceived(data)
            self._acknowledge()
            if ended and self.connected:
                self.protocol.readConnectionLost()
        elif self._lingering:
            self._throw_away(size, ended)
        elif self._responding:
            self._acknowledge()
        else:
            self._held += data

    def _linger(self) -> None:
        super()._linger()
        self._held.clear()

    def take_trailers(self, fields: object) -> None:
        """Nothing but data may follow (RFC 9113 §8.5)."""
        if self._lingering:
            self._end()
        elif self.protocol is None:
            self._abandon()
            self.cut(ErrorCode.PROTOCOL_ERROR)
        else:
            self._reset(ErrorCode.PROTOCOL_ERROR)
            self._gone(Failure(ConnectionAborted()))

    # --- answers that are none of the protocol ------------------------------------------------

    def respond(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """See ``Downstream``: a response of success would be taken for a tunnel, which it is not."""
        if head.status >= 300:
            super().respond(head, length, data, ended)
            return
        if ended:
            self._exchange = None
        else:
            self._abandon(502)
        self.answer(502)

    def own_response(self, head: ResponseHead, body: bytes) -> None:
        """See ``FilteredDownstream``."""
        if head.status >= 300:
            super().own_response(head, body)
        else:
            self.answer(501)

    def own_answer(self, status: int, reason: str = "", close: bool = False) -> None:
        """See ``Gated``."""
        super().own_answer(status if status >= 300 else 501, reason, close)

    def _watch_body(self) -> None:
        """There is no body that could be late."""

    def _watch_response(self) -> None:
        if self.protocol is None:
            super()._watch_response()

    def deadline_passed(self) -> None:
        """See ``Deadlines``."""
        if self._queued or self._lingering:
            super().deadline_passed()

    # --- the tunnel ---------------------------------------------------------------------------

    def _switched(self, head: ResponseHead, upstream: SwitchedUpstream) -> None:
        """Let the client know that the upstream has agreed."""
        lines, _ = self._site.response_headers.block(head.fields, head.options, head.version)
        self._connection.codec.send_headers(self.id, ((b":status", b"200"), *without_upgrade(lines)), False)
        self._exchange = None
        self._responding = True
        early = b"".join([*self._early, self._held])
        self._early = []
        self._held.clear()
        # The listener's bytes are counted with the frames that they are in.
        tunnel = UpgradedTunnel(upstream, TunnelMetrics(), self._site.deadlines, self.info)
        self.connected = 1
        tunnel.begin(self, early, self._request_ended)
        self._acknowledge()
        self._connection.written(0)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client."""
        return self._queued

    @property
    def producerPaused(self) -> bool:
        """Whether the producer has been told to wait."""
        return self._producer is not None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""
        self._source = producer

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        self._source = self._producer = None

    def _hold_upstream(self) -> None:
        if self.protocol is None:
            super()._hold_upstream()
        elif self._producer is None and self._source is not None and (
            self._queued > MAX_QUEUED or self._connection.queued > MAX_QUEUED_TOGETHER
        ):
            self._producer = self._source
            self._producer.pauseProducing()

    def write(self, data: bytes) -> None:
        """Send data, or queue what the windows have no room for."""
        if self.connected and not self._write_ended and data:
            self._put(data, False, ())

    def loseWriteConnection(self) -> None:
        """Send END_STREAM behind everything that was written."""
        if self.connected and not self._write_ended:
            self._write_ended = True
            self._put(b"", True, ())

    def loseConnection(self) -> None:
        """End the stream behind everything that was written."""
        if self.connected and not self._closing:
            self._closing = True
            if not self._write_ended:
                self.loseWriteConnection()
            elif self._ended:
                self._finish()

    def abortConnection(self) -> None:
        """Reset the stream now (RFC 8441 §5)."""
        if self.connected and not self._finishing:
            self._reset(ErrorCode.CANCEL)
            self._finish_with(Failure(ConnectionAborted()))

    def pauseProducing(self) -> None:
        """Let the client send no more than its window."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Let the client send more."""
        self._paused = False
        if self.connected:
            self._acknowledge()

    def _sent_all(self, size: int) -> None:
        if self.protocol is None:
            super()._sent_all(size)
            return
        self._ending = None
        self._ended = True
        self._connection.written(size)
        if self._closing or self._request_ended:
            self._finish()

    def _finish(self) -> None:
        if not self._finishing:
            if not self._request_ended:
                # RFC 9113 §8.1: what has been sent is whole, and nothing more is wanted.
                self._reset(ErrorCode.NO_ERROR)
            self._finish_with(Failure(ConnectionDone()))

    def _finish_with(self, reason: Failure) -> None:
        self._write_ended = self._closing = self._finishing = True
        # As with other transports: the tunnel hears of its end, but not within its own call.
        self.transport.reactor.callLater(0, self._gone, reason)

    def _reset(self, code: ErrorCode) -> None:
        connection = self._connection
        connection.queued -= self._queued
        self._queued = 0
        self._queue = self._ending = self._producer = None
        connection.codec.reset(self.id, code)
        connection.count_reset("gateway", code)
        connection.written(0)

    def _gone(self, reason: Failure) -> None:
        if self.connected:
            self.connected = 0
            tunnel, self.protocol = self.protocol, None
            self._source = None
            self._end()
            tunnel.connectionLost(reason)

    def lost(self) -> None:
        """The client has reset it, or its connection is gone."""
        if self.protocol is None:
            super().lost()
        else:
            self._gone(Failure(ConnectionLost()))
