"""What one generation of the configuration serves on one port.

A profile owns the connections that were accepted under it.  When a new configuration is swapped
in, the port gets another profile and the connections keep theirs until they end.
"""
from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.logger import Logger

from edgegw.deadlines import Deadlines
from edgegw.identity import ConnectionInfo
from edgegw.match.server_names import ServerNames
from edgegw.model import Listener, PortSettings, TLSMode, UnmatchedName
from edgegw.observe.metrics import ListenerMetrics
from edgegw.proxied import ProxyFacts
from edgegw.tcp import Server, Why
from edgegw.tls.admission import Admission
from edgegw.tls.context import canonical_server_name
from edgegw.tls.counting import LIMITS
from edgegw.tls.hello import ALERT_UNRECOGNIZED_NAME, HELLO
from edgegw.tls.listener import TLSListener
from edgegw.tls.owner import Judge, Router
from edgegw.tls.proxy_headers import HeaderReaders
from edgegw.tls.transport import TLSServer
from edgegw.tls.turns import HandshakeTurns
from edgegw.verdict import Reason

__all__ = ["PlainListener", "PortProfile", "SecureListener"]

_log = Logger("edgegw.tls")

# What scanners, impatient clients and a full house do all day is not worth a line at the default level.
_QUIET = LIMITS | {Reason.CLIENT_CLOSED, Reason.NOT_TLS, Reason.PLAIN_HTTP, Reason.HANDSHAKE_TIMEOUT}


class PlainListener:
    """A listener without TLS.

    :ivar build_protocol: makes the protocol for an accepted connection.
    :ivar site: what the listener serves; whoever builds the protocols sets it.
    """

    site: Any = None

    def __init__(
        self, model: Listener, metrics: ListenerMetrics, build_protocol: Callable[[ConnectionInfo], Any]
    ) -> None:
        self.model = model
        self.metrics = metrics
        self.build_protocol = build_protocol
        # How many there may be is the port's to count: only the head of a request says which listener it is for.
        self.admission = Admission(metrics, None, model.limits.connection_rate)

    #: Called with a socket, the client's address and what a proxy in front has said, in place of all else; ``None`` has
    #: a protocol made that runs on a transport.
    accept: Callable[[socket.socket, tuple[Any, ...], ProxyFacts | None], None] | None = None

    def turned_away(
        self, client: tuple[Any, ...], reason: Reason, detail: str = "", proxied: ProxyFacts | None = None
    ) -> None:
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


class SecureListener(Protocol):
    """A listener whose clients begin with a ClientHello; it ends their TLS or passes it through."""

    model: Listener
    metrics: ListenerMetrics

    def take(self, transport: TLSServer) -> Why:
        """Go on with a connection whose name is this listener's; ``None`` if all is well."""

    def turned_away(
        self, client: tuple[Any, ...], reason: Reason, detail: str = "", proxied: ProxyFacts | None = None
    ) -> None:
        """Count and remember a connection that the port did not take."""

    def failed(self, transport: TLSServer, reason: str, detail: str, begun: bool) -> str:
        """Count and remember a connection that did not get to its protocol; gives the handshake's id."""


