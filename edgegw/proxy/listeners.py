"""Listeners of a gateway, made ready to serve: what each does with a connection, and what it judges clients by."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgegw.deadlines import Deadlines
from edgegw.identity import ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.model import Gateway, Listener, SNIRouterUse, TLSMode
from edgegw.model import Protocol as ListenerProtocol
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import Metrics
from edgegw.proxy.connection import HTTPConnection
from edgegw.proxy.http2 import HTTP2Connection
from edgegw.proxy.passthrough import Closing, PassthroughListener, TCPListener, tunnel_for
from edgegw.proxy.policing import chain_of, policies_of
from edgegw.proxy.routed import RoutedConnection, RoutedHTTP2Connection
from edgegw.proxy.site import Site
from edgegw.proxy.sites import SiteBuilder
from edgegw.proxy.tunnel_routes import TunnelRoutes
from edgegw.proxy.tunnels import Tunnels
from edgegw.tls.context import ContextError
from edgegw.tls.listener import BuildProtocol, TLSListener
from edgegw.tls.profile import PlainListener
from edgegw.tls.routing import PortRouter
from edgegw.tls.stapling import Stapler
from edgegw.tls.verification import ClientVerification, Clock
from edgegw.upstream.upstream import UpstreamPool
from edgegw.verdict import Reject

__all__ = ["AnyListener", "GenerationError", "ListenerBuilder"]

AnyListener = TLSListener | PassthroughListener | PlainListener


class GenerationError(ValueError):
    """A gateway that cannot be built; the text says which part of it and why."""


class ListenerBuilder:
    """Makes the listeners of one generation.

    :param sites: has the upstreams.
    :param record: takes every handshake.
    :param clock: gives the time to judge certificates by.
    :param count_error: called with the name of a kind and what was asked of it at each failure of a plugin.
    """

    def __init__(
        self,
        reactor: Any,
        gateway: Gateway,
        sites: SiteBuilder,
        metrics: Metrics,
        record: HandshakeRecord,
        deadlines: Deadlines,
        stapler: Stapler | None,
        clock: Clock,
        count_error: Callable[[str, str], None],
    ) -> None:
        self._reactor = reactor
        self._gateway = gateway
        self._sites = sites
        self._metrics = metrics
        self._record = record
        self._deadlines = deadlines
        self._stapler = stapler
        self._clock = clock
        self._count_error = count_error

    def build(
        self, listener: Listener, site: Site, injectors: Sequence[IHeaderInjector], by_name: Site | None
    ) -> TLSListener | PlainListener:
        """Make a listener with the protocol HTTP or HTTPS.

        :param by_name: serves the names that the port's router has sent to it, whatever its host name is.
        :raises GenerationError: OpenSSL does not take a setting or a certificate.
        """
        build_protocol = self.protocol_builder(site, by_name)
        built: TLSListener | PlainListener
        if listener.tls is None:
            built = PlainListener(listener, site.metrics, build_protocol)
        else:
            needs_chain = any(one.needs_chain for one in injectors)
            by_alpn = {
                name: build
                for name, build in self.builders_by_alpn(site, by_name).items()
                if name.decode() in listener.tls.alpn
            }
            built = self._build_secure(
                listener, build_protocol, needs_chain, self._sites.keeps_chain[listener.name], protocols=by_alpn
            )
        built.site = site
        return built

    def build_tunnels(self, listener: Listener) -> AnyListener:
        """Make a listener whose connections go to an upstream as the bytes that they are; see :meth:`build`."""
        metrics = self._metrics.listener(listener.name)
        routes = TunnelRoutes.of(
            self._gateway, listener, self._sites.upstreams, self._metrics, self._deadlines, self._reactor
        )
        if listener.mode is TLSMode.PASSTHROUGH:
            return PassthroughListener(listener, metrics, routes, self._record)
        if listener.protocol is ListenerProtocol.TCP:
            return TCPListener(listener, metrics, routes)

        def build_protocol(info: ConnectionInfo, refusal: Reject | None = None) -> Any:
            return Closing() if refusal is not None else tunnel_for(routes, info)

        return self._build_secure(listener, build_protocol, False, False, routes.refuse)

    def build_router(self, use: SNIRouterUse, listeners: list[AnyListener]) -> PortRouter:
        """Make the SNI router of a port with these listeners."""
        metrics = self._metrics.listener(use.name)
        tunnels = {
            name: Tunnels(upstream, metrics, self._deadlines, self._reactor)
            for name, upstream in self._sites.upstreams.items()
            if isinstance(upstream, UpstreamPool)
        }
        terminating = [listener for listener in listeners if isinstance(listener, TLSListener)]
        return PortRouter(use, terminating, tunnels, metrics, self._reactor, self._count_error)

    def protocol_builder(self, site: Site, by_name: Site | None) -> BuildProtocol:
        """Give what makes the protocols of a listener's connections."""

        def build_protocol(info: ConnectionInfo, refusal: Reject | None = None) -> HTTPConnection:
            if by_name is not None:
                return RoutedConnection(site, by_name, info, refusal)
            return HTTPConnection(site, info, refusal)

        return build_protocol

    def builders_by_alpn(self, site: Site, by_name: Site | None) -> Mapping[bytes, BuildProtocol]:
        """Give what makes the protocols of those that ALPN chose another one for than HTTP/1.1, by its name."""

        def build_protocol(info: ConnectionInfo, refusal: Reject | None = None) -> HTTP2Connection:
            if by_name is not None:
                return RoutedHTTP2Connection(site, by_name, info, refusal)
            return HTTP2Connection(site, info, refusal)

        return {b"h2": build_protocol}

    def _build_secure(
        self,
        listener: Listener,
        build_protocol: BuildProtocol,
        needs_chain: bool,
        keeps_chain: bool,
        may_take: Callable[[str | None, bool], Reject | None] | None = None,
        protocols: Mapping[bytes, BuildProtocol] | None = None,
    ) -> TLSListener:
        """Make a listener that ends TLS.

        :param needs_chain: see :class:`~edgegw.tls.verification.ClientVerification`, as for ``keeps_chain``.
        :param may_take: see :class:`~edgegw.tls.listener.TLSListener`, as for ``protocols``.
        """
        assert listener.tls is not None
        validation = listener.tls.client_validation
        chain = chain_of(policies_of(listener), self._metrics, listener.name)
        rechecked = validation is not None and validation.recheck_established
        keeps_chain = keeps_chain or (rechecked and chain is not None and chain.needs_chain)
        verification = ClientVerification(validation, chain, needs_chain, keeps_chain, self._clock)
        try:
            return TLSListener(
                listener, self._metrics.listener(listener.name), build_protocol, verification, self._record,
                self._reactor, None if self._stapler is None else self._stapler.callback, may_take, self._count_error,
                protocols,
            )
        except ContextError as error:
            raise GenerationError(f"listener {listener.name}: {error}") from error
