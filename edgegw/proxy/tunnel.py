"""Bytes from a client to an upstream and back, untouched.

A tunnel is the protocol of the client's connection.  It opens a connection to an endpoint of its upstream, trying the
others where one cannot be reached, and copies both ways: whoever sends is made as slow as whoever receives, so that at
no time more lies here than a transport's buffer and one read for each direction.  An end that sends no more is passed
on as such, and an end that is reset resets the other.

It runs on any transport of :mod:`edgegw.tcp`; where nobody speaks TLS at either end,
:class:`edgegw.proxy.splice_tunnel.SpliceTunnel` does the same for less.  A generation that is retired leaves its
tunnels alone: they go on until they end, or until the service cuts them because ``drain_timeout`` is over.
"""
from __future__ import annotations

from math import inf
from time import monotonic
from typing import Any

from twisted.internet import protocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.identity import ConnectionInfo, Identity
from edgegw.proxy.pace import Source
from edgegw.proxy.tunnel_reach import ReachesUpstream
from edgegw.proxy.tunnel_settings import MAX_HELD, TunnelSettings
from edgegw.tcp import UNIX_PEER
from edgegw.upstream.pool import EndpointPool, Opening, failure_word

__all__ = ["FarEnd", "Tunnel"]


@implementer(IHalfCloseableProtocol)
class Tunnel(ReachesUpstream, protocol.Protocol):
    """The client's end.

    :param info: what is known of the client, for the upstream's PROXY header; what its transport tells unless it is
        given.
    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    transport: Any
    deadline = inf
    watched_until = inf

    def __init__(self, settings: TunnelSettings, info: ConnectionInfo | None = None) -> None:
        self._settings = settings
        self._info = info
        self._metrics = settings.metrics
        self._deadlines = settings.deadlines
        self._idle_timeout = settings.idle_timeout
        self._far: Any = None
        self._held: list[bytes] = []
        self._held_size = 0
        self._sent = 0
        self._taken = -1
        self._client_ended = False
        self._far_ended = False
        self._open = 1

    # --- connecting ---------------------------------------------------------------------------

    @property
    def info(self) -> ConnectionInfo:
        """What may be known of the client: its address and the name that it asked for, unless there is more."""
        if self._info is not None:
            return self._info
        transport = self.transport
        peer = getattr(transport.getPeer(), "host", UNIX_PEER)
        return ConnectionInfo("", Identity(), peer, server_name=transport.server_name, proxied=transport.proxied)

    def connectionMade(self) -> None:
        """Called by the client's transport."""
        self.reach_upstream()

    def dial(self, endpoint: EndpointPool) -> Opening:
        """See ``ReachesUpstream``."""
        return _Dialling(self, endpoint)

    def unreachable(self) -> None:
        """See ``ReachesUpstream``."""
        self.transport.loseConnection()

    def time_is_up(self) -> None:
        """See ``ReachesUpstream``."""
        self._end()

    def connected_to(self, far: Any) -> None:
        """The upstream's end is open.

        :param far: its transport.
        """
        self._dialling = None
        self._far = far
        self._open += 1
        client = self.transport
        # Both ways, and at any time: the transports pause each other.
        client.registerProducer(Source(far.pauseProducing, far.resumeProducing), True)
        far.registerProducer(Source(client.pauseProducing, client.resumeProducing), True)
        self._deadlines.watch(self, monotonic() + self._idle_timeout)
        paused = self._held_size > MAX_HELD
        held, self._held = b"".join(self._held), []
        self._sent += len(held)
        far.write(held)
        if self._client_ended:
            self._pass_end_on(far)
        elif paused and not far.producerPaused:
            client.resumeProducing()

    # --- copying ------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Called by the client's transport."""
        size = len(data)
        self._metrics.bytes_received += size
        far = self._far
        if far is None:
            self._held.append(data)
            self._held_size += size
            if self._held_size > MAX_HELD:
                self.transport.pauseProducing()
            return
        self._sent += size
        self.deadline = monotonic() + self._idle_timeout
        far.write(data)

    def data_from_upstream(self, data: bytes) -> None:
        """Called with what the upstream sends."""
        size = len(data)
        self._metrics.bytes_sent += size
        self._sent += size
        self.deadline = monotonic() + self._idle_timeout
        self.transport.write(data)

    # --- ends ---------------------------------------------------------------------------------

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        self._client_ended = True
        if self._far is not None:
            self._pass_end_on(self._far)

    def upstream_ended(self) -> None:
        """The upstream sends no more."""
        self._far_ended = True
        self._pass_end_on(self.transport)

    def _pass_end_on(self, transport: Any) -> None:
        """Tell the other end, behind everything that was sent to it; close where neither sends any more."""
        if self._client_ended and self._far_ended:
            self._close()
        elif transport.connected:
            transport.unregisterProducer()
            transport.loseWriteConnection()

    def _close(self) -> None:
        """Close both ends, each when it has taken what was sent to it."""
        self._client_ended = self._far_ended = True
        for transport in (self.transport, self._far):
            if transport is not None and transport.connected:
                transport.unregisterProducer()
                transport.loseConnection()

    def _cut(self) -> None:
        for transport in (self.transport, self._far):
            if transport is not None and transport.connected:
                transport.abortConnection()

    def deadline_passed(self) -> None:
        """See ``Deadlines``: nothing was sent for a while."""
        taken = self._sent - self._unsent()
        if taken == self._sent or taken == self._taken:
            self._end()
        else:
            self._taken = taken
            self._deadlines.watch(self, monotonic() + self._idle_timeout)

    def _unsent(self) -> int:
        ends = (self.transport, self._far)
        return sum(transport.unsent for transport in ends if transport is not None and transport.connected)

    def _end(self) -> None:
        """End it now: in order, unless an end does not take what is there for it."""
        if self._unsent() or self._held or (self._client_ended and self._far_ended):
            self._cut()
        else:
            self._close()
            # Should an end's kernel not even have room for its end.
            self._deadlines.watch(self, monotonic() + self._idle_timeout)

    def writeConnectionLost(self) -> None:
        """The client was told that no more is coming."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Called by the client's transport."""
        self.reach_no_more()
        self._held = []
        self._end_is_gone(self._client_ended, self._far)

    def upstream_lost(self) -> None:
        """The connection to the upstream is gone."""
        self._end_is_gone(self._far_ended, self.transport)

    def _end_is_gone(self, had_ended: bool, other: Any) -> None:
        self._open -= 1
        if not self._open:
            self._deadlines.forget(self)
        elif had_ended:
            # It has said everything: a reset would take from the other what it has not read yet.
            self._close()
        else:
            other.abortConnection()


