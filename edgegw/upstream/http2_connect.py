"""Extended CONNECT (RFC 8441) to an upstream: a stream of a connection to it that becomes a tunnel.

Whoever sends the request gives an upgrade as it would stand on an HTTP/1.1 wire, and is told of a 101 as an upstream
of HTTP/1.1 would have sent it.  From then on the stream's transport is what the other protocol is spoken on.
"""
from __future__ import annotations

from time import monotonic
from typing import Any, Final

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from edgegw.upstream.connection import Receiver
from edgegw.upstream.http2_stream import RequestStream, WaitingPieces
from edgegw.upstream.watched import watched
from edgegw.wire.extended_connect import agreement, as_connect
from edgegw.wire.http1 import Field
from edgegw.wire.http2 import ErrorCode, ResponseHead
from edgegw.wire.upgrades import Handshake

__all__ = ["ConnectRequest", "StreamTransport"]

_UNUSED: Final = Failure(ConnectionDone())


class StreamTransport(WaitingPieces):
    """A stream of an HTTP/2 connection, as the transport of another protocol; see :mod:`edgegw.tcp`.

    :ivar protocol: what is spoken; it hears of nothing before it is set.
    :ivar connected: whether it may write, or hear of anything.
    """

    def __init__(self, stream: ConnectRequest) -> None:
        super().__init__()
        self._stream: ConnectRequest | None = stream
        self.protocol: Any = None
        self.connected = 1

    def write(self, data: bytes) -> None:
        """Send data, or queue what cannot be sent now."""
        stream = self._stream
        if stream is not None and not stream.write_ended and data:
            super().write(data)
            stream.push()
            self.pause_if_full()

    def loseWriteConnection(self) -> None:
        """Send END_STREAM behind everything that was written."""
        if self._stream is not None:
            self._stream.end_writing()

    def loseConnection(self) -> None:
        """End the stream behind everything that was written."""
        if self._stream is not None:
            self._stream.end()

    def abortConnection(self) -> None:
        """Reset the stream now (RFC 8441 §5)."""
        if self._stream is not None:
            self._stream.abort()

    def pauseProducing(self) -> None:
        """Let the upstream send no more than its window."""
        if self._stream is not None:
            self._stream.hold()

    def resumeProducing(self) -> None:
        """Let the upstream send more."""
        if self._stream is not None:
            self._stream.go_on()

    def lost(self, reason: Failure) -> None:
        """The stream is over: the protocol hears of that, once."""
        if self._stream is not None:
            self._stream = None
            self.connected = 0
            self.unregisterProducer()
            protocol, self.protocol = self.protocol, None
            if protocol is not None:
                protocol.connectionLost(reason)


