"""One configuration, built and ready: TLS contexts, tables, pools.

A generation is built completely beside the one that serves.  When it takes over, the ports' profiles
are swapped; the old generation's connections keep what they were accepted under and are retired.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed

from edgegw.deadlines import Deadlines
from edgegw.headers.injection import build_injectors
from edgegw.headers.request import RequestHeaders
from edgegw.headers.response import ResponseHeaders
from edgegw.identity import ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.match.routes import RouteTable
from edgegw.model import Gateway, Listener, PathMatch, Protocol
from edgegw.names import covers
from edgegw.observe.metrics import Metrics
from edgegw.proxy.connection import HTTPConnection
from edgegw.proxy.site import Backend, Site, Target
from edgegw.tls.context import ContextError
from edgegw.tls.listener import TLSListener
from edgegw.tls.port import ListeningPort, PortKey, listen
from edgegw.tls.profile import PlainListener, PortProfile
from edgegw.tls.turns import HandshakeTurns
from edgegw.upstream.pool import UpstreamPool

__all__ = ["Generation", "GenerationError"]


class GenerationError(ValueError):
    """A gateway that cannot be built; the text says which part of it and why."""


class Generation:
    """A gateway that is ready to serve.

    :raises GenerationError: OpenSSL does not take a setting or a certificate, or two injectors own one header.
    """

    def __init__(self, reactor: Any, gateway: Gateway, metrics: Metrics) -> None:
        self.gateway = gateway
        self._reactor = reactor
        self._metrics = metrics
        self._deadlines = Deadlines(reactor)
        self._turns = HandshakeTurns(reactor)
        self._waiting: list[Deferred[None]] = []
        self._sites: list[Site] = []
        self._upstreams = {
            upstream.name: UpstreamPool(reactor, upstream, metrics.upstream(upstream.name), self._deadlines)
            for upstream in gateway.upstreams
        }
        try:
            injectors = {one.name: build_injectors(one.header_injection) for one in gateway.listeners}
        except ValueError as error:
            raise GenerationError(str(error)) from error
        owned = frozenset(name for some in injectors.values() for one in some for name in one.owned)
        by_port: dict[PortKey, list[TLSListener | PlainListener]] = {}
        for listener in gateway.listeners:
            site = self._build_site(listener, injectors[listener.name], owned)
            self._sites.append(site)
            by_port.setdefault((listener.address, listener.port), []).append(
                self._build_listener(listener, site, injectors[listener.name])
            )
        self._profiles: dict[PortKey, PortProfile] = {}
        for key, listeners in by_port.items():
            # Of one kind on one port: the configuration has checked it.
            profile = PortProfile(listeners, self._deadlines, self._turns, self._connection_gone)  # type: ignore[arg-type]
            self._profiles[key] = profile
            if len(listeners) > 1 or listeners[0].model.hostname is not None:
                for one in listeners:
                    one.site.profile = profile

    # --- building ---------------------------------------------------------------------------

    def _build_site(
        self, listener: Listener, injectors: tuple[IHeaderInjector, ...], owned: frozenset[bytes]
    ) -> Site:
        scheme = b"https" if listener.protocol is Protocol.HTTPS else b"http"
        secret = frozenset(name for one in injectors for name in one.owned_responses)
        return Site(
            listener,
            RouteTable(self._entries(listener)),
            RequestHeaders(listener.forwarding, injectors, owned, scheme),
            ResponseHeaders(secret, listener.forwarding.via),
            self._metrics.listener(listener.name),
            self._metrics.requests(listener.name, "", ""),
            self._deadlines,
        )

    def _entries(self, listener: Listener) -> Iterator[tuple[tuple[str, ...], PathMatch, Target]]:
        own = self._metrics.requests(listener.name, "", "")
        for route in self.gateway.routes:
            if route.listeners and listener.name not in route.listeners:
                continue
            hostnames = _intersection(route.hostnames, listener.hostname)
            if hostnames is None:
                continue
            for rule in route.rules:
                backends = [
                    Backend(
                        self._upstreams[ref.upstream],
                        ref.weight,
                        self._metrics.requests(listener.name, route.name, ref.upstream),
                    )
                    for ref in rule.backends
                ]
                target = Target(backends, own)
                for match in rule.matches:
                    yield hostnames, match.path, target

    def _build_listener(
        self, listener: Listener, site: Site, injectors: tuple[IHeaderInjector, ...]
    ) -> TLSListener | PlainListener:
        def build_protocol(info: ConnectionInfo) -> HTTPConnection:
            return HTTPConnection(site, info)

        if listener.tls is None:
            built: TLSListener | PlainListener = PlainListener(listener, site.metrics, build_protocol)
        else:
            needs_chain = any(one.needs_chain for one in injectors)
            try:
                built = TLSListener(listener, site.metrics, build_protocol, needs_chain)
            except ContextError as error:
                raise GenerationError(f"listener {listener.name}: {error}") from error
        built.site = site
        return built

    # --- serving ----------------------------------------------------------------------------

    @property
    def port_keys(self) -> frozenset[PortKey]:
        """The addresses and ports that it serves."""
        return frozenset(self._profiles)

    @property
    def untrusting(self) -> frozenset[str]:
        """Names of the listeners that refuse every connection, because no trust anchor of theirs is usable."""
        return frozenset(
            one.name
            for one in self.gateway.listeners
            if one.tls is not None and one.tls.client_validation is not None
            and not one.tls.client_validation.trust_anchors
        )

    def listen(self, key: PortKey) -> ListeningPort:
        """Bind a port now and serve it.

        :raises CannotListenError: it cannot be bound.
        """
        return listen(self._reactor, key, self._profiles[key])

    def adopt(self, port: ListeningPort) -> None:
        """Serve, from the next connection on, a port that a previous generation has opened."""
        port.use(self._profiles[port.key])

    @property
    def connections(self) -> int:
        """Open client connections that belong to it, those in their handshake included."""
        return sum(len(profile.transports) for profile in self._profiles.values())

    # --- ending -----------------------------------------------------------------------------

    def retire(self) -> None:
        """Close idle connections now and the others after the response that they are sending."""
        for site in self._sites:
            site.retired = True
        for profile in self._profiles.values():
            for transport in tuple(profile.transports):
                if isinstance(transport.protocol, HTTPConnection):
                    transport.protocol.retire()
        for upstream in self._upstreams.values():
            upstream.close()

    def when_idle(self) -> Deferred[None]:
        """Give a Deferred that fires when no connection is left."""
        if not self.connections:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def abort(self) -> None:
        """Cut what is left."""
        for profile in self._profiles.values():
            for transport in tuple(profile.transports):
                transport.abortConnection()

    def _connection_gone(self) -> None:
        if self._waiting and not self.connections:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)


def _intersection(hostnames: tuple[str, ...], listener: str | None) -> tuple[str, ...] | None:
    """Give the host names of a route that a listener takes; ``None`` where it takes none of them.

    The more specific of two that overlap (Gateway API, HTTPRouteSpec.hostnames).
    """
    if listener is None:
        return hostnames
    if not hostnames:
        return (listener,)
    taken = []
    for hostname in hostnames:
        if hostname == listener or covers(listener, hostname):
            taken.append(hostname)
        elif hostname.startswith("*.") and covers(hostname, listener.removeprefix("*.")):
            taken.append(listener)
    return tuple(taken) or None
