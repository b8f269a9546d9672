"""Where the connections of one listener go whose bytes are not looked into."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from edgegw.balancing.shares import Shares
from edgegw.deadlines import Deadlines
from edgegw.match.server_names import ServerNames
from edgegw.model import Gateway, Listener, Protocol, TCPRoute, TLSRoute
from edgegw.names import intersection
from edgegw.observe.metrics import Metrics
from edgegw.observe.tunnel_counters import AdmissionCounts, TunnelMetrics
from edgegw.proxy.plugin_backend import PluginUpstream
from edgegw.proxy.tunnels import Tunnels
from edgegw.tls.admission import Admission
from edgegw.upstream.upstream import UpstreamPool
from edgegw.verdict import Reason, Reject

__all__ = ["TunnelBackend", "TunnelRoutes", "TunnelTarget", "no_route"]


class TunnelBackend:
    """A share of a route's connections.

    :ivar tunnels: makes their tunnels.
    """

    __slots__ = ("credit", "metrics", "tunnels", "weight")

    def __init__(self, tunnels: Tunnels, weight: int, metrics: TunnelMetrics) -> None:
        self.tunnels = tunnels
        self.weight = weight
        self.metrics = metrics
        self.credit = 0


class TunnelTarget(Shares[TunnelBackend]):
    """What stands behind a route; each connection's backend is chosen by weight.

    :ivar model: the route.
    :ivar counts: its connections, over all listeners.
    """

    __slots__ = ("_admission", "counts", "model")

    def __init__(self, model: TCPRoute, backends: Iterable[TunnelBackend], counts: AdmissionCounts) -> None:
        super().__init__(backends)
        self.model = model
        self.counts = counts
        self._admission = Admission(counts, model.max_connections, model.connection_rate)

    def begun(self, backend: TunnelBackend) -> None:
        """Count a connection in."""
        self.counts.connections += 1
        backend.metrics.connections += 1
        backend.metrics.connections_total += 1

    def ended(self, backend: TunnelBackend) -> None:
        """Count it out."""
        self.counts.connections -= 1
        backend.metrics.connections -= 1

    def refuse(self) -> Reject | None:
        """Say why a new connection cannot go this way; ``None`` counts it against the route's rate."""
        if not self._some:
            return Reject(Reason.NO_BACKEND, f"the route {self.model.name} has nowhere to send it")
        reason = self._admission.refuse()
        return None if reason is None else Reject(reason, f"of the route {self.model.name}")

    def refuse_begun(self) -> Reject | None:
        """Say why a connection that :meth:`refuse` has let begin cannot go this way after all."""
        if self._admission.is_full:
            return Reject(Reason.MAX_CONNECTIONS, f"of the route {self.model.name}")
        return None


class TunnelRoutes:
    """The routes of one listener, by the names that clients ask for.

    Whom the port's router has sent here may ask for other names than the listener's host name.
    """

    def __init__(self, listener: Listener, routes: Iterable[tuple[TCPRoute, TunnelTarget]]) -> None:
        self._names: ServerNames[TunnelTarget] = ServerNames()
        self._routed: ServerNames[TunnelTarget] = ServerNames()
        entries = []
        for route, target in routes:
            for named in (route.hostnames if isinstance(route, TLSRoute) else ()) or (None,):
                self._routed.add(named, target)
                hostnames = intersection(() if named is None else (named,), listener.hostname)
                for hostname in (None,) if hostnames == () else hostnames or ():
                    entries.append((_breadth(named), hostname, target))
        # A listener's host name may make one of several: the one that the most specific of them was counts.
        for _, hostname, target in sorted(entries, key=itemgetter(0)):
            self._names.add(hostname, target)

    @classmethod
    def of(
        cls,
        gateway: Gateway,
        listener: Listener,
        upstreams: Mapping[str, UpstreamPool | PluginUpstream],
        metrics: Metrics,
        deadlines: Deadlines,
        reactor: Any,
    ) -> TunnelRoutes:
        """Make those of a listener of a gateway."""
        routes = gateway.tls_routes if listener.protocol is Protocol.TLS else gateway.tcp_routes
        return cls(
            listener,
            [
                (route, _target(route, listener, upstreams, metrics, deadlines, reactor))
                for route in routes
                if not route.listeners or listener.name in route.listeners
            ],
        )

    def find(self, name: str | None, routed: bool = False) -> TunnelTarget | None:
        """Give what stands behind the route of a canonical name; ``None`` where it has none.

        :param routed: whether the port's router has sent the client here, whatever the listener's host name is.
        """
        return self._names.find(name) or (self._routed.find(name) if routed else None)

    def refuse(self, name: str | None, routed: bool = False) -> Reject | None:
        """Say why a new connection for a name is refused; ``None`` counts it against its route's rate.

        :param routed: see :meth:`find`.
        """
        target = self.find(name, routed)
        return no_route(name) if target is None else target.refuse()


def no_route(name: str | None) -> Reject:
    """Refuse a connection whose name has no route."""
    return Reject(Reason.NO_ROUTE, f"for {name or 'clients without SNI'}")


def _breadth(hostname: str | None) -> tuple[bool, bool, int]:
    """Give what sorts host names of routes, the most specific first: exact ones, wildcards by labels, every name."""
    if hostname is None:
        return True, True, 0
    return False, hostname.startswith("*."), -hostname.count(".")


def _target(
    route: TCPRoute,
    listener: Listener,
    upstreams: Mapping[str, UpstreamPool | PluginUpstream],
    metrics: Metrics,
    deadlines: Deadlines,
    reactor: Any,
) -> TunnelTarget:
    backends = []
    for ref in route.backends:
        upstream = upstreams[ref.upstream]
        # A plugin's answers requests: the configuration has checked that it is none.
        assert isinstance(upstream, UpstreamPool)
        counts = metrics.tunnel(listener.name, route.name, ref.upstream)
        tunnels = Tunnels(upstream, counts, deadlines, reactor, route.idle_timeout, route.max_duration)
        backends.append(TunnelBackend(tunnels, ref.weight, counts))
    return TunnelTarget(route, backends, metrics.tunnel_route(route.name, listener.protocol.value))
