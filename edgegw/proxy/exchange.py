"""One request and its response: which upstream connection carries it, and what happens when that fails.

An exchange stands between a client's connection, whatever protocol that speaks, and an upstream
connection.  It decides about connecting, trying again and giving up; it looks at no header.
"""
from __future__ import annotations

from collections.abc import Collection
from time import monotonic
from typing import Any, Protocol

from twisted.logger import Logger

from edgegw.identity import ConnectionInfo
from edgegw.observe.metrics import RequestMetrics
from edgegw.proxy.pace import Source, couple
from edgegw.proxy.plugin_backend import PluginCall, PluginUpstream
from edgegw.proxy.site import Backend
from edgegw.upstream.connection import UpstreamConnection
from edgegw.upstream.pool import EndpointPool, Opening
from edgegw.upstream.waiting import NO_ROOM
from edgegw.wire.http1 import Field, ResponseHead
from edgegw.wire.upgrades import Handshake

__all__ = ["IDEMPOTENT", "Downstream", "Exchange"]

_log = Logger("edgegw.proxy")

#: Methods that may be sent again (RFC 9110 §9.2.2).
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_STATUS = {"closed": 502, "reset": 502, "bad_response": 502, "timeout": 504, "refused": 503, "alert": 503}
#: How often a request is sent again that nothing can have been done with.
MAX_RETRIES = 4


class Downstream(Protocol):
    """The client's side of an exchange.

    :ivar transport: the client's transport; what is written to an upstream pauses its reading.
    :ivar info: what is known of the client's connection.
    """

    transport: Any
    info: ConnectionInfo

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx response on."""

    def respond(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """Begin the response."""

    def respond_more(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """Go on with the response."""

    def answer(self, status: int) -> None:
        """Send the gateway's own answer; nothing of a response has been sent."""

    def cut(self) -> None:
        """End the connection so that the client sees that the response is not whole."""

    def pause_body(self) -> None:
        """Let no more of the request's body come."""

    def resume_body(self) -> None:
        """Let more of the request's body come."""


