"""Connections to an upstream: kept, taken in turn, opened when there is none.

An :class:`UpstreamPool` is an upstream with its endpoints in turn; an :class:`EndpointPool` holds the
unused connections to one of them.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from twisted.internet import error, protocol
from twisted.python.failure import Failure

from edgegw.deadlines import Deadlines
from edgegw.model import Endpoint, Upstream
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.tcp import connect_tcp
from edgegw.upstream.connection import UpstreamConnection

__all__ = ["Connecting", "EndpointPool", "UpstreamPool", "failure_word"]


class EndpointPool:
    """The connections to one endpoint."""

    def __init__(
        self, reactor: Any, upstream: Upstream, endpoint: Endpoint, metrics: UpstreamMetrics, deadlines: Deadlines
    ) -> None:
        self.endpoint = endpoint
        self.metrics = metrics
        self.deadlines = deadlines
        self.response_timeout = upstream.response_timeout
        self.idle_timeout = upstream.idle_timeout
        self.connect_timeout = upstream.connect_timeout
        self.host_header = str(endpoint).encode("ascii")
        self._keep_alive = upstream.keep_alive_timeout
        self._max_idle = upstream.max_idle
        self._reactor = reactor
        self._idle: deque[UpstreamConnection] = deque()
        self._closed = False

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
        self.metrics.connections -= 1
        self.forget(connection)

    def connect(
        self, connected: Callable[[UpstreamConnection], None], failed: Callable[[str, str], None]
    ) -> Connecting:
        """Open a connection.

        :param failed: called with a word of :data:`edgegw.observe.counters.CONNECT_FAILURES` and the system's text.
        """
        return Connecting(self, connected, failed)

    def opened(self) -> None:
        """Count a connection in."""
        self.metrics.connects += 1
        self.metrics.connections += 1

    def close(self) -> None:
        """Close what is unused, and from now on what comes back."""
        self._closed = True
        while self._idle:
            connection = self._idle.pop()
            self.metrics.idle -= 1
            connection.close()


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
        endpoint = pool.endpoint
        connect_tcp(pool._reactor, endpoint.host, endpoint.port, self, pool.connect_timeout)

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
        self._pool.metrics.connect_failures[word] += 1
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
    """An upstream: its endpoints, taken in turn.

    :ivar model: the upstream's settings.
    """

    def __init__(self, reactor: Any, upstream: Upstream, metrics: UpstreamMetrics, deadlines: Deadlines) -> None:
        self.model = upstream
        self.metrics = metrics
        self.endpoints = tuple(
            EndpointPool(reactor, upstream, endpoint, metrics, deadlines) for endpoint in upstream.endpoints
        )
        self._count = len(self.endpoints)
        self._next = 0

    def next_endpoint(self) -> EndpointPool | None:
        """Give the endpoint whose turn it is; ``None`` where there is none at all."""
        if self._count == 1:
            return self.endpoints[0]
        if not self._count:
            return None
        turn = self._next
        self._next = (turn + 1) % self._count
        return self.endpoints[turn]

    def endpoint_after(self, endpoint: EndpointPool) -> EndpointPool:
        """Give the endpoint to try when this one cannot be reached: all of them come, whoever else takes turns."""
        return self.endpoints[(self.endpoints.index(endpoint) + 1) % self._count]

    def close(self) -> None:
        """Close unused connections now and the others when they come back."""
        for endpoint in self.endpoints:
            endpoint.close()
