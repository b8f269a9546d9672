"""What clients may hold of a listener or a route, and how fast new connections may come."""
from __future__ import annotations

from attrs import frozen

__all__ = ["ConnectionLimits", "ConnectionRate"]


@frozen
class ConnectionRate:
    """How many new connections are taken.

    :ivar connections: in ``seconds``, over a long time.
    :ivar burst: at once.
    """

    connections: int
    seconds: float
    burst: int


@frozen
class ConnectionLimits:
    """Bounds on what clients may hold of a listener; past one the gateway refuses early.

    :ivar handshake_timeout: seconds from accept to the end of the TLS handshake; no byte from the
        client extends it.
    :ivar connection_rate: new connections; ``None`` is unlimited.
    """

    max_connections: int = 20_000
    max_connections_per_peer: int = 1_000
    max_handshakes: int = 1_000
    handshake_timeout: float = 10.0
    connection_rate: ConnectionRate | None = None
