"""Connections to upstreams that begin with more than TCP: a PROXY header, TLS, or the one and then the other.

Until all of that is done a connection counts as being made: the time for connecting goes on, and what goes wrong is a
failure to connect.  OpenSSL reads and writes the socket itself, as on the gateway's own ports
(:mod:`edgegw.tls.transport`).
"""
from __future__ import annotations

import socket
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet import error, main
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.interfaces import INegotiated, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.tcp import Client, Connector, Why
from edgegw.tls import openssl
from edgegw.tls.ending import TLSEnding
from edgegw.tls.failure import is_alert
from edgegw.upstream.failure import TLSAlert, TLSFailure
from edgegw.upstream.proxy_header import Header
from edgegw.upstream.tls import EndpointTLS, UpstreamHandshake

__all__ = ["HeraldedClient", "TLSClient", "connect_upstream"]

_CONNECTING: Final = 0
_HANDSHAKE: Final = 1
#: Open, with nothing written; then with nothing read: neither a session, nor an alert about the gateway's certificate.
_FRESH: Final = 2
_ASKED: Final = 3
_OPEN: Final = 4

_DONE = main.CONNECTION_DONE
_LOST = main.CONNECTION_LOST


class HeraldedClient(Client):
    """A connection that begins with bytes that no protocol has written.

    :param header: the bytes, which may be none; or what makes them of the socket.
    """

    def __init__(self, host: str, port: int, connector: Any, reactor: Any, header: Header) -> None:
        self._header = header
        super().__init__(host, port, None, connector, reactor)

    def _connectDone(self) -> None:
        if self._send_header():
            super()._connectDone()

    def _send_header(self) -> bool:
        header = self._header
        if callable(header):
            header = header(self.socket)
        if header:
            try:
                # A new connection has room for much more than it.
                sent = self.socket.send(header)
            except OSError as error:
                self.failIfNotConnected(ConnectError(error.errno, str(error)))
                return False
            if sent != len(header):
                self.failIfNotConnected(ConnectError(string="the PROXY header was not taken"))
                return False
        return True


