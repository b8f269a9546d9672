"""What an OCSP responder is asked about a certificate (RFC 6960 §4.1), and whom to ask."""
from __future__ import annotations

import secrets
from base64 import b64encode
from hashlib import new as new_hash
from itertools import islice
from typing import Final, Literal
from urllib.parse import quote

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from edgegw.certificate import Certificate
from edgegw.der import OID, SEQUENCE, DERError, elements, expect, only
from edgegw.policies.certificate_parts import CertificateParts, authority_parts, certificate_parts
from edgegw.policies.der_elements import element

__all__ = ["BIT_STRING", "IDHash", "Question", "ask_about", "key_hash", "responder_urls"]

BIT_STRING: Final = 0x03
_URI: Final = 0x86
_AUTHORITY_INFORMATION_ACCESS: Final = bytes.fromhex("2b06010505070101")
_OCSP: Final = bytes.fromhex("2b06010505073001")
#: RFC 9654 §2.1 wants 32 bytes at least, and RFC 8954 allowed no more.
_NONCE_BYTES: Final = 32
#: Requests whose path has this many characters at most are sent with GET (RFC 6960 §A.1).
_LONGEST_GET: Final = 255
#: Responders of one certificate that are looked at, and access descriptions among which they are looked for.
_MOST_URLS: Final = 4
_MOST_DESCRIPTIONS: Final = 64

IDHash = Literal["sha1", "sha256"]
_HASHES: Final[dict[IDHash, hashes.HashAlgorithm]] = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}


@frozen(eq=False)
class Question:
    """A request about one certificate.

    :ivar serial: of the certificate.
    :ivar name: the issuer's ``Name`` as the certificate has it, DER.
    :ivar key: the issuer's public key, contents of the ``BIT STRING`` without its unused bits.
    :ivar nonce: what the answer may repeat; ``None`` if there is none.
    :ivar request: DER.
    """

    certificate: Certificate
    issuer: Certificate
    serial: int
    name: bytes
    key: bytes
    nonce: bytes | None
    request: bytes

    def get_url(self, responder: str) -> str | None:
        """Give the URL for a GET; ``None`` where POST must be used.

        A request with a nonce is sent with POST: no cache on the way has its answer.
        """
        if self.nonce is not None or "?" in responder:
            return None
        encoded = quote(b64encode(self.request), safe="")
        return None if len(encoded) > _LONGEST_GET else f"{responder.rstrip('/')}/{encoded}"


def _key_bits(public_key: bytes) -> bytes:
    """Give the contents of a public key's ``BIT STRING``.

    :raises DERError: the ``SubjectPublicKeyInfo`` is none.
    """
    body = only(public_key, SEQUENCE)
    at = expect(body, 0, len(body), SEQUENCE)[1]
    start, stop = expect(body, at, len(body), BIT_STRING)
    if stop != len(body) or start == stop or body[start]:
        raise DERError("a public key that is no string of bytes")
    return body[start + 1:stop]


def key_hash(parts: CertificateParts) -> bytes:
    """Give the SHA-1 of a certificate's key, by which a responder says who it is (RFC 6960 §4.2.1).

    :raises DERError: the key is none.
    """
    return _hashed("sha1", _key_bits(parts.public_key))


def _hashed(name: IDHash, data: bytes) -> bytes:
    return new_hash(name, data, usedforsecurity=False).digest()


def ask_about(certificate: Certificate, issuer: Certificate, id_hash: IDHash, with_nonce: bool) -> Question:
    """Make a request.

    :param id_hash: the hash of the issuer's name and key that tells the responder whose certificate it is.
    :raises ValueError: one of the two certificates is not DER, or has a serial number that none may have.
    """
    parts = certificate_parts(certificate.der)
    name = element(SEQUENCE, parts.issuer)
    key = _key_bits(authority_parts(issuer).public_key)
    serial = int.from_bytes(parts.serial, "big", signed=True)
    builder: ocsp.OCSPRequestBuilder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        _hashed(id_hash, name), _hashed(id_hash, key), serial, _HASHES[id_hash]
    )
    nonce = secrets.token_bytes(_NONCE_BYTES) if with_nonce else None
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return Question(certificate, issuer, serial, name, key, nonce, builder.build().public_bytes(Encoding.DER))


def responder_urls(certificate: Certificate) -> tuple[str, ...]:
    """Give the URLs of the OCSP responders that a certificate names (RFC 5280 §4.2.2.1), four at most.

    They are what stands there: whoever asks them must have looked at them first.

    :raises DERError: the certificate or its authorityInfoAccess is not DER.
    """
    extension = certificate_parts(certificate.der).extension(_AUTHORITY_INFORMATION_ACCESS)
    if extension is None:
        return ()
    urls: list[str] = []
    body = only(extension.value, SEQUENCE)
    for tag, start, stop in islice(elements(body), _MOST_DESCRIPTIONS):
        if tag != SEQUENCE:
            raise DERError("an access description that is no sequence")
        first, at = expect(body, start, stop, OID)
        fields = [(kind, body[begin:end]) for kind, begin, end in elements(body, at, stop)]
        if body[first:at] == _OCSP and len(fields) == 1 and fields[0][0] == _URI and fields[0][1].isascii():
            urls.append(fields[0][1].decode("ascii"))
    return tuple(dict.fromkeys(urls))[:_MOST_URLS]