@implementer(IHalfCloseableProtocol)
class FarEnd(protocol.Protocol):
    """The upstream's end.

    :param endpoint: counts its connection; ``None`` where that is not this end's alone.
    """

    transport: Any

    def __init__(self, tunnel: Tunnel, endpoint: EndpointPool | None) -> None:
        self._tunnel = tunnel
        self._endpoint = endpoint

    def connectionMade(self) -> None:
        if self._endpoint is not None:
            self._endpoint.opened()
        self.transport.setTcpNoDelay(True)
        self._tunnel.connected_to(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._tunnel.data_from_upstream(data)

    def readConnectionLost(self) -> None:
        self._tunnel.upstream_ended()

    def writeConnectionLost(self) -> None:
        pass  # we have told it so

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        if self._endpoint is not None:
            self._endpoint.closed()
        self._tunnel.upstream_lost()


class _Dialling(protocol.ClientFactory):
    """A connection to an endpoint that is being opened."""

    noisy = False

    def __init__(self, tunnel: Tunnel, endpoint: EndpointPool) -> None:
        self._tunnel: Tunnel | None = tunnel
        self._endpoint = endpoint
        self._connector = endpoint.dial(self, tunnel)

    def buildProtocol(self, addr: object) -> protocol.Protocol | None:
        tunnel, self._tunnel = self._tunnel, None
        return None if tunnel is None else FarEnd(tunnel, self._endpoint)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is None:
            self._endpoint.given_up()
        else:
            word = failure_word(reason)
            self._endpoint.connect_failed(word)
            tunnel.connect_failed(self._endpoint, word, reason.getErrorMessage())

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._tunnel = None
        self._connector.disconnect()
