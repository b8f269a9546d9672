"""Connections to a TLS port that begin with something else, and the listener without TLS that gets them there."""
from __future__ import annotations

from typing import Any

from edgegw.identity import ConnectionInfo, Identity
from edgegw.proxy.passthrough import TCPListener
from edgegw.tcp import Server, Why
from edgegw.tls.profile import PlainListener, PortProfile
from edgegw.tls.routing import Passage
from edgegw.tls.transport import TLSServer

__all__ = ["begin_plain"]


def begin_plain(profile: PortProfile, listener: PlainListener, transport: TLSServer) -> Why:
    """Let a listener have a connection, from its first byte on.

    :param profile: of the port.
    :param transport: one that is still in its ``HELLO``; it ends without anybody being told.
    """
    reason = listener.admission.refuse()
    if reason is not None:
        return transport.refuse(reason, f"of {listener.model.name}")
    if isinstance(listener, TCPListener):
        return listener.take_over(transport)
    transport.stopReading()
    plain = Server(transport.give_away(), transport.client, Passage(profile, listener.metrics), transport.reactor)
    plain.started = transport.started
    plain.proxied = transport.proxied
    profile.transports.discard(transport)
    profile.transports.add(plain)
    listener.metrics.connections_total += 1
    listener.metrics.connections += 1
    client: tuple[Any, ...] = transport.client
    info = ConnectionInfo(
        listener.model.name, Identity(), str(client[0]), int(client[1]), profile.port_number, proxied=transport.proxied
    )
    plain.protocol = listener.build_protocol(info)
    plain.protocol.makeConnection(plain)
    return None
