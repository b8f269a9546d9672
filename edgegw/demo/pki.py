"""A throw-away PKI: every certificate that it takes to see a gateway accept and refuse.

For demonstrations and tests.  The CA's key lies beside the certificates it signed, and all of it
is as short-lived as the demonstration; never trust its CA anywhere else.
"""
from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CLIENT_URI", "KeyPair", "make_pki", "write_private"]

#: The SPIFFE ID in the good client's certificate.
CLIENT_URI = "spiffe://example.com/client"

_ORGANIZATION = "edgegw demo"
_VALID_FOR = timedelta(days=30)
#: Clocks of client and gateway need not agree to the second.
_BACKDATED = timedelta(minutes=5)


@frozen
class KeyPair:
    """A certificate and its key: P-256, signed with SHA-256."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, directory: Path, name: str) -> None:
        """Write ``NAME-cert.pem`` and ``NAME-key.pem``, readable by their owner alone.

        :raises OSError: a file could not be written.
        """
        write_private(directory / f"{name}-cert.pem", self.certificate.public_bytes(Encoding.PEM))
        write_private(
            directory / f"{name}-key.pem",
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whatever the umask and whatever it was before.

    :raises OSError: it could not be written, or is a symbolic link.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)


def make_pki(directory: Path) -> None:
    """Write a CA and the certificates of a server and of three clients, with their keys.

    ``ca``
        the authority; signs ``server``, ``client`` and ``expired``.
    ``server``
        for ``localhost``, ``example.com``, ``*.example.com``, 127.0.0.1 and ::1.
    ``client``
        a good client: CN and DNS ``client.example.com``, URI :data:`CLIENT_URI`.
    ``stranger``
        has the good client's names, but from an authority of its own, which is not kept.
    ``expired``
        has the good client's names; its validity ended an hour ago.

    :param directory: an existing directory; ``NAME-cert.pem`` and ``NAME-key.pem`` come into it.
    :raises OSError: a file could not be written.
    """
    now = datetime.now(UTC)
    authority = _authority("edgegw demo CA", now)
    authority.write(directory, "ca")

    server_names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.DNSName("example.com"),
        x509.DNSName("*.example.com"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.IPAddress(ip_address("::1")),
    ]
    purpose = ExtendedKeyUsageOID.SERVER_AUTH
    _leaf(authority, "example.com", server_names, purpose, now, now + _VALID_FOR).write(directory, "server")

    client_names: list[x509.GeneralName] = [
        x509.DNSName("client.example.com"),
        x509.UniformResourceIdentifier(CLIENT_URI),
    ]
    elsewhere = _authority("a CA that nobody trusts", now)
    for name, issuer, until in (
        ("client", authority, now + _VALID_FOR),
        ("stranger", elsewhere, now + _VALID_FOR),
        ("expired", authority, now - timedelta(hours=1)),
    ):
        leaf = _leaf(issuer, "client.example.com", client_names, ExtendedKeyUsageOID.CLIENT_AUTH, now, until)
        leaf.write(directory, name)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    """Give what the key may sign: certificates and CRLs, or the handshakes of its owner."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(common_name: str, now: datetime) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    certificate = (
        _builder(name, name, key, now - timedelta(days=2), now + _VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate, key)


def _leaf(
    issuer: KeyPair,
    common_name: str,
    names: list[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    now: datetime,
    until: datetime,
) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    # A certificate that has expired began a day before it did.
    since = min(now - _BACKDATED, until - timedelta(days=1))
    certificate = (
        _builder(_name(common_name), issuer.certificate.subject, key, since, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
        )
        .sign(issuer.key, hashes.SHA256())
    )
    return KeyPair(certificate, key)
