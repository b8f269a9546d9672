"""What tests of revocation need: CRLs of every shape, OCSP responders, and an environment that has other threads."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.testing import Authority, FakeEnvironment, Issued
from tests.client_certificates import tlv

__all__ = [
    "DAY",
    "DELTA",
    "HOUR",
    "UNKNOWN",
    "Environment",
    "Responder",
    "delegate",
    "der",
    "directory",
    "entry",
    "handmade_crl",
    "idp",
    "listed",
    "ocsp_at",
    "pem",
    "point",
    "points",
]

DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)
#: A type of extension that nobody knows.
UNKNOWN: Final = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
#: Marks a list as one that holds only changes.
DELTA: Final = (x509.DeltaCRLIndicator(1), True)


class Environment(FakeEnvironment):
    """An environment whose other threads are done at once.

    :ivar elsewhere: what was run on them.
    """

    def __init__(self, directory: Any = None, http: Callable[..., Any] | None = None) -> None:
        super().__init__(directory, http)
        self.elsewhere: list[Callable[..., Any]] = []

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function."""
        self.elsewhere.append(function)
        return function(*arguments)

    def look(self) -> None:
        """Have files read and repeated calls made that are due, as after some seconds."""
        self.advance(120.0)
        self.reread()
        self.run_due()


def directory(case: TestCase | SynchronousTestCase) -> Path:
    """Make a directory for a test."""
    made = Path(case.mktemp())
    made.mkdir()
    return made.absolute()


def pem(*lists: x509.CertificateRevocationList) -> bytes:
    """Give lists as PEM blocks."""
    return b"".join([one.public_bytes(Encoding.PEM) for one in lists])


# --- CRLs -----------------------------------------------------------------------------------


def _serial(one: Issued | Authority | x509.Certificate | int) -> int:
    certificate = one.certificate if isinstance(one, (Issued, Authority)) else one
    return certificate if isinstance(certificate, int) else certificate.serial_number


