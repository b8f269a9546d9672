"""A TLS client on the reactor that tells what it saw: alerts, the answer to a request, a session."""
from __future__ import annotations

from typing import Any, Final

from attrs import define, frozen
from OpenSSL import SSL
from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from edgegw.testing.certificates import Issued

__all__ = ["ClientFactory", "ClientSession", "Seen", "TLSClient", "Wanted"]

TLS_VERSIONS: Final = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}


@frozen
class ClientSession:
    """A session to resume, with the settings that it was made with, the certificate among them."""

    session: SSL.Session
    context: SSL.Context


@frozen
class Wanted:
    """What a client is to do.

    :ivar tls_version: the only one that it speaks; ``None`` for all.
    :ivar session: to resume; certificate and version are then what they were.
    :ivar request: bytes to send when the handshake is done.
    """

    certificate: Issued | None
    server_name: str | None
    tls_version: str | None
    session: ClientSession | None
    request: bytes


@define
class Seen:
    """What a client saw.

    :ivar alert: the number of the fatal alert that it got.
    :ivar error: what its own OpenSSL said, in the handshake or after it.
    :ivar reply: all that came after the handshake.
    """

    alert: int | None = None
    error: str | None = None
    reply: bytes = b""
    session: ClientSession | None = None
    tls_version: str | None = None


class TLSClient(protocol.Protocol):
    """Shakes hands, sends the request, reads to the end.

    :ivar seen: what it saw so far.
    :ivar done: fires with it when the connection has ended.
    """

    transport: Any

    def __init__(self, wanted: Wanted) -> None:
        self.seen = Seen()
        self.done: Deferred[Seen] = Deferred()
        self._wanted = wanted
        self._open = False
        self._context = _make_context(wanted) if wanted.session is None else wanted.session.context
        self._tls = SSL.Connection(self._context, None)
        self._tls.set_app_data(self.seen)
        if wanted.server_name is not None:
            self._tls.set_tlsext_host_name(wanted.server_name.encode("idna"))
        if wanted.session is not None:
            self._tls.set_session(wanted.session.session)
        self._tls.set_connect_state()

    def connectionMade(self) -> None:
        """Begin."""
        self._go_on()

    def dataReceived(self, data: bytes) -> None:
        """Go on with what came."""
        self._tls.bio_write(data)
        self._go_on()

    def _go_on(self) -> None:
        try:
            if not self._open:
                self._tls.do_handshake()
                self._open = True
                self.seen.tls_version = self._tls.get_protocol_version_name()
                self._tls.send(self._wanted.request)
            while True:
                self.seen.reply += self._tls.recv(65_536)
        except SSL.WantReadError:
            self._flush()
        except SSL.ZeroReturnError:
            self._end()
        except SSL.Error as error:
            self.seen.error = str(error) or type(error).__name__
            self._end()

    def _flush(self) -> None:
        try:
            while True:
                self.transport.write(self._tls.bio_read(65_536))
        except SSL.WantReadError:
            pass

    def _end(self) -> None:
        self._flush()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """Tell."""
        session = self._tls.get_session()
        self.seen.session = None if session is None else ClientSession(session, self._context)
        # OpenSSL takes a session that ended without it for one that must not be resumed.
        self._tls.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        self.done.callback(self.seen)


def _make_context(wanted: Wanted) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if wanted.tls_version is not None:
        context.set_min_proto_version(TLS_VERSIONS[wanted.tls_version])
        context.set_max_proto_version(TLS_VERSIONS[wanted.tls_version])
    own = wanted.certificate
    if own is not None:
        context.use_certificate(own.certificate)
        context.use_privatekey(own.key)
        for above in own.chain:
            context.add_extra_chain_cert(above)
    context.set_info_callback(_note_alert)
    return context


def _note_alert(connection: SSL.Connection, where: int, value: int) -> None:
    if where & SSL.SSL_CB_READ_ALERT == SSL.SSL_CB_READ_ALERT and value >> 8 == 2:
        seen: Seen = connection.get_app_data()
        seen.alert = value & 0xFF


class ClientFactory(protocol.ClientFactory):
    """Makes one client.

    :ivar client: it.
    """

    noisy = False

    def __init__(self, wanted: Wanted) -> None:
        self.client = TLSClient(wanted)

    def buildProtocol(self, addr: object) -> TLSClient:
        """Give it."""
        return self.client

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """Tell that there was nothing to connect to."""
        self.client.done.errback(reason)