class ConnectRequest(RequestStream):
    """An extended CONNECT on a stream that was begun and has no request; it takes its place.

    :param handshake: what is asked for.
    :ivar write_ended: whether nothing more may be written.
    """

    transport: StreamTransport

    def __init__(self, stream: RequestStream, handshake: Handshake) -> None:
        super().__init__(stream.connection)
        self.transport = StreamTransport(self)
        self.write_ended = False
        self._handshake = handshake
        self._switched = False
        self._end_sent = False
        self._upstream_ended = False
        self._closing = False
        self._finishing = False

    def send_request(self, data: bytes, receiver: Any, head_only: bool, ended: bool, waits: bool) -> None:
        """See :meth:`edgegw.upstream.connection.UpstreamConnection.send_request`; there is no body."""
        pool, connection = self.pool, self.connection
        self.receiver = receiver if pool.watch is None else watched(pool, receiver)
        self._enter_head()
        pool.deadlines.watch(self, monotonic() + self._response_timeout)
        fields = as_connect(connection.fields.read_once(data), self._handshake)
        self.id = connection.send_head(self, fields, False, False)
        connection.flush()

    def head_received(self, head: ResponseHead, data: bytes, size: int, ended: bool) -> None:
        """A response's head has come; one of success is the upstream's agreement."""
        if not 200 <= head.status < 300:
            super().head_received(head, data, size, ended)
            return
        receiver, self.receiver = self.receiver, None
        assert receiver is not None
        self._enter_body()
        self._switched = True
        self.pool.deadlines.forget(self)
        self._unacknowledged += size
        receiver.switched(agreement(head.fields, self._handshake), data)
        self._acknowledge()
        if ended:
            self._take_end()

    def data_received(self, data: bytes, size: int, ended: bool) -> None:
        """More has come."""
        if not self._switched:
            super().data_received(data, size, ended)
            return
        self._unacknowledged += size
        protocol = self.transport.protocol
        if data and protocol is not None:
            protocol.dataReceived(data)
        self._acknowledge()
        if ended:
            self._take_end()

    def _take_end(self) -> None:
        self._upstream_ended = True
        protocol = self.transport.protocol
        if protocol is not None and not self._finishing:
            protocol.readConnectionLost()
            if self._end_sent:
                self._finish()

    def trailers_received(self, trailers: list[Field]) -> None:
        """Nothing but data may come on a tunnel (RFC 9113 §8.5)."""
        if self._switched:
            self.connection.codec.reset(self.id, ErrorCode.PROTOCOL_ERROR)
            self._gone(Failure(ConnectionAborted()))
        else:
            super().trailers_received(trailers)

    # --- what the transport is told -----------------------------------------------------------

    def push(self) -> None:
        """Send what there is room for."""
        self.pump()
        self.connection.flush()

    def pump(self) -> None:
        """See :class:`RequestStream`."""
        super().pump()
        if self.write_ended and not self._end_sent and not self._end_unsent:
            self._end_sent = True
            if self._upstream_ended or self._closing:
                self._finish()

    def end_writing(self) -> None:
        """Send END_STREAM behind what waits."""
        if not self.write_ended:
            self.write_ended = self._end_unsent = True
            self.push()

    def end(self) -> None:
        """End the stream behind what waits."""
        if not self._closing:
            self._closing = True
            self.end_writing()
            if self._end_sent:
                self._finish()

    def abort(self) -> None:
        """Reset the stream."""
        if not self._finishing:
            self.connection.codec.reset(self.id, ErrorCode.CANCEL)
            self._finish_with(Failure(ConnectionAborted()))

    def hold(self) -> None:
        """Acknowledge nothing any more."""
        self._paused = True

    def go_on(self) -> None:
        """Acknowledge what has come, and what comes."""
        self._paused = False
        self._acknowledge()
        self.connection.flush()

    # --- ends ---------------------------------------------------------------------------------

    def _finish(self) -> None:
        if not self._finishing:
            if not self._upstream_ended:
                self.connection.codec.reset(self.id, ErrorCode.CANCEL)
            self._finish_with(Failure(ConnectionDone()))

    def _finish_with(self, reason: Failure) -> None:
        self.write_ended = self._closing = self._finishing = True
        self.transport.clear()
        self.connection.flush()
        # As with other transports: the tunnel hears of its end, but not within its own call.
        self.connection.transport.reactor.callLater(0, self._gone, reason)

    def _gone(self, reason: Failure) -> None:
        if self.transport.connected:
            self._leave()
            self.connection.finished(self)
            self.transport.lost(reason)
            self.connection.flush()

    def failed(self, failure: str, detail: str, unanswered: bool = False) -> None:
        """See :class:`RequestStream`."""
        if self._switched:
            self._gone(Failure(ConnectionLost(detail)))
        else:
            super().failed(failure, detail, unanswered)

    def _leave(self) -> Receiver | None:
        if not self._switched:
            self.transport.lost(_UNUSED)
        return super()._leave()

    def _ended(self) -> None:
        """The response, which is no agreement, is complete."""
        self._request_open = True
        super()._ended()
