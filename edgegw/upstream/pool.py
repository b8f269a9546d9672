"""The connections to one endpoint: kept, opened when there is none, closed when they are too many or too old."""
from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from random import choice
from time import monotonic
from typing import Any, Final
from typing import Protocol as TypingProtocol

from attrs import evolve
from twisted.internet import error, protocol
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.python.failure import Failure

from edgegw.deadlines import Deadlines
from edgegw.model import Endpoint, EndpointKind, Upstream
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.tcp import connect_tcp, connect_unix
from edgegw.upstream.connection import UpstreamConnection
from edgegw.upstream.failure import TLSFailure
from edgegw.upstream.proxy_header import Header, ProxiedClient, client_header, proxy_header
from edgegw.upstream.race import Race
from edgegw.upstream.tls import EndpointTLS
from edgegw.upstream.tls_context import ClientContext
from edgegw.upstream.transport import connect_upstream
from edgegw.upstream.waiting import WaitingLine
from edgegw.upstream.watched import Watch, WatchedConnection

__all__ = ["Connecting", "EndpointPool", "Opening", "failure_word"]


#: Seconds that an address is left out which was slower than one of the other family of the same name (RFC 8305 §3
#: has clients remember what worked, too).
OUTRUN_SECONDS: Final = 60.0


class Opening(TypingProtocol):
    """A connection that is waited for."""

    def cancel(self) -> None:
        """Nobody waits for it any more."""


