"""Requests on a port with an SNI router: for the ClientHello's name, and no other.

A router says where one name goes.  A request for another name on the same connection would pass by it: the name
may be one that the router sends to a listener with other client validation, or past the gateway altogether.  So
it gets 421 (RFC 9110 §15.5.20), after which a client comes back with a connection for that name.
"""
from __future__ import annotations

from ipaddress import ip_address

from edgegw.identity import ConnectionInfo
from edgegw.names import canonical_authority
from edgegw.proxy.connection import HTTPConnection
from edgegw.proxy.destination import Destination
from edgegw.proxy.gate import RequestGate
from edgegw.proxy.http2 import HTTP2Connection
from edgegw.proxy.site import Site
from edgegw.verdict import Reject
from edgegw.wire.http1 import RequestHead

__all__ = ["RoutedConnection", "RoutedDestination", "RoutedHTTP2Connection"]


class RoutedDestination(Destination):
    """Where the requests of one such connection go.

    :param by_name: serves the name that the router has sent to the listener, whatever the listener's host name is:
        its routes are those of the listener without regard to that.
    :param routed: whether the router has chosen the listener.
    """

    __slots__ = ("_by_name", "_routed")

    def __init__(self, site: Site, by_name: Site, info: ConnectionInfo, routed: bool) -> None:
        super().__init__(site, info)
        self._by_name = by_name
        self._routed = routed

    def resolve(self, head: RequestHead) -> int:
        """Find the site of a request's host: 0, or the status that refuses it.

        What no ClientHello can name goes by the listeners' host names, as everywhere: an address, and no host at all
        (HTTP/1.0).  So do names where the router has sent a client to the listener that named none.
        """
        if head.host == self._host:
            return 0
        name = canonical_authority(head.host) if head.host else None
        if name is None:
            return super().resolve(head)
        asked = self._info.server_name
        if name != asked:
            by_table = _is_address(name) or (asked is None and self._routed)
            return super().resolve(head) if by_table else 421
        if not self._routed:
            return super().resolve(head)
        if self.site is not self._by_name:
            self.site = self._by_name
            self.headers = None
            self._block = self._rest = None
        self._host = head.host
        self.host_name = name
        return 0


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class RoutedConnection(HTTPConnection):
    """A client's connection on a port with a router.

    :param by_name: see :class:`RoutedDestination`.
    """

    def __init__(self, site: Site, by_name: Site, info: ConnectionInfo, refusal: Reject | None = None) -> None:
        super().__init__(site, info, refusal)
        self._by_name = by_name

    def connectionMade(self) -> None:
        """Called by the transport, which knows whether the router has chosen the listener."""
        self._gate.destination = RoutedDestination(
            self._listener_site, self._by_name, self.info, self.transport.routed
        )
        super().connectionMade()


class RoutedHTTP2Connection(HTTP2Connection):
    """The same over HTTP/2.

    :param by_name: see :class:`RoutedDestination`.
    """

    def __init__(self, site: Site, by_name: Site, info: ConnectionInfo, refusal: Reject | None = None) -> None:
        super().__init__(site, info, refusal)
        self._by_name = by_name

    def connectionMade(self) -> None:
        """Called by the transport, which knows whether the router has chosen the listener."""
        self.gate = self.new_gate()
        super().connectionMade()

    def new_gate(self) -> RequestGate:
        """Make what looks at requests."""
        gate = super().new_gate()
        if self.transport is not None:
            gate.destination = RoutedDestination(self.site, self._by_name, self.info, self.transport.routed)
        return gate
