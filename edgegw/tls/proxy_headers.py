"""Connections that come through a proxy: the PROXY header is read before anything else is done with them.

No byte behind the header is touched, so that whoever gets the connection then finds what the client sent.  The kernel
keeps nothing of an incomplete header: as soon as it is certain that it is one, its bytes are taken.
"""
from __future__ import annotations

import socket
from collections.abc import Callable
from errno import EAGAIN, EWOULDBLOCK
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import main
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.model import ProxyHeaderMode, ProxyHeaders
from edgegw.proxied import ProxyFacts
from edgegw.tcp import UNIX_PEER, Server, Why
from edgegw.verdict import Reason
from edgegw.wire.proxy_header import (
    BadProxyHeader,
    NoProxyHeader,
    ProxyHeader,
    is_proxy_header,
    parse_proxy_header,
)

if TYPE_CHECKING:
    from edgegw.tls.profile import PortProfile

__all__ = ["Begin", "HeaderReaders"]

#: Serves a connection: its socket, whose it is as ``(address, port, …)``, where, and what a proxy said of it.
Begin = Callable[["socket.socket", tuple[Any, ...], "PortProfile", ProxyFacts | None], None]

#: The least seconds between two looks at bytes that may be the beginning of a header, or something else.
_LOOK_AGAIN: Final = 0.01
# What health checks, scanners and slow networks do all day is not worth a line at the default level.
_QUIET: Final = frozenset({
    Reason.MAX_CONNECTIONS, Reason.CLIENT_CLOSED, Reason.PROXY_HEADER_TIMEOUT, Reason.UNTRUSTED_PROXY,
})  # fmt: skip

_log = Logger("edgegw.port")


class HeaderReaders:
    """Accepts the connections of one port, in one generation of the configuration; provides ``edgegw.tcp.Owner``.

    :ivar settings: of the port.
    :ivar profile: what the port serves; a connection counts there from when it is accepted.
    """

    def __init__(self, settings: ProxyHeaders, profile: PortProfile) -> None:
        self.settings = settings
        self.profile = profile
        self.deadlines = profile.deadlines
        self.required = settings.mode is ProxyHeaderMode.REQUIRED

    def accept(self, sock: socket.socket, peer: tuple[Any, ...], reactor: Any, begin: Begin) -> None:
        """Read the header of a connection, or do without one, and have it served.

        :param peer: the address and port of whoever has connected.
        """
        try:
            if self._trusts(peer[0]):
                self._read(sock, peer, reactor, begin)
            elif self.required:
                self.refused(peer, Reason.UNTRUSTED_PROXY, "")
                sock.close()
            else:
                begin(sock, peer, self.profile, None)
        except Exception:
            # What goes wrong with one connection must not reach the reactor, which would close the port.
            _log.failure("cannot accept {peer}", peer=peer[0])
            sock.close()

    def _trusts(self, address: str) -> bool:
        if address == UNIX_PEER:
            return self.settings.unix
        ip = ip_address(address.partition("%")[0])
        return any(ip in network for network in self.settings.trusted)

    def _read(self, sock: socket.socket, peer: tuple[Any, ...], reactor: Any, begin: Begin) -> None:
        reason = self.profile.admit_unknown()
        if reason is not None:
            self.refused(peer, reason, "")
            sock.close()
            return
        sock.setblocking(False)
        reader = _HeaderReader(sock, peer, self, reactor)
        reader.begin = begin
        self.profile.transports.add(reader)
        self.deadlines.watch(reader, reader.started + self.settings.timeout)
        try:
            # It has mostly come by now.
            why = reader.doRead()
        except Exception:
            # As the reactor does: it must not call a socket that is closed.
            _log.failure("while {reader!r} was ready", reader=reader)
            why = main.CONNECTION_LOST
        if why is not None:
            reader.connectionLost(Failure(why))

    def refused(self, peer: tuple[Any, ...], reason: Reason, detail: str) -> None:
        """Count, remember and log a connection that never was for any client."""
        listener = self.profile.first
        listener.turned_away(peer, reason, detail)
        log = _log.debug if reason in _QUIET else _log.info
        log(
            "refused {peer} on {listener}: {reason} {detail}",
            peer=peer[0], listener=listener.model.name, reason=str(reason), detail=detail,
        )

    def lost(self, transport: Server) -> None:
        """See ``Owner``."""
        self.profile.forget_unknown(transport, _nothing)


