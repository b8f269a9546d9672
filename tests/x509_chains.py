"""Certificates with whatever extensions, encodings and issuers a test of chains wants, really signed.

:func:`make` builds what ``cryptography`` will build, :func:`make_raw` what it will not: both give a
:class:`Made`, which may issue more.  :func:`verified_chain` has OpenSSL build and verify a chain of them, with the
flags and the purpose of the gateway.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto

from edgegw.identity import Certificate, CertificateStatus
from edgegw.peer import Peer
from tests.client_certificates import connection, tlv

__all__ = [
    "DEFAULT",
    "NOW",
    "Made",
    "key_usage",
    "make",
    "make_raw",
    "name",
    "peer_with",
    "raw_extension",
    "raw_name",
    "verified_chain",
]

NOW: Final = datetime.now(UTC).replace(microsecond=0)
_DAY = timedelta(days=1)
_serials = count(0x1000)

#: An extension as certificates of this kind have it; ``None`` leaves one out.
DEFAULT: Final = object()
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


@frozen(eq=False)
class Made:
    """A certificate with its key."""

    certificate: Certificate
    key: ec.EllipticCurvePrivateKey
    subject: x509.Name

    @property
    def pem(self) -> bytes:
        """As PEM."""
        return self.certificate.pem.encode("ascii")


def name(common_name: str) -> x509.Name:
    """Give a name that is a common name; without one the empty name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def key_usage(*bits: str) -> x509.KeyUsage:
    """Give a key usage with these bits, ``cryptography``'s words for them."""
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{bit: bit in bits for bit in every})


