"""Clients that nobody expects: what a policy must judge without raising, whatever it makes of them.

All of their certificates could reach a policy: a private authority signs what it is asked to, and with
``AllowInsecureFallback`` the client is its own authority.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID

from edgegw.certificate import Certificate
from edgegw.peer import Peer
from edgegw.testing.certificates import NO_USAGE, Authority, make_key
from edgegw.testing.peers import Request, anonymous_peer, peer

__all__ = ["odd_certificates", "odd_peers", "raw_certificate"]

#: Names that are none, or mean something to a shell, a log, a terminal, a header or a list of names.
ODD_NAMES: Final = (
    b"", b" ", b".", b"*", b"*.*", b".leading.example", b"trailing.example.", b"UPPER.Example", b"xn--nxasmq6b",
    b"a.example\x00.evil.example", b"a.example\r\nx-admin: true", b"\x1b[2J", b"a.example,DNS=b.example",
    b"a.example;\"'\\%0a", "ünïcode.example".encode(), "\u202eelpmaxe".encode(), b"\xff\xfe\xfd", b"../../etc/passwd",
    b"a" * 300 + b".example", b"spiffe://", b"spiffe://a.example", b"spiffe://a.example/../b", b"urn:uuid:x", b"@",
    b"\x7f", b"{{7*7}}", b"%s%n",
)  # fmt: skip

_DNS, _URI, _EMAIL, _IP = 0x82, 0x86, 0x81, 0x87
#: ``ecdsa-with-SHA256`` as an AlgorithmIdentifier.
_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")


def tlv(tag: int, *contents: bytes) -> bytes:
    """Encode an element of DER."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + len(body).to_bytes(size, "big") + body


def _names(*names: tuple[int, bytes]) -> tuple[x509.ExtensionType, bool]:
    value = tlv(0x30, *(tlv(tag, name) for tag, name in names))
    return x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, value), False


def _extension(oid: str, value: bytes, critical: bool = False) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical


def _common_name(value: str) -> x509.Name:
    with warnings.catch_warnings():
        # A length beyond RFC 5280's bounds is meant.
        warnings.simplefilter("ignore")
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value, _validate=False)])


def raw_certificate(
    version: int = 3,
    serial: bytes = b"\x2a",
    not_before: bytes = b"\x17\x0d250101000000Z",
    not_after: bytes = b"\x18\x0f20450101000000Z",
    subject: bytes = b"",
) -> bytes:
    """Make a certificate that ``cryptography`` would not, signed by its own key; gives its DER.

    :param version: 1 or 3; neither has extensions.
    :param serial: the contents of the INTEGER.
    :param not_before: a whole element, as is ``not_after``.
    :param subject: the contents of the RDNSequence.
    """
    key = make_key("EC")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    head = b"" if version == 1 else tlv(0xA0, tlv(0x02, bytes([version - 1])))
    tbs = tlv(
        0x30, head, tlv(0x02, serial), _ECDSA_SHA256, tlv(0x30), tlv(0x30, not_before, not_after),
        tlv(0x30, subject), public,
    )  # fmt: skip
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs, _ECDSA_SHA256, tlv(0x03, b"\x00", signature))


def _issued(authority: Authority) -> Iterator[tuple[str, bytes]]:
    """Give what an authority signs with ``cryptography``."""
    names = {_DNS: "DNS", _URI: "URI", _EMAIL: "email"}
    many = [(tag, b"n%d.example" % number) for number in range(200) for tag in names]
    yield "no subject alternative names", authority.issue("client").der
    yield "neither a subject nor alternative names", authority.issue(None).der
    yield "an empty list of alternative names", authority.issue(extensions=[_names()]).der
    yield "200 DNS names", authority.issue(dns=[f"n{number}.example" for number in range(200)]).der
    yield "600 names of three types", authority.issue(extensions=[_names(*many)]).der
    for tag, kind in names.items():
        for name in ODD_NAMES:
            yield f"the {kind} name {name[:40]!r}", authority.issue(extensions=[_names((tag, name))]).der
        odd = [(tag, name) for name in ODD_NAMES]
        yield f"all odd {kind} names", authority.issue(extensions=[_names((tag, b"good.example"), *odd)]).der
    yield "two SPIFFE IDs", authority.issue(uris=["spiffe://a.example/x", "spiffe://b.example/y"]).der
    addresses = [(_IP, b""), (_IP, b"\x0a\x00\x00"), (_IP, b"\x0a\x00\x00\x00\xff\x00\x00\x00"), (_IP, bytes(16))]
    yield "IP addresses of odd lengths", authority.issue(extensions=[_names(*addresses)]).der
    others = [(0xA0, tlv(0x06, b"\x2a\x03") + tlv(0xA0, tlv(0x0C, b"upn"))), (0x88, b"\x2a\x03"), (0xA4, tlv(0x30))]
    yield "names of rare types", authority.issue(extensions=[_names(*others)]).der
    yield "alternative names that are no DER", authority.issue(
        extensions=[_extension("2.5.29.17", b"\x30\x84\xff\xff\xff\xff")]
    ).der
    for name in ODD_NAMES:
        text = name.decode("utf-8", "replace")
        yield f"the common name {text[:40]!r}", authority.issue(subject=_common_name(text)).der
    repeated = [x509.NameAttribute(NameOID.COMMON_NAME, f"name {number}") for number in range(50)]
    yield "50 common names", authority.issue(subject=x509.Name(repeated)).der
    unnamed = x509.Name([x509.NameAttribute(x509.ObjectIdentifier("1.2.3.4"), "value")])
    yield "a subject of an unknown attribute", authority.issue(subject=unnamed).der
    yield "expired", authority.issue_expired(dns=["a.example"]).der
    yield "not yet valid", authority.issue_future(dns=["a.example"]).der
    yield "no extended key usage", authority.issue(usages=NO_USAGE).der
    yield "an unknown critical extension", authority.issue(extensions=[_extension("1.2.3.4", b"\x05\x00", True)]).der
    yield "an extension that is no DER", authority.issue(extensions=[_extension("2.5.29.15", b"\xff")]).der
    yield "the smallest serial number", authority.issue(serial=1).der
    for key in ("RSA-1024", "Ed25519", "P-521"):
        yield f"a key of {key}", authority.issue(key=key, dns=["a.example"]).der
    yield "a certificate of an authority", authority.der