class _HeaderReader(Server):
    """A connection until its header is complete; then another transport has its socket.

    :ivar begin: see :data:`Begin`.
    """

    owner: HeaderReaders
    begin: Begin
    _taken = b""
    _refused = False
    _later: IDelayedCall | None = None

    def doRead(self) -> Why:  # type: ignore[override]  # Twisted swaps it when a connection is aborted
        """Called by the reactor when the socket is readable."""
        owner, taken = self.owner, self._taken
        most = owner.settings.max_bytes
        try:
            peeked = self.socket.recv(most, socket.MSG_PEEK)
        except OSError as error:
            return None if error.errno in (EAGAIN, EWOULDBLOCK) else main.CONNECTION_LOST
        if not peeked:
            return main.CONNECTION_DONE
        data = taken + peeked
        try:
            header = parse_proxy_header(data, most)
        except NoProxyHeader as error:
            return self._refuse(Reason.PROXY_HEADER_MISSING, str(error)) if owner.required else self._go_on(None)
        except BadProxyHeader as error:
            return self._refuse(Reason.BAD_PROXY_HEADER, str(error))
        if header is not None:
            self._take(header.size - len(taken))
            return self._go_on(header)
        if owner.required or is_proxy_header(data):
            self._take(len(peeked))
            self._taken = data
        else:
            # These bytes may be the client's.  Polling is level-triggered, and would spin on them.
            self.stopReading()
            waited = monotonic() - self.started
            self._later = self.reactor.callLater(max(_LOOK_AGAIN, waited), self._look_again)
        return None

    def _take(self, size: int) -> None:
        """Take bytes that have been peeked at."""
        while size:
            size -= len(self.socket.recv(size))

    def _look_again(self) -> None:
        self._later = None
        self.startReading()

    def _go_on(self, header: ProxyHeader | None) -> Why:
        """Have the connection served, as the one of the client that it is for."""
        client, facts = self.client, None
        if header is not None:
            destination = None
            if header.ends is not None:
                client, destination = _client(*header.ends.source), _client(*header.ends.destination)[:2]
            facts = ProxyFacts(
                str(self.hostname), int(self.client[1]), header.version, header.local, destination,
                header.authority, header.alpn, header.unique_id, header.tls,
            )
        profile, begin, sock = self.owner.profile, self.begin, self._give_away()
        profile.forget_unknown(self, lambda: begin(sock, client, profile, facts))
        return None

    def _give_away(self) -> Any:
        self.owner.deadlines.forget(self)
        self.stopReading()
        self.connected, self.disconnected = 0, 1
        return self.socket

    def _refuse(self, reason: Reason, detail: str) -> Why:
        if not self._refused:
            self._refused = True
            self.owner.refused(self.client, reason, detail)
        return main.CONNECTION_LOST

    def deadline_passed(self) -> None:
        """End a connection whose header does not come; see ``Deadlines``."""
        if self.connected:
            self._refuse(Reason.PROXY_HEADER_TIMEOUT, f"{len(self._taken)} bytes of it had come")
        super().deadline_passed()

    def connectionLost(self, reason: Failure) -> None:
        """Free everything; nobody has been told of it yet."""
        if self.disconnected:
            return
        later, self._later = self._later, None
        if later is not None:
            later.cancel()
        if reason.check(ConnectionAborted):
            self._refuse(Reason.DRAINING, "the gateway cut it")
        else:
            self._refuse(Reason.CLIENT_CLOSED, "before a whole PROXY header")
        super().connectionLost(reason)


def _client(address: str, port: int) -> tuple[Any, ...]:
    """Give an address as sockets do; an IPv4 address that is mapped into IPv6 as itself."""
    ip = ip_address(address)
    mapped = getattr(ip, "ipv4_mapped", None)
    if mapped is not None:
        return (str(mapped), port)
    return (address, port) if ip.version == 4 else (address, port, 0, 0)


def _nothing() -> None:
    """Nothing becomes of it."""