class PortProfile:
    """The listeners of one port, which all speak TLS, or none does.

    :param connection_gone: called whenever a connection has ended.
    :param settings: what holds for the port as a whole.
    :param fingerprints: whether the fingerprints of ClientHellos are wanted although no listener says so.
    :ivar key: the address and port, as configured; whoever builds it sets it.
    :ivar transports: the open connections, those still in their handshake and those passed through included.
    :ivar held: the port's connections, of all its generations.
    :ivar plain: see :class:`edgegw.tls.owner.TLSOwner`; whoever sets it says :meth:`look_at_every_hello` as well.
    :ivar accept: see :class:`PlainListener`.
    :ivar unmatched: what becomes of clients that no listener takes.
    :ivar only: see :class:`edgegw.tls.owner.TLSOwner`, as for ``router``.
    :ivar when_open: see :class:`~edgegw.tls.transport.TLSServer`, for connections that begin from now on.
    :ivar proxy_headers: accepts the connections of a port that reads PROXY headers; ``None`` on any other.
    """

    key: tuple[str | None, int]

    def __init__(
        self,
        listeners: Sequence[SecureListener] | Sequence[PlainListener],
        deadlines: Deadlines,
        turns: HandshakeTurns,
        connection_gone: Callable[[], None],
        router: Router | None = None,
        settings: PortSettings | None = None,
        fingerprints: bool = False,
    ) -> None:
        self.listeners = listeners
        self.router = router
        self.fingerprints = fingerprints or any(
            one.model.tls is not None and one.model.tls.fingerprints for one in listeners
        )
        self.deadlines = deadlines
        self.turns = turns
        self.first = listeners[0]
        self.secure = not isinstance(self.first, PlainListener)
        self.accept = self.first.accept if isinstance(self.first, PlainListener) else None
        self.port_number = 0
        self.max_connections = sum(one.model.limits.max_connections for one in listeners)
        self.max_per_peer = max(one.model.limits.max_connections_per_peer for one in listeners)
        self.handshake_timeout = max(one.model.limits.handshake_timeout for one in listeners)
        self.transports: set[Server] = set()
        self.held = Held()
        self._connection_gone = connection_gone
        self.when_open: tuple[Callable[[TLSServer], None], ...] = ()
        self.proxy_headers: HeaderReaders | None = None
        if settings is not None and settings.proxy_protocol is not None:
            self.proxy_headers = HeaderReaders(settings.proxy_protocol, self)
        self._names: ServerNames[Any] = ServerNames()
        for listener in listeners:
            self._names.add(listener.model.hostname, listener, listener.model.application_protocols)
        self.unmatched = _unmatched(listeners, settings)
        self.plain: Callable[[TLSServer], Why] | None = None
        self._ending = tuple(one for one in listeners if isinstance(one, TLSListener))
        self.only: tuple[SSL.Context | None, Judge] | None = None
        first = self.first
        looked_at = len(listeners) > 1 or router is not None or self.fingerprints
        if isinstance(first, TLSListener) and not looked_at and not first.needs_hello:
            table = first.certificates
            if not table.varies:
                self.only = (table.default, first)

    # --- choosing ---------------------------------------------------------------------------

    def taker(self, name: str | None, alpn: tuple[bytes, ...] = ()) -> SecureListener | None:
        """Give the listener that gets a client's connection; ``None`` refuses it.

        :param name: SNI in canonical form.
        :param alpn: the protocols that the client offers.

        What becomes of a client without SNI, and of one with a name that no listener takes, is the port's to say.  Who
        gets the default certificate is asked for the name in each of its requests all the same.  A listener for some
        protocols alone has none for clients that offer others: to them it is not there.
        """
        listener: SecureListener | None = self._names.find(name, alpn)
        if listener is None and self.unmatched is UnmatchedName.DEFAULT_CERTIFICATE:
            return next((one for one in self._ending if _offers(alpn, one.model.application_protocols)), None)
        return listener

    def listener_for(self, name: str | None, own: Listener | None = None) -> Any:
        """Give the listener that takes a canonical name; see :class:`~edgegw.match.server_names.ServerNames`.

        :param own: comes before others that take the name, which then differ by the protocols that clients offer.
        """
        found = self._names.find_all(name)
        if len(found) > 1:
            return next((one for one in found if one.model is own), found[0])
        return found[0] if found else None

    def lead(self, transport: TLSServer) -> Why:
        """Let the listener of a client's name have its connection."""
        hello = transport.hello
        assert hello is not None
        listener = self.taker(hello.server_name, hello.alpn)
        if listener is not None:
            return listener.take(transport)
        detail = f"no listener takes {hello.server_name or 'clients without SNI'}"
        alert = b"" if self.unmatched is UnmatchedName.CLOSE else ALERT_UNRECOGNIZED_NAME
        return transport.refuse(Reason.UNRECOGNIZED_NAME, detail, alert)

    @property
    def tells_names_apart(self) -> bool:
        """Whether a request's host has to be one of the port's: not where one listener takes every name."""
        return len(self.listeners) > 1 or self.first.model.hostname is not None

    def look_at_every_hello(self) -> None:
        """Have no connection begin with TLS before its first bytes were looked at."""
        self.only = None

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

    def admit_unknown(self) -> Reason | None:
        """Count in a connection of which it is not known yet whose it is, or say which limit is reached."""
        if self.held.total >= self.max_connections:
            return Reason.MAX_CONNECTIONS
        self.held.total += 1
        return None

    def forget_unknown(self, transport: Server, then: Callable[[], None]) -> None:
        """Count out a connection that :meth:`admit_unknown` has counted in.

        :param then: what becomes of it.
        """
        self.held.total -= 1
        try:
            then()
        finally:
            self.transports.discard(transport)
            self._connection_gone()

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
        found = transport.fingerprints
        # Where none are taken the line has no place for them.
        told = {} if found is None else found._asdict()
        log(
            "refused {peer} on {listener}: {reason} (sni {sni}, handshake {handshake}"
            + (", ja3 {ja3}, ja4 {ja4}" if told else "") + ") {detail}{through}",
            peer=transport.hostname,
            listener=judge.model.name,
            reason=str(reason),
            sni=transport.server_name,
            handshake=handshake_id,
            detail=detail,
            through="" if transport.proxied is None else f" ({transport.proxied})",
            **told,
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


def _offers(alpn: tuple[bytes, ...], protocols: tuple[str, ...]) -> bool:
    """Whether a client offers one of a listener's protocols, where the listener is for some alone."""
    return not protocols or any(protocol.encode("ascii") in alpn for protocol in protocols)


def _unmatched(listeners: Sequence[Any], settings: PortSettings | None) -> UnmatchedName:
    if settings is not None and settings.unmatched_name is not None:
        return settings.unmatched_name
    # An alert would tell that somebody ends TLS here for other names.
    passes = any(one.model.mode is TLSMode.PASSTHROUGH for one in listeners)
    return UnmatchedName.CLOSE if passes else UnmatchedName.DEFAULT_CERTIFICATE
