"""What one TLS listener of one generation of the configuration decides about its connections.

It is asked twice: before OpenSSL sees a byte, for the limits, and when the handshake is done, for
the identity.  The second question is asked of every connection, resumed or not: the verification
callback does not run on a resumed session, and a certificate may have expired since.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from OpenSSL import SSL, crypto

from edgegw.certificate import MAX_CACHED_BYTES
from edgegw.identity import Certificate, CertificateStatus, ConnectionInfo, Identity, certificate
from edgegw.model import Listener, ValidationMode
from edgegw.observe.metrics import ListenerMetrics
from edgegw.tls import openssl
from edgegw.tls.context import CertificateTable, canonical_server_name
from edgegw.tls.failure import reason_for_verify_result
from edgegw.tls.transport import TLSServer
from edgegw.verdict import Reason

__all__ = ["LIMITS", "TLSListener"]

_NOBODY = Identity()
#: Client certificates that a listener knows again without asking OpenSSL for their bytes.
_REMEMBERED = 512
#: Reasons that are counted as refusals by a limit, not as failed handshakes.
LIMITS = frozenset({Reason.MAX_CONNECTIONS, Reason.MAX_CONNECTIONS_PER_PEER, Reason.MAX_HANDSHAKES})


class TLSListener:
    """The judge of a listener's connections.

    :param build_protocol: makes the protocol for an accepted connection.
    :param needs_chain: whether the certificates above the client's own are asked for.  They are not kept
        in a session ticket, so such a listener issues none.
    :ivar site: what the listener serves; whoever builds the protocols sets it.
    :ivar handshakes: handshakes in progress.
    """

    site: Any

    def __init__(
        self,
        model: Listener,
        metrics: ListenerMetrics,
        build_protocol: Callable[[ConnectionInfo], Any],
        needs_chain: bool,
    ) -> None:
        assert model.tls is not None
        self.model = model
        self.metrics = metrics
        self.handshakes = 0
        self._known: dict[bytes, Certificate] = {}
        self._build_protocol = build_protocol
        self._needs_chain = needs_chain
        self._validation = model.tls.client_validation
        self.certificates = CertificateTable(model.tls, model.tls.session_tickets and not needs_chain)
        uris = {certificate.uris for certificate in model.tls.certificates}
        self._server_uris = uris.pop() if len(uris) == 1 else None
        self._refuses_everyone = self._validation is not None and not self._validation.trust_anchors

    def may_begin(self, transport: TLSServer) -> Reason | None:
        """Refuse before the handshake costs anything; otherwise count it as begun."""
        if self._refuses_everyone:
            return Reason.NO_TRUST_ANCHOR
        limits = self.model.limits
        metrics = self.metrics
        # The metrics outlive the generation: a reload is no way to hold more.
        if metrics.connections >= limits.max_connections:
            return Reason.MAX_CONNECTIONS
        if self.handshakes >= limits.max_handshakes:
            return Reason.MAX_HANDSHAKES
        self.handshakes += 1
        metrics.connections_total += 1
        metrics.connections += 1
        metrics.handshakes_in_progress += 1
        return None

    def judge(self, transport: TLSServer) -> Any:
        """Give the protocol for a connection whose handshake is done, or why it is refused."""
        tls = transport.tls
        assert tls is not None
        resumed = openssl.was_resumed(tls)
        identity = self._identify(transport, resumed)
        if isinstance(identity, Reason):
            return identity
        version = tls.get_protocol_version_name()
        cipher = tls.get_cipher_name()
        group = tls.get_group_name()
        info = ConnectionInfo(
            self.model.name,
            identity,
            str(transport.hostname),
            int(transport.client[1]),
            transport.owner.port_number,  # type: ignore[attr-defined]  # ListeningPort
            transport.server_name or canonical_server_name(tls),
            self._uris_shown(transport) if self._server_uris is None else self._server_uris,
            version,
            cipher,
            group,
            resumed,
        )
        protocol = self._build_protocol(info)
        self._ended()
        self.metrics.handshake_done(
            monotonic() - transport.started, version, cipher or "", group, resumed, identity.status
        )
        return protocol

    def failed(self, transport: TLSServer, reason: Reason, begun: bool) -> None:
        """A connection did not get to its protocol.

        :param begun: whether :meth:`may_begin` had let it.
        """
        if begun:
            self._ended()
        else:
            self.metrics.connections_total += 1
        if reason in LIMITS:
            self.metrics.refuse(reason)
        else:
            self.metrics.handshake_failed(reason, monotonic() - transport.started)

    def gone(self) -> None:
        """A connection that :meth:`may_begin` had let begin has ended."""
        self.metrics.connections -= 1

    def _ended(self) -> None:
        self.handshakes -= 1
        self.metrics.handshakes_in_progress -= 1

    def _identify(self, transport: TLSServer, resumed: bool) -> Identity | Reason:
        validation = self._validation
        if validation is None:
            return _NOBODY
        tls = transport.tls
        assert tls is not None
        digest = openssl.peer_digest(tls)
        if digest is None:
            return Reason.NO_CERTIFICATE if validation.demands_certificate else _NOBODY
        leaf = self._known.get(digest) or self._get_to_know(tls, digest)
        result = openssl.verify_result(tls)
        reason = reason_for_verify_result(result) if result else None
        if reason is None and resumed:
            reason = _out_of_date(leaf)
        chain = self._chain(transport) if self._needs_chain else ()
        if reason is None:
            return Identity(CertificateStatus.VERIFIED, leaf, chain)
        if validation.mode is ValidationMode.ALLOW_INSECURE_FALLBACK:
            return Identity(CertificateStatus.UNVERIFIED, leaf, chain)
        return reason

    def _get_to_know(self, tls: SSL.Connection, digest: bytes) -> Certificate:
        """Take the client's certificate out of OpenSSL, and remember it if it is of common size."""
        peer = tls.get_peer_certificate()
        assert peer is not None
        leaf = certificate(crypto.dump_certificate(crypto.FILETYPE_ASN1, peer))
        if len(leaf.der) <= MAX_CACHED_BYTES:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = leaf
        return leaf

    def _chain(self, transport: TLSServer) -> tuple[Certificate, ...]:
        assert transport.tls is not None
        sent = transport.tls.get_peer_cert_chain() or []
        ders = [crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in sent]
        leaf = transport.tls.get_peer_certificate()
        if leaf is not None and ders and ders[0] == crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf):
            del ders[0]
        return tuple(certificate(der) for der in ders)

    def _uris_shown(self, transport: TLSServer) -> tuple[str, ...]:
        assert transport.tls is not None and self.model.tls is not None
        shown = transport.tls.get_certificate()
        if shown is None:
            return ()
        return certificate(crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)).uris


def _out_of_date(leaf: Certificate) -> Reason | None:
    now = datetime.now(UTC)
    if leaf.not_after is None or leaf.not_before is None:
        return Reason.CERTIFICATE_INVALID
    if now > leaf.not_after:
        return Reason.CERTIFICATE_EXPIRED
    if now < leaf.not_before:
        return Reason.CERTIFICATE_NOT_YET_VALID
    return None
