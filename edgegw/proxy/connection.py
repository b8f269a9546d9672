"""A client's HTTP/1.1 connection: requests in, responses out, in their order.

One request is under way at a time; pipelined ones wait, in a buffer that is bounded, until the
answer before them is complete.  Everything that a client can make last has a deadline.
"""
from __future__ import annotations

from math import inf
from time import monotonic
from typing import Final

from twisted.internet import protocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.headers.request import HeaderRefusal
from edgegw.identity import ConnectionInfo
from edgegw.proxy.access import RuleAccess
from edgegw.proxy.body import BodyTooLarge, RequestBody, TrailerRules
from edgegw.proxy.exchange import Exchange
from edgegw.proxy.filtering import FilteredRequest, begin
from edgegw.proxy.gate import RequestGate
from edgegw.proxy.http2 import HTTP2Connection
from edgegw.proxy.pace import Source, couple
from edgegw.proxy.responding import RespondingConnection
from edgegw.proxy.site import Site, Target
from edgegw.proxy.upgraded_tunnel import UpgradedTunnel
from edgegw.proxy.upgrading import SwitchedUpstream, upgrade_of
from edgegw.verdict import Reject
from edgegw.wire.http1 import EMPTY_LINES, HTTPFault, RequestHead, ResponseHead, parse_request_head
from edgegw.wire.upgrades import HandshakeFault

__all__ = ["HTTPConnection"]

#: Pipelined bytes beyond which nothing more is read until the answers before them are complete.
MAX_PIPELINED: Final = 65_536
#: Pipelined requests that the gateway answers by itself before other connections have their turn.
REQUESTS_PER_TURN: Final = 32

# What the connection waits for, and so what its deadline means.  _BACKLOG: for the client to take what is
# queued for it, or for its turn, before the next request is looked at.
_IDLE, _HEAD, _BODY, _RESPONSE, _BACKLOG, _CLOSING = range(6)

#: What no HTTP/1.1 request begins with.
HTTP2_LINE: Final = b"PRI * HTTP/2.0\r\n\r\n"

_UNSUPPORTED_METHODS = frozenset({b"CONNECT", b"TRACE"})
_ALLOW = b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
_log = Logger("edgegw.http")


