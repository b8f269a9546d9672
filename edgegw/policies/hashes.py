"""Pins: ``certificate_hash`` and ``spki_hash`` let in exactly the certificates, or the keys, that are listed."""
from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256

from attrs import frozen

from edgegw.api import (
    Accept,
    Certificate,
    FilePath,
    IEnvironment,
    Peer,
    Reason,
    Reject,
    Verdict,
    normalise_fingerprint,
    option,
    policy,
)
from edgegw.der import DERError
from edgegw.policies.details import shown
from edgegw.policies.encoded_parts import encoded_parts, remembered
from edgegw.policies.list_files import Listed

__all__ = ["CertificateHash", "SPKIHash", "normalise_spki_hash", "parse_certificate_hashes"]

_ACCEPT = Accept()
_SEPARATORS = re.compile(r"[,-]")


def parse_certificate_hashes(text: str) -> tuple[str, ...]:
    """Read a list of SHA-256 fingerprints as kgateway writes them in ``verify-certificate-hash``.

    Items stand apart by ``,`` or ``-``; white space around them, line ends too, and empty items do not count.

    :returns: 64 lower-case hexadecimal digits each.
    :raises ValueError: an item is no fingerprint, or there is none.
    """
    items = [item for part in _SEPARATORS.split(text) if (item := part.strip())]
    if not items:
        raise ValueError(f"{shown(text)!r} names no hash; give 64 hexadecimal digits")
    return tuple(map(normalise_fingerprint, items))


def normalise_spki_hash(text: str) -> str:
    """Give the SHA-256 of a public key in base64, 44 characters.

    ``sha256//`` before it, as curl has it, does not count.

    :raises ValueError: it is none.
    """
    try:
        digest = b64decode(text.strip().removeprefix("sha256//"), validate=True)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ValueError(f"{shown(text)!r} is no SHA-256 in base64; write 44 characters, the last of them =")
    return b64encode(digest).decode("ascii")


def _certificate_hashes(given: str | Iterable[str]) -> tuple[str, ...]:
    items = [given] if isinstance(given, str) else given
    return tuple(digest for item in items for digest in parse_certificate_hashes(item))


def _spki_hashes(given: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(map(normalise_spki_hash, [given] if isinstance(given, str) else given))


def _check_given(hashes: tuple[str, ...], file: str | None) -> None:
    if not hashes and file is None:
        raise ValueError("names no hash; give hashes, or a file with them")


@frozen
class CertificateHashConfig:
    """Options of ``certificate_hash``."""

    hashes: tuple[str, ...] = option(
        "SHA-256 of the certificate's DER: 64 hexadecimal digits of either case, with or without a colon between every "
        "two of them.  One item may hold several, with , or - between.",
        default=(),
        convert=_certificate_hashes,
    )
    file: FilePath | None = option(
        "A file with more, one on a line, # before comments; followed as it changes.", default=None
    )

    def __attrs_post_init__(self) -> None:
        _check_given(self.hashes, self.file)


@policy("certificate_hash", CertificateHashConfig)
class CertificateHash:
    """Let in the certificates whose SHA-256 is listed, and no others.

    The hash is that of the client's own certificate, as ``openssl x509 -noout -fingerprint -sha256`` prints it.  A
    renewed certificate has another one: list the new one beside the old before it is put into use, or pin the key with
    ``spki_hash``.

    The file is followed: a line added or removed counts within about a second, and what cannot be read leaves the
    last list in use.  An empty file lists nothing.  Replace it by renaming a new one over it.

    Under ``not`` it keeps nobody out: an ECDSA signature has a second form, so that whoever has a certificate can give
    it another hash.  ``serial`` with ``deny`` and ``crl`` are for that.

    Example::

        policies:
          - certificate_hash:
              hashes:
                - 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
                - 60:30:3A:E2:2B:99:88:61:BC:E3:B2:8F:33:EE:C1:BE:75:8A:21:3C:86:C9:3C:07:6D:BE:9F:55:8C:11:C7:52
    """

    def __init__(self, config: CertificateHashConfig, env: IEnvironment) -> None:
        self._pins = Listed(config.hashes, config.file, normalise_fingerprint, env)
        self.judges_by = config if config.file is None else None

    def check(self, peer: Peer) -> Verdict:
        """Look the hash up."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        if certificate.sha256 in self._pins:
            return _ACCEPT
        return Reject(Reason.CERTIFICATE_HASH, f"{certificate.sha256} is none of the {len(self._pins)} pinned")


@frozen
class SPKIHashConfig:
    """Options of ``spki_hash``."""

    hashes: tuple[str, ...] = option(
        "SHA-256 of the certificate's SubjectPublicKeyInfo in base64, 44 characters each.",
        default=(),
        convert=_spki_hashes,
    )
    file: FilePath | None = option(
        "A file with more, one on a line, # before comments; followed as it changes.", default=None
    )

    def __attrs_post_init__(self) -> None:
        _check_given(self.hashes, self.file)


@policy("spki_hash", SPKIHashConfig)
class SPKIHash:
    """Let in the certificates whose public key is listed by its SHA-256, and no others.

    The hash is that of the ``SubjectPublicKeyInfo`` (RFC 7469 §2.4) of the client's own certificate, which a
    certificate that is renewed with the same key keeps::

        openssl x509 -in client.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary |
            openssl base64

    The file is followed as that of ``certificate_hash`` is.  Either pin, whichever fits, is ``any`` of both.

    Example::

        policies:
          - spki_hash:
              hashes: [47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=]
    """

    def __init__(self, config: SPKIHashConfig, env: IEnvironment) -> None:
        self._pins = Listed(config.hashes, config.file, normalise_spki_hash, env)
        self.judges_by = config if config.file is None else None

    def check(self, peer: Peer) -> Verdict:
        """Look the hash up."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        try:
            digest = _spki_hash(certificate)
        except DERError as error:
            return Reject(Reason.CERTIFICATE_INVALID, f"the certificate cannot be read: {error}")
        if digest in self._pins:
            return _ACCEPT
        return Reject(Reason.SPKI_HASH, f"{digest} is none of the {len(self._pins)} pinned")


@remembered
def _spki_hash(certificate: Certificate) -> str:
    return b64encode(sha256(encoded_parts(certificate).public_key).digest()).decode("ascii")
