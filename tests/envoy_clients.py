"""The client certificates that Envoy's table was made with, made anew: each by the name that it has there.

``cryptography`` makes those that it will make.  The others, signed with SHA-1 or with encodings that it refuses, are
taken apart and signed again by hand.
"""
from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier
from OpenSSL import crypto

from edgegw.der import elements, only, read
from tests.client_certificates import tlv
from tests.gateway import ANY_USAGE, BOTH, CLIENT, CODE_SIGNING, NO_USAGE, SERVER, Authority, Issued
from tests.x509_chains import key_usage

__all__ = ["EnvoyClients", "recorded_chain", "recorded_names", "recorded_root", "resigned"]

_DAY: Final = timedelta(days=1)
_CORP: Final = "internal.corp"
#: Microsoft's User Principal Name, an otherName.
_UPN: Final = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")

# The primes of an RSA key of 4096 bits, which takes seconds to make and keeps nothing safe here.
_PRIMES: Final = (
    """
    ef3b1d700bd5b2e7c8ee260ea786acb101d9dd9b74670099af936ab41bbcb98bd37e09dae513675eec1598abf14d0269e2e0
    d2ba5909b50eb348975e1f54656593ceb7f3452327bcbd234a878b39069ed92217f1d1241e062764dcc14c195a2c6d452b01
    bc8f988b33b811716754029764493a718f1dc25d372f80c6c431e5da2e4c567034175a491608d9a809e77a7ecc2c12fdb58e
    301fb7e4e8ff00163e5ac400db8402b1592d1803f488f4110810e83769a3a02149526cd24fa7cc2c02d7cbe7ca9621c81c76
    b56d13ac9448d1f236f7b0f2cb3765e252405f9d36c9be387e83c255e282b93ed2fd08162ce5be5734ecfee88f6e993f65ea
    1bfff49e020d
    """,
    """
    ca5b8cbf0638bab529b8bf6d790ed64beab22f166ed0278a2185cefd9aaf73254afe94deb0eeb0575e3cdb1159f0bd3bca5e
    4c37265479bdfe6387a606b9beabfd12049d3d72600ba7dde8bf1af9dd56cf1c24f7f1d35c8dc15f1bde7743ed1c6d8fbfc8
    f9d42609c4955ff7ca3d109907e9cec2a00dc84d828234633ac2b4db4a6774270f90ee4cf99b9b325cbb86c8dcc86c2e724a
    226a323984db66293f70fbfc3f17ed51cbcb77458cdcaab98f4f6c7ef130e5bc9fdd4a28a1eea740bd7c0f4bf921cfd80acf
    d53053fed03c8c41fd2713b17c0682b1b4c4b9975fc6b3e86f14fd5309ed5d132a712d4566a6234842540b3f3fdacd716056
    c923f1c32547
    """,
)


@cache
def _rsa_4096() -> rsa.RSAPrivateKey:
    p, q = (int("".join(text.split()), 16) for text in _PRIMES)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public)
    return numbers.private_key()


# --- what Authority has no word for -----------------------------------------------------------