@implementer(IHalfCloseableProtocol)
class HTTPConnection(RespondingConnection):
    """The server's side of one connection.

    :ivar info: what is known of it.
    """

    def __init__(self, site: Site, info: ConnectionInfo, refusal: Reject | None = None) -> None:
        """:param refusal: see :class:`~edgegw.proxy.gate.RequestGate`."""
        super().__init__(site)
        self.info = info
        self._gate = RequestGate(site, info, refusal)
        self._buffer = b""
        self._previous: RequestHead | None = None
        self._waits_for = _IDLE
        self._taking = False
        self._full = False
        self._body_paused = False
        self._half_closed = False
        self._requests = 0

    # --- reading ----------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Called by the transport."""
        self._site.deadlines.watch(self, monotonic() + self._site.http.keep_alive_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Called by the transport."""
        self._listener_site.metrics.bytes_received += len(data)
        waits_for = self._waits_for
        if waits_for <= _HEAD:
            buffered = self._buffer
            self._take_requests(buffered + data if buffered else data, len(buffered))
        elif waits_for == _BODY:
            self._body_data(data)
        elif waits_for != _CLOSING:
            self._buffer += data
            if len(self._buffer) > MAX_PIPELINED:
                self._full = True
                self.transport.pauseProducing()

    def _take_requests(self, data: bytes, seen: int) -> None:
        """Begin with the requests in ``data`` until one has to be waited for.

        :param seen: bytes of ``data`` that hold no complete head.
        """
        self._taking = True
        site = self._listener_site
        http = site.http
        left = REQUESTS_PER_TURN
        while data and self._waits_for <= _HEAD:
            if data[0] == 13:
                data, seen = EMPTY_LINES.sub(b"", data, 1), 0
                if not data:
                    break
            if not left:
                self._waits_for = _BACKLOG
                self.transport.reactor.callLater(0, self._go_on)
                break
            left -= 1
            try:
                head = parse_request_head(
                    data, http.max_head_bytes, http.max_headers, http.max_uri_bytes,
                    self._previous or site.last_head, seen,
                )
            except HTTPFault as fault:
                if fault.status == 505 and self._begins_http2(data):
                    self._go_on_with_http2(data)
                    return
                self._head = None
                self.refuse(fault.status, fault.detail)
                break
            if head is None:
                if self._waits_for != _HEAD:
                    self._waits_for = _HEAD
                    self._site.deadlines.watch(self, monotonic() + http.head_timeout)
                break
            data = data[head.size :]
            self._previous = self._head = site.last_head = head
            self._requests += 1
            self._buffer = data
            self._begin(head)
            data, seen = self._buffer, 0
        self._buffer = data if self._waits_for != _CLOSING else b""
        self._taking = False

    def _begins_http2(self, data: bytes) -> bool:
        """Whether the client speaks HTTP/2 without having asked (RFC 9113 §3.3), and may."""
        model = self._listener_site.listener
        return not self._requests and model.tls is None and model.http2.prior_knowledge and data.startswith(HTTP2_LINE)

    def _go_on_with_http2(self, data: bytes) -> None:
        """Give the connection to the other protocol."""
        self._site.deadlines.forget(self)
        transport, self._waits_for = self.transport, _CLOSING
        self._buffer = b""
        protocol = transport.protocol = HTTP2Connection(self._listener_site, self.info)
        protocol.makeConnection(transport)
        protocol.take(data)

    def _begin(self, head: RequestHead) -> None:
        """Find out where a request goes, and send it there."""
        self.deadline = inf
        self._waits_for = _RESPONSE
        self._responding = False
        site = self._site
        self._keep_alive = head.keep_alive and not site.retired and (
            site.http.max_requests is None or self._requests < site.http.max_requests
        )
        if head.method in _UNSUPPORTED_METHODS:
            self.refuse(405, head.method.decode("ascii", "replace"), _ALLOW)
            return
        self._gate.look_at(self, site, head)

    def forward(self, head: RequestHead, target: Target) -> None:
        """See ``Gated``."""
        if self._waits_for == _CLOSING:
            return
        destination = self._gate.destination
        site = self._site = destination.site
        upgrade = None
        if b"upgrade" in head.options:
            try:
                upgrade = upgrade_of(head, target.upgrades, self._switched)
            except HandshakeFault as fault:
                self.refuse(fault.status, fault.detail, fault.lines)
                return
            # Should the upstream not agree: what the client has sent in the belief that it will is no request.
            self._keep_alive = self._keep_alive and upgrade is None
        if target.filters is not None:
            begin(self, head, target, target.filters, destination, upgrade)
            return
        backend = target.choose()
        if backend is None:
            self.own_answer(500)
            return
        length = head.length
        limit = site.http.max_body_bytes
        if limit is not None and length > limit:
            self.refuse(413, f"a body of {length} bytes")
            return
        try:
            lines = destination.request_lines(head)
        except HeaderRefusal as refusal:
            self.refuse(refusal.status, refusal.detail)
            return
        exchange = (Exchange if upgrade is None else upgrade.exchange)(
            self, backend, head.method, b"%b %b HTTP/1.1\r\n" % (head.method, head.target),
            head.host if site.preserve_host else b"", lines,
        )
        self._exchange = exchange
        if not length:
            exchange.start(b"", True, False)
        else:
            self._begin_body(head, exchange, limit, destination.headers)

    def carry(self, head: RequestHead, exchange: FilteredRequest, limit: int | None, trailers: TrailerRules) -> None:
        """Give a request that filters look at to its exchange, with its body as it comes.

        :param limit: bytes that the body may have.
        """
        if limit is not None and head.length > limit:
            exchange.abandon(0)
            self.refuse(413, f"a body of {head.length} bytes")
            return
        self._exchange = exchange
        if not head.length:
            exchange.start(b"", True, False)
        else:
            self._begin_body(head, exchange, limit, trailers)

    # --- another protocol -------------------------------------------------------------------

    def _switched(self, head: ResponseHead, upstream: SwitchedUpstream) -> None:
        """Let the client know that the upstream has agreed, and go out of the way."""
        lines, _ = self._site.response_headers.block(head.fields, head.options, head.version)
        self._send(b"HTTP/1.1 101 %b\r\n%b%b\r\n" % (head.reason, lines, upstream.upgrade.handshake.lines))
        held, self._buffer = self._buffer, b""
        self._exchange = None
        self._waits_for = _CLOSING
        self._site.deadlines.forget(self)
        self._gate.close()
        self._read_on()
        tunnel = UpgradedTunnel(upstream, self._listener_site.metrics, self._site.deadlines, self.info)
        tunnel.begin(self.transport, held, self._half_closed)

    # --- the request's body -----------------------------------------------------------------

    def _begin_body(
        self, head: RequestHead, exchange: Exchange | FilteredRequest, limit: int | None, trailers: TrailerRules | None
    ) -> None:
        self._body = RequestBody(head.length, limit, trailers, exchange.metrics)
        self._waits_for = _BODY
        self._read_on()
        if not head.expects_continue:
            self._site.deadlines.watch(self, monotonic() + self._site.http.body_idle_timeout)
        data, self._buffer = self._buffer, b""
        try:
            wire = self._body.feed(data) if data else b""
        except (HTTPFault, BodyTooLarge) as fault:
            self.refuse(fault.status, str(fault))
            return
        ended = self._body.done
        if ended:
            self._end_body()
        exchange.start(wire, ended, head.expects_continue)

    def _body_data(self, data: bytes) -> None:
        body, exchange = self._body, self._exchange
        assert body is not None
        try:
            wire = body.feed(data)
        except (HTTPFault, BodyTooLarge) as fault:
            self._body_fault(fault.status, str(fault))
            return
        ended = body.done
        if ended:
            self._end_body()
        else:
            self._site.deadlines.watch(self, monotonic() + self._site.http.body_idle_timeout)
        if exchange is not None:
            exchange.body(wire, ended)

    def _end_body(self) -> None:
        assert self._body is not None
        self._buffer = self._body.rest
        self._body = None
        self._waits_for = _RESPONSE
        self.deadline = inf
        if self.transport.unsent:
            # A response that has begun already: the client's time to take it goes on.
            self._watch_progress()

    def _body_fault(self, status: int, detail: str) -> None:
        if self._responding:
            self._abandon()
            self.cut()
        else:
            self.refuse(status, detail)

    def pause_body(self) -> None:
        """See ``Downstream``."""
        if self._body is not None:
            self._body_paused = True
            self.deadline = inf
            self.transport.pauseProducing()
            if self.transport.unsent:
                self._watch_progress()

    def resume_body(self) -> None:
        """See ``Downstream``."""
        self._body_paused = False
        if self._body is not None:
            self._site.deadlines.watch(self, monotonic() + self._site.http.body_idle_timeout)
        self.transport.resumeProducing()

    # --- the end of a response --------------------------------------------------------------

    def _response_ended(self) -> None:
        """The response is complete; on to the next request, or to the end."""
        transport = self.transport
        if transport.producer is not None:
            transport.unregisterProducer()
        self._exchange = None
        self._head = None
        if not self._keep_alive or self._site.retired or (self._half_closed and not self._buffer):
            self._close(self._unread or bool(self._buffer))
        elif transport.unsent > transport.bufferSize:
            # Who takes no answers is given no more of them.
            self._waits_for = _BACKLOG
            couple(Source(None, self._go_on), transport)
            self._watch_progress()
        else:
            self._waits_for = _IDLE
            self._site.deadlines.watch(self, monotonic() + self._site.http.keep_alive_timeout)
            if self._buffer and not self._taking:
                self._take_buffered()

    def _go_on(self) -> None:
        """The backlog is over."""
        if self._waits_for == _BACKLOG:
            if self.transport.producer is not None:
                self.transport.unregisterProducer()
            self._waits_for = _IDLE
            self._site.deadlines.watch(self, monotonic() + self._site.http.keep_alive_timeout)
            self._take_buffered()

    def _take_buffered(self) -> None:
        buffered, self._buffer = self._buffer, b""
        self._take_requests(buffered, 0)
        # A head alone may be longer; the parser bounds it.
        if self._waits_for <= _HEAD or len(self._buffer) <= MAX_PIPELINED:
            self._read_on()
        if self._waits_for <= _HEAD and (self._half_closed or self._site.retired):
            self._close(False)

    def _read_on(self) -> None:
        """Read again if too many pipelined bytes had stopped it."""
        if self._full:
            self._full = False
            self.transport.resumeProducing()

    # --- the gateway's own answers ----------------------------------------------------------

    def own_answer(self, status: int, reason: str = "", close: bool = False) -> None:
        """See ``Gated``."""
        self._keep_alive = self._keep_alive and not close
        self._site = self._gate.destination.site
        self._site.own.done(status, 0.0)
        self.answer(status, reason=reason)

    def count_refused(self, access: RuleAccess, code: str, request_id: bytes) -> None:
        """See ``Gated``."""
        if self._waits_for == _CLOSING:
            return
        self._site = self._gate.destination.site
        access.metrics.refuse(code)
        access.metrics.done(403, 0.0)
        self.answer(403, reason=code if access.explain else "", request_id=request_id)

    def refuse(self, status: int, detail: str, extra: bytes = b"") -> None:
        """Answer and close: after this nothing that the client sends is believed."""
        (_log.info if status < 500 else _log.error)(
            "{status} to {peer} on {listener}: {detail}",
            status=status, peer=self.info.peer, listener=self.info.listener, detail=detail,
        )
        self._keep_alive = False
        self._unread = True
        if self._exchange is not None:
            self._abandon(status)
        else:
            self._site.own.done(status, 0.0)
        self.answer(status, extra)

    # --- ends -------------------------------------------------------------------------------

    def _close(self, unread: bool) -> None:
        """Close once everything is sent.

        :param unread: whether the client may still be sending, so that closing at once would lose the answer.
        """
        self._waits_for = _CLOSING
        self._body = None
        self._buffer = b""
        self._finish(unread)

    def cut(self) -> None:
        """See ``Downstream``."""
        self._waits_for = _CLOSING
        super().cut()

    def retire(self) -> None:
        """A newer configuration serves the port: close now if idle, else after the response."""
        if self._waits_for == _IDLE:
            self._close(False)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, so that another site may have it."""
        return self._waits_for == _IDLE and not self._taking

    def deadline_passed(self) -> None:
        """See ``Deadlines``."""
        waits_for = self._waits_for
        if waits_for == _IDLE:
            self._close(False)
        elif waits_for == _HEAD:
            self._head = None
            self._buffer = b""
            self.refuse(408, "the request's head took too long")
        elif waits_for == _BODY and not self._body_paused:
            self._body_fault(408, "the request's body stopped")
        else:
            super().deadline_passed()

    def readConnectionLost(self) -> None:
        """The client sends no more; what it has asked for it may still be waiting for."""
        self._half_closed = True
        waits_for = self._waits_for
        if waits_for <= _BODY:
            self._abandon()
            if waits_for == _BODY and self._responding:
                self.cut()
            else:
                self._close(False)
        elif not self._buffer:
            self._keep_alive = False

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Called by the transport: whatever is under way has nobody waiting for it."""
        self._site.deadlines.forget(self)
        self._waits_for = _CLOSING
        self._body = None
        self._gate.close()
        self._abandon()