@implementer(ISSLTransport, INegotiated)
class TLSClient(TLSEnding, HeraldedClient):
    """The client's end of one TLS connection; its protocol is made when the handshake is done."""

    _endpoint: EndpointTLS
    _handshake: UpstreamHandshake | None = None
    _state = _CONNECTING

    def __init__(
        self, host: str, port: int, connector: Any, reactor: Any, header: Header, endpoint: EndpointTLS
    ) -> None:
        self._endpoint = endpoint
        super().__init__(host, port, connector, reactor, header)

    # --- the handshake -----------------------------------------------------------------------

    def _connectDone(self) -> None:
        if not self._send_header():
            return
        self._handshake = self._endpoint.begin(self.socket)
        self.tls = self._handshake.connection
        self._state = _HANDSHAKE
        self.startReading()
        self._go_on()

    def _go_on(self) -> None:
        handshake = self._handshake
        if handshake is None:
            return  # it has failed in this turn of the reactor
        try:
            wanted = handshake.step()
        except TLSFailure as failure:
            self.failIfNotConnected(failure)
            return
        if wanted is None:
            self._state = _FRESH
            Client._connectDone(self)
        elif wanted is openssl.WANT_WRITE:
            self.startWriting()

    def failIfNotConnected(self, err: Any) -> None:
        """Called with why the connection was not made."""
        if self._state == _HANDSHAKE and not self.connected:
            if isinstance(err, error.TimeoutError):
                err = TLSFailure("timeout", "no TLS handshake in time")
            elif type(err) is ConnectError:
                err = TLSFailure("tls_closed", "the upstream closed the connection in the TLS handshake")
            self._handshake = self.tls = None
        super().failIfNotConnected(err)

    # --- reading ------------------------------------------------------------------------------

    def doRead(self) -> Why:  # type: ignore[override]  # Twisted swaps it when a connection is aborted
        """Called by the reactor when the socket is readable."""
        if self._state < _FRESH:
            self._go_on()
            return None
        try:
            data = openssl.read(self.tls)  # type: ignore[arg-type]  # there is one from the handshake on
        except openssl.Closed as closed:
            return self._peer_closed(closed)
        if data is not openssl.WANT:
            if self._state != _OPEN:
                self._state = _OPEN
                self._keep_session()
            self.protocol.dataReceived(data)  # type: ignore[arg-type]  # what is not WANT is bytes
        return None

    def _keep_session(self) -> None:
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.keep_session()

    def _peer_closed(self, closed: openssl.Closed) -> Why:
        if closed.data:
            if self._state != _OPEN:
                self._state = _OPEN
                self._keep_session()
            self.protocol.dataReceived(closed.data)
            if not self.connected:
                return None
        if closed.clean:
            return _DONE
        # Without a close_notify what has come may have been cut short by anybody (RFC 8446 §6.1).
        return TLSAlert(closed.reason) if is_alert(closed.reason) else _LOST

    # --- writing ------------------------------------------------------------------------------

    def doWrite(self) -> Why:  # type: ignore[override]  # as doRead
        """Called by the reactor when the socket is writable."""
        if self._state < _FRESH:
            self.stopWriting()
            self._go_on()
            return None
        return super().doWrite()  # type: ignore[no-any-return]  # Twisted's

    def write(self, data: bytes) -> None:
        """Send data, or queue what cannot be sent now; nothing happens on a lost connection."""
        if self._state != _OPEN and self.connected and data:
            if self._state == _FRESH:
                self._state = _ASKED
            elif not self.unsent and self._something_has_come():
                # The reactor reads before it writes: once a write has failed OpenSSL does not read on, and the alert
                # that says why the upstream has closed would be lost.
                self.dataBuffer, self.offset = data, 0
                self.startWriting()
                self._maybePauseProducer()
                return
        super().write(data)

    def _something_has_come(self) -> bool:
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return False
        return True

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """Encrypt and send what the socket takes."""
        if not data:
            return 0
        try:
            return openssl.write(self.tls, data)  # type: ignore[arg-type]  # there is one while it is connected
        except openssl.Closed:
            return _LOST

    # --- closing ------------------------------------------------------------------------------

    def _postLoseConnection(self) -> Why:
        if not self._close_notify():
            self.startWriting()
            return None
        return super()._postLoseConnection()  # type: ignore[no-any-return]  # Twisted's

    def connectionLost(self, reason: Failure) -> None:
        """Free everything and tell the protocol."""
        if self.connected:
            if self._state != _OPEN and not reason.check(error.ConnectionAborted):
                # Should it be the session that the upstream does not like, the next connection goes without.
                self._endpoint.forget()
            elif self.tls is not None:
                # OpenSSL takes a session whose connection ends without it for one that must not be resumed.
                self.tls.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
            self.tls = self._handshake = None
        super().connectionLost(reason)


class _UpstreamConnector(Connector):
    """Makes the transports of this module."""

    def __init__(
        self, host: str, port: int, factory: Any, timeout: float, reactor: Any, header: Header, tls: EndpointTLS | None
    ) -> None:
        self._header = header
        self._tls = tls
        super().__init__(host, port, factory, timeout, None, reactor)

    def _makeTransport(self) -> Client:
        if self._tls is None:
            return HeraldedClient(self.host, self.port, self, self.reactor, self._header)
        return TLSClient(self.host, self.port, self, self.reactor, self._header, self._tls)


def connect_upstream(
    reactor: Any, host: str, port: int, factory: Any, timeout: float, header: Header, tls: EndpointTLS | None
) -> Connector:
    """Connect as :func:`edgegw.tcp.connect_tcp` does, and do what comes before the first byte.

    :param timeout: seconds, for all of it.
    :param header: what to send in the clear before anything else; may be empty, or made of the socket.
    :param tls: ``None`` goes on without TLS.
    """
    connector = _UpstreamConnector(host, port, factory, timeout, reactor, header, tls)
    connector.connect()
    return connector