class Exchange:
    """One request on its way.

    :ivar status: of the response, once one has begun.
    :ivar header_lines: those of the request but Host, and the empty one that ends them.
    """

    #: For another protocol; see :mod:`edgegw.proxy.upgrading`.
    handshake: Handshake | None = None

    __slots__ = (
        "_backend", "_body_sent", "_client", "_connecting", "_connection", "_ended", "_head_only", "_held", "_host",
        "_line", "_method", "_paused", "_pool", "_retries", "_started", "_tried", "_waits", "header_lines", "status",
    )

    def __init__(
        self, client: Downstream, backend: Backend, method: bytes, line: bytes, host: bytes, lines: bytes
    ) -> None:
        """Prepare; :meth:`start` sends.

        :param line: the request line with its CRLF.
        :param host: the value of Host, or empty to name the endpoint.
        :param lines: the other header lines and the empty one that ends them.
        """
        self._client = client
        self._backend = backend
        self._method = method
        self._line = line
        self._host = host
        self.header_lines = lines
        self._head_only = method == b"HEAD"
        self._connection: UpstreamConnection | PluginCall | None = None
        self._connecting: Opening | None = None
        self._pool: EndpointPool | PluginUpstream | None = None
        self._held = b""
        self._ended = False
        self._body_sent = False
        self._paused = False
        self._retries = 0
        self._tried: Collection[EndpointPool] = ()
        self._started = monotonic()
        self.status = 0
        backend.metrics.in_progress += 1

    # --- towards the upstream ---------------------------------------------------------------

    @property
    def metrics(self) -> RequestMetrics:
        """What counts it."""
        return self._backend.metrics

    @property
    def info(self) -> ConnectionInfo:
        """What is known of the client's connection."""
        return self._client.info

    def start(self, body: bytes, ended: bool, waits: bool) -> None:
        """Send the request with what there is of its body.

        :param waits: whether the client waits for the upstream's word before it sends the body.
        """
        self._held = body
        self._ended = ended
        self._waits = waits and not body
        pool = self._backend.upstream.next_endpoint(self)
        if pool is None:
            self._give_up(503, "the upstream has no endpoint")
            return
        connection = pool.take()
        if connection is None:
            self._connect(pool)
        else:
            self._send(pool, connection)

    def body(self, data: bytes, ended: bool) -> None:
        """Send more of the body, as it stands on the wire."""
        connection = self._connection
        if ended:
            self._ended = True
        if connection is None:
            self._held += data
            return
        self._body_sent = True
        connection.send_body(data, ended)
        transport = connection.transport
        if ended:
            if transport.producer is not None:
                transport.unregisterProducer()
                self._client.resume_body()
        elif transport.unsent and transport.producer is None:
            couple(Source(self._client.pause_body, self._client.resume_body), transport)

    def _connect(self, pool: EndpointPool | PluginUpstream) -> None:
        assert isinstance(pool, EndpointPool)  # a plugin takes every request
        if not self._ended and not self._paused:
            self._paused = True
            self._client.pause_body()
        connecting = pool.connect(
            # An address that was faster may have come before the one that was asked for.
            lambda connection: self._send(connection.pool, connection),  # type: ignore[arg-type]  # an endpoint's
            lambda word, text: self._connect_failed(pool, word, text),
            self._client,
        )
        if self._connection is None and self._connecting is None:
            self._connecting = connecting

    def _connect_failed(self, pool: EndpointPool, word: str, text: str) -> None:
        self._connecting = None
        upstream = self._backend.upstream
        _log.warn(
            "upstream {upstream}: cannot connect to {endpoint}: {word}: {text}",
            upstream=upstream.model.name, endpoint=str(pool.endpoint), word=word, text=text,
        )
        if word == NO_ROOM:
            self._give_up(503, text)
            return
        self._tried = {*self._tried, pool}
        following = upstream.another_endpoint(self, self._tried)
        if following is None:
            self._give_up(503, "no endpoint could be reached")
        else:
            self._go_to(following)

    def _go_to(self, pool: EndpointPool | PluginUpstream) -> None:
        connection = pool.take()
        if connection is None:
            self._connect(pool)
        else:
            self._send(pool, connection)

    def _send(self, pool: EndpointPool | PluginUpstream, connection: UpstreamConnection | PluginCall) -> None:
        self._connecting = None
        self._connection = connection
        self._pool = pool
        host = self._host or pool.host_header
        held = self._held
        connection.send_request(
            b"%bhost: %b\r\n%b%b" % (self._line, host, self.header_lines, held),
            self, self._head_only, self._ended, self._waits,
        )
        if not self._ended:
            self._held = b""
            if held:
                self._body_sent = True
            transport = connection.transport
            if transport.unsent:
                couple(Source(self._client.pause_body, self._client.resume_body), transport)
            if self._paused and not transport.producerPaused:
                self._client.resume_body()
            self._paused = False

    # --- from the upstream ------------------------------------------------------------------

    def interim_response(self, head: ResponseHead) -> None:
        """See ``Receiver``."""
        self._client.interim(head)

    def response_started(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """See ``Receiver``."""
        self.status = head.status
        if data:
            self._backend.metrics.response_bytes += len(data)
        if ended:
            self._finish()
        self._client.respond(head, length, data, ended)

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """See ``Receiver``; never called without a handshake."""
        raise NotImplementedError

    def response_data(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """See ``Receiver``."""
        self._backend.metrics.response_bytes += len(data)
        if ended:
            self._finish()
        self._client.respond_more(data, ended, trailers)

    def response_failed(self, failure: str, detail: str, unanswered: bool) -> None:
        """See ``Receiver``."""
        self._connection = None
        upstream = self._backend.upstream
        if failure == "alert" and self._ended and not self._body_sent:
            assert isinstance(self._pool, EndpointPool)
            self._connect_failed(self._pool, failure, detail)
            return
        again = not self._body_sent and not self.status and self._retries < MAX_RETRIES
        if failure == "refused" and again:
            # RFC 9113 §8.7: whatever the method is.
            self._retries += 1
            upstream.metrics.retries += 1
            assert self._pool is not None
            self._go_to(self._pool)
            return
        # Nothing can have been done by an upstream that closed a connection it had kept idle; but only
        # the request's method says that it would do no harm if something had.
        if unanswered and again and self._ended and self._method in IDEMPOTENT:
            self._retries += 1
            upstream.metrics.retries += 1
            assert self._pool is not None
            self._connect(self._pool)
            return
        _log.warn(
            "upstream {upstream}: {word}: {detail}", upstream=upstream.model.name, word=failure, detail=detail
        )
        if self.status:
            self._finish()
            self._client.cut()
        else:
            self._give_up(self._status_of(failure), detail)

    # --- ends -------------------------------------------------------------------------------

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not self._ended:
            transport = connection.transport
            if transport.producer is not None:
                transport.unregisterProducer()
        metrics = self._backend.metrics
        metrics.in_progress -= 1
        metrics.done(self.status, monotonic() - self._started)

    def _status_of(self, failure: str) -> int:
        return _STATUS[failure]

    def _give_up(self, status: int, detail: str) -> None:
        self.status = status
        self._finish()
        self._client.answer(status)

    def abandon(self, status: int) -> None:
        """The client is gone, or gets no response from this exchange.

        :param status: what the gateway answers instead; 0 for nothing.
        """
        overdue = status == 504 and not self.status
        self.status = status or self.status
        connection = self._connection
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        self._finish()
        if connection is not None:
            self._leave_to_itself(connection, overdue)

    def _leave_to_itself(self, connection: UpstreamConnection | PluginCall, overdue: bool) -> None:
        # A client that is slow to send its request is not the endpoint's fault.
        if overdue and self._ended and not isinstance(connection, PluginCall):
            connection.overdue()
        else:
            connection.abandon()

    @property
    def connection(self) -> UpstreamConnection | PluginCall | None:
        """The upstream connection that the response comes from; ``None`` when there is none or it has ended."""
        return self._connection
