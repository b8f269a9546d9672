"""What one TLS listener of one generation of the configuration decides about its connections.

It is asked before OpenSSL sees a byte, for the limits, and when the handshake is done, for the protocol to run.
The second question is asked of every connection, resumed or not.  Policies that wait make the answer a
Deferred, until which no byte of the application is read.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from time import monotonic
from typing import Any, Protocol

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred

from edgegw.identity import CertificateStatus, ConnectionInfo, Identity, certificate
from edgegw.model import POLICY_TIMEOUT, HealthCheck, Listener, RefuseWith, ServerCertificate
from edgegw.names import covers
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import ListenerMetrics
from edgegw.tcp import Why
from edgegw.tls import openssl
from edgegw.tls.admission import Admission
from edgegw.tls.context import CertificateTable, Staple, canonical_server_name
from edgegw.tls.counting import LIMITS, CountsHandshakes
from edgegw.tls.deciding import decide_later
from edgegw.tls.dynamic import CountError, DynamicContexts, count_nothing
from edgegw.tls.hello import ALERT_UNRECOGNIZED_NAME
from edgegw.tls.owner import Found
from edgegw.tls.transport import TLSServer
from edgegw.tls.verification import ClientVerification, Hearing
from edgegw.tls.waiting import time_limit
from edgegw.verdict import Accept, Reason, Reject, Ruling, Verdict

__all__ = ["BuildProtocol", "TLSListener"]

_NOBODY = Identity()


class BuildProtocol(Protocol):
    """Makes the protocol for an accepted connection, or says why it is refused after all."""

    def __call__(self, info: ConnectionInfo, refusal: Reject | None = None) -> Any:
        """:param refusal: the connection is there only to be told so, and to answer health checks.
        :returns: a ``Reject`` where there is none for it after all; only without a refusal.
        """


class TLSListener(CountsHandshakes):
    """The judge of a listener's connections.

    :param build_protocol: makes the protocol for an accepted connection.
    :param verification: judges client certificates.
    :param record: remembers every handshake.
    :param staple: see :func:`edgegw.tls.context.make_context`.
    :param may_take: called before a client's TLS begins, with the name that it asks for in canonical form and whether
        the port's router has sent it here: gives why it is refused, or ``None``.
    :ivar needs_hello: whether it matters what a client says in its ClientHello, beside the name on the certificate.
    :param count_error: called with the name of a kind and ``"certificate"`` whenever its source has failed.
    :param protocols: what makes the protocols in place of ``build_protocol`` where ALPN chose one of these.
    :ivar renewed: called when it shows other certificates.
    :ivar dynamic: the contexts for names that are on none of its own certificates; ``None`` without such.
    :ivar site: what the listener serves; whoever builds the protocols sets it.
    :ivar handshakes: handshakes in progress.
    :ivar limit: waits for what policies wait for, with their time limit.
    """

    site: Any = None

    def __init__(
        self,
        model: Listener,
        metrics: ListenerMetrics,
        build_protocol: BuildProtocol,
        verification: ClientVerification,
        record: HandshakeRecord,
        reactor: Any,
        staple: Staple | None = None,
        may_take: Callable[[str | None, bool], Reject | None] | None = None,
        count_error: CountError = count_nothing,
        protocols: Mapping[bytes, BuildProtocol] | None = None,
    ) -> None:
        assert model.tls is not None
        self.model = model
        self.metrics = metrics
        self.verification = verification
        self.handshakes = 0
        policies = verification.policies
        self._policies_again = None if policies is None else policies.for_open_connections()
        self._build_protocol = build_protocol
        self._by_alpn = protocols
        self._record = record
        self._validation = model.tls.client_validation
        tickets = model.tls.session_tickets and verification.tickets
        self._staple = staple
        self.renewed: Callable[[], None] = _nothing
        self.certificates = CertificateTable(model.tls, tickets, staple=staple)
        self._probes = self._table_for_probes(model.health_check, tickets)
        self.dynamic = None
        if model.tls.dynamic_certificates is not None:
            self.dynamic = DynamicContexts(
                model.tls, model.tls.dynamic_certificates, tickets, model.name, metrics.dynamic_certificates(),
                reactor, count_error,
            )
        uris = {certificate.uris for certificate in model.tls.certificates}
        self._server_uris = uris.pop() if len(uris) == 1 and self.dynamic is None else None
        self._refuses_everyone = self._validation is not None and self._validation.refuses_everyone
        timeout = POLICY_TIMEOUT if self._validation is None else self._validation.policy_timeout
        self.limit = time_limit(reactor, timeout)
        # The metrics outlive the generation: a reload is no way to hold more.
        self._admission = Admission(metrics, model.limits.max_connections, model.limits.connection_rate)
        self._may_take = may_take
        self.needs_hello = bool(
            model.hostname is not None or model.application_protocols or may_take or model.tls.dynamic_certificates
        )

    def _table_for_probes(self, health_check: HealthCheck | None, tickets: bool) -> CertificateTable | None:
        """Make the contexts for addresses that need no certificate, because they ask for health alone."""
        validation = self._validation
        if health_check is None or validation is None or not validation.demands_certificate:
            return None
        assert self.model.tls is not None
        return CertificateTable(self.model.tls, tickets, demand=False, staple=self._staple)

    def with_certificates(
        self, certificates: Iterable[ServerCertificate]
    ) -> tuple[CertificateTable, CertificateTable | None]:
        """Make what :meth:`show` takes; may be called on any thread.

        :raises ContextError: OpenSSL does not take one of them.
        """
        wanted = tuple(certificates)
        probes = None if self._probes is None else self._probes.with_certificates(wanted)
        return self.certificates.with_certificates(wanted), probes

    def show(self, tables: tuple[CertificateTable, CertificateTable | None]) -> None:
        """Show other certificates from the next handshake on."""
        before, (after, probes) = self.certificates, tables
        if {one.uris for one in before.certificates} != {one.uris for one in after.certificates}:
            # Handshakes that have begun show the old ones: which it was, OpenSSL has to be asked from now on.
            self._server_uris = None
        self.certificates, self._probes = after, probes
        self.renewed()

    def stop(self) -> None:
        """Nothing of it is in use any more."""
        if self.dynamic is not None:
            self.dynamic.stop()

    # --- before the handshake -------------------------------------------------------------------

    def take(self, transport: TLSServer) -> Why:
        """Begin with TLS on a connection whose name is the listener's; see ``SecureListener``."""
        refusal = self.refuses(transport.server_name, transport.routed)
        if refusal is not None:
            transport.judge = self
            # A limit of its route turns a client away as the listener's own do: it is told nothing, and holds nothing.
            alert = b"" if refusal.code in LIMITS else ALERT_UNRECOGNIZED_NAME
            return transport.refuse(refusal.code, refusal.detail, alert)
        return transport.begin(self.find(transport.server_name, transport.routed), self)

    def refuses(self, name: str | None, routed: bool = False) -> Reject | None:
        """Say why a client is refused for the name that it asks for; ``None`` lets its TLS begin.

        :param routed: see :meth:`find`.
        """
        return None if self._may_take is None else self._may_take(name, routed)

    def find(self, server_name: str | None, routed: bool = False) -> Found:
        """Give the context for a canonical name, or why there is none.

        :param routed: whether the port's router has sent the client here, whatever the listener's host name is.
        """
        dynamic = self.dynamic
        if dynamic is None or server_name is None or not self.asks_about(server_name, routed):
            return self.certificates.find(server_name)
        return dynamic.find(server_name)

    def asks_about(self, server_name: str, routed: bool = False) -> bool:
        """Whether a source of certificates is there for a canonical name; see :meth:`find`."""
        hostname = self.model.hostname
        if self.dynamic is None or self.certificates.named(server_name) is not None:
            return False
        # A client may be here because its name is no listener's: nobody is to be asked about that one.
        return routed or hostname is None or covers(hostname, server_name)

    def may_begin(self, transport: TLSServer) -> Reason | None:
        """Refuse before the handshake costs anything; otherwise count it as begun."""
        if self._refuses_everyone:
            return Reason.NO_TRUST_ANCHOR
        limits = self.model.limits
        metrics = self.metrics
        if self.handshakes >= limits.max_handshakes:
            return Reason.MAX_HANDSHAKES
        reason = self._admission.refuse()
        if reason is not None:
            return reason
        self.handshakes += 1
        metrics.connections_total += 1
        metrics.connections += 1
        metrics.handshakes_in_progress += 1
        return None

    def begin(self, transport: TLSServer, context: SSL.Context) -> Hearing | None:
        """Make OpenSSL's end of a connection, and give what is to be asked about the client's certificate."""
        if self._probes is not None and self.is_probe(str(transport.hostname)):
            # It knows the name, or the other table would not have had a context for it.
            context = self._for_probe(self._probes, transport.server_name) or context
        hearing = self.verification.begin(
            lambda tls, identity, resumed: self._info(transport, tls, identity, resumed)
        )
        transport.tls = openssl.accept(context, transport.socket)
        if hearing is not None:
            hearing.tls = transport.tls
        return hearing

    def _for_probe(self, probes: CertificateTable, server_name: str | None) -> SSL.Context | None:
        if self.dynamic is not None and server_name is not None and probes.named(server_name) is None:
            made = self.dynamic.for_probe(server_name)
            if made is not None:
                return made
        return probes.find(server_name)

    def is_probe(self, address: str) -> bool:
        """Whether health checks from an address are answered here."""
        health_check = self.model.health_check
        return health_check is not None and from_sources(health_check, address)

    # --- when it is done --------------------------------------------------------------------------

    def judge(self, transport: TLSServer) -> Any:
        """Give the protocol for a connection whose handshake is done, why it is refused, or a Deferred of these."""
        tls, hearing = transport.tls, transport.hearing
        assert tls is not None
        resumed = openssl.was_resumed(tls)
        identity = self.verification.conclude(tls, hearing, resumed)
        policies = self.verification.policies
        if isinstance(identity, Reject):
            return self._refuse(transport, tls, identity, resumed)
        if policies is not None and policies.waits:
            # Policies were asked, or there would be no identity.
            assert hearing is not None and hearing.peer is not None
            # Where everyone comes in they may have refused, which is the end of the list all the same.
            if not isinstance(hearing.verdict, Reject):
                waiting = decide_later(policies, hearing.peer, hearing.rulings, self.limit)
                return waiting.addCallback(self._decided, transport, identity, resumed)
        return self._accept(transport, tls, identity, resumed)

    def _decided(self, verdict: Verdict, transport: TLSServer, identity: Identity, resumed: bool) -> Any:
        tls = transport.tls
        if tls is None:
            return Reject(Reason.CLIENT_CLOSED, "while its policies were deciding")
        if isinstance(verdict, Reject):
            hearing = transport.hearing
            come_in = self.verification.refused(identity, None if hearing is None else hearing.peer)
            if come_in is None:
                return self._refuse(transport, tls, verdict, resumed)
            identity = come_in
        return self._accept(transport, tls, identity, resumed)

    def _accept(self, transport: TLSServer, tls: SSL.Connection, identity: Identity, resumed: bool) -> Any:
        hearing = transport.hearing
        peer = None if hearing is None else hearing.peer
        if peer is not None and peer.connection.identity.status is identity.status:
            info = peer.connection
            if peer.attributes:
                info = info._replace(attributes=peer.attributes)
            if identity.chain or identity.verified_chain:
                info = info._replace(identity=identity)
        else:
            info = self._info(transport, tls, identity, resumed)
        protocol = self._builder(tls)(info)
        if isinstance(protocol, Reject):
            return protocol
        transport.info = info
        self._ended()
        seconds = monotonic() - transport.started
        handshake_id = transport.handshake_id = self._remember(transport, identity.status, "", "", seconds, info)
        self.metrics.handshake_done(
            seconds, info.tls_version or "", info.cipher or "", info.group, resumed, identity.status, handshake_id,
            transport.fingerprints,
        )
        return protocol

    def _builder(self, tls: SSL.Connection) -> BuildProtocol:
        """Give what makes the protocol that ALPN chose."""
        if not self._by_alpn:
            return self._build_protocol
        return self._by_alpn.get(tls.get_alpn_proto_negotiated(), self._build_protocol)

    def _refuse(self, transport: TLSServer, tls: SSL.Connection, refusal: Reject, resumed: bool) -> Any:
        """Give the refusal, or a protocol that tells the client of it where the listener wants that."""
        validation = self._validation
        probing = self.is_probe(str(transport.hostname)) and refusal.code == Reason.NO_CERTIFICATE
        if not probing and (validation is None or validation.refuse_with is not RefuseWith.RESPONSE):
            return refusal
        info = self._info(transport, tls, _NOBODY, resumed)
        protocol = self._builder(tls)(info, refusal)
        if probing:
            # A load balancer's probes are no refusals, and would fill the record: they come every few seconds.
            self._ended()
            self.metrics.handshake_done(
                monotonic() - transport.started, info.tls_version or "", info.cipher or "", info.group, resumed,
                CertificateStatus.NONE,
            )
        else:
            transport.owner.refused(transport, refusal.code, refusal.detail)
        return protocol

    def judge_again(self, transport: TLSServer) -> Verdict | Deferred[Verdict]:
        """Decide whether the client of an open connection would still be let in.

        :param transport: maybe one that was accepted under an earlier configuration.
        """
        info = transport.info
        assert info is not None and transport.tls is not None
        before = transport.judge
        assert isinstance(before, TLSListener)
        refusal = self.verification.still_good(transport.tls, info, before.verification)
        policies = self._policies_again
        if refusal is not None or policies is None:
            return refusal or Accept()
        if info.identity.verified is None and self.verification.refused(info.identity) is not None:
            # It comes in whatever they say, and counts as what it counts as.
            return Accept()
        rulings: list[Ruling] = []
        peer = self.verification.peer_of(info)
        verdict = policies.check(peer, rulings)
        if isinstance(verdict, Reject) or not policies.waits:
            return verdict
        return decide_later(policies, peer, rulings, self.limit)

    def _info(self, transport: TLSServer, tls: SSL.Connection, identity: Identity, resumed: bool) -> ConnectionInfo:
        info = ConnectionInfo(
            self.model.name,
            identity,
            str(transport.hostname),
            int(transport.client[1]),
            transport.owner.port_number,  # type: ignore[attr-defined]  # PortProfile
            transport.server_name or canonical_server_name(tls),
            self._uris_shown(tls) if self._server_uris is None else self._server_uris,
            *openssl.negotiated(tls),
            resumed,
            proxied=transport.proxied,
        )
        found = transport.fingerprints
        return info if found is None else info._replace(ja3=found.ja3, ja4=found.ja4)

    def _uris_shown(self, tls: SSL.Connection) -> tuple[str, ...]:
        uris = None if self.dynamic is None else self.dynamic.uris_of(tls.get_context())
        if uris is not None:
            return uris
        shown = tls.get_certificate()
        if shown is None:
            return ()
        return certificate(crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)).uris

def _nothing() -> None:
    """Nobody wants to know."""


def from_sources(health_check: HealthCheck, address: str) -> bool:
    """Whether a health check's answer is for clients at an address, as text."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(ip in network for network in health_check.sources)
