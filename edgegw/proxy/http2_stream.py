"""One request of a client's HTTP/2 connection, and its response.

To a gate, an exchange and to filters a stream is what a whole HTTP/1.1 connection is to them: the request's head is
made of its fields, so that one router, one set of header rules and one pool of upstream connections serve both.

What the upstream does not take is not acknowledged, and the client stops when its window is full.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twisted.logger import Logger

from edgegw.headers.request import HeaderRefusal
from edgegw.proxy.access import RuleAccess
from edgegw.proxy.body import TrailerRules
from edgegw.proxy.exchange import Exchange
from edgegw.proxy.filtering import FilteredRequest, begin
from edgegw.proxy.grpc_errors import grpc_media_type, grpc_status
from edgegw.proxy.http2_response import RespondingStream, StreamOwner
from edgegw.proxy.site import Target
from edgegw.wire.chunked import LAST_CHUNK, encode_chunk, encode_trailers
from edgegw.wire.http1 import Field, RequestHead
from edgegw.wire.http2 import ErrorCode

__all__ = ["HTTP2Stream"]

_UNSUPPORTED_METHODS = frozenset({b"CONNECT", b"TRACE"})
_ALLOW = b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
#: Bytes of a response that waits which a client takes in ``write_timeout`` at least: one that opens its window byte by
#: byte holds the stream no longer than one that never does.
LEAST_TAKEN: Final = 1024
_log = Logger("edgegw.http")


class HTTP2Stream(RespondingStream):
    """A stream: it is ``Gated``, and the ``FilteredDownstream`` of its exchange.

    :param head: ``None`` for one with more header than is taken.
    """

    __slots__ = (
        "_chunked", "_early", "_gate", "_gate_is_own", "_limit", "_paused", "_rules", "_started", "_total", "_trailers",
        "_unacknowledged",
    )

    def __init__(self, connection: StreamOwner, id: int, head: RequestHead | None, ended: bool) -> None:
        super().__init__(connection, id, head, ended)
        self._gate = connection.gate
        self._gate_is_own = False
        self._started = False
        self._early: list[bytes] = []
        self._chunked = False
        self._limit: int | None = None
        self._rules: TrailerRules | None = None
        self._total = 0
        self._paused = False
        self._unacknowledged = 0
        self._trailers: Sequence[Field] = ()

    @property
    def handshake_id(self) -> str:
        """See :class:`~edgegw.proxy.gate.Gated`."""
        return str(self.transport.handshake_id)

    # --- the request's way --------------------------------------------------------------------

    def begin(self) -> None:
        """Find out where the request goes, and send it there."""
        head = self._head
        if head is None:
            self.refuse(431, "more header than the limits allow")
            return
        site = self._site
        if head.method in _UNSUPPORTED_METHODS:
            self.refuse(405, head.method.decode("ascii", "replace"), _ALLOW)
            return
        if len(head.target) > site.http.max_uri_bytes:
            self.refuse(414, f"a request target of {len(head.target)} bytes")
            return
        if head.expects_other:
            self.refuse(417, "an expectation other than 100-continue")
            return
        gate = self._gate
        gate.look_at(self, site, head)
        if gate.waits:
            self._gate_is_own = True
            self._connection.gate_waits()

    def forward(self, head: RequestHead, target: Target) -> None:
        """See ``Gated``."""
        destination = self._gate.destination
        site = self._site = destination.site
        if target.filters is not None:
            begin(self, head, target, target.filters, destination)
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
        exchange = Exchange(
            self, backend, head.method, b"%b %b HTTP/1.1\r\n" % (head.method, head.target),
            head.host if site.preserve_host else b"", lines,
        )
        self._exchange = exchange
        if not length and self._request_ended:
            self._started = True
            exchange.start(b"", True, False)
        else:
            self._begin_body(head, exchange, limit, destination.headers)

    def carry(self, head: RequestHead, exchange: FilteredRequest, limit: int | None, trailers: TrailerRules) -> None:
        """See ``FilteredDownstream``."""
        if limit is not None and head.length > limit:
            exchange.abandon(0)
            self.refuse(413, f"a body of {head.length} bytes")
            return
        self._exchange = exchange
        if not head.length and self._request_ended:
            self._started = True
            exchange.start(b"", True, False)
        else:
            self._begin_body(head, exchange, limit, trailers)

    # --- the request's body -------------------------------------------------------------------

    def _begin_body(
        self, head: RequestHead, exchange: Exchange | FilteredRequest, limit: int | None, rules: TrailerRules | None
    ) -> None:
        self._chunked = head.length < 0
        # Many a service says nothing before the first message, and the client waits for one before it goes on.
        self._patient = self._chunked and grpc_media_type(head) != b""
        self._limit = limit
        self._rules = rules
        self._started = True
        early, self._early = b"".join(self._early), []
        ended = self._request_ended
        wire = self._frame(exchange, early, ended)
        if wire is None:
            return
        if not ended and not head.expects_continue:
            self._watch_body()
        exchange.start(wire, ended, head.expects_continue)
        self._acknowledge()

    def _frame(self, exchange: Exchange | FilteredRequest, data: bytes, ended: bool) -> bytes | None:
        """Give a piece of the body as it goes to the upstream; ``None`` if it has been refused."""
        self._total += len(data)
        exchange.metrics.request_bytes += len(data)
        if not self._chunked:
            return data
        if self._limit is not None and self._total > self._limit:
            self._body_fault(413, f"a body of more than {self._limit} bytes")
            return None
        wire = encode_chunk(data) if data else b""
        if ended:
            rules, trailers = self._rules, self._trailers
            kept = rules.trailers(list(trailers)) if trailers and rules is not None else []
            wire += encode_trailers(kept) if kept else LAST_CHUNK
        return wire

    def hold_early(self, data: bytes, size: int, ended: bool) -> None:
        """Take what of the body has come before :meth:`begin`.

        :param size: what it takes of the windows.
        """
        self._early.append(data)
        self._unacknowledged += size
        self._request_ended = ended

    def take_body(self, data: bytes, size: int, ended: bool) -> None:
        """Take a piece of the body."""
        self._unacknowledged += size
        self._request_ended = self._request_ended or ended
        exchange = self._exchange
        if exchange is None:
            if self._lingering:
                self._throw_away(size, ended)
            elif self._started or self._responding:
                # Nobody wants the rest.
                self._acknowledge()
            else:
                self._early.append(data)
            return
        wire = self._frame(exchange, data, ended)
        if wire is None:
            return
        if ended:
            self._watch_response()
        elif not self._paused:
            self._watch_body()
        exchange.body(wire, ended)
        self._acknowledge()

    def _linger(self) -> None:
        """See :class:`RespondingStream`: a client whose window is full may send again, or there would be no rest."""
        super()._linger()
        self._early = []
        self._paused = False
        self._acknowledge()

    def _throw_away(self, size: int, ended: bool) -> None:
        """Take a piece of a request that has been answered."""
        self._lingering -= size
        if ended:
            self._end()
        elif self._lingering <= 0:
            self._stop_lingering()
        else:
            self._acknowledge()
            self._watch_rest()

    def take_trailers(self, fields: Sequence[Field]) -> None:
        """Take the end of the body."""
        self._trailers = fields
        self.take_body(b"", 0, True)

    def _acknowledge(self) -> None:
        """Let the client send more, unless it is to wait."""
        size = self._unacknowledged
        if size and not self._paused:
            self._unacknowledged = 0
            self._connection.codec.acknowledge(self.id, size)
            self._connection.written(0)

    def pause_body(self) -> None:
        """See ``Downstream``."""
        self._paused = True
        self._watch_response()

    def resume_body(self) -> None:
        """See ``Downstream``."""
        self._paused = False
        if not self._request_ended:
            self._watch_body()
        self._acknowledge()

    def _body_fault(self, status: int, detail: str) -> None:
        if self._responding:
            self._abandon()
            self.cut(status=status)
        else:
            self.refuse(status, detail)

    # --- the gateway's own answers ------------------------------------------------------------

    def own_answer(self, status: int, reason: str = "", close: bool = False) -> None:
        """See ``Gated``."""
        self._site = self._gate.destination.site
        self._site.own.done(status, 0.0)
        if close and status == 403:
            self._connection.refuse_more()
        self.answer(status, reason=reason)

    def count_refused(self, access: RuleAccess, code: str, request_id: bytes) -> None:
        """See ``Gated``."""
        self._site = self._gate.destination.site
        access.metrics.refuse(code)
        access.metrics.done(403, 0.0)
        self.answer(403, reason=code if access.explain else "", request_id=request_id)

    def refuse(self, status: int, detail: str, extra: bytes = b"") -> None:
        """See ``FilteredDownstream``."""
        (_log.info if status < 500 else _log.error)(
            "{status} to {peer} on {listener}: {detail}",
            status=status, peer=self.info.peer, listener=self.info.listener, detail=detail,
        )
        if self._exchange is not None:
            self._abandon(status)
        else:
            self._site.own.done(status, 0.0)
        self.answer(status, extra)

    # --- time ---------------------------------------------------------------------------------

    def deadline_passed(self) -> None:
        """See ``Deadlines``: the client neither sends nor takes anything."""
        if self._lingering:
            self._stop_lingering()
        elif self._queued:
            if self._moved >= LEAST_TAKEN:
                self._moved = 0
                self._watch_response()
            else:
                self._abandon()
                self.cut(ErrorCode.CANCEL)
        elif not self._request_ended and not self._paused and self._started:
            self._body_fault(408, "the request's body stopped")

    # --- ends ---------------------------------------------------------------------------------

    def _abandon(self, status: int = 0) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon(status)

    def cut(self, code: ErrorCode = ErrorCode.INTERNAL_ERROR, status: int = 502) -> None:
        """See ``Downstream``: the client sees that the response is not whole; other streams go on.

        :param status: what a gRPC client is told of it.
        """
        self._exchange = None
        codec = self._connection.codec
        if self._responding and code is ErrorCode.INTERNAL_ERROR and grpc_media_type(self._head):
            # It would take the reset for a fault in the service; so it knows that it may try again.
            codec.send_headers(self.id, grpc_status(status, "The response broke off."), True)
            self._sent_all(0)
            return
        codec.reset(self.id, code)
        self._connection.count_reset("gateway", code)
        self._end()
        self._connection.written(0)

    def lost(self) -> None:
        """The client has given it up, or its connection is gone."""
        self._end()
        self._abandon()

    def _end(self) -> None:
        self._early = []
        self._started = True
        if self._gate_is_own:
            self._gate.close()
        super()._end()
