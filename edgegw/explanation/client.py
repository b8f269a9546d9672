"""A client's certificate, chain and private key from files, PEM or DER, however broken they are."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

__all__ = ["UnusableFile", "read_certificates", "read_key"]

#: Bytes of a file; OpenSSL takes chains of 100 KB.
MAX_FILE: Final = 1_048_576
#: Certificates in a file.
MAX_CERTIFICATES: Final = 100

_BEGIN: Final = b"-----BEGIN "
_END: Final = b"-----END "
_DASHES: Final = b"-----"
_CERTIFICATE_LABELS: Final = (b"CERTIFICATE", b"X509 CERTIFICATE")


class UnusableFile(Exception):
    """A file that is not what it should be; the text names it and says why, on one line."""


def read_certificates(path: str) -> tuple[x509.Certificate, ...]:
    """Read one or more certificates, in the file's order.

    :param path: ``-`` is standard input.
    :raises UnusableFile: it cannot be read, is too large, or has none or one in it that cannot be read.
    """
    data = _read(path)
    blocks = [block for label, block in _blocks(path, data) if label in _CERTIFICATE_LABELS]
    if len(blocks) > MAX_CERTIFICATES:
        raise UnusableFile(f"{path} has {len(blocks)} certificates; {MAX_CERTIFICATES} are read at most")
    if not blocks:
        if _BEGIN in data or not data.startswith(b"\x30"):
            raise UnusableFile(f"{path} has no certificate in it; give one in PEM or DER")
        return (_certificate(path, "it", data, Encoding.DER),)
    return tuple(
        _certificate(path, f"certificate {number}", block, Encoding.PEM)
        for number, block in enumerate(blocks, start=1)
    )


def read_key(path: str, certificate: x509.Certificate) -> Any:
    """Read the private key of a certificate.

    :raises UnusableFile: it cannot be read, is encrypted, or is not the certificate's.
    """
    data = _read(path)
    blocks = [block for label, block in _blocks(path, data) if label.endswith(b"PRIVATE KEY")]
    if len(blocks) > 1:
        raise UnusableFile(f"{path} has {len(blocks)} private keys; give a file with one")
    if not blocks and (_BEGIN in data or not data.startswith(b"\x30")):
        raise UnusableFile(f"{path} has no private key in it; give one in PEM or DER")
    try:
        key: Any = load_pem_private_key(blocks[0], None) if blocks else load_der_private_key(data, None)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        own = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError:
        raise UnusableFile(f"the private key in {path} is encrypted; decrypt it, or do without it") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableFile(f"the private key in {path} cannot be used: {_words(error)}") from None
    if public != own:
        raise UnusableFile(f"the private key in {path} is not the certificate's")
    return key


def _read(path: str) -> bytes:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise UnusableFile(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_FILE:
        raise UnusableFile(f"{path} is larger than {MAX_FILE} bytes")
    return data


def _blocks(path: str, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the PEM blocks with their labels; looks at each byte once, whatever is in the file."""
    at = 0
    while (begin := data.find(_BEGIN, at)) >= 0:
        label_end = data.find(_DASHES, begin + len(_BEGIN))
        end = data.find(_END, begin)
        close = data.find(_DASHES, end + len(_END)) if end >= 0 else -1
        if close < 0:
            raise UnusableFile(f"{path} has a PEM block without its end")
        at = close + len(_DASHES)
        yield data[begin + len(_BEGIN) : label_end], data[begin:at]


def _certificate(path: str, which: str, data: bytes, encoding: Encoding) -> x509.Certificate:
    load = x509.load_pem_x509_certificate if encoding is Encoding.PEM else x509.load_der_x509_certificate
    try:
        return load(data)
    except Exception as error:
        # ValueError for most, and some of cryptography's own for what it knows and does not take.
        raise UnusableFile(f"{path}: {which} cannot be read as a certificate: {_words(error)}") from None


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