def _handmade() -> Iterator[tuple[str, bytes]]:
    """Give what ``cryptography`` does not make, and what is no certificate."""
    yield "version 1", raw_certificate(version=1)
    yield "a serial number of 1000 bits", raw_certificate(serial=b"\x01" + bytes(124))
    yield "the serial number 0", raw_certificate(serial=b"\x00")
    yield "a negative serial number", raw_certificate(serial=b"\x80\x01")
    yield "times that are none", raw_certificate(not_before=b"\x17\x0d259901000000Z", not_after=b"\x18\x01x")
    yield "no end", raw_certificate(not_after=b"\x18\x0f99991231235959Z")
    yield "a subject that is no DER", raw_certificate(subject=b"\x31\x7f")
    good = raw_certificate()
    yield "half a certificate", good[: len(good) // 2]
    yield "a certificate and more", good + b"more"
    yield "garbage", bytes(range(256))
    yield "nothing", b""
    yield "a sequence without an end", b"\x30\x80\x00\x00"


@cache
def odd_certificates() -> tuple[tuple[str, Certificate], ...]:
    """Give odd certificates, each with what is odd about it; the same ones each time."""
    authority = Authority("odd test root")
    return tuple((what, Certificate(der)) for made in (_issued(authority), _handmade()) for what, der in made)


def odd_peers() -> Iterator[tuple[str, Peer]]:
    """Give odd clients, each with what is odd about it."""
    for what, certificate in odd_certificates():
        yield what, peer(certificate)
    last = odd_certificates()[-1][1]
    usual: dict[str, Any] = {"dns": ["a.example"], "uris": ["spiffe://a.example/client"]}
    yield "an unverified certificate", peer(verified=False, **usual)
    yield "an unverified certificate that is none", peer(last, verified=False)
    yield "a resumed session", peer(resumed=True, server_name="a.example", **usual)
    yield "a Unix socket", peer(address="unix:", port=0, **usual)
    yield "an IPv6 address with a zone", peer(address="fe80::1%eth0", **usual)
    yield "an IPv6 address", peer(address="2001:db8::1", **usual)
    yield "no facts of TLS", peer(tls_version=None, cipher=None, group=None, **usual)
    yield "a name of SNI with a wildcard", peer(server_name="*.example", **usual)
    yield "attributes of earlier policies", peer(attributes={"team": "a", "": "", "\n": "\n"}, **usual)
    now = datetime.now(UTC)
    yield "a time long ago", peer(now=now - timedelta(days=20_000), **usual)
    yield "a time far away", peer(now=now + timedelta(days=1_000_000), **usual)
    for request in (
        Request(),
        Request("POST", "/a/../b%00?", None),
        Request("GET", "*", "a.example", {"authorization": "", "x": "\x80" * 300}),
        Request("GET", "/", "a.example", {"authorization": None}),
        Request("GET", "/", "a.example", {"authorization": "Bearer " + "." * 2000}),
        Request("GET", "/", "a.example", {"authorization": "Bearer e30.e30.e30"}),
    ):
        yield f"the request {request.method} {request.path}", peer(request=request, **usual)
        yield f"the request {request.method} {request.path}, no certificate", anonymous_peer(request=request)
    yield "no certificate", anonymous_peer()
    yield "no certificate, on a Unix socket", anonymous_peer(address="unix:", port=0)

