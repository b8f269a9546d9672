"""What one generation of the configuration serves on one port.

A profile owns the connections that were accepted under it.  When a new configuration is swapped
in, the port gets another profile and the connections keep theirs until they end.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.logger import Logger

from edgegw.deadlines import Deadlines
from edgegw.identity import ConnectionInfo
from edgegw.model import Listener
from edgegw.names import covers
from edgegw.observe.metrics import ListenerMetrics
from edgegw.tcp import Server
from edgegw.tls.context import canonical_server_name
from edgegw.tls.listener import LIMITS, TLSListener
from edgegw.tls.owner import Judge, Router
from edgegw.tls.transport import HELLO, TLSServer
from edgegw.tls.turns import HandshakeTurns
from edgegw.verdict import Reason

__all__ = ["PlainListener", "PortProfile"]

_log = Logger("edgegw.tls")

# What scanners, impatient clients and a full house do all day is not worth a line at the default level.
_QUIET = LIMITS | {Reason.CLIENT_CLOSED, Reason.NOT_TLS, Reason.HANDSHAKE_TIMEOUT}


class PlainListener:
    """A listener without TLS.

    :ivar build_protocol: makes the protocol for an accepted connection.
    :ivar site: what the listener serves; whoever builds the protocols sets it.
    """

    site: Any

    def __init__(
        self, model: Listener, metrics: ListenerMetrics, build_protocol: Callable[[ConnectionInfo], Any]
    ) -> None:
        self.model = model
        self.metrics = metrics
        self.build_protocol = build_protocol

    def turned_away(self, client: tuple[Any, ...], reason: Reason) -> None:
        """Count a connection that the port did not take."""
        self.metrics.connections_total += 1
        self.metrics.refuse(reason)


class Held:
    """The connections of a port, counted over all generations of the configuration.

    A reload is no way to hold more than the limits allow.

    :ivar peers: connections by address; as many entries as connections at most.
    """

    __slots__ = ("peers", "total")

    def __init__(self) -> None:
        self.total = 0
        self.peers: dict[str, int] = {}


class PortProfile:
    """The listeners of one port, all of one kind and with distinct host names.

    :param connection_gone: called whenever a connection has ended.
    :ivar transports: the open connections, those still in their handshake and those passed through included.
    :ivar held: the port's connections, of all its generations.
    :ivar only: see :class:`edgegw.tls.owner.TLSOwner`, as for ``router``.
    """

    def __init__(
        self,
        listeners: Sequence[TLSListener] | Sequence[PlainListener],
        deadlines: Deadlines,
        turns: HandshakeTurns,
        connection_gone: Callable[[], None],
        router: Router | None = None,
    ) -> None:
        self.listeners = listeners
        self.router = router
        self.deadlines = deadlines
        self.turns = turns
        self.first = listeners[0]
        self.secure = isinstance(self.first, TLSListener)
        self.port_number = 0
        self.max_connections = sum(one.model.limits.max_connections for one in listeners)
        self.max_per_peer = max(one.model.limits.max_connections_per_peer for one in listeners)
        self.handshake_timeout = max(one.model.limits.handshake_timeout for one in listeners)
        self.transports: set[Server] = set()
        self.held = Held()
        self._connection_gone = connection_gone
        self._exact: dict[str | None, Any] = {}
        self._wildcards: list[tuple[str, Any]] = []
        for listener in listeners:
            hostname = listener.model.hostname
            if hostname is not None and hostname.startswith("*."):
                self._wildcards.append((hostname, listener))
            else:
                self._exact[hostname] = listener
        # The wildcard with the most labels wins (Gateway API, Listener.hostname).
        self._wildcards.sort(key=lambda entry: -entry[0].count("."))
        self.only: tuple[SSL.Context, Judge] | None = None
        if isinstance(self.first, TLSListener) and len(listeners) == 1 and router is None:
            table = self.first.certificates
            if self.first.model.hostname is None and not table.varies:
                self.only = (table.default, self.first)

    # --- choosing ---------------------------------------------------------------------------

    def listener_for(self, name: str | None) -> Any:
        """Give the listener that takes a canonical name: exact over wildcard over no host name."""
        if name is not None:
            listener = self._exact.get(name)
            if listener is not None:
                return listener
            for pattern, listener in self._wildcards:
                if covers(pattern, name):
                    return listener
        return self._exact.get(None)

    def choose(self, server_name: str | None) -> tuple[SSL.Context | None, Judge]:
        """Give the context and the listener for an SNI; no context where the listener refuses the name.

        A client without SNI, and where there is no listener for every name one with an unknown SNI, gets
        the port's first listener, unless that is strict: the name that it asks for in its requests is
        compared with the listener all the same.
        """
        listener: Any = self.listener_for(server_name) or self.first
        return listener.certificates.find(server_name), listener

    def take_turn(self, transport: TLSServer) -> bool:
        """Whether a handshake may take a step in this turn of the reactor."""
        return self.turns.take(transport)

    # --- counting ---------------------------------------------------------------------------

    def admit(self, peer: str) -> Reason | None:
        """Count a connection in, or say which limit is reached."""
        held = self.held
        of_peer = held.peers.get(peer, 0)
        if held.total >= self.max_connections:
            return Reason.MAX_CONNECTIONS
        if of_peer >= self.max_per_peer:
            return Reason.MAX_CONNECTIONS_PER_PEER
        held.peers[peer] = of_peer + 1
        held.total += 1
        return None

    def dismiss(self, peer: str) -> None:
        """Count out a connection that :meth:`admit` has counted in."""
        held = self.held
        held.total -= 1
        of_peer = held.peers[peer] - 1
        if of_peer:
            held.peers[peer] = of_peer
        else:
            del held.peers[peer]

    def refused(self, transport: TLSServer, reason: str, detail: str) -> None:
        """Count, remember and log a connection that did not get to its protocol."""
        judge: Any = transport.judge or self.first
        if transport.server_name is None and transport.tls is not None:
            # Where the name makes no difference nobody has looked at the ClientHello but OpenSSL.
            transport.server_name = canonical_server_name(transport.tls)
        handshake_id = judge.failed(transport, reason, detail, transport.state != HELLO)
        log = _log.debug if reason in _QUIET else _log.info
        log(
            "refused {peer} on {listener}: {reason} (sni {sni}, handshake {handshake}) {detail}",
            peer=transport.hostname,
            listener=judge.model.name,
            reason=str(reason),
            sni=transport.server_name,
            handshake=handshake_id,
            detail=detail,
        )

    def lost(self, transport: Server) -> None:
        """Count a connection out."""
        if isinstance(transport, TLSServer):
            if transport.state != HELLO and transport.judge is not None:
                transport.judge.gone()
        else:
            self.first.metrics.connections -= 1
        self.gone(transport)

    def gone(self, transport: Server) -> None:
        """Forget a connection of the port that has ended."""
        self.transports.discard(transport)
        self.dismiss(str(transport.hostname))
        self._connection_gone()
