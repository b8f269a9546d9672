"""Where requests are sent: endpoints, and how connections to them are made and kept."""
from __future__ import annotations

from attrs import frozen

from edgegw.model.routing import BackendUse

__all__ = ["Endpoint", "Upstream"]


@frozen
class Endpoint:
    """One address of an upstream: an IP address or a host name, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class Upstream:
    """Where requests are sent: endpoints that serve the same thing, taken in turn, or a backend in their place.

    :ivar backend: answers by itself; there are no endpoints then.
    :ivar response_timeout: seconds for the response's head after the request was sent; past it 504.
    :ivar idle_timeout: seconds without a byte of a response's body, and without progress of a
        request's towards the upstream; past it the exchange is cut.
    :ivar keep_alive_timeout: seconds that an unused connection is kept.
    :ivar max_idle: unused connections kept to one endpoint.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    connect_timeout: float = 5.0
    response_timeout: float = 60.0
    idle_timeout: float = 60.0
    keep_alive_timeout: float = 60.0
    max_idle: int = 128
    backend: BackendUse | None = None
