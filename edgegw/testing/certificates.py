"""Real certificates in one line: an authority, its intermediates, and what they issue.

::

    authority = Authority()
    client = authority.issue("client", dns=["client.example"], uris=["spiffe://example.org/billing"])
    old = authority.issue_expired(dns=["old.example"])
    below = Authority("intermediate", issuer=authority).issue("deeper", key="Ed25519")
    revoked = authority.crl(client)

All are made with ``cryptography`` and are what a real authority of today gives.  Keys are not for anything but tests.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "ANY_USAGE",
    "BOTH",
    "CLIENT",
    "CODE_SIGNING",
    "NO_USAGE",
    "SERVER",
    "Authority",
    "Issued",
    "Key",
    "make_key",
]

#: Extended key usages for :meth:`Authority.issue`: what TLS clients and servers have, one or both of them.
CLIENT: Final = (ExtendedKeyUsageOID.CLIENT_AUTH,)
SERVER: Final = (ExtendedKeyUsageOID.SERVER_AUTH,)
BOTH: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
CODE_SIGNING: Final = (ExtendedKeyUsageOID.CODE_SIGNING,)
ANY_USAGE: Final = (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)
#: Leaves the extension out.
NO_USAGE: Final = ()

#: A private key of the kinds that are made here.
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
_DAY = timedelta(days=1)


@cache
def _rsa_key(bits: int) -> rsa.RSAPrivateKey:
    # Making one takes a tenth of a second; no test minds that two certificates share it.
    return rsa.generate_private_key(65537, bits)


_KEYS: Mapping[str, Callable[[], Key]] = MappingProxyType({
    "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: _rsa_key(2048),
    "RSA-1024": lambda: _rsa_key(1024),
    "RSA-3072": lambda: _rsa_key(3072),
})


def make_key(kind: str = "EC") -> Key:
    """Make a private key.

    :param kind: ``"EC"`` and ``"P-256"``, ``"P-384"``, ``"P-521"``, ``"Ed25519"``, ``"RSA"`` (2048 bits),
        ``"RSA-1024"``, ``"RSA-3072"``.  RSA keys of one size are one key.
    :raises ValueError: it is none of them.
    """
    try:
        return _KEYS[kind]()
    except KeyError:
        raise ValueError(f"{kind!r} is no kind of key: {', '.join(_KEYS)}") from None


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _digest(key: Key) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _write_pair(certificate: bytes, key: bytes, directory: str | os.PathLike[str], name: str) -> tuple[str, str]:
    folder = Path(directory).absolute()
    paths = folder / f"{name}.pem", folder / f"{name}-key.pem"
    paths[0].write_bytes(certificate)
    descriptor = os.open(paths[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(key)
    return str(paths[0]), str(paths[1])


@frozen
class Issued:
    """A certificate with its key and the intermediates above it.

    :ivar chain: what its owner sends above it, its issuer first; without the root.
    :ivar root: where its chain ends; ``None`` if that is not known.
    """

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()
    root: x509.Certificate | None = None

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The certificate and the chain, which is what its owner sends."""
        return b"".join([one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.chain)])

    @property
    def der(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        """The key in PKCS #8, not encrypted."""
        return _key_pem(self.key)

    def without_chain(self) -> Issued:
        """Give the same certificate, sent without what is above it."""
        return evolve(self, chain=())

    def write(self, directory: str | os.PathLike[str], name: str = "client") -> tuple[str, str]:
        """Write ``NAME.pem``, the certificate with its chain, and ``NAME-key.pem``; gives both absolute paths."""
        return _write_pair(self.chain_pem, self.key_pem, directory, name)


class Authority:
    """A certificate authority: a root, or an intermediate of ``issuer``.

    It is valid from a year ago until in a year unless told otherwise.

    :param name: its common name.
    :param path_length: the path length constraint; ``None`` has none.
    :param key: the kind of its key; see :func:`make_key`.
    :param extensions: more of them, such as name constraints, with whether each is critical.
    :ivar certificate: its own.
    :ivar key: its private key.
    """

    def __init__(
        self,
        name: str = "test root",
        issuer: Authority | None = None,
        path_length: int | None = None,
        key: str = "EC",
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> None:
        self.key = make_key(key)
        self.issuer = issuer
        now = datetime.now(UTC)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name if issuer is None else issuer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before or now - 365 * _DAY)
            .not_valid_after(not_after or now + 365 * _DAY)
            .add_extension(x509.BasicConstraints(True, path_length), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        )
        signer = self.key if issuer is None else issuer.key
        if issuer is not None:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        self.certificate = builder.sign(signer, _digest(signer))

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        """Its key in PKCS #8, not encrypted."""
        return _key_pem(self.key)

    @property
    def root(self) -> x509.Certificate:
        """The certificate in which its chain ends: its own, or that of the authority at the top."""
        return self.certificate if self.issuer is None else self.issuer.root

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What stands between a certificate of its own and the root, itself first."""
        return () if self.issuer is None else (self.certificate, *self.issuer.chain)

    def write(self, directory: str | os.PathLike[str], name: str = "ca") -> tuple[str, str]:
        """Write ``NAME.pem``, its certificate, and ``NAME-key.pem``; gives both absolute paths."""
        return _write_pair(self.pem, self.key_pem, directory, name)

    def issue(
        self,
        common_name: str | None = "test",
        *,
        dns: Iterable[str] = (),
        uris: Iterable[str] = (),
        emails: Iterable[str] = (),
        ips: Iterable[str] = (),
        usages: Sequence[x509.ObjectIdentifier] = CLIENT,
        key: str = "EC",
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        serial: int | None = None,
        subject: x509.Name | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> Issued:
        """Issue a certificate that is none of an authority.

        It is valid from thirty days ago until in thirty days unless told otherwise.

        :param common_name: ``None`` for an empty subject.
        :param dns: DNS subject alternative names; so are URIs, mail and IP addresses.
        :param usages: extended key usages; :data:`NO_USAGE` leaves the extension out.
        :param key: the kind of its key; see :func:`make_key`.
        :param serial: positive, of 159 bits at most; random if it is not given.
        :param subject: the whole subject, in place of ``common_name``.
        :param extensions: more of them, with whether each is critical.
        :raises ValueError: ``cryptography`` does not make such a certificate.
        """
        now = datetime.now(UTC)
        private = make_key(key)
        names: list[x509.GeneralName] = [
            *map(x509.DNSName, dns),
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.RFC822Name, emails),
            *(x509.IPAddress(ip_address(ip)) for ip in ips),
        ]
        if subject is None:
            attributes = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
            subject = x509.Name(attributes)
        end = not_after or now + 30 * _DAY
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number() if serial is None else serial)
            .not_valid_before(not_before or min(now, end) - 30 * _DAY)
            .not_valid_after(max(end, not_before + _DAY) if not_before and not_after is None else end)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            # RFC 5280 §4.2.1.6: critical where the subject is empty.
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return Issued(builder.sign(self.key, _digest(self.key)), private, self.chain, self.root)

    def issue_expired(self, common_name: str | None = "expired", **options: Any) -> Issued:
        """Issue a certificate that has expired yesterday; ``options`` are those of :meth:`issue`."""
        return self.issue(common_name, not_after=datetime.now(UTC) - _DAY, **options)

    def issue_future(self, common_name: str | None = "future", **options: Any) -> Issued:
        """Issue a certificate that is valid from tomorrow on; ``options`` are those of :meth:`issue`."""
        return self.issue(common_name, not_before=datetime.now(UTC) + _DAY, **options)

    def crl(
        self,
        *revoked: Issued | x509.Certificate | int,
        number: int | None = 1,
        last_update: datetime | None = None,
        next_update: datetime | None = None,
    ) -> x509.CertificateRevocationList:
        """Issue a list of revoked certificates (RFC 5280 §5), which has become valid a day ago and is so for another.

        :param revoked: certificates, or their serial numbers.
        :param number: the CRL's; ``None`` leaves the extension out.
        """
        now = datetime.now(UTC)
        begin = last_update or now - _DAY
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self.name, last_update=begin, next_update=next_update or now + _DAY
        ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for one in revoked:
            certificate = one.certificate if isinstance(one, Issued) else one
            serial = certificate if isinstance(certificate, int) else certificate.serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=begin).build()
            )
        return builder.sign(self.key, _digest(self.key))