def make(
    subject: str | x509.Name,
    issuer: Made | None = None,
    *,
    ca: bool = False,
    path_length: int | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    names: Sequence[x509.GeneralName] = (),
    names_critical: Any = DEFAULT,
    constraints: x509.NameConstraints | None = None,
    constraints_critical: bool = True,
    basic_constraints: Any = DEFAULT,
    basic_constraints_critical: bool = True,
    usage: Any = DEFAULT,
    usage_critical: bool = True,
    purposes: Any = DEFAULT,
    ski: Any = DEFAULT,
    aki: Any = DEFAULT,
    identifiers_critical: bool = False,
    extra: Iterable[tuple[x509.ExtensionType, bool]] = (),
    serial: int | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    issuer_name: x509.Name | None = None,
) -> Made:
    """Make a certificate; every option is an extension or a part of one, and has what a good one has.

    :param issuer: ``None`` for a self-signed one.
    :param names: alternative names; critical where there is no subject, unless ``names_critical`` says otherwise.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    whole = name(subject) if isinstance(subject, str) else subject
    signer = Made(Certificate(b""), key, whole) if issuer is None else issuer
    builder = (
        x509.CertificateBuilder()
        .subject_name(whole)
        .issuer_name(signer.subject if issuer_name is None else issuer_name)
        .public_key(key.public_key())
        .serial_number(next(_serials) if serial is None else serial)
        .not_valid_before(not_before or NOW - 30 * _DAY)
        .not_valid_after(not_after or NOW + 30 * _DAY)
    )
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    wanted: list[tuple[Any, bool]] = [
        (x509.BasicConstraints(ca, path_length) if basic_constraints is DEFAULT else basic_constraints,
         basic_constraints_critical),
        ((key_usage("key_cert_sign", "crl_sign") if ca else key_usage("digital_signature"))
         if usage is DEFAULT else usage, usage_critical),
        ((None if ca else x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))
         if purposes is DEFAULT else purposes, False),
        ((own if ca else None) if ski is DEFAULT else ski, identifiers_critical),
        (above if aki is DEFAULT else aki, identifiers_critical),
        (x509.SubjectAlternativeName(names) if names else None,
         not list(whole) if names_critical is DEFAULT else names_critical),
        (constraints, constraints_critical),
        *extra,
    ]  # fmt: skip
    for value, critical in wanted:
        if value is not None:
            builder = builder.add_extension(value, critical=critical)
    made = builder.sign(signer.key, hashes.SHA256())
    return Made(Certificate(made.public_bytes(Encoding.DER)), key, whole)


# --- by hand ------------------------------------------------------------------------------------


def raw_name(*attributes: tuple[str, int, bytes]) -> bytes:
    """Encode a name of ``(object identifier in hexadecimal, tag of the value, its contents)``, an RDN for each."""
    return tlv(
        0x30,
        *(tlv(0x31, tlv(0x30, tlv(0x06, bytes.fromhex(oid)), tlv(tag, value))) for oid, tag, value in attributes),
    )


def raw_extension(extension: x509.ExtensionType, critical: bool | bytes = False) -> bytes:
    """Encode an extension; ``critical`` may be the whole element that says so."""
    oid = x509.Name([x509.NameAttribute(extension.oid, "")]).public_bytes()
    # An attribute begins with its type: SEQUENCE, SET, SEQUENCE, then the object identifier.
    length = oid[7]
    marked = (tlv(0x01, b"\xff") if critical else b"") if isinstance(critical, bool) else critical
    return tlv(0x30, oid[6 : 8 + length], marked, tlv(0x04, extension.public_bytes()))


def make_raw(
    issuer: Made,
    *,
    subject: bytes | None = None,
    issuer_name: bytes | None = None,
    serial: bytes = b"\x2a",
    version: bytes = b"\xa0\x03\x02\x01\x02",
    validity: Sequence[bytes] | None = None,
    inner: bytes = _ECDSA_WITH_SHA256,
    outer: bytes = _ECDSA_WITH_SHA256,
    middle: bytes = b"",
    extensions: Sequence[bytes] | None = None,
    replace: Mapping[str, bytes] = {},
) -> Made:
    """Make a leaf from the encodings of its parts; what is not given is as a good one has it.

    :param middle: what stands between the key and the extensions.
    :param extensions: all of them, each encoded; an empty list leaves ``[3]`` out.
    :param replace: encoded extensions in the place of the default ones, by these: ``constraints``, ``usage``,
        ``purposes``, ``names``, ``aki``; empty bytes leave one out.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    parts = {
        "constraints": raw_extension(x509.BasicConstraints(False, None), True),
        "usage": raw_extension(key_usage("digital_signature"), True),
        "purposes": raw_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])),
        "names": raw_extension(x509.SubjectAlternativeName([x509.DNSName("a.example")])),
        "aki": raw_extension(above),
        **replace,
    }
    encoded = list(parts.values()) if extensions is None else list(extensions)
    times = validity or [tlv(0x17, b"250101000000Z"), tlv(0x17, b"491231235959Z")]
    tbs = tlv(
        0x30,
        version,
        tlv(0x02, serial),
        inner,
        issuer.subject.public_bytes() if issuer_name is None else issuer_name,
        tlv(0x30, *times),
        raw_name(("550403", 0x0C, b"raw")) if subject is None else subject,
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        middle,
        tlv(0xA3, tlv(0x30, *encoded)) if encoded else b"",
    )
    signature = issuer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return Made(Certificate(tlv(0x30, tbs, outer, tlv(0x03, b"\0" + signature))), key, name("raw"))


# --- OpenSSL --------------------------------------------------------------------------------------


def verified_chain(
    leaf: Made, sent: Sequence[Made], anchors: Sequence[Made], flags: int = 0
) -> tuple[Certificate, ...] | None:
    """Have OpenSSL verify a client's certificate as the gateway does; ``None`` if it does not find it good.

    :param flags: of the store, beside partial chains.
    """
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN | flags)
    try:
        for anchor in anchors:
            store.add_cert(_as_openssl(anchor.certificate))
        parsed = [_as_openssl(one.certificate) for one in (leaf, *sent)]
        chain = crypto.X509StoreContext(store, parsed[0], parsed[1:]).get_verified_chain()
    except (crypto.Error, crypto.X509StoreContextError):
        return None
    return tuple(Certificate(crypto.dump_certificate(crypto.FILETYPE_ASN1, one)) for one in chain)


def _as_openssl(certificate: Certificate) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, certificate.der)


def peer_with(
    chain: Sequence[Certificate],
    status: CertificateStatus = CertificateStatus.VERIFIED,
    now: datetime = NOW,
) -> Peer:
    """Give a client whose chain this is, its own certificate first."""
    return Peer(connection(chain[0] if chain else None, status), now, tuple(chain))
