"""Client certificates for tests: recorded ones, and made ones down to single bytes of their DER."""
from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from edgegw.identity import Certificate, CertificateStatus, ConnectionInfo, Identity

__all__ = [
    "Recorded",
    "connection",
    "extension",
    "handmade",
    "general_names",
    "recorded",
    "recorded_attribute_names",
    "tlv",
]

DATA = Path(__file__).parent / "data"

GATEWAY = "spiffe://example.com/edge-gateway"


@frozen
class Recorded:
    """A client certificate and what Envoy said of it.

    :ivar chain: the client's certificate, then what it sent above it.
    :ivar facts: what Envoy's operators gave, empty where they gave nothing.
    """

    chain: tuple[Certificate, ...]
    xfcc: str
    xfcc_all: str | None
    facts: dict[str, str]


def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DATA / "envoy_certificates.json").read_text("utf-8"))
    return document


def recorded() -> dict[str, Recorded]:
    """Give the recorded certificates by name."""
    return {
        name: Recorded(
            tuple(Certificate(b64decode(der)) for der in row["chain"]),
            row["xfcc"],
            row.get("xfcc_all"),
            {key: row[key] or "" for key in ("subject", "serial", "uri", "dns", "email", "ip")},
        )
        for name, row in _document()["certificates"].items()
    }


def recorded_attribute_names() -> dict[str, str]:
    """Give what Envoy made of a subject that is one attribute with the value ``ab``, by its type."""
    names: dict[str, str] = _document()["attribute_names"]
    return names


def connection(
    certificate: Certificate | None,
    status: CertificateStatus = CertificateStatus.VERIFIED,
    chain: Sequence[Certificate] = (),
    server_uris: Iterable[str] = (GATEWAY,),
) -> ConnectionInfo:
    """Make a connection on which a client showed ``certificate``."""
    if certificate is None:
        status = CertificateStatus.NONE
    return ConnectionInfo(
        listener="edge",
        identity=Identity(status, certificate, tuple(chain)),
        peer="192.0.2.7",
        server_uris=tuple(server_uris),
        tls_version="TLSv1.3",
        cipher="TLS_AES_128_GCM_SHA256",
    )


def tlv(tag: int, *contents: bytes) -> bytes:
    """Encode an element of DER."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + len(body).to_bytes(size, "big") + body


def general_names(*names: tuple[int, bytes]) -> bytes:
    """Encode a subject alternative names extension of ``(tag, contents)``."""
    return extension("551d11", tlv(0x30, *(tlv(tag, contents) for tag, contents in names)))


def extension(oid: str, value: bytes) -> bytes:
    """Encode an extension; ``oid`` is the hexadecimal of its contents."""
    return tlv(0x30, tlv(0x06, bytes.fromhex(oid)), tlv(0x04, value))


def handmade(
    subject: bytes = b"",
    extensions: Sequence[bytes] = (),
    serial: bytes = b"\x2a",
    validity: Sequence[bytes] = (b"\x17\x0d250101000000Z", b"\x18\x0f20450101000000Z"),
    version: bytes = b"\xa0\x03\x02\x01\x02",
) -> Certificate:
    """Make a certificate without a key or signature from the encoded contents of its parts."""
    algorithm = tlv(0x30, tlv(0x06, b"\x2a\x86\x48\xce\x3d\x04\x03\x02"))
    tbs = tlv(
        0x30,
        version,
        tlv(0x02, serial),
        algorithm,
        tlv(0x30),
        tlv(0x30, *validity),
        tlv(0x30, subject),
        tlv(0x30, algorithm, tlv(0x03, b"\x00")),
        tlv(0xA3, tlv(0x30, *extensions)) if extensions else b"",
    )
    return Certificate(tlv(0x30, tbs, algorithm, tlv(0x03, b"\x00")))