class EndpointPool:
    """The connections to one endpoint.

    :ivar endpoint: as it is configured, or by its address where that was found by a name.
    :ivar origin: as it is configured.
    :ivar name: a host name, if the endpoint has any: what a TLS server has to show a certificate for.
    :ivar socket_address: the family of its sockets and what they are connected to; ``None`` where that has to be looked
        up first.
    :ivar state: what is known of it, whichever configuration it is in.
    :ivar share: its weight for now; see :class:`edgegw.balancing.members.Member`.
    :ivar connections: open now.
    :ivar connecting: being opened.
    :ivar watch: what is told of every request; ``None`` where nobody wants to know.
    :ivar line: where requests wait while there may be no more connections; ``None`` where there is no such limit.
    :ivar rivals: addresses of the other family that the same name has.
    """

    def __init__(
        self,
        reactor: Any,
        upstream: Upstream,
        endpoint: Endpoint,
        metrics: UpstreamMetrics,
        deadlines: Deadlines,
        origin: Endpoint | None = None,
        name: str = "",
        usable_since: float = -inf,
        context: ClientContext | None = None,
    ) -> None:
        """
        :param origin: where ``endpoint`` was found by a name; ``name`` is a host name of the address then.
        :param usable_since: when it was found, by :func:`time.monotonic`, where nothing is known of it yet.
        :param context: of its TLS; ``None`` speaks without.
        """
        self.endpoint = endpoint
        self.origin = endpoint if origin is None else origin
        self.metrics = metrics
        self.deadlines = deadlines
        self.response_timeout = upstream.response_timeout
        self.idle_timeout = upstream.idle_timeout
        self.connect_timeout = upstream.connect_timeout
        self.name = name or endpoint.host
        self.socket_address = _socket_address(endpoint)
        self.host_header = _host_header(endpoint, self.name)
        self.identity = str(endpoint).encode("utf-8", "surrogateescape")
        self.weight = endpoint.weight
        self.priority = endpoint.priority
        self.share = float(endpoint.weight)
        self.connections = 0
        self.connecting = 0
        self.watch: Watch | None = None
        self.line: WaitingLine | None = None
        self.rivals: Sequence[EndpointPool] = ()
        self.state = metrics.state.take(str(endpoint), str(self.origin), usable_since)
        self._keep_alive = upstream.keep_alive_timeout
        self._max_idle = upstream.max_idle
        self._proxy_protocol = upstream.proxy_protocol
        tls = upstream.tls
        self._tls = None if tls is None or context is None else EndpointTLS(tls, context, self.name, metrics)
        self._reactor = reactor
        self._idle: deque[UpstreamConnection] = deque()
        self._most_requests = upstream.limits.max_requests_per_connection or inf
        self._closed = False
        #: Whether more has to be looked at when a connection comes back than how many there are.
        self._careful = self._most_requests != inf or self._proxy_protocol is not None

    def use(self, watch: Watch | None, line: WaitingLine | None) -> None:
        """Take over what the upstream wants to know of its connections, before the first is opened."""
        self.watch = watch
        self.line = line
        self._careful = self._careful or watch is not None or line is not None

    def use_weight(self, endpoint: Endpoint) -> None:
        """Take over a weight and a priority that have changed."""
        self.endpoint = endpoint
        self.weight = endpoint.weight
        self.priority = endpoint.priority
        self.share = float(endpoint.weight)

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
        until = monotonic() + self._keep_alive
        if self._careful:
            # A connection that begins with a client's PROXY header is that client's.
            spent = connection.used >= self._most_requests or monotonic() >= connection.expires
            if self._closed or spent or self._proxy_protocol is not None:
                connection.close()
                return
            if self.line is not None and self._taken_over(connection):
                return
            until = min(until, connection.expires)
        if len(self._idle) >= self._max_idle:
            connection.close()
            return
        self._idle.append(connection)
        self.metrics.idle += 1
        self.deadlines.watch(connection, until)

    def _taken_over(self, connection: UpstreamConnection) -> bool:
        line = self.line
        assert line is not None
        others = (one for one in self.metrics.state.lines if one is not line)
        return line.take_over(self, connection) or any(one.take_over(self, connection) for one in others)

    def drop_idle(self) -> None:
        """Close the connection that has been unused for longest."""
        connection = self._idle.popleft()
        self.metrics.idle -= 1
        connection.close()

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
        self,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[str, str], None],
        client: ProxiedClient | None = None,
    ) -> Opening:
        """Open a connection, or wait for one where there may be no more.

        :param failed: called with a word of :data:`edgegw.observe.counters.CONNECT_FAILURES` or ``TLS_FAILURES`` and
            the system's text; or with :data:`edgegw.upstream.waiting.NO_ROOM`.
        :param client: whom it is for; ``None`` where the gateway wants it for itself.
        """
        if self.line is not None and not self.has_room():
            return self.line.wait(self, connected, failed, client)
        return self.open(connected, failed, client)

    def has_room(self) -> bool:
        """Whether another connection may be opened."""
        return self.line is None or self.line.has_room()

    def open(
        self,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[str, str], None],
        client: ProxiedClient | None,
    ) -> Opening:
        """Open a connection, to a rival where that is faster."""
        if self.rivals:
            now = monotonic()
            rivals = [one for one in self.rivals if one.state.works(now)]
            if rivals:
                return Race(self._reactor, self, choice(rivals), connected, failed, self._outrun, client)
        return self.open_one(connected, failed, client)

    def _outrun(self, winner: EndpointPool) -> None:
        """A rival was faster, or the only one to be reached: leave this address out for a while, and not the rival."""
        winner.state.outrun_until = 0.0
        self.state.outrun_until = monotonic() + OUTRUN_SECONDS
        self.metrics.state.version += 1

    def open_one(
        self,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[str, str], None],
        client: ProxiedClient | None,
    ) -> Connecting:
        """Open a connection to this address and no other."""
        return Connecting(self, connected, failed, client)

    @property
    def has_place(self) -> bool:
        """Whether a request would find a connection."""
        return bool(self._idle)

    def build_connection(
        self, opened: Callable[[Any], None], failed: Callable[[Failure], None], owner: Any = None
    ) -> protocol.Protocol:
        """Make what speaks on a connection that was opened.

        :param opened: called with it once a request can be sent on it.
        :param failed: called in its place with why none ever can.
        :param owner: whose it is, in place of this pool's.
        """
        if owner is not None:
            return UpstreamConnection(owner, opened)
        return (UpstreamConnection if self.watch is None else WatchedConnection)(self, opened)

    def dial(self, factory: Any, client: ProxiedClient | None) -> Any:
        """Open a connection for a factory, and give its connector.

        Exactly one of :meth:`opened`, :meth:`connect_failed` and :meth:`given_up` is called for it.
        """
        self.dialling()
        return self.dial_uncounted(factory, self.connect_timeout, client)

    def dial_uncounted(self, factory: Any, timeout: float, client: ProxiedClient | None = None) -> Any:
        """Open a connection that is no request's.

        :param timeout: seconds, those of TLS and what comes before it included.
        :param client: whom it is for; ``None`` where the gateway wants it for itself.
        """
        endpoint, tls, version = self.endpoint, self._tls, self._proxy_protocol
        if endpoint.kind is EndpointKind.UNIX:
            return connect_unix(self._reactor, endpoint.host, factory, timeout)
        if tls is None and version is None:
            return connect_tcp(self._reactor, endpoint.host, endpoint.port, factory, timeout)
        header: Header = b"" if version is None else proxy_header(version, client)
        return connect_upstream(self._reactor, endpoint.host, endpoint.port, factory, timeout, header, tls)

    def proxy_header_for(self, client: ProxiedClient) -> bytes:
        """Give what a client's connection begins with before the client's first byte; mostly nothing."""
        version = self._proxy_protocol
        if version is None or self.endpoint.kind is EndpointKind.UNIX:
            return b""
        return client_header(version, client)

    def dialling(self) -> None:
        """Count one that is being opened; one of the next three is to follow."""
        self.connecting += 1
        self.metrics.connecting += 1

    def opened(self) -> None:
        """Count a connection in."""
        metrics = self.metrics
        self.connecting -= 1
        metrics.connecting -= 1
        self.connections += 1
        metrics.connects += 1
        metrics.connections += 1
        if self.watch is not None and self.watch.detector is not None:
            self.watch.detector.connected(self.state)

    def connect_failed(self, word: str) -> None:
        """Count one that could not be opened."""
        self.given_up()
        self.metrics.connect_failures[word] += 1
        if self.watch is not None and self.watch.detector is not None:
            self.watch.detector.connect_failed(self.state)

    def given_up(self) -> None:
        """Count one that nobody waited for until it was open."""
        self.connecting -= 1
        self.metrics.connecting -= 1
        self._room_made()

    def closed(self) -> None:
        """Count a connection out."""
        self.connections -= 1
        self.metrics.connections -= 1
        self._room_made()

    def _room_made(self) -> None:
        lines = self.metrics.state.lines
        if lines:  # walking through none of a WeakSet costs several times as much
            for line in lines:
                line.look()

    def close(self) -> None:
        """Close what is unused, and from now on what comes back."""
        if not self._closed:
            self._closed = self._careful = True
            self.metrics.state.release(str(self.endpoint))
        while self._idle:
            connection = self._idle.pop()
            self.metrics.idle -= 1
            connection.close()


