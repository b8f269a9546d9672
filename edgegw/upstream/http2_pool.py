"""The connections to one endpoint that speaks HTTP/2, or may: few of them, with many requests on each.

A request takes the first connection that has room for it, so that those which are not needed any more become idle.
Where none has, it waits for one that is being opened, together with as many others as that is expected to take.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic
from typing import Any

from twisted.internet import protocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.deadlines import Deadlines
from edgegw.model import Endpoint, HTTPVersion, Upstream
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.upstream.connection import UpstreamConnection
from edgegw.upstream.http2_connection import HTTP2Connection, connection_limits
from edgegw.upstream.http2_fields import RequestFields
from edgegw.upstream.http2_stream import RequestStream
from edgegw.upstream.pool import EndpointPool
from edgegw.upstream.proxy_header import ProxiedClient
from edgegw.upstream.tls_context import ClientContext

__all__ = ["HTTP2Pool", "StreamWait"]


class StreamWait:
    """A request that waits for a place on a connection."""

    __slots__ = ("_elsewhere", "connected", "failed", "pool")

    def __init__(
        self, pool: HTTP2Pool, connected: Callable[[Any], None], failed: Callable[[str, str], None]
    ) -> None:
        self.pool = pool
        self.connected = connected
        self.failed = failed
        self._elsewhere: Any = None

    def go(self, opening: Any) -> None:
        """Wait for something else."""
        self._elsewhere = opening

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._elsewhere is not None:
            self._elsewhere.cancel()
        else:
            self.pool.leave(self)


class HTTP2Pool(EndpointPool):
    """The connections to one endpoint, by prior knowledge or as ALPN decides; see :class:`EndpointPool`."""

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
        *,
        fields: RequestFields,
        http1_context: ClientContext | None = None,
    ) -> None:
        """
        :param fields: takes requests apart.
        :param http1_context: of TLS that offers nothing but HTTP/1.1; ``None`` where that is never spoken.
        """
        super().__init__(reactor, upstream, endpoint, metrics, deadlines, origin, name, usable_since, context)
        self._http1: EndpointPool | None = None
        self._make_http1: Callable[[], EndpointPool] | None = None
        if http1_context is not None:
            self._make_http1 = partial(
                EndpointPool, reactor, upstream, endpoint, metrics, deadlines, origin, name, usable_since, http1_context
            )
        self._negotiates = upstream.http_version is HTTPVersion.AUTO
        #: Whether the last connection that was negotiated speaks HTTP/1.1.
        self._speaks_http1 = False
        self._fields = fields
        self._limits = connection_limits(upstream.limits.max_concurrent_streams)
        self._shared: list[HTTP2Connection] = []
        self._waiters: deque[StreamWait] = deque()
        self._dials = 0
        #: What a new connection is expected to take.
        self._expected = upstream.limits.max_concurrent_streams
        self._counted = 0

    # --- counting ---------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests that are not answered, those that wait for a connection among them."""
        sharing = sum(one.sharing for one in self._shared)
        beside = 0 if self._http1 is None else self._http1.in_flight + self._http1.idle
        return self.connections - self.idle + self.connecting + sharing + self._counted + beside

    @property
    def has_place(self) -> bool:
        """Whether a request would find a connection, or a place on one."""
        return bool(self._idle) or any(one.room > 0 for one in self._shared)

    @property
    def idle(self) -> int:
        """Connections that are kept."""
        beside = 0 if self._http1 is None else self._http1.idle
        return len(self._idle) + sum(one.idle for one in self._shared) + beside

    def _count(self, connection: HTTP2Connection) -> None:
        """Tell the upstream's counters how many requests beyond the first are on a connection."""
        more = connection.busy - 1
        if more < 0:
            more = 0
        self.metrics.sharing += more - connection.sharing
        connection.sharing = more

    def _count_waiters(self) -> None:
        """Tell the upstream's counters how many requests wait beyond one for each connection that is being opened."""
        more = max(0, len(self._waiters) - self._dials)
        self.metrics.sharing += more - self._counted
        self._counted = more

    # --- giving connections -----------------------------------------------------------------

    def take(self) -> Any:
        """Give a place on a connection that is open, or ``None``."""
        found = self._place()
        if found is None:
            return super().take()
        self.metrics.reused += 1
        return found

    def _place(self) -> RequestStream | None:
        for connection in self._shared:
            if connection.room > 0:
                if self._is_spent(connection):
                    connection.retire()
                    return self._place()
                if connection.idle:
                    connection.idle = False
                    connection.deadline = inf
                    self.metrics.idle -= 1
                stream = connection.begin()
                self._count(connection)
                return stream
        return None

    def _is_spent(self, connection: HTTP2Connection) -> bool:
        """Whether it is to take no further request."""
        return connection.used + connection.reserved >= self._most_requests or monotonic() >= connection.expires

    def connect(
        self,
        connected: Callable[[Any], None],
        failed: Callable[[str, str], None],
        client: ProxiedClient | None = None,
    ) -> Any:
        """See :meth:`EndpointPool.connect`; the connection may be one that others have opened."""
        if self._speaks_http1:
            return super().connect(connected, failed, client)
        found = self._place()
        waiter = StreamWait(self, connected, failed)
        if found is not None:
            self.metrics.reused += 1
            connected(found)
            return waiter
        self._waiters.append(waiter)
        self._dial()
        return waiter

    def leave(self, waiter: StreamWait) -> None:
        """One waits no longer."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._count_waiters()

    def _dial(self) -> None:
        """Open connections for those that wait and whom none of those that are being opened will take."""
        while self._waiters and len(self._waiters) > self._dials * self._expected:
            if self.line is not None and not self.line.has_room():
                waiter = self._waiters.pop()
                waiter.go(self.line.wait(self, waiter.connected, waiter.failed))
                continue
            self._dials += 1
            self.open(self._opened, self._not_opened, None)
        self._count_waiters()

    def _opened(self, connection: Any) -> None:
        """A connection was opened, to this address or to a faster one of the same name."""
        self._dials -= 1
        pool, place = connection.pool, connection
        while self._waiters and place is not None:
            self._waiters.popleft().connected(place)
            place = pool.take() if self._waiters else None
            connection = None
        if connection is not None:
            pool.put_back(connection)
        if self._speaks_http1:
            # Each of them needs one of its own.
            waiters, self._waiters = self._waiters, deque()
            for waiter in waiters:
                waiter.go(super().connect(waiter.connected, waiter.failed))
        self._dial()

    def _not_opened(self, word: str, text: str) -> None:
        self._dials -= 1
        left = self._dials * self._expected
        failed = [self._waiters.pop() for _ in range(max(0, len(self._waiters) - left))]
        self._count_waiters()
        for waiter in reversed(failed):
            waiter.failed(word, text)

    def over_http1(self) -> EndpointPool | None:
        """Give connections to the same endpoint for what cannot be asked for over HTTP/2; ``None`` if there are none.

        They are there where ALPN decides, and offer nothing but HTTP/1.1 in it.
        """
        if self._http1 is None and self._make_http1 is not None:
            self._http1 = self._make_http1()
            self._http1.use(self.watch, self.line)
            if self._closed:
                self._http1.close()
        return self._http1

    # --- what becomes of connections --------------------------------------------------------

    def build_connection(
        self, opened: Callable[[Any], None], failed: Callable[[Failure], None], owner: Any = None
    ) -> protocol.Protocol:
        """See :meth:`EndpointPool.build_connection`."""
        if not self._negotiates:
            return self._build_http2(opened, failed, owner)
        return _Negotiated(lambda chosen: self._build(chosen, opened, failed, owner))

    def _build(
        self, chosen: bytes | None, opened: Callable[[Any], None], failed: Callable[[Failure], None], owner: Any
    ) -> protocol.Protocol:
        self._speaks_http1 = chosen != b"h2"
        if self._speaks_http1:
            return super().build_connection(opened, failed, owner)
        return self._build_http2(opened, failed, owner)

    def _build_http2(
        self, opened: Callable[[Any], None], failed: Callable[[Failure], None], owner: Any
    ) -> HTTP2Connection:
        def kept(stream: RequestStream) -> None:
            connection = stream.connection
            self._shared.append(connection)
            self._expected = max(1, connection.room + 1)
            opened(stream)
            if self.line is not None:
                self._offer(connection)

        return HTTP2Connection(
            self if owner is None else owner, self._fields, self._limits, kept if owner is None else opened, failed
        )

    def put_back(self, connection: Any) -> None:
        """A request on a connection is over, or it has none yet: give its place to whoever waits, or keep it."""
        if isinstance(connection, UpstreamConnection):
            super().put_back(connection)
        elif isinstance(connection, RequestStream):
            connection.abandon()
        else:
            self._go_on_with(connection)

    def _go_on_with(self, connection: HTTP2Connection) -> None:
        self._count(connection)
        if self._closed or self._is_spent(connection):
            connection.retire()
            return
        if self._waiters:
            self._serve(connection)
        if self.line is not None:
            self._offer(connection)
        if connection.busy or connection.idle or connection not in self._shared:
            return
        if self.line is not None and self._wanted_elsewhere(connection):
            return
        if self.idle >= self._max_idle:
            connection.retire()
            return
        connection.idle = True
        self.metrics.idle += 1
        self.deadlines.watch(connection, min(monotonic() + self._keep_alive, connection.expires))

    def _serve(self, connection: HTTP2Connection) -> None:
        """Give the places of a connection to those that wait for another one."""
        while self._waiters and connection.room > 0 and not self._is_spent(connection):
            self.metrics.reused += 1
            waiter = self._waiters.popleft()
            stream = connection.begin()
            self._count(connection)
            waiter.connected(stream)
        self._count_waiters()

    def _offer(self, connection: HTTP2Connection) -> None:
        """Give the places of a connection to those that wait because there may be no more connections."""
        for line in list(self.metrics.state.lines):
            while connection.room > 0 and not self._is_spent(connection):
                stream = connection.begin()
                if not line.offer(self, stream):
                    connection.reserved -= 1
                    break
        self._count(connection)

    def _wanted_elsewhere(self, connection: HTTP2Connection) -> bool:
        """Whether an unused connection was closed to make room for those that wait for another endpoint."""
        if any(line.is_waited_in for line in self.metrics.state.lines):
            connection.retire()
            return True
        return False

    def drop_idle(self) -> None:
        """Close a connection that is unused."""
        if self._idle:
            super().drop_idle()
            return
        if self._http1 is not None and self._http1.idle:
            self._http1.drop_idle()
            return
        next(one for one in self._shared if one.idle).retire()

    def forget(self, connection: Any) -> None:
        """Give a connection no further requests."""
        if isinstance(connection, UpstreamConnection):
            super().forget(connection)
            return
        if connection.idle:
            connection.idle = False
            self.metrics.idle -= 1
        if connection in self._shared:
            self._shared.remove(connection)
            self.metrics.sharing -= connection.sharing
            connection.sharing = 0

    def close(self) -> None:
        """Close what is unused, and the others when what is on them is answered."""
        super().close()
        if self._http1 is not None:
            self._http1.close()
        for connection in list(self._shared):
            connection.retire()


@implementer(IHalfCloseableProtocol)
class _Negotiated(protocol.Protocol):
    """Stands on a connection until it is known what it speaks, which is as soon as there is a transport.

    :param build: makes what speaks the protocol that ALPN chose.
    """

    def __init__(self, build: Callable[[bytes | None], protocol.Protocol]) -> None:
        self._build = build

    def makeConnection(self, transport: Any) -> None:
        """Called by Twisted: give the transport to another protocol."""
        speaker = self._build(getattr(transport, "negotiatedProtocol", None))
        transport.protocol = speaker
        speaker.makeConnection(transport)

    def readConnectionLost(self) -> None:
        """Never called."""

    def writeConnectionLost(self) -> None:
        """Never called."""
