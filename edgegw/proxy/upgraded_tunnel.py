"""Bytes of another protocol, between a client and an upstream that have agreed on it by an upgrade.

Each end is the transport of a whole connection, or of one stream of an HTTP/2 connection.  It is a tunnel whose
upstream's end is there already: back-pressure, half-close, resets and silence are what they are in
:mod:`edgegw.proxy.tunnel`.  A generation that is retired leaves it alone, as it does all tunnels.
"""
from __future__ import annotations

from typing import Any

from edgegw.deadlines import Deadlines
from edgegw.identity import ConnectionInfo
from edgegw.observe.metrics import ListenerMetrics
from edgegw.observe.tunnel_counters import TunnelMetrics
from edgegw.proxy.tunnel import FarEnd, Tunnel
from edgegw.proxy.tunnel_settings import TunnelSettings
from edgegw.proxy.upgrading import SwitchedUpstream
from edgegw.upstream.connection import UpstreamConnection
from edgegw.upstream.pool import EndpointPool
from edgegw.upstream.upstream import UpstreamPool

__all__ = ["UpgradedTunnel"]


class UpgradedTunnel(Tunnel):
    """The client's end.

    :param listener: counts the bytes beside the request's counters.
    """

    def __init__(
        self,
        upstream: SwitchedUpstream,
        listener: ListenerMetrics | TunnelMetrics,
        deadlines: Deadlines,
        info: ConnectionInfo,
    ) -> None:
        pool = upstream.backend.upstream
        assert isinstance(pool, UpstreamPool)
        super().__init__(TunnelSettings(pool, listener, deadlines, None, upstream.upgrade.idle_timeout), info)
        self._upstream = upstream
        self._request = upstream.backend.metrics

    def begin(self, client: Any, held: bytes, ended: bool) -> None:
        """Exchange bytes from now on; whoever had the client's transport has let go of it.

        :param client: the transport, with ``unsent``, ``connected`` and ``producerPaused`` as those of
            :mod:`edgegw.tcp` have them; it reads, and has no producer.
        :param held: what the client has sent already of the protocol.
        :param ended: whether it sends no more.
        """
        self.transport = client
        self.connected = 1
        client.protocol = self
        connection = self._upstream.connection
        far = connection.transport
        # A stream's connection goes on, and is the pool's to count.
        endpoint: EndpointPool | None = None
        if isinstance(connection, UpstreamConnection):
            assert isinstance(connection.pool, EndpointPool)
            endpoint = connection.pool
        end = far.protocol = FarEnd(self, endpoint)
        end.transport = far
        self._client_ended = ended
        if held:
            self._held = [held]
            self._request.request_bytes += len(held)
        self.connected_to(far)
        if self._upstream.data:
            self.data_from_upstream(self._upstream.data)

    def connectionMade(self) -> None:
        """There is no upstream to be reached any more."""

    def dataReceived(self, data: bytes) -> None:
        """Called by the client's transport."""
        self._request.request_bytes += len(data)
        super().dataReceived(data)

    def data_from_upstream(self, data: bytes) -> None:
        """See :class:`~edgegw.proxy.tunnel.Tunnel`."""
        self._request.response_bytes += len(data)
        super().data_from_upstream(data)

    def _end_is_gone(self, had_ended: bool, other: Any) -> None:
        super()._end_is_gone(had_ended, other)
        if not self._open:
            self._upstream.over()
