"""What a policy is told of a client: facts, never connections or OpenSSL's objects."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from cryptography import x509

from edgegw.identity import Certificate, CertificateStatus, ConnectionInfo
from edgegw.proxied import ProxyFacts

__all__ = ["Peer", "RequestFacts"]


class RequestFacts(Protocol):
    """A request, as the policies of its rule see it.

    :ivar method: as it was sent: ``GET``.
    :ivar path: as it was sent, percent-encoding included, without the query.
    :ivar host: the name that was asked for, canonical; ``None`` where none was named.
    """

    @property
    def method(self) -> str:
        """See above."""

    @property
    def path(self) -> str:
        """See above."""

    @property
    def host(self) -> str | None:
        """See above."""

    def header(self, name: str) -> str | None:
        """Give a header's value; ``None`` if it was not sent, or more than once.

        :param name: of any case.
        """


class Peer:
    """A client, as its policies see it.

    The facts of a certificate are empty (``""``, ``()`` or ``None``) for a client that sent none, and
    where the certificate has none; none of these raises.  Before anything is decided by them:
    :attr:`verified` says whether the chain was good.  It always is but on a listener with
    ``AllowInsecureFallback``.

    :ivar connection: what is known of the connection, the identity among it.
    :ivar attributes: what earlier policies of the list said in ``Accept``.
    :ivar request: the request that is being judged, at a route's rule; ``None`` for the connection.
    """

    __slots__ = ("_chain", "_now", "attributes", "connection", "request")

    def __init__(
        self,
        connection: ConnectionInfo,
        now: datetime | Callable[[], datetime],
        chain: tuple[Certificate, ...] | None = None,
        attributes: Mapping[str, str] | None = None,
        request: RequestFacts | None = None,
    ) -> None:
        """Make one.

        :param now: gives the time to judge by when it is first asked for, or is that time.
        :param chain: the chain that was verified, the client's own first; ``None`` if it was not asked for.
        """
        self.connection = connection
        self._now = now
        self.attributes: Mapping[str, str] = {} if attributes is None else attributes
        self.request = request
        self._chain = chain

    def __repr__(self) -> str:
        return f"<Peer {self.address} on {self.listener}: {self.subject or 'no subject'}>"

    @property
    def now(self) -> datetime:
        """The time to judge by, in UTC, the same for all policies; the present but in ``edgegw explain --at``."""
        now = self._now
        if not isinstance(now, datetime):
            # Most policies do not care, and a look at the clock costs as much as some of them.
            now = self._now = now()
        return now

    # --- the certificate --------------------------------------------------------------------

    @property
    def certificate(self) -> Certificate | None:
        """The client's certificate; ``None`` without one.  ``certificate.x509`` is ``cryptography``'s object."""
        return self.connection.identity.certificate

    @property
    def verified(self) -> bool:
        """Whether there is a certificate and its chain ends in a trust anchor."""
        return self.connection.identity.status is CertificateStatus.VERIFIED

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The chain that was verified: the client's own certificate first, the trust anchor last.

        :raises RuntimeError: the policy was not registered with ``needs_chain=True``; a listener without
            such a policy has no chain on resumed sessions.
        :raises ValueError: ``cryptography`` does not take one of the certificates.
        """
        return tuple(one.x509 for one in self.certificates)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The same chain as the gateway's own objects, which take what :attr:`chain` does not.

        :raises RuntimeError: as :attr:`chain`.
        """
        if self._chain is None:
            raise RuntimeError("a policy that reads the chain must be registered with needs_chain=True")
        return self._chain

    @property
    def subject(self) -> str:
        """The subject as RFC 2253 writes it, such as ``CN=client,O=Acme``."""
        certificate = self.certificate
        return "" if certificate is None else certificate.subject

    @property
    def issuer(self) -> str:
        """The issuer, written as :attr:`subject` is."""
        certificate = self.certificate
        return "" if certificate is None else certificate.issuer

    @property
    def common_name(self) -> str:
        """The subject's common name as its issuer wrote it: any character may be in it."""
        certificate = self.certificate
        return "" if certificate is None else certificate.common_name

    @property
    def serial(self) -> str:
        """The serial number in lower-case hexadecimal, an even number of digits."""
        certificate = self.certificate
        return "" if certificate is None else certificate.serial

    @property
    def sha256(self) -> str:
        """SHA-256 of the certificate's DER: 64 lower-case hexadecimal digits."""
        certificate = self.certificate
        return "" if certificate is None else certificate.sha256

    @property
    def dns_names(self) -> tuple[str, ...]:
        """DNS subject alternative names as they stand in the certificate: not lower-cased."""
        certificate = self.certificate
        return () if certificate is None else certificate.dns_names

    @property
    def uris(self) -> tuple[str, ...]:
        """URI subject alternative names."""
        certificate = self.certificate
        return () if certificate is None else certificate.uris

    @property
    def emails(self) -> tuple[str, ...]:
        """Mail addresses among the subject alternative names."""
        certificate = self.certificate
        return () if certificate is None else certificate.emails

    @property
    def ip_addresses(self) -> tuple[str, ...]:
        """IP addresses among the subject alternative names, in their shortest form."""
        certificate = self.certificate
        return () if certificate is None else certificate.ip_addresses

    @property
    def spiffe_id(self) -> str | None:
        """The SPIFFE ID of a workload's certificate; ``None`` for any other."""
        certificate = self.certificate
        return None if certificate is None else certificate.spiffe_id

    # --- the connection ---------------------------------------------------------------------

    @property
    def listener(self) -> str:
        """The name of the listener."""
        return self.connection.listener

    @property
    def address(self) -> str:
        """The client's IP address as text; ``unix:`` for a Unix socket."""
        return self.connection.peer

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """The client's IP address; ``None`` for a Unix socket."""
        try:
            return ip_address(self.connection.peer.partition("%")[0])
        except ValueError:
            return None

    @property
    def proxied(self) -> ProxyFacts | None:
        """What a proxy in front said in a PROXY header; ``None`` without one.

        The port's ``trusted`` proxies alone are listened to.  :attr:`address` is then the client's, as it was told.
        What the proxy says of a certificate is no identity, and in no other attribute of this object.
        """
        return self.connection.proxied

    @property
    def server_name(self) -> str | None:
        """The name that the client asked for (SNI), in lower case without a trailing dot; ``None`` without one.

        It is ``None``, too, where a TLS 1.2 session is resumed on a port that serves every name alike: OpenSSL does not
        tell it then.
        """
        return self.connection.server_name

    @property
    def tls_version(self) -> str | None:
        """``"TLSv1.2"`` or ``"TLSv1.3"``."""
        return self.connection.tls_version

    @property
    def cipher(self) -> str | None:
        """The cipher suite as OpenSSL names it."""
        return self.connection.cipher

    @property
    def group(self) -> str | None:
        """The key exchange group as OpenSSL names it; ``None`` where it does not say."""
        return self.connection.group

    @property
    def ja3(self) -> str | None:
        """The JA3 of its ClientHello, 32 lower-case hexadecimal digits.

        ``None`` where none was taken: without TLS, and where neither the listener nor a policy that needs fingerprints
        (``needs_fingerprints=True``) has asked for it.
        """
        return self.connection.ja3

    @property
    def ja4(self) -> str | None:
        """The JA4 of its ClientHello, such as ``t13d1516h2_8daaf6152771_e5627efa2ab1``; ``None`` as :attr:`ja3`."""
        return self.connection.ja4

    @property
    def resumed(self) -> bool:
        """Whether the connection resumes an earlier session: policies run again on it."""
        return self.connection.resumed
