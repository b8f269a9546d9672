"""Connections to an upstream: kept, taken in turn, opened when there is none.

An :class:`UpstreamPool` is an upstream with its endpoints in turn; an :class:`EndpointPool` holds the
unused connections to one of them.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from twisted.internet import error, protocol
from twisted.python.failure import Failure

from edgegw.balancing.balancer import Balancer
from edgegw.balancing.members import Request
from edgegw.deadlines import Deadlines
from edgegw.model import Endpoint, EndpointKind, Upstream
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.tcp import connect_tcp, connect_unix
from edgegw.upstream.connection import UpstreamConnection

__all__ = ["Connecting", "EndpointPool", "UpstreamPool", "failure_word"]


class EndpointPool:
    """The connections to one endpoint.

    :ivar endpoint: as it is configured, or by its address where that was found by a name.
    :ivar origin: as it is configured.
    :ivar state: what is known of it, whichever configuration it is in.
    :ivar share: its weight for now; see :class:`edgegw.balancing.members.Member`.
    :ivar connections: open now.
    :ivar connecting: being opened.
    :ivar owner: the upstream, where that has limits, sessions or anything else to be told of; ``None`` where not.
    """

    def __init__(
        self,
        reactor: Any,
        upstream: Upstream,
        endpoint: Endpoint,
        metrics: UpstreamMetrics,
        deadlines: Deadlines,
        origin: Endpoint | None = None,
    ) -> None:
        """:param origin: where ``endpoint`` was found by a name."""
        self.endpoint = endpoint
        self.origin = endpoint if origin is None else origin
        self.metrics = metrics
        self.deadlines = deadlines
        self.response_timeout = upstream.response_timeout
        self.idle_timeout = upstream.idle_timeout
        self.connect_timeout = upstream.connect_timeout
        self.host_header = _host_header(self.origin, endpoint)
        self.identity = str(endpoint).encode("ascii", "replace")
        self.weight = endpoint.weight
        self.priority = endpoint.priority
        self.share = float(endpoint.weight)
        self.connections = 0
        self.connecting = 0
        self.owner: UpstreamPool | None = None
        self.state = metrics.state.take(str(endpoint), str(self.origin))
        self._keep_alive = upstream.keep_alive_timeout
        self._max_idle = upstream.max_idle
        self._reactor = reactor
        self._idle: deque[UpstreamConnection] = deque()
        self._closed = False

    @property
    def in_flight(self) -> int:
        """Requests that are not answered, those that a connection is being opened for among them."""
        return self.connections - len(self._idle) + self.connecting

    @property
    def idle(self) -> int:
        """Connections that are kept."""
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """Give the connection that was used last, or ``None``."""
        if not self._idle:
            return None
        connection = self._idle.pop()
        metrics = self.metrics
        metrics.idle -= 1
        metrics.reused += 1
        return connection

    def put_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request."""
        if self._closed or len(self._idle) >= self._max_idle:
            connection.close()
            return
        self._idle.append(connection)
        self.metrics.idle += 1
        self.deadlines.watch(connection, monotonic() + self._keep_alive)

    def forget(self, connection: UpstreamConnection) -> None:
        """Keep a connection no longer."""
        try:
            self._idle.remove(connection)
        except ValueError:
            return
        self.metrics.idle -= 1

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection has ended."""
        self.closed()
        self.forget(connection)

    # --- opening ----------------------------------------------------------------------------

    def connect(
        self, connected: Callable[[UpstreamConnection], None], failed: Callable[[str, str], None]
    ) -> Connecting:
        """Open a connection.

        :param failed: called with a word of :data:`edgegw.observe.counters.CONNECT_FAILURES` and the system's text.
        """
        return Connecting(self, connected, failed)

    def dial(self, factory: Any) -> Any:
        """Open a connection for a factory, and give its connector.

        Exactly one of :meth:`opened`, :meth:`connect_failed` and :meth:`given_up` is called for it.
        """
        self.connecting += 1
        endpoint = self.endpoint
        if endpoint.kind is EndpointKind.UNIX:
            return connect_unix(self._reactor, endpoint.host, factory, self.connect_timeout)
        return connect_tcp(self._reactor, endpoint.host, endpoint.port, factory, self.connect_timeout)

    def opened(self) -> None:
        """Count a connection in."""
        self.connecting -= 1
        self.connections += 1
        self.metrics.connects += 1
        self.metrics.connections += 1

    def connect_failed(self, word: str) -> None:
        """Count one that could not be opened."""
        self.connecting -= 1
        self.metrics.connect_failures[word] += 1

    def given_up(self) -> None:
        """Count one that nobody waited for until it was open."""
        self.connecting -= 1

    def closed(self) -> None:
        """Count a connection out."""
        self.connections -= 1
        self.metrics.connections -= 1

    def close(self) -> None:
        """Close what is unused, and from now on what comes back."""
        if not self._closed:
            self._closed = True
            self.metrics.state.release(str(self.endpoint))
        while self._idle:
            connection = self._idle.pop()
            self.metrics.idle -= 1
            connection.close()


def _host_header(origin: Endpoint, endpoint: Endpoint) -> bytes:
    """Give the Host of requests where the client's is not kept: the name rather than the address it was found by."""
    if origin.kind is EndpointKind.UNIX:
        return b"localhost"
    return str(endpoint if origin.kind is EndpointKind.SRV else origin).encode("ascii")


