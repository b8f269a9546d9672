"""What becomes of a TLS listener's connections, counted and remembered."""
from __future__ import annotations

from time import monotonic
from typing import Any

from OpenSSL import SSL

from edgegw.identity import CertificateStatus, ConnectionInfo
from edgegw.model import Listener
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import ListenerMetrics
from edgegw.proxied import ProxyFacts
from edgegw.tls import openssl
from edgegw.tls.transport import TLSServer
from edgegw.verdict import Reason, Reject

__all__ = ["LIMITS", "CountsHandshakes"]

#: Reasons that are counted as refusals by a limit, not as failed handshakes.
LIMITS = frozenset(
    {Reason.MAX_CONNECTIONS, Reason.MAX_CONNECTIONS_PER_PEER, Reason.MAX_HANDSHAKES, Reason.CONNECTION_RATE}
)


class CountsHandshakes:
    """Mixed into a listener that ends TLS.

    :ivar handshakes: in progress.
    """

    model: Listener
    metrics: ListenerMetrics
    handshakes: int
    _record: HandshakeRecord

    def failed(self, transport: TLSServer, reason: str, detail: str, begun: bool) -> str:
        """Count and remember a connection that did not get to its protocol; gives the handshake's id.

        :param begun: whether :meth:`may_begin` had let it.
        """
        if begun:
            self._ended()
        else:
            self.metrics.connections_total += 1
        seconds = monotonic() - transport.started
        hearing = transport.hearing
        status = CertificateStatus.NONE
        if hearing is not None and hearing.certificate is not None:
            # Whom policies accept has still to show that the certificate's key is its own: anybody can send another's.
            judged = isinstance(hearing.verdict, Reject) or (hearing.proved and hearing.verdict is not None)
            good = judged and not hearing.errors
            status = CertificateStatus.VERIFIED if good else CertificateStatus.UNVERIFIED
        handshake_id = self._remember(transport, status, reason, detail, seconds, None)
        if reason in LIMITS:
            self.metrics.refuse(reason)
        else:
            self.metrics.handshake_failed(reason, seconds, handshake_id, transport.fingerprints)
        return handshake_id

    def _remember(
        self,
        transport: TLSServer,
        status: CertificateStatus,
        reason: str,
        detail: str,
        seconds: float,
        info: ConnectionInfo | None,
    ) -> str:
        hearing, tls = transport.hearing, transport.tls
        version = cipher = group = None
        resumed = False
        if info is not None:
            version, cipher, group, resumed = info.tls_version, info.cipher, info.group, info.resumed
        elif tls is not None:
            version, cipher, group = openssl.negotiated(tls)
            resumed = cipher is not None and openssl.was_resumed(tls)
            if cipher is None and _version_is_chosen(tls):
                # Under TLS 1.2 a certificate is refused before there is a cipher suite to be told.
                version, group = tls.get_protocol_version_name(), tls.get_group_name()
        return self._record.add(
            self.model.name, str(transport.hostname), int(transport.client[1]),
            transport.server_name if info is None else info.server_name, version, cipher, group, resumed, status,
            None if hearing is None else hearing.certificate, reason, detail,
            () if hearing is None else hearing.rulings, seconds, fingerprints=transport.fingerprints,
            proxied=transport.proxied,
        )

    def turned_away(
        self, client: tuple[Any, ...], reason: Reason, detail: str = "", proxied: ProxyFacts | None = None
    ) -> None:
        """Count and remember a connection that the port did not take.

        :param client: its address and port.
        :param proxied: what a proxy in front said of it.
        """
        self.metrics.connections_total += 1
        self.metrics.refuse(reason)
        self._record.add(
            self.model.name, str(client[0]), int(client[1]), None, None, None, None, False, CertificateStatus.NONE,
            None, reason, detail, (), 0.0, proxied=proxied,
        )

    def gone(self) -> None:
        """A connection that :meth:`may_begin` had let begin has ended."""
        self.metrics.connections -= 1

    def _ended(self) -> None:
        self.handshakes -= 1
        self.metrics.handshakes_in_progress -= 1


def _version_is_chosen(tls: SSL.Connection) -> bool:
    """Whether client and gateway have agreed on a version; before that OpenSSL names one all the same."""
    # It makes a session for what it answers the ClientHello with, once it has found a version.
    return tls.server_random() is not None
