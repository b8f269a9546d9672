"""Both ends of TLS for tests: a port that runs any protocol, and a client that tells what it saw.

The client is pyOpenSSL's, because that names the alerts it gets, keeps sessions and knows post-quantum
groups.  It blocks, so it runs in a thread while the reactor serves.
"""
from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import define, frozen
from OpenSSL import SSL, _util, crypto
from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from edgegw.deadlines import Deadlines
from edgegw.identity import ConnectionInfo
from edgegw.model import Listener
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import ListenerMetrics, Metrics
from edgegw.proxy.policing import chain_of, policies_of, with_its_policies
from edgegw.tls.listener import TLSListener
from edgegw.tls.port import ListeningPort, listen
from edgegw.tls.profile import PlainListener, PortProfile
from edgegw.tls.turns import HandshakeTurns
from edgegw.tls.verification import ClientVerification
from edgegw.verdict import Reason, Reject
from tests.gateway import Issued, in_thread, until

__all__ = ["TLS1_2", "TLS1_3", "BarePort", "Greeter", "Outcome", "Talk", "connect", "start_port", "try_tls", "visit"]

reactor: Any = global_reactor

TLS1_2: Final = SSL.TLS1_2_VERSION
TLS1_3: Final = SSL.TLS1_3_VERSION


class Talk(protocol.Protocol):
    """A connection as its protocol sees it.

    :ivar received: everything that came.
    :ivar reason: why it ended; ``None`` while it has not.
    """

    transport: Any

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info
        self.received = bytearray()
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.reason = reason


class Greeter(Talk):
    """Says ``hello`` and closes when the client has said anything."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(b"hello")
        self.transport.loseConnection()


class BarePort:
    """A port whose connections run a protocol of the test's.

    :ivar talks: the protocols that were made, in their order.
    :ivar record: every handshake.
    :ivar refusals: what was said of clients that were let in only to be told that they are refused.
    """

    def __init__(
        self, listeners: Sequence[Listener], make: Callable[[ConnectionInfo], Any], needs_chain: bool = False
    ) -> None:
        self.metrics = {one.name: ListenerMetrics() for one in listeners}
        self.observed = Metrics()
        self.record = HandshakeRecord()
        self.deadlines = Deadlines(reactor, 0.02)
        self.turns = HandshakeTurns(reactor)
        self.talks: list[Any] = []
        self.refusals: list[Reject] = []
        self._make = make
        self._needs_chain = needs_chain
        self.profile = self.make_profile(listeners)
        self.profiles = [self.profile]
        key = (listeners[0].address, listeners[0].port)
        self.port: ListeningPort = listen(reactor, key, self.profile)

    def make_profile(self, listeners: Sequence[Listener]) -> PortProfile:
        """Build what would serve these listeners."""
        built: list[Any] = []
        for one in listeners:
            metrics = self.metrics.setdefault(one.name, ListenerMetrics())
            if one.tls is None:
                built.append(PlainListener(one, metrics, self._build))
            else:
                one = with_its_policies(one)
                assert one.tls is not None
                chain = chain_of(policies_of(one), self.observed, one.name)
                verification = ClientVerification(one.tls.client_validation, chain, self._needs_chain)
                built.append(TLSListener(one, metrics, self._build, verification, self.record, reactor))
        return PortProfile(built, self.deadlines, self.turns, lambda: None)

    def use(self, listeners: Sequence[Listener]) -> None:
        """Swap another configuration in."""
        self.profile = self.make_profile(listeners)
        self.profiles.append(self.profile)
        self.port.use(self.profile)

    def _build(self, info: ConnectionInfo, refusal: Reject | None = None) -> Any:
        if refusal is not None:
            self.refusals.append(refusal)
        made = self._make(info)
        self.talks.append(made)
        return made

    @property
    def address(self) -> Any:
        """Where it is reached."""
        host = self.port.getHost()
        if not hasattr(host, "port"):
            return host.name.decode()
        return {"::": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(host.host, host.host), host.port

    @property
    def counts(self) -> ListenerMetrics:
        """The first listener's counters."""
        return next(iter(self.metrics.values()))

    @property
    def failures(self) -> dict[Reason, int]:
        """Why handshakes failed and connections were refused, over all listeners."""
        found: dict[Reason, int] = {}
        for one in self.metrics.values():
            for reasons in (one.handshake_failures, one.refused):
                for reason, number in reasons.items():
                    found[reason] = found.get(reason, 0) + number
        return found

    @property
    def transports(self) -> list[Any]:
        """Every open connection."""
        return [one for profile in self.profiles for one in profile.transports]

    async def talk(self, number: int = 1) -> Any:
        """Wait for the protocol with this number, from 1."""
        await until(lambda: len(self.talks) >= number)
        return self.talks[number - 1]

    async def idle(self) -> None:
        """Wait until no connection is left."""
        await until(lambda: not self.transports)

    def check_counts(self) -> None:
        """See that nothing is counted as open when nothing is.

        :raises AssertionError: something is.
        """
        left = {name: (one.connections, one.handshakes_in_progress) for name, one in self.metrics.items()}
        assert set(left.values()) == {(0, 0)}, left
        assert not self.profile.held.peers and not self.profile.held.total, self.profile.held.peers
        for profile in self.profiles:
            for listener in profile.listeners:
                if isinstance(listener, TLSListener):
                    assert (listener.handshakes, listener.metrics.connections) == (0, 0)

    async def stop(self) -> None:
        """Close everything; the counters must then say so."""
        await self.port.stopListening()
        for one in self.transports:
            one.abortConnection()
        await self.idle()
        self.deadlines.stop()
        await until(lambda: not self.turns._armed)
        await deferLater(reactor, 0, lambda: None)
        self.check_counts()


