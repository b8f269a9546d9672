"""Tunnels to an upstream: of the kind that a connection needs."""
from __future__ import annotations

import socket
from typing import Any

from twisted.logger import Logger

from edgegw.deadlines import Deadlines
from edgegw.identity import ConnectionInfo
from edgegw.observe.metrics import ListenerMetrics
from edgegw.observe.tunnel_counters import TunnelMetrics
from edgegw.proxied import ProxyFacts
from edgegw.proxy.splice_tunnel import SpliceTunnel
from edgegw.proxy.tunnel import Tunnel
from edgegw.proxy.tunnel_settings import TunnelSettings
from edgegw.tcp import Server, hand_over
from edgegw.tls.routing import PassageOwner
from edgegw.upstream.upstream import UpstreamPool

__all__ = ["Tunnels"]

_log = Logger(namespace="edgegw.tunnel")


class Tunnels:
    """Makes the tunnels to one upstream; provides :class:`edgegw.tls.routing.PassesThrough`.

    :param metrics: counts the bytes, as they are on the wire.
    :param idle_timeout: see :class:`edgegw.proxy.tunnel_settings.TunnelSettings`, as for ``max_duration``.
    """

    def __init__(
        self,
        upstream: UpstreamPool,
        metrics: ListenerMetrics | TunnelMetrics,
        deadlines: Deadlines,
        reactor: Any,
        idle_timeout: float | None = None,
        max_duration: float | None = None,
    ) -> None:
        self.settings = TunnelSettings(upstream, metrics, deadlines, reactor, idle_timeout, max_duration)
        self._bare = _is_bare(upstream)

    def pass_through(
        self,
        sock: socket.socket,
        client: tuple[Any, ...],
        owner: PassageOwner,
        server_name: str | None = None,
        before: Any = None,
        proxied: ProxyFacts | None = None,
    ) -> None:
        """Connect a client's socket with the upstream, from the first byte that it has not given yet.

        :param sock: non-blocking; it is the tunnel's from now on, whatever happens.
        :param client: its address, the first part as text.
        :param owner: gets the connection among its ``transports``, and is told when it is lost, which may be before
            this returns.  Whoever calls has counted the connection in where ``owner.lost`` counts it out.
        :param server_name: the name that the client asked for, for the upstream's PROXY header.
        :param proxied: what a proxy in front has said.
        :param before: the transport that has let go of the socket, where the reactor may still call it.
        """
        reactor = self.settings.reactor
        if self._bare:
            tunnel = SpliceTunnel(sock, client, owner, self.settings, server_name)
            tunnel.proxied = proxied
            owner.transports.add(tunnel)
            try:
                if before is None:
                    reactor.addReader(tunnel)
                else:
                    tunnel.started = before.started
                    hand_over(reactor, before, tunnel)
                tunnel.begin()
            except Exception:
                _log.failure("cannot pass {tunnel!r} on", tunnel=tunnel)
                tunnel.abortConnection()
            return
        if before is not None:
            before.stopReading()
        plain = Server(sock, client, owner, reactor)
        if before is not None:
            plain.started = before.started
        plain.server_name = server_name
        plain.proxied = proxied
        owner.transports.add(plain)
        plain.protocol = self.protocol()
        try:
            plain.protocol.makeConnection(plain)
        except Exception:
            _log.failure("cannot pass {transport!r} on", transport=plain)
            plain.abortConnection()

    def protocol(self, info: ConnectionInfo | None = None) -> Tunnel:
        """Give what runs on a transport of :mod:`edgegw.tcp`, such as one on which TLS is spoken with the client.

        :param info: what the upstream's PROXY header tells of the client, where more is known than its address.
        """
        return Tunnel(self.settings, info)


def _is_bare(upstream: UpstreamPool) -> bool:
    """Whether nobody speaks TLS with the upstream here, so that there need be no transport to it."""
    return upstream.model.tls is None
