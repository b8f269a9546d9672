"""The listening port: accepts connections under the profile that is current.

A port outlives generations of the configuration: its profile is swapped, the socket stays.
"""
from __future__ import annotations

import errno
import os
import socket
import stat
from ipaddress import ip_address
from typing import Any, Final

from twisted.internet import protocol, tcp, unix
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from edgegw.identity import ConnectionInfo, Identity
from edgegw.proxied import ProxyFacts
from edgegw.tcp import Server
from edgegw.tls.profile import PortProfile
from edgegw.tls.transport import TLSServer

__all__ = ["ListeningPort", "PortKey", "cannot_listen_text", "key_text", "listen", "port_text"]

#: ``(address, port)``: the address as configured, ``None`` for all; a Unix socket is ``("unix:…", 0)``.
PortKey = tuple[str | None, int]

#: Connections accepted in one turn of the reactor.
ACCEPTS_PER_TURN: Final = 16
#: Seconds that accepting rests when the process is out of file descriptors or memory.
ACCEPT_PAUSE: Final = 0.2
BACKLOG: Final = 4096

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NOBODY = Identity()
_log = Logger("edgegw.port")


class _NoFactory(protocol.Factory):
    """Twisted's ports want a factory; protocols are made by the listeners."""

    noisy = False


class _Accepting:
    """Replaces how one of Twisted's ports accepts.

    :ivar key: the address and port that were asked for.
    :ivar profile: what connections are accepted under from now on; see :meth:`use`.
    """

    key: PortKey
    profile: PortProfile
    socket: Any
    reactor: Any
    connected: bool

    def use(self, profile: PortProfile) -> None:
        """Accept under ``profile`` from the next connection on."""
        before = getattr(self, "profile", None)
        if before is not None:
            profile.held = before.held
            profile.port_number = before.port_number
        self.profile = profile

    def doRead(self) -> None:
        """Called by the reactor when connections wait."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, address = self.socket.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest(error)
                elif error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                    # ECONNABORTED, EPERM and the network's own errors: that client's loss.
                    continue
                return
            self._accepted(sock, address)

    def _rest(self, error: OSError) -> None:
        # The connection stays in the backlog, so polling on would spin.
        _log.error("cannot accept: {error}; trying again in {pause} s", error=error, pause=ACCEPT_PAUSE)
        self.stopReading()  # type: ignore[attr-defined]  # FileDescriptor's
        self.reactor.callLater(ACCEPT_PAUSE, self._go_on)

    def _go_on(self) -> None:
        if self.connected:
            self.startReading()  # type: ignore[attr-defined]  # FileDescriptor's

    def _accepted(self, sock: socket.socket, address: Any) -> None:
        profile = self.profile
        if profile.proxy_headers is None:
            self._begin(sock, _client(address), profile)
        else:
            profile.proxy_headers.accept(sock, _client(address), self.reactor, self._begin)

    def _begin(
        self, sock: socket.socket, client: tuple[Any, ...], profile: PortProfile, proxied: ProxyFacts | None = None
    ) -> None:
        """Serve a connection.

        :param client: whose it is.
        :param proxied: what a proxy in front said of it.
        """
        reason = profile.admit(client[0])
        if reason is None and not profile.secure:
            first: Any = profile.first
            reason = first.admission.refuse()
            if reason is not None:
                profile.dismiss(client[0])
        if reason is not None:
            profile.first.turned_away(client, reason, "", proxied)
            sock.close()
            return
        sock.setblocking(False)
        transport: Server | None = None
        try:
            if profile.secure:
                transport = TLSServer(sock, client, profile, self.reactor)
                transport.proxied = proxied
                if profile.when_open:
                    transport.when_open = profile.when_open
                profile.transports.add(transport)
                profile.deadlines.watch(transport, transport.started + profile.handshake_timeout)
            elif profile.accept is not None:
                profile.accept(sock, client, proxied)
            else:
                transport = Server(sock, client, profile, self.reactor)
                transport.proxied = proxied
                profile.transports.add(transport)
                self._serve(transport, profile)
        except Exception:
            # What goes wrong with one connection must not reach the reactor, which would close the port.
            _log.failure("cannot serve {peer}", peer=client[0])
            if transport is None:
                profile.dismiss(client[0])
                sock.close()
            else:
                transport.abortConnection()

    def _serve(self, transport: Server, profile: PortProfile) -> None:
        listener: Any = profile.first
        listener.metrics.connections_total += 1
        listener.metrics.connections += 1
        client = transport.client
        info = ConnectionInfo(
            listener.model.name, _NOBODY, client[0], client[1], profile.port_number, proxied=transport.proxied
        )
        transport.protocol = listener.build_protocol(info)
        transport.protocol.makeConnection(transport)


class _TCPPort(_Accepting, tcp.Port):  # type: ignore[misc]  # doRead replaced on purpose
    """A TCP port."""

    def createInternetSocket(self) -> socket.socket:
        """Make the socket; accepted ones inherit its options."""
        made: socket.socket = super().createInternetSocket()
        # Without it a closing answer waits for the peer's delayed acknowledgement.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.addressFamily == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if self.key[0] is None else 1)
        return made


class _UnixPort(_Accepting, unix.Port):  # type: ignore[misc]  # doRead replaced on purpose
    """A Unix socket."""


ListeningPort = _TCPPort | _UnixPort


def _client(address: Any) -> tuple[Any, ...]:
    """Give ``(address as text, port, …)``; an IPv4 client of an IPv6 socket as its IPv4 address."""
    if not isinstance(address, tuple):
        return ("unix:", 0)
    host = address[0]
    if host.startswith("::ffff:"):
        mapped = getattr(ip_address(host), "ipv4_mapped", None)
        if mapped is not None:
            return (str(mapped), address[1])
    return address


def listen(reactor: Any, key: PortKey, profile: PortProfile) -> ListeningPort:
    """Bind now and accept under ``profile``.

    :raises CannotListenError: the address is in use, not this machine's, or not permitted.
    """
    address = key[0]
    if address is not None and address.startswith("unix:"):
        return _listen_unix(reactor, key, profile, address.removeprefix("unix:"))
    if address is not None:
        return _listen_tcp(reactor, key, profile, address)
    try:
        return _listen_tcp(reactor, key, profile, "::")
    except CannotListenError as error:
        # A kernel without IPv6 has no dual-stack socket to offer.
        if getattr(error.socketError, "errno", None) not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _listen_tcp(reactor, key, profile, "0.0.0.0")


def _listen_tcp(reactor: Any, key: PortKey, profile: PortProfile, interface: str) -> ListeningPort:
    port = _TCPPort(key[1], _NoFactory(), BACKLOG, interface, reactor)
    port.key = key
    port.use(profile)
    port.startListening()
    profile.port_number = port.getHost().port
    return port


def _listen_unix(reactor: Any, key: PortKey, profile: PortProfile, path: str) -> ListeningPort:
    _remove_stale_socket(path)
    port = _UnixPort(path.encode(), _NoFactory(), BACKLOG, 0o660, reactor, wantPID=False)
    port.key = key
    port.use(profile)
    port.startListening()
    return port


def _remove_stale_socket(path: str) -> None:
    """Remove the socket that a killed process left; one that somebody listens on stays."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


def key_text(key: PortKey) -> str:
    """Write what a port was asked to be, for messages."""
    address, port = key
    if address is None:
        return f"port {port} of all addresses"
    return address if address.startswith("unix:") else f"{address} port {port}"


def cannot_listen_text(key: PortKey, names: str, error: CannotListenError) -> str:
    """Write that a port cannot be listened on, and why.

    :param names: for whom it is.
    """
    reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
    return f"cannot listen on {key_text(key)} ({names}): {reason}"


def port_text(port: Any) -> str:
    """Write where a port really is, for messages.

    :param port: provides ``IListeningPort``.
    """
    host = port.getHost()
    name = getattr(host, "name", None)
    if name is not None:
        return f"unix:{name.decode(errors='replace') if isinstance(name, bytes) else name}"
    return f"{host.host} port {host.port}"