def start_port(
    case: TestCase,
    listeners: Listener | Sequence[Listener],
    make: Callable[[ConnectionInfo], Any] = Greeter,
    needs_chain: bool = False,
) -> BarePort:
    """Serve listeners of one port until the test has ended; the test fails if the counters do not end at 0.

    :param make: makes the protocol of a connection.
    """
    port = BarePort([listeners] if isinstance(listeners, Listener) else listeners, make, needs_chain)
    case.addCleanup(lambda: Deferred.fromCoroutine(port.stop()))
    return port


# --- the client -----------------------------------------------------------------------------


@define
class Outcome:
    """What a client saw.

    :ivar alert: the number of the fatal alert that it got.
    :ivar error: what its own library raised, in the handshake or after it.
    :ivar reply: what came after the handshake, up to the end.
    :ivar closed: whether the end was a close_notify.
    :ivar session: as it was at the end.
    :ivar server: the certificate that it was shown.
    """

    alert: int | None = None
    error: str | None = None
    reply: bytes = b""
    closed: bool = False
    session: SSL.Session | None = None
    server: crypto.X509 | None = None
    version: str | None = None
    cipher: str | None = None
    group: str | None = None
    alpn: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether it was let in and answered."""
        return self.error is None and self.reply == b"hello"

    @property
    def common_name(self) -> str | None:
        """The common name of the certificate that it was shown."""
        return None if self.server is None else self.server.get_subject().CN


@frozen
class _Settings:
    certificate: Issued | None = None
    server_name: str | None = "a.example"
    version: int | None = None
    session: SSL.Session | None = None
    alpn: tuple[str, ...] = ()
    data: bytes = b"ping"
    configure: Callable[[SSL.Context], None] | None = None


def connect(address: Any, timeout: float = 20.0) -> socket.socket:
    """Connect, blocking, with a time limit on reads and writes."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    made = socket.socket(family)
    limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    made.connect(address)
    return made


def _context(settings: _Settings, alerts: list[int]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if settings.version is not None:
        context.set_min_proto_version(settings.version)
        context.set_max_proto_version(settings.version)
    if settings.configure is not None:
        settings.configure(context)
    if settings.alpn:
        context.set_alpn_protos([name.encode() for name in settings.alpn])
    own = settings.certificate
    if own is not None:
        context.use_certificate(own.certificate)
        context.use_privatekey(own.key)
        for above in own.chain:
            context.add_extra_chain_cert(above)
    def info(connection: SSL.Connection, where: int, value: int) -> None:
        if where & SSL.SSL_CB_READ_ALERT == SSL.SSL_CB_READ_ALERT and value >> 8 == 2:
            alerts.append(value & 0xFF)

    context.set_info_callback(info)
    return context


def try_tls(address: Any, **settings: Any) -> Outcome:
    """Connect, shake hands, say something, read to the end; blocks and raises nothing that TLS does.

    :param settings: ``certificate``, ``server_name``, ``version`` (the only one), ``session`` to resume,
        ``alpn``, ``data`` to say, and ``configure``, which is called with the ``SSL.Context``.
    """
    wanted = _Settings(**settings)
    alerts: list[int] = []
    outcome = Outcome()
    with connect(address) as plain:
        client = SSL.Connection(_context(wanted, alerts), plain)
        if wanted.server_name is not None:
            client.set_tlsext_host_name(wanted.server_name.encode())
        if wanted.session is not None:
            # A session is carried from one client to another here, which pyOpenSSL's own method does not like.
            held: Any = wanted.session
            _util.lib.SSL_set_session(client._ssl, held._session)
        client.set_connect_state()
        try:
            client.do_handshake()
            outcome.server = client.get_peer_certificate()
            outcome.version = client.get_protocol_version_name()
            outcome.cipher = client.get_cipher_name()
            outcome.group = client.get_group_name()
            outcome.alpn = client.get_alpn_proto_negotiated()
            client.send(wanted.data)
            while True:
                outcome.reply += client.recv(65_536)
        except SSL.ZeroReturnError:
            outcome.closed = True
        except SSL.SysCallError as error:
            outcome.error = str(error)
        except SSL.Error as error:
            outcome.error = str(error) or type(error).__name__
        outcome.session = client.get_session()
        # OpenSSL takes a session that ended without it for one that must not be resumed.
        client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    outcome.alert = alerts[0] if alerts else None
    return outcome


def visit(port: BarePort, **settings: Any) -> Deferred[Outcome]:
    """Run :func:`try_tls` beside the reactor."""
    visiting: Deferred[Outcome] = in_thread(try_tls, port.address, **settings)
    return visiting