def _socket_address(endpoint: Endpoint) -> tuple[int, Any] | None:
    if endpoint.kind is EndpointKind.UNIX:
        return socket.AF_UNIX, endpoint.host
    if isIPAddress(endpoint.host):
        return socket.AF_INET, (endpoint.host, endpoint.port)
    return (socket.AF_INET6, (endpoint.host, endpoint.port)) if isIPv6Address(endpoint.host) else None


def _host_header(endpoint: Endpoint, name: str) -> bytes:
    """Give the Host of requests where the client's is not kept: the name rather than the address it was found by."""
    if endpoint.kind is EndpointKind.UNIX:
        return b"localhost"
    return str(evolve(endpoint, host=name)).encode("ascii")


class Connecting(protocol.ClientFactory):
    """A connection that is being opened."""

    noisy = False

    def __init__(
        self,
        pool: EndpointPool,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[str, str], None],
        client: ProxiedClient | None,
    ) -> None:
        self._pool = pool
        self._connected: Callable[[UpstreamConnection], None] | None = connected
        self._failed: Callable[[str, str], None] | None = failed
        pool.dial(self, client)

    def buildProtocol(self, addr: object) -> protocol.Protocol | None:
        """Called by Twisted when the connection is open."""
        return self._pool.build_connection(self._opened, self._not_opened)

    def _opened(self, connection: UpstreamConnection) -> None:
        connected, self._connected, self._failed = self._connected, None, None
        self._pool.opened()
        if connected is None:
            self._pool.put_back(connection)
        else:
            connected(connection)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """Called by Twisted when it cannot be opened."""
        self._not_opened(reason)

    def _not_opened(self, reason: Failure) -> None:
        failed, self._failed, self._connected = self._failed, None, None
        word = failure_word(reason)
        self._pool.connect_failed(word)
        if failed is not None:
            failed(word, reason.getErrorMessage())

    def cancel(self) -> None:
        """Nobody waits for it any more; if it opens all the same it is kept for the next request."""
        self._connected = self._failed = None


def failure_word(reason: Failure) -> str:
    """Give the word for why a connection cannot be opened; see :meth:`EndpointPool.connect`."""
    if isinstance(reason.value, TLSFailure):
        return reason.value.word
    if reason.check(error.ConnectionRefusedError):
        return "refused"
    if reason.check(error.TimeoutError, error.TCPTimedOutError):
        return "timeout"
    if reason.check(error.DNSLookupError, error.UnknownHostError):
        return "resolve"
    if reason.check(error.NoRouteError):
        return "unreachable"
    return "other"