def _again(issued: Issued, issuer: Authority, **changes: Any) -> Issued:
    """Give a certificate signed once more, with other parts.

    :param changes: ``key``, the client's; ``extensions``, in the place of those of the same type; ``leave_out``, a
        type of extension.
    """
    old = issued.certificate
    key = changes.get("key", issued.key)
    new: Mapping[ObjectIdentifier, tuple[x509.ExtensionType, bool]] = {
        value.oid: (value, critical) for value, critical in changes.get("extensions", ())
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(issuer.name)
        .public_key(key.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )
    for one in old.extensions:
        if one.oid not in new and one.oid != changes.get("leave_out"):
            builder = builder.add_extension(one.value, one.critical)
    for value, critical in new.values():
        builder = builder.add_extension(value, critical)
    return evolve(issued, certificate=builder.sign(issuer.key, hashes.SHA256()), key=key)


def _constrained(name: str, issuer: Authority, constraints: x509.NameConstraints) -> Authority:
    """Give an intermediate with name constraints."""
    made = Authority(name, issuer)
    made.certificate = _again(Issued(made.certificate, made.key), issuer, extensions=[(constraints, True)]).certificate
    return made


def _issuing_leaf(leaf: Issued, issuer: Authority) -> Authority:
    """Give an authority that is no authority: its certificate is a client's."""
    made = Authority("no CA")
    made.key, made.name, made.certificate, made.issuer = leaf.key, leaf.certificate.subject, leaf.certificate, issuer
    return made


# --- by hand ----------------------------------------------------------------------------------

#: ``ecdsa-with-SHA1`` and ``ecdsa-with-SHA256`` (RFC 3279 §2.2.3, RFC 5758 §3.2).
_ALGORITHMS: Final = {
    "sha1": (hashes.SHA1(), bytes.fromhex("300906072a8648ce3d0401")),
    "sha256": (hashes.SHA256(), bytes.fromhex("300a06082a8648ce3d040302")),
}
_AUTHORITY_KEY: Final = bytes.fromhex("0603551d23")


def resigned(der: bytes, issuer: Authority, digest: str = "sha256") -> Issued:
    """Give a certificate with the same version, serial number, validity, subject and extensions, of another issuer.

    The key is a new one; an authority key identifier is left out.

    :param digest: ``"sha1"`` or ``"sha256"``.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm, identifier = _ALGORITHMS[digest]
    whole = only(der, 0x30)
    _, start, stop = read(whole, 0, len(whole))
    parts = [whole[at : last] for at, last in _spans(whole, start, stop)]
    # version, serial, algorithm, issuer, validity, subject, key, and what follows it (RFC 5280 §4.1)
    parts[2] = identifier
    parts[3] = issuer.name.public_bytes()
    parts[6] = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    parts[7:] = [_without_authority_key(part) if part[0] == 0xA3 else part for part in parts[7:]]
    tbs = tlv(0x30, *parts)
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signature = issuer.key.sign(tbs, ec.ECDSA(algorithm))
    return Issued(_parsed(tlv(0x30, tbs, identifier, tlv(0x03, b"\0" + signature))), key, issuer.chain)


def _spans(data: bytes, start: int, stop: int) -> Iterable[tuple[int, int]]:
    """Give where each element begins, with its tag, and ends."""
    at = start
    for _, _, last in elements(data, start, stop):
        yield at, last
        at = last


def _without_authority_key(extensions: bytes) -> bytes:
    listed = only(only(extensions, 0xA3), 0x30)
    kept = [listed[at:last] for at, last in _spans(listed, 0, len(listed))]
    return tlv(0xA3, tlv(0x30, *(one for one in kept if _AUTHORITY_KEY not in one[:10])))


def _parsed(der: bytes) -> Any:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        # OpenSSL takes some that cryptography does not; its own object does as well for a client.
        return crypto.load_certificate(crypto.FILETYPE_ASN1, der)


# --- recorded ---------------------------------------------------------------------------------


@cache
def _recorded() -> dict[str, list[bytes]]:
    document = json.loads((Path(__file__).parent / "data" / "envoy_certificates.json").read_text("utf-8"))
    return {name: [b64decode(one) for one in row["chain"]] for name, row in document["certificates"].items()}


def recorded_names() -> tuple[str, ...]:
    """Give the names of the certificates that were recorded as Envoy accepted them, odd names and numbers in them."""
    return tuple(name for name, chain in _recorded().items() if len(chain) == 1)


def recorded_root() -> x509.Certificate:
    """Give the root that had issued them."""
    return x509.load_der_x509_certificate(_recorded()["c-interfull"][2])


def recorded_chain(name: str) -> tuple[Any, ...]:
    """Give a recorded certificate and what was sent above it."""
    return tuple(map(_parsed, _recorded()[name]))


# --- all of them ------------------------------------------------------------------------------


@frozen
class _Authorities:
    """Who issues."""

    root: Authority
    inter: Authority
    tenants: Sequence[Authority]


class EnvoyClients:
    """Envoy's cast.

    :ivar root: whom the profiles trust.
    :ivar inter: the intermediate that ``c-inter`` and its like come from.
    :ivar clients: by name; ``nocert`` is none.  ``c-deep`` has 10 intermediates above it.
    """

    def __init__(self) -> None:
        self.root = root = Authority("Edge Test Root CA")
        self.inter = Authority("Edge Test Intermediate CA", root)
        tenants = [Authority(f"Tenant {letter} CA") for letter in "AB"]
        of = _Authorities(root, self.inter, tenants)
        self.clients: dict[str, Issued | None] = {
            "nocert": None, **_named(of), **_unknown(of), **_dated(of), **_for_purposes(of), **_below(of), **_odd(of),
            **_keys(of),
        }

    def recorded(self) -> dict[str, Issued]:
        """Give every certificate of :func:`recorded_names` as :attr:`root` would have issued it."""
        return {name: resigned(_recorded()[name][0], self.root) for name in recorded_names()}


def _named(of: _Authorities) -> dict[str, Issued]:
    root = of.root
    names: dict[str, Any] = {
        "dns": [f"client1.{_CORP}", f"client1-alt.{_CORP}"], "uris": ["spiffe://example.com/ns/prod/sa/client1"],
        "emails": [f"client1@{_CORP}"], "ips": ["10.1.2.3"],
    }  # fmt: skip
    upn = x509.OtherName(_UPN, tlv(0x0C, b"alice@corp.example"))
    return {
        "c-valid": root.issue("client1", **names),
        "c-valid-rsa": root.issue("client1", key="RSA", **names),
        "c-dns": root.issue("svc", dns=[f"svc.{_CORP}"]),
        "c-dnsupper": root.issue("svc", dns=["SVC.Internal.Corp"]),
        "c-dnsdeep": root.issue("svc", dns=[f"a.b.{_CORP}"]),
        "c-dnsapex": root.issue("svc", dns=[_CORP]),
        "c-wildsan": root.issue("svc", dns=[f"*.{_CORP}"]),
        "c-otherdns": root.issue("svc", dns=["client1.partner.example"]),
        "c-uri": root.issue("svc", uris=["spiffe://example.com/ns/prod/sa/client1"]),
        "c-email": root.issue("svc", emails=[f"client1@{_CORP}"]),
        "c-ip": root.issue("svc", ips=["10.1.2.3", "2001:db8::1"]),
        "c-upn": root.issue("svc", extensions=[(x509.SubjectAlternativeName([upn]), False)]),
        "c-nosan": root.issue(f"client1.{_CORP}"),
        "c-emptysubj": root.issue(None, dns=[f"client1.{_CORP}"]),
        "c-bigsan": root.issue("big", dns=[f"{'x' * 24}-{number:04}.big.{_CORP}" for number in range(600)]),
    }


def _unknown(of: _Authorities) -> dict[str, Issued]:
    impostor = Authority("Edge Test Root CA")
    impostor.name = of.root.name
    own = Authority("self")
    own.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "selfsigned")])
    leaf = own.issue("selfsigned")
    own.key = leaf.key
    forged = impostor.issue("client1")
    return {
        "c-wrongca": Authority("Another CA").issue("client1"),
        "c-impost": forged,
        "c-impostnoaki": _again(forged, impostor, leave_out=x509.AuthorityKeyIdentifier.oid),
        "c-selfsigned": _again(leaf, own, leave_out=x509.AuthorityKeyIdentifier.oid),
        "c-tenanta": of.tenants[0].issue("tenant a"),
        "c-tenantb": of.tenants[1].issue("tenant b"),
    }


def _dated(of: _Authorities) -> dict[str, Issued]:
    now = datetime.now(UTC)
    return {
        "c-expired": of.root.issue("expired", not_before=now - 20 * _DAY, not_after=now - _DAY),
        "c-notyet": of.root.issue("future", not_before=now + _DAY),
        "c-revoked": of.root.issue("revoked", dns=[f"client1.{_CORP}"]),
    }


def _for_purposes(of: _Authorities) -> dict[str, Issued]:
    root = of.root
    return {
        "c-serverauth": root.issue("client1", usages=SERVER),
        "c-bothauth": root.issue("client1", usages=BOTH),
        "c-anyeku": root.issue("client1", usages=ANY_USAGE),
        "c-codesign": root.issue("client1", usages=CODE_SIGNING),
        "c-noeku": root.issue("client1", usages=NO_USAGE),
        "c-kusign": root.issue("client1", extensions=[(key_usage("key_agreement"), True)]),
        "c-kursaenc": root.issue("client1", key="RSA", extensions=[(key_usage("key_encipherment"), True)]),
    }


def _below(of: _Authorities) -> dict[str, Issued]:
    inter = of.inter.issue("client1", dns=[f"client1.{_CORP}"])
    deep = of.root
    for number in range(10):
        deep = Authority(f"Intermediate {number}", deep)
    narrow = _constrained("Narrow CA", of.root, x509.NameConstraints([x509.DNSName("nc.example")], None))
    below_zero = Authority("below it", Authority("no more below", of.root, path_length=0))
    unrelated = tuple(Authority(f"Unrelated {number}").certificate for number in range(2))
    no_ca = _issuing_leaf(of.root.issue("a leaf"), of.root)
    return {
        "c-inter": inter,
        "c-internochain": inter.without_chain(),
        "c-interfull": evolve(inter, chain=(*inter.chain, of.root.certificate)),
        "c-interwrong": evolve(inter, chain=(*unrelated, *inter.chain)),
        "c-deep": deep.issue("client1", dns=[f"client1.{_CORP}"]),
        "c-pathlen": below_zero.issue("client1"),
        "c-ncok": narrow.issue("client1", dns=["a.nc.example"]),
        "c-ncbad": narrow.issue("client1", dns=["a.other.example"]),
        "c-nonca": no_ca.issue("client1"),
    }


def _odd(of: _Authorities) -> dict[str, Issued]:
    root = of.root
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    authority = [
        (x509.BasicConstraints(True, None), True), (key_usage("digital_signature", "key_cert_sign", "crl_sign"), True),
    ]
    valid = root.issue("client1", dns=[f"client1.{_CORP}"])
    return {
        "c-critext": root.issue("client1", extensions=[(unknown, True)]),
        "c-caleaf": _again(root.issue("client1", usages=CLIENT), root, extensions=authority),
        "c-sha1": resigned(valid.der, root, "sha1"),
    }


def _keys(of: _Authorities) -> dict[str, Issued]:
    root = of.root
    return {
        "c-rsa1024": root.issue("client1", key="RSA-1024"),
        "c-rsa4096": _again(root.issue("client1"), root, key=_rsa_4096()),
        "c-p384": root.issue("client1", key="P-384"),
        "c-p521": _again(root.issue("client1"), root, key=ec.generate_private_key(ec.SECP521R1())),
        "c-ed25519": root.issue("client1", key="Ed25519"),
    }
