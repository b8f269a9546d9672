"""One HTTP/1.1 connection to an upstream: a request out, a response in, one after the other.

It knows nothing of clients: whoever sends a request gives an :class:`Receiver`, which is told of the
response as it comes.
"""
from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final
from typing import Protocol as TypingProtocol

from twisted.internet import protocol
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.deadlines import Deadlines
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.upstream.failure import TLSAlert
from edgegw.wire.chunked import ChunkedDecoder
from edgegw.wire.http1 import CHUNKED, UNTIL_CLOSE, Field, HTTPFault, ResponseHead, parse_response_head
from edgegw.wire.upgrades import Handshake

__all__ = ["Pool", "Receiver", "UpstreamConnection"]

#: A response's head and the number of its header lines.
MAX_HEAD_BYTES: Final = 65_536
MAX_FIELDS: Final = 256
#: Seconds in which an upstream that reads nothing must make room for the end of what was sent to it.
CLOSE_SECONDS: Final = 10.0
#: Interim responses to one request; a flood of them is no answer.
MAX_INTERIM: Final = 16

_IDLE, _HEAD, _LENGTH, _CHUNKED, _CLOSE = range(5)


class Pool(TypingProtocol):
    """Who keeps the connection between requests.

    :ivar response_timeout: seconds; see :class:`edgegw.model.Upstream`, as for ``idle_timeout``.
    """

    deadlines: Deadlines
    metrics: UpstreamMetrics
    response_timeout: float
    idle_timeout: float

    def put_back(self, connection: UpstreamConnection) -> None:
        """The connection can be used for another request."""

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection can be used no more."""

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection has ended; called once."""


