"""Listeners that let bytes through without looking into them, whatever they are inside of."""
from __future__ import annotations

import socket
from time import monotonic
from typing import Any

from twisted.internet import protocol
from twisted.python.failure import Failure

from edgegw.identity import CertificateStatus, ConnectionInfo
from edgegw.model import Listener
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import ListenerMetrics
from edgegw.proxied import ProxyFacts
from edgegw.proxy.tunnel import Tunnel
from edgegw.proxy.tunnel_routes import TunnelBackend, TunnelRoutes, TunnelTarget, no_route
from edgegw.tcp import Why
from edgegw.tls.admission import Admission
from edgegw.tls.counting import LIMITS
from edgegw.tls.profile import PlainListener, PortProfile
from edgegw.tls.routing import Passage
from edgegw.tls.transport import TLSServer
from edgegw.verdict import Reason, Reject
from edgegw.wire.fingerprints import Fingerprints

__all__ = ["Closing", "PassthroughListener", "RoutedTunnel", "TCPListener", "tunnel_for"]


class Closing(protocol.Protocol):
    """Closes a connection that goes nowhere."""

    def connectionMade(self) -> None:
        """Called by the transport."""
        assert self.transport is not None
        self.transport.loseConnection()


class RoutedTunnel(Tunnel):
    """A tunnel that a route has led to its upstream, on a transport on which TLS is spoken with the client."""

    def __init__(self, target: TunnelTarget, backend: TunnelBackend, info: ConnectionInfo) -> None:
        super().__init__(backend.tunnels.settings, info)
        self._target = target
        self._backend = backend

    def connectionMade(self) -> None:
        """Called by the client's transport."""
        self._target.begun(self._backend)
        super().connectionMade()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Called by the client's transport."""
        self._target.ended(self._backend)
        super().connectionLost(reason)


def tunnel_for(routes: TunnelRoutes, info: ConnectionInfo) -> protocol.Protocol | Reject:
    """Give the protocol for a connection whose TLS its route has let begin, or why it is refused after all.

    The route may have become full meanwhile: only now a connection counts there, and any number of handshakes may end
    at one time.
    """
    # Who was not let begin for its name does not come here.
    target = routes.find(info.server_name, True)
    if target is None:
        return no_route(info.server_name)
    refusal = target.refuse_begun()
    if refusal is not None:
        return refusal
    backend = target.choose()
    assert backend is not None  # it would have been refused
    return RoutedTunnel(target, backend, info)


class _RoutedPassage(Passage):
    """A connection that a route has led to its upstream, and on which nobody speaks TLS here."""

    def __init__(
        self, profile: PortProfile, metrics: ListenerMetrics, target: TunnelTarget, backend: TunnelBackend
    ) -> None:
        super().__init__(profile, metrics)
        self._target = target
        self._backend = backend
        target.begun(backend)

    def lost(self, transport: Any) -> None:
        """See ``Owner``."""
        self._target.ended(self._backend)
        super().lost(transport)


class TCPListener(PlainListener):
    """A listener with the protocol TCP.

    :ivar profile: of its port; whoever builds that sets it.
    """

    profile: PortProfile

    def __init__(self, model: Listener, metrics: ListenerMetrics, routes: TunnelRoutes) -> None:
        super().__init__(model, metrics, _no_protocol)
        self.routes = routes

    def accept(self, sock: socket.socket, client: tuple[Any, ...], proxied: ProxyFacts | None) -> None:
        """See ``PlainListener``."""
        way = self._way()
        if isinstance(way, Reject):
            self.turned_away(client, Reason(way.code))
            sock.close()
            self.profile.dismiss(client[0])
        else:
            target, backend = way
            _RoutedPassage(self.profile, self.metrics, target, backend).accept(sock, client, proxied, backend.tunnels)

    def take_over(self, transport: TLSServer) -> Why:
        """Pass a connection on that came to a TLS port and is none of TLS."""
        way = self._way()
        if isinstance(way, Reject):
            return transport.refuse(way.code, way.detail)
        target, backend = way
        _RoutedPassage(self.profile, self.metrics, target, backend).begin(transport, backend.tunnels)
        return None

    def _way(self) -> tuple[TunnelTarget, TunnelBackend] | Reject:
        target = self.routes.find(None)
        if target is None:
            return Reject(Reason.NO_ROUTE, f"of {self.model.name}")
        refusal = target.refuse()
        if refusal is not None:
            return refusal
        backend = target.choose()
        assert backend is not None  # it would have been refused
        return target, backend


def _no_protocol(info: ConnectionInfo) -> Any:
    raise AssertionError("no protocol runs on a connection that is passed on")


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
    ) -> None:
        self.model = model
        self.metrics = metrics
        self.routes = routes
        self._record = record
        self._admission = Admission(metrics, model.limits.max_connections, model.limits.connection_rate)

    def take(self, transport: TLSServer) -> Why:
        """Pass a connection through; see ``SecureListener``."""
        transport.judge = self  # type: ignore[assignment]  # it is asked nothing before TLS begins
        reason = self._admission.refuse()
        if reason is not None:
            return transport.refuse(reason, "")
        target = self.routes.find(transport.server_name)
        refusal = no_route(transport.server_name) if target is None else target.refuse()
        if target is None or refusal is not None:
            assert refusal is not None
            return transport.refuse(refusal.code, refusal.detail)
        backend = target.choose()
        assert backend is not None  # it would have been refused
        _RoutedPassage(self.profile, self.metrics, target, backend).begin(transport, backend.tunnels)
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