class Connecting(protocol.ClientFactory):
    """A connection that is being opened."""

    noisy = False

    def __init__(
        self,
        pool: EndpointPool,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[str, str], None],
    ) -> None:
        self._pool = pool
        self._connected: Callable[[UpstreamConnection], None] | None = connected
        self._failed: Callable[[str, str], None] | None = failed
        pool.dial(self)

    def buildProtocol(self, addr: object) -> protocol.Protocol | None:
        """Called by Twisted when the connection is open."""
        return UpstreamConnection(self._pool, self._opened)

    def _opened(self, connection: UpstreamConnection) -> None:
        connected, self._connected, self._failed = self._connected, None, None
        self._pool.opened()
        if connected is None:
            self._pool.put_back(connection)
        else:
            connected(connection)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """Called by Twisted when it cannot be opened."""
        failed, self._failed, self._connected = self._failed, None, None
        word = failure_word(reason)
        self._pool.connect_failed(word)
        if failed is not None:
            failed(word, reason.getErrorMessage())

    def cancel(self) -> None:
        """Nobody waits for it any more; if it opens all the same it is kept for the next request."""
        self._connected = self._failed = None


def failure_word(reason: Failure) -> str:
    """Give the word of :data:`edgegw.observe.counters.CONNECT_FAILURES` for why a connection cannot be opened."""
    if reason.check(error.ConnectionRefusedError):
        return "refused"
    if reason.check(error.TimeoutError, error.TCPTimedOutError):
        return "timeout"
    if reason.check(error.DNSLookupError, error.UnknownHostError):
        return "resolve"
    if reason.check(error.NoRouteError):
        return "unreachable"
    return "other"


class UpstreamPool:
    """An upstream: its endpoints, and which one a request gets.

    :ivar model: the upstream's settings.
    :ivar endpoints: those that there are now.
    """

    def __init__(self, reactor: Any, upstream: Upstream, metrics: UpstreamMetrics, deadlines: Deadlines) -> None:
        self.model = upstream
        self.metrics = metrics
        self._reactor = reactor
        self._deadlines = deadlines
        self._only: EndpointPool | None = None
        self._use([self._pool(endpoint) for endpoint in upstream.endpoints])

    def _pool(self, endpoint: Endpoint, origin: Endpoint | None = None) -> EndpointPool:
        return EndpointPool(self._reactor, self.model, endpoint, self.metrics, self._deadlines, origin)

    def _use(self, endpoints: Sequence[EndpointPool]) -> None:
        """Choose among these from now on."""
        self.endpoints = tuple(endpoints)
        self._balancer = Balancer(self.model.balancing, self.endpoints, lambda endpoint: True)
        self._only = self.endpoints[0] if len(self.endpoints) == 1 else None

    # --- choosing ---------------------------------------------------------------------------

    def next_endpoint(self, request: Request) -> EndpointPool | None:
        """Give the endpoint for a request; ``None`` where there is none that may be used."""
        only = self._only
        return only if only is not None else self._choose(request, ())

    def another_endpoint(self, request: Request, tried: Sequence[EndpointPool]) -> EndpointPool | None:
        """Give another endpoint for a request, which those before came to nothing with; ``None`` where all were tried.

        Every other one that may be used is given once, whoever else has turns.
        """
        return self._choose(request, tried)

    def _choose(self, request: Request, tried: Sequence[EndpointPool]) -> EndpointPool | None:
        endpoint = self._balancer.pick(request, tried)
        if endpoint is not None:
            endpoint.state.picks += 1
        return endpoint

    def close(self) -> None:
        """Close unused connections now and the others when they come back."""
        for endpoint in self.endpoints:
            endpoint.close()
