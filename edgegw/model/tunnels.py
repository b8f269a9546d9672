"""Which connections go where, as the bytes that they are (Gateway API ``TLSRoute`` and ``TCPRoute``)."""
from __future__ import annotations

from attrs import frozen

from edgegw.model.limits import ConnectionRate
from edgegw.model.routes import BackendRef

__all__ = ["TCPRoute", "TLSRoute"]


@frozen
class TCPRoute:
    """Connections of listeners with the protocol TCP.

    :ivar backends: shares of the connections, by weight; their filters are of no use here.
    :ivar listeners: names; empty is every listener with the route's protocol.
    :ivar idle_timeout: seconds without a byte in either direction; ``None`` leaves it to the upstream's.
    :ivar max_duration: seconds that a connection may last; ``None`` is unlimited, as for the two others.
    :ivar max_connections: at a time, over all listeners.
    :ivar connection_rate: new connections, over all listeners.
    """

    name: str
    backends: tuple[BackendRef, ...] = ()
    listeners: tuple[str, ...] = ()
    idle_timeout: float | None = None
    max_duration: float | None = None
    max_connections: int | None = None
    connection_rate: ConnectionRate | None = None


@frozen
class TLSRoute(TCPRoute):
    """Connections of listeners with the protocol TLS, by the name that the client asks for (SNI).

    :ivar hostnames: exact or ``*.`` and a suffix, canonical; empty is every name of its listeners.
    """

    hostnames: tuple[str, ...] = ()
