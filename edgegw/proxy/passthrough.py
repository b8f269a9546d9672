"""Listeners that let bytes through without looking into them, whatever they are inside of."""
from __future__ import annotations

from time import monotonic
from typing import Any

from twisted.internet import protocol

from edgegw.deadlines import Deadlines
from edgegw.identity import CertificateStatus, ConnectionInfo
from edgegw.model import Listener
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import ListenerMetrics
from edgegw.proxied import ProxyFacts
from edgegw.proxy.tunnel import Tunnel
from edgegw.proxy.tunnel_routes import TunnelBackend, TunnelRoutes, TunnelTarget
from edgegw.tcp import Why
from edgegw.tls.admission import Admission
from edgegw.tls.listener import LIMITS
from edgegw.tls.profile import PortProfile
from edgegw.tls.routing import Passage
from edgegw.tls.transport import TLSServer
from edgegw.verdict import Reason
from edgegw.wire.fingerprints import Fingerprints

__all__ = ["Closing", "PassthroughListener", "RoutedTunnel", "tunnel_for"]


class Closing(protocol.Protocol):
    """Closes a connection that goes nowhere."""

    def connectionMade(self) -> None:
        """Called by the transport."""
        assert self.transport is not None
        self.transport.loseConnection()


class RoutedTunnel(Tunnel):
    """A tunnel that a route has led to its upstream."""

    def __init__(self, target: TunnelTarget, backend: TunnelBackend, deadlines: Deadlines) -> None:
        super().__init__(backend.upstream, backend.metrics, deadlines)
        self._target = target
        self._backend = backend

    def connectionMade(self) -> None:
        """Called by the client's transport."""
        self._target.counts.connections += 1
        self._backend.metrics.connections += 1
        self._backend.metrics.connections_total += 1
        super().connectionMade()

    def connectionLost(self, reason: Any = protocol.connectionDone) -> None:
        """Called by the client's transport."""
        self._target.counts.connections -= 1
        self._backend.metrics.connections -= 1
        super().connectionLost(reason)


def tunnel_for(routes: TunnelRoutes, info: ConnectionInfo, deadlines: Deadlines) -> protocol.Protocol:
    """Give the protocol for a connection that its route has let in."""
    target = routes.find(info.server_name)
    backend = None if target is None else target.choose()
    if target is None or backend is None:
        return Closing()
    return RoutedTunnel(target, backend, deadlines)


class PassthroughListener:
    """A listener with the protocol TLS whose clients' TLS ends at the upstream.

    :ivar profile: of its port; whoever builds that sets it.
    """

    profile: PortProfile

    def __init__(
        self,
        model: Listener,
        metrics: ListenerMetrics,
        routes: TunnelRoutes,
        record: HandshakeRecord,
        deadlines: Deadlines,
    ) -> None:
        self.model = model
        self.metrics = metrics
        self.routes = routes
        self._record = record
        self._deadlines = deadlines
        self._admission = Admission(metrics, model.limits.max_connections, model.limits.connection_rate)

    def take(self, transport: TLSServer) -> Why:
        """Pass a connection through; see ``SecureListener``."""
        transport.judge = self  # type: ignore[assignment]  # it is asked nothing before TLS begins
        reason = self._admission.refuse()
        if reason is not None:
            return transport.refuse(reason, "")
        target = self.routes.find(transport.server_name)
        if target is None:
            return transport.refuse(Reason.NO_ROUTE, f"for {transport.server_name or 'clients without SNI'}")
        refusal = target.refuse()
        if refusal is not None:
            return transport.refuse(refusal.code, refusal.detail)
        backend = target.choose()
        assert backend is not None  # it would have been refused
        Passage(self.profile, self.metrics).begin(transport, RoutedTunnel(target, backend, self._deadlines))
        return None

    def turned_away(
        self, client: tuple[Any, ...], reason: Reason, detail: str = "", proxied: ProxyFacts | None = None
    ) -> None:
        """Count and remember a connection that the port did not take."""
        self.metrics.connections_total += 1
        self.metrics.refuse(reason)
        self._remember(client, None, reason, detail, 0.0, None, proxied)

    def failed(self, transport: TLSServer, reason: str, detail: str, begun: bool) -> str:
        """Count and remember a connection that is not passed through; gives the handshake's id."""
        seconds = monotonic() - transport.started
        found = transport.fingerprints
        self.metrics.connections_total += 1
        handshake_id = self._remember(
            transport.client, transport.server_name, reason, detail, seconds, found, transport.proxied
        )
        if reason in LIMITS:
            self.metrics.refuse(reason)
        else:
            self.metrics.handshake_failed(reason, seconds, handshake_id, found)
        return handshake_id

    def _remember(
        self,
        client: tuple[Any, ...],
        name: str | None,
        reason: str,
        detail: str,
        seconds: float,
        found: Fingerprints | None,
        proxied: ProxyFacts | None,
    ) -> str:
        return self._record.add(
            self.model.name, str(client[0]), int(client[1]), name, None, None, None, False, CertificateStatus.NONE,
            None, reason, detail, (), seconds, fingerprints=found, proxied=proxied,
        )

    def gone(self) -> None:
        """See ``Judge``; nothing that it has begun is its own to count."""