class Receiver(TypingProtocol):
    """Who is told of a response."""

    @property
    def handshake(self) -> Handshake | None:
        """For the other protocol that the request asks for; ``None`` for none."""

    def interim_response(self, head: ResponseHead) -> None:
        """A 1xx response has come; another one follows."""

    def response_started(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """The response has begun.

        :param length: bytes of the body, ``CHUNKED`` or ``UNTIL_CLOSE``; 0 where there is none by the
            request's method or the status.
        :param data: what of the body came with the head.
        :param ended: whether that was all; :meth:`response_data` is not called then.
        """

    def response_data(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """More of the body has come; ``data`` may be empty where it has ended."""

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """The upstream speaks the other protocol from here on; ``data`` of that came with the head."""

    def response_failed(self, failure: str, detail: str, unanswered: bool) -> None:
        """There will be no (complete) response.

        :param failure: ``"closed"``, ``"bad_response"``, ``"timeout"`` or ``"reset"``; ``"refused"`` where the
            upstream has said that it did nothing with the request (HTTP/2); or ``"alert"`` where it refused the
            connection after the handshake, before it has looked at the request.
        :param unanswered: the upstream closed a used connection before any byte of an answer, as it may
            do with an idle one at any time.
        """


@implementer(IHalfCloseableProtocol, IPushProducer)
class UpstreamConnection(protocol.Protocol):
    """A connection to one endpoint.

    It is the producer of its response's body: who is sent it may pause it.

    :param opened: called once, when it can be used.
    :ivar used: requests that were sent on it.
    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    :ivar expires: when it is closed although it could be used for more requests.
    """

    transport: Any
    expires: float = inf
    deadline = inf
    watched_until = inf

    def __init__(self, pool: Pool, opened: Callable[[UpstreamConnection], None]) -> None:
        self.pool = pool
        self._opened: Callable[[UpstreamConnection], None] | None = opened
        self.used = 0
        self.receiver: Receiver | None = None
        self.open = False
        self._state = _IDLE
        self._head_only = False
        self._request_open = False
        self._buffer = b""
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._previous: ResponseHead | None = None
        self._reusable = False
        self._interim = 0
        self._waits = False
        self._sent = 0
        self._taken = 0
        self._response_timeout = pool.response_timeout

    def allow(self, seconds: float | None) -> None:
        """Give the next responses so long for their heads; ``None`` for the pool's ``response_timeout`` again."""
        self._response_timeout = self.pool.response_timeout if seconds is None else seconds

    # --- requests ---------------------------------------------------------------------------

    def send_request(self, data: bytes, receiver: Receiver, head_only: bool, ended: bool, waits: bool) -> None:
        """Send a request's head and what there is of its body.

        :param head_only: the response has no body, whatever it says (HEAD).
        :param ended: whether that was the whole request; otherwise :meth:`send_body` follows.
        :param waits: whether the body follows only once the upstream has asked for it (``Expect``).
        """
        self.receiver = receiver
        self.used += 1
        self._head_only = head_only
        self._request_open = not ended
        self._waits = waits
        self._sent += len(data)
        self._state = _HEAD
        self._interim = 0
        self.pool.deadlines.watch(self, monotonic() + self._response_timeout)
        self.transport.write(data)

    def send_body(self, data: bytes, ended: bool) -> None:
        """Send more of the body, as it stands on the wire."""
        if data:
            self._waits = False
            self._sent += len(data)
            self.transport.write(data)
        if ended:
            self._request_open = False
            if self._state == _HEAD:
                # The time for the response begins when the upstream can have the whole request.
                self.pool.deadlines.watch(self, monotonic() + self._response_timeout)

    def abandon(self) -> None:
        """Nobody waits for the rest of this exchange any more."""
        self.receiver = None
        self.deadline = inf
        if self.open:
            self.transport.abortConnection()

    def overdue(self) -> None:
        """Nobody waits any more, because the endpoint had the whole request and took too long to answer it."""
        self.abandon()

    # --- responses --------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Called by the transport."""
        state = self._state
        if state == _LENGTH:
            self._length_data(data)
        elif state == _HEAD:
            self._head_data(data)
        elif state == _CHUNKED:
            self._chunked_data(data)
        elif state == _CLOSE:
            self.deadline = monotonic() + self.pool.idle_timeout
            self._give(data, False)
        else:
            # Bytes that answer no request: the next answer could not be told from them.
            self.pool.forget(self)
            self.transport.abortConnection()

    def _head_data(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        receiver = self.receiver
        assert receiver is not None
        while True:
            try:
                head = parse_response_head(data, MAX_HEAD_BYTES, MAX_FIELDS, self._previous)
            except HTTPFault as fault:
                self._fail("bad_response", fault.detail)
                return
            if head is None:
                self._buffer = data
                return
            data = data[len(head.raw) :]
            if head.status >= 200:
                break
            if head.status == 101:
                self._switch(head, data, receiver)
                return
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._fail("bad_response", f"status {head.status} that was not asked for")
                return
            if head.status == 100:
                self._waits = False
            receiver.interim_response(head)
            if self.receiver is not receiver:
                return
            if not data:
                return
        self._previous = head
        length = head.length
        if self._head_only or head.status == 204 or head.status == 304:
            length = 0
        self._reusable = head.keep_alive and not self._request_open
        if head.status == 204 and head.length not in (0, UNTIL_CLOSE):
            self._reusable = False  # a body is announced that must not be there (RFC 9110 §8.6, RFC 9112 §6.1)
        if length >= 0:
            got = len(data)
            if got < length:
                self._left = length - got
                self._state = _LENGTH
                self.pool.deadlines.watch(self, monotonic() + self.pool.idle_timeout)
                receiver.response_started(head, length, data, False)
            elif got == length:
                self._ended()
                receiver.response_started(head, length, data, True)
            else:
                self._reusable = False
                self._ended()
                receiver.response_started(head, length, data[:length], True)
            return
        self.pool.deadlines.watch(self, monotonic() + self.pool.idle_timeout)
        if length == CHUNKED:
            self._state = _CHUNKED
            self._decoder = ChunkedDecoder()
            receiver.response_started(head, CHUNKED, b"", False)
            if data and self.receiver is receiver:
                self._chunked_data(data)
        else:
            self._state = _CLOSE
            self._reusable = False
            receiver.response_started(head, UNTIL_CLOSE, data, False)

    def _switch(self, head: ResponseHead, data: bytes, receiver: Receiver) -> None:
        """Leave the transport to the other protocol, if it was asked for."""
        handshake = receiver.handshake
        fault = "status 101 that was not asked for" if handshake is None else handshake.fault(head)
        if fault:
            self._fail("bad_response", fault)
            return
        self.receiver = None
        self._state = _IDLE
        self.pool.deadlines.forget(self)
        receiver.switched(head, data)

    def _length_data(self, data: bytes) -> None:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            self.deadline = monotonic() + self.pool.idle_timeout
            self._give(data, False)
            return
        if left < 0:
            data = data[:left]
            self._reusable = False
        receiver = self.receiver
        self._ended()
        if receiver is not None:
            receiver.response_data(data, True, [])

    def _chunked_data(self, data: bytes) -> None:
        decoder = self._decoder
        assert decoder is not None
        try:
            payload = decoder.feed(data)
        except HTTPFault as fault:
            self._fail("bad_response", fault.detail)
            return
        if not decoder.done:
            self.deadline = monotonic() + self.pool.idle_timeout
            if payload:
                self._give(payload, False)
            return
        if decoder.rest:
            self._reusable = False
        self._decoder = None
        receiver = self.receiver
        self._ended()
        if receiver is not None:
            receiver.response_data(payload, True, decoder.trailers)

    def _give(self, data: bytes, ended: bool) -> None:
        if self.receiver is not None:
            self.receiver.response_data(data, ended, [])

    def _ended(self) -> None:
        """The response is complete: give the connection back, or close it."""
        self.receiver = None
        self._state = _IDLE
        self.deadline = inf
        unread = self._request_open or self.transport.unsent
        if self._reusable and not unread and self.open:
            self.pool.put_back(self)
        elif unread:
            # The rest of the request is of no use; an upstream that does not read it must not keep it here.
            self.transport.abortConnection()
        else:
            self.close()

    def close(self) -> None:
        """Close once everything is sent; an upstream that takes nothing is cut off after a while."""
        # Even with nothing queued here loseConnection() waits until the kernel's buffer has room.
        self.pool.deadlines.watch(self, monotonic() + CLOSE_SECONDS)
        self.transport.loseConnection()

    def _fail(self, failure: str, detail: str, unanswered: bool = False) -> None:
        receiver = self.receiver
        self.receiver = None
        self.deadline = inf
        self._state = _IDLE
        if self.connected:
            self.transport.abortConnection()
        if receiver is not None:
            self.pool.metrics.response_failures[failure] += 1
            receiver.response_failed(failure, detail, unanswered)

    # --- back-pressure ----------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client takes no more for now; that is its time, not the upstream's."""
        if self.receiver is None:
            return  # the last of the response was too much for the client: it is the next one's connection now
        self.deadline = inf
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client takes more."""
        if self.receiver is not None:
            self.pool.deadlines.watch(self, monotonic() + self.pool.idle_timeout)
        if self.open:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The client is gone; whoever sent the request abandons it."""

    # --- the connection ---------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Called by the transport."""
        self.open = True
        self.transport.setTcpNoDelay(True)
        opened, self._opened = self._opened, None
        if opened is not None:
            opened(self)

    def deadline_passed(self) -> None:
        """The upstream took too long, or the connection has been idle for long enough."""
        if self.receiver is not None:
            if (self._state == _HEAD or self._request_open) and self._may_go_on():
                return
            self._fail("timeout", "no response in time" if self._state == _HEAD else "the response stopped")
        elif self.transport.disconnecting:
            self.transport.abortConnection()
        elif self.open:
            self.pool.forget(self)
            self.close()

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

    def readConnectionLost(self) -> None:
        """The upstream has closed its side: a response that ends so is complete."""
        if self._state == _CLOSE and self.receiver is not None:
            receiver = self.receiver
            self._ended()
            receiver.response_data(b"", True, [])
        else:
            self.open = False
            self.pool.forget(self)
            self.close()
            self._closed("closed")

    def writeConnectionLost(self) -> None:
        """Only we close our side, and always with the other."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Called by the transport."""
        self.open = False
        self.pool.deadlines.forget(self)
        self.pool.lost(self)
        if isinstance(reason.value, TLSAlert):
            self._alerted(reason.getErrorMessage())
        else:
            self._closed("reset")

    def _closed(self, failure: str) -> None:
        if self.receiver is not None:
            self._fail(failure, "the upstream closed the connection", self._silent and self.used > 1)

    def _alerted(self, detail: str) -> None:
        """The upstream ended the connection with an alert; on a new one that is its answer to the handshake."""
        receiver = self.receiver
        if receiver is None or self.used > 1 or not self._silent:
            self._closed("reset")
            return
        self.receiver = None
        self.deadline = inf
        self._state = _IDLE
        failures = self.pool.metrics.connect_failures
        failures["alert"] = failures.get("alert", 0) + 1
        receiver.response_failed("alert", detail, False)

    @property
    def _silent(self) -> bool:
        """Whether nothing of an answer has come."""
        return self._state == _HEAD and not self._buffer and not self._interim