def entry(
    one: Issued | Authority | int, reason: x509.ReasonFlags | None = None, when: datetime | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> x509.RevokedCertificate:
    """Make an entry of a list."""
    builder = x509.RevokedCertificateBuilder(_serial(one), when or datetime(2026, 1, 31, 11, 12, 13, tzinfo=UTC))
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.build()


def listed(
    authority: Authority,
    *revoked: Issued | Authority | int | x509.RevokedCertificate,
    begin: datetime | None = None,
    end: datetime | None = None,
    number: int | None = 1,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    key: Any = None,
    digest: Any = None,
    name: x509.Name | None = None,
    pss: bool = False,
) -> x509.CertificateRevocationList:
    """Issue a CRL that has become valid a day ago and is so for another.

    :param key: signs in place of the authority's.
    :param digest: the hash that is signed; SHA-256 where the key has one.
    """
    now = datetime.now(UTC)
    signer = key or authority.key
    builder = x509.CertificateRevocationListBuilder(
        name or authority.name, begin or now - DAY, end or now + DAY
    ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    for one in revoked:
        made = one if isinstance(one, x509.RevokedCertificate) else entry(one)
        builder = builder.add_revoked_certificate(made)
    if digest is None and not type(signer).__name__.startswith(("Ed", "MLDSA")):
        digest = hashes.SHA256()
    if pss:
        return builder.sign(signer, digest, rsa_padding=padding.PSS(padding.MGF1(hashes.SHA256()), 32))
    return builder.sign(signer, digest)


def handmade_crl(
    authority: Authority,
    entries: Iterable[bytes] = (),
    *,
    times: Sequence[bytes] = (b"260101000000Z", b"490101000000Z"),
    version: bytes = b"\x02\x01\x01",
    extensions: bytes = b"",
    inner: bytes = b"",
    sha1: bool = False,
) -> bytes:
    """Make a CRL in DER of the encoded contents of its parts, signed by an authority with a P-256 key.

    :param entries: contents of each entry; none leaves the list of them out.
    :param inner: the algorithm that is signed, in place of the one that is used.
    """
    algorithm = tlv(0x30, tlv(0x06, bytes.fromhex("2a8648ce3d0401" if sha1 else "2a8648ce3d040302")))
    rows = [tlv(0x30, one) for one in entries]
    signed = tlv(
        0x30,
        version,
        inner or algorithm,
        authority.name.public_bytes(),
        *[tlv(0x17 if len(time) == 13 else 0x18, time) for time in times],
        tlv(0x30, *rows) if rows else b"",
        tlv(0xA0, extensions) if extensions else b"",
    )
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    signature = authority.key.sign(signed, ec.ECDSA(hashes.SHA1() if sha1 else hashes.SHA256()))
    return tlv(0x30, signed, algorithm, tlv(0x03, b"\0", signature))


def point(*urls: str, **fields: Any) -> x509.DistributionPoint:
    """Make a distribution point; ``fields`` are those of ``cryptography``'s."""
    names = [x509.UniformResourceIdentifier(url) for url in urls] or None
    given: dict[str, Any] = {"full_name": names, "relative_name": None, "reasons": None, "crl_issuer": None, **fields}
    return x509.DistributionPoint(**given)


def der(one: x509.CertificateRevocationList) -> bytes:
    """Give a list's DER."""
    return one.public_bytes(Encoding.DER)


def idp(**fields: Any) -> tuple[x509.ExtensionType, bool]:
    """Give an issuing distribution point; ``fields`` are those of ``cryptography``'s."""
    everything: dict[str, Any] = {
        "full_name": None, "relative_name": None, "only_contains_user_certs": False, "only_contains_ca_certs": False,
        "only_some_reasons": None, "indirect_crl": False, "only_contains_attribute_certs": False,
    }  # fmt: skip
    return x509.IssuingDistributionPoint(**{**everything, **fields}), True


def points(*urls: str) -> tuple[x509.ExtensionType, bool]:
    """Give the extension of a certificate whose CRLs are at these URLs, each a point of its own."""
    return x509.CRLDistributionPoints([point(url) for url in urls]), False


# --- OCSP -----------------------------------------------------------------------------------


def ocsp_at(*urls: str) -> tuple[x509.ExtensionType, bool]:
    """Give the extension of a certificate whose OCSP responders are at these URLs."""
    uris = [x509.UniformResourceIdentifier(url) for url in urls]
    access = [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri) for uri in uris]
    return x509.AuthorityInformationAccess(access), False


def delegate(authority: Authority, no_check: bool = True, **options: Any) -> Issued:
    """Issue the certificate of a responder that speaks for an authority."""
    options.setdefault("usages", [ExtendedKeyUsageOID.OCSP_SIGNING])
    extensions = list(options.pop("extensions", ()))
    if no_check:
        extensions.append((x509.OCSPNoCheck(), False))
    return authority.issue("responder", extensions=extensions, **options)


class Responder:
    """An OCSP responder that says what it is told.

    Called with the DER of a request it gives the DER of its answer.

    :ivar requests: what it was asked.
    :ivar revoked: serial numbers.
    :ivar unknown: serial numbers that it does not know.
    :ivar signer: signs the answers; ``None`` for the authority itself.
    :ivar begin: ``thisUpdate``; ``end`` is ``nextUpdate``, ``None`` for an answer without one.
    :ivar echo: whether it sends a nonce back.
    """

    def __init__(self, authority: Authority, signer: Issued | None = None) -> None:
        now = datetime.now(UTC)
        self.authority = authority
        self.signer = signer
        self.requests: list[ocsp.OCSPRequest] = []
        self.revoked: set[int] = set()
        self.unknown: set[int] = set()
        self.begin = now - HOUR
        self.end: datetime | None = now + HOUR
        self.echo = True
        self.nonce: bytes | None = None
        self.digest: Any = hashes.SHA256()
        self.by_name = False
        self.certificates: list[x509.Certificate] | None = None
        self.extensions: list[tuple[x509.ExtensionType, bool]] = []

    def __call__(self, request: bytes) -> bytes:
        asked = ocsp.load_der_ocsp_request(request)
        self.requests.append(asked)
        return self.answer(asked)

    def answer(self, asked: ocsp.OCSPRequest) -> bytes:
        """Give the answer to a request."""
        serial = asked.serial_number
        status, when = ocsp.OCSPCertStatus.GOOD, None
        if serial in self.revoked:
            status, when = ocsp.OCSPCertStatus.REVOKED, datetime(2026, 1, 31, tzinfo=UTC)
        elif serial in self.unknown:
            status = ocsp.OCSPCertStatus.UNKNOWN
        signer = self.signer
        by = self.authority.certificate if signer is None else signer.certificate
        encoding = ocsp.OCSPResponderEncoding.NAME if self.by_name else ocsp.OCSPResponderEncoding.HASH
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                asked.issuer_name_hash, asked.issuer_key_hash, serial, asked.hash_algorithm, status, self.begin,
                self.end, when, x509.ReasonFlags.key_compromise if when else None,
            )
            .responder_id(encoding, by)
        )  # fmt: skip
        certificates = self.certificates
        if certificates is None and signer is not None:
            certificates = [signer.certificate]
        if certificates:
            builder = builder.certificates(certificates)
        nonce = self.nonce
        if nonce is None and self.echo:
            sent = [one.value.nonce for one in asked.extensions if isinstance(one.value, x509.OCSPNonce)]
            nonce = sent[0] if sent else None
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical=critical)
        key: Any = self.authority.key if signer is None else signer.key
        digest = None if type(key).__name__.startswith("Ed") else self.digest
        return builder.sign(key, digest).public_bytes(Encoding.DER)
