"""A server's certificate with its chain and key, judged, whatever it was read from."""
from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Union

from attrs import evolve, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edgegw.config import pem
from edgegw.config.faults import Severity
from edgegw.interfaces import CertificateAndKey
from edgegw.model import CertificateSourceUse, ServerCertificate
from edgegw.names import canonical_name

__all__ = ["MAX_BYTES", "Finding", "Unusable", "judge_given", "judge_pair", "judge_validity", "judge_yielded"]

#: Bytes that a certificate with its chain may have, and so may a key.
MAX_BYTES: Final = 8 * 1024 * 1024
#: Characters of the name that a certificate source gives.
_MAX_NAME: Final = 1024
_SMALLEST_RSA: Final = 2048
#: Digests of RSA keys whose numbers were found to fit.  To find that again would be most of what a reload costs.
_FITTING: Final[dict[bytes, None]] = {}
_MOST_FITTING: Final = 10_000
#: Curves that TLS 1.3 signs on (RFC 8446 §4.2.3, RFC 8734).
_CURVES: Final = (
    ec.SECP256R1, ec.SECP384R1, ec.SECP521R1, ec.BrainpoolP256R1, ec.BrainpoolP384R1, ec.BrainpoolP512R1
)

PrivateKey = Union[rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey]
_KEY_TYPES: Final[dict[type[PrivateKey], str]] = {
    rsa.RSAPrivateKey: "RSA",
    ec.EllipticCurvePrivateKey: "EC",
    ed25519.Ed25519PrivateKey: "Ed25519",
    ed448.Ed448PrivateKey: "Ed448",
}


@frozen
class Finding:
    """Something about a file.

    :ivar of_key: whether it is about the private key's file and not the certificate's.
    :ivar of_dates: whether it says that a certificate is not valid now.
    :ivar of_names: whether it says that a certificate is for no server's name.
    """

    severity: Severity
    problem: str
    remedy: str = ""
    of_key: bool = False
    of_dates: bool = False
    of_names: bool = False


class Unusable(Exception):
    """Carries the finding that makes a file of no use.

    :ivar finding: a fault.
    """

    def __init__(self, problem: str, remedy: str, of_key: bool = False) -> None:
        super().__init__(problem)
        self.finding = Finding(Severity.FAULT, problem, remedy, of_key)


def judge_yielded(
    use: CertificateSourceUse, yielded: Any, now: datetime
) -> tuple[ServerCertificate | None, tuple[Finding, ...]]:
    """Judge what a certificate source has yielded, as files are judged.

    :param yielded: what its ``load`` has given.
    :param now: aware; for judging validity.
    :returns: the certificate, ``None`` if a finding is a fault, and the findings.
    """
    certificate, findings = judge_given(use.kind.name, yielded, now)
    return None if certificate is None else evolve(certificate, source=use), findings


def judge_given(kind: str, yielded: Any, now: datetime) -> tuple[ServerCertificate | None, tuple[Finding, ...]]:
    """Judge what code has given for a certificate; see :func:`judge_yielded`.

    :param kind: what the code is called.
    """
    findings: list[Finding] = []
    if not isinstance(yielded, CertificateAndKey):
        problem = f"{kind} yielded a {type(yielded).__name__}, which is no CertificateAndKey"
        return None, (Finding(Severity.FAULT, problem, "correct the plugin"),)
    name: object = yielded.name
    if not isinstance(name, str) or len(name) > _MAX_NAME or not name.isprintable():
        problem = f"{kind} yielded a certificate whose name is no printable text of {_MAX_NAME} characters or fewer"
        return None, (Finding(Severity.FAULT, problem, "correct the plugin"),)
    name = name or kind
    certificate = judge_pair(
        name,
        f"{name} (key)",
        lambda: _yielded_bytes(yielded.certificate, kind, "certificate"),
        lambda: (_yielded_bytes(yielded.private_key, kind, "private key"), None),
        now,
        findings,
    )
    return certificate, tuple(findings)


def _yielded_bytes(content: object, kind: str, what: str) -> bytes:
    if not isinstance(content, bytes):
        raise Unusable(f"{kind} yielded a {what} of type {type(content).__name__}", "let it be PEM as bytes")
    if len(content) > MAX_BYTES:
        raise Unusable(f"{kind} yielded a {what} of {len(content)} bytes", f"let it have {MAX_BYTES} at most")
    return content


def judge_pair(
    path: str,
    key_path: str,
    read_chain: Callable[[], bytes],
    read_key: Callable[[], tuple[bytes, int | None]],
    now: datetime,
    findings: list[Finding],
) -> ServerCertificate | None:
    """Make a server certificate of what is read.

    :param path: what the certificate with its chain is called in messages, and ``key_path`` what the key is.
    :param read_chain: gives PEM, or raises :class:`Unusable`.
    :param read_key: gives PEM and the permissions of its file, ``None`` if there is none; or raises the same.
    :param now: aware; for judging validity.
    :param findings: takes what is wrong.
    :returns: ``None`` if a finding is a fault.
    """
    chain = None
    try:
        chain = _chain_of(path, read_chain())
    except Unusable as error:
        findings.append(error.finding)
    try:
        # Also after a fault of the certificate's: both are worth knowing at once.
        key = _key_of(key_path, *read_key(), findings)
        return None if chain is None else _pair(path, chain, key_path, key, now, findings)
    except Unusable as error:
        findings.append(error.finding)
    return None


def _pair(
    path: str,
    chain: list[x509.Certificate],
    key_path: str,
    private_key: PrivateKey,
    now: datetime,
    findings: list[Finding],
) -> ServerCertificate:
    leaf = chain[0]
    public = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        matches = [
            certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == public
            for certificate in chain
        ]
        misplaced = next((n for n in range(1, len(chain)) if chain[n - 1].issuer != chain[n].subject), None)
        not_after = leaf.not_valid_after_utc
        judge_validity(leaf, path, now, findings)
        dns_names, uris = _subject_alt_names(leaf)
    except pem.PARSE_ERRORS as error:
        raise Unusable(f"{path} has a certificate that is not understood: {error}", "issue it anew") from error
    if not matches[0]:
        if True in matches:
            raise Unusable(
                f"the private key belongs to certificate {matches.index(True) + 1} of {path}",
                "put the server's own certificate first, then each one's issuer",
            )
        raise Unusable(
            f"{key_path} is not the private key of the certificate in {path}",
            "give the key that the certificate was issued for",
            of_key=True,
        )
    if misplaced is not None:
        problem = f"certificate {misplaced + 1} of {path} is not the issuer of the one before it"
        findings.append(Finding(Severity.WARNING, problem, "let each certificate be followed by its issuer"))
    if not dns_names and not uris:
        problem = f"the certificate in {path} has no DNS name in subjectAltName"
        remedy = "issue it with one; clients no longer read the subject"
        findings.append(Finding(Severity.WARNING, problem, remedy, of_names=True))
    key_pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _remember(private_key, key_pem)
    return ServerCertificate(
        name=path,
        chain=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain),
        private_key=key_pem,
        dns_names=dns_names,
        uris=uris,
        key_type=_key_type(private_key),
        not_after=not_after,
    )


def _chain_of(path: str, content: bytes) -> list[x509.Certificate]:
    blocks = pem.certificates(content)
    if pem.is_cut_off(content):
        raise Unusable(f"{path} {pem.CUT_OFF}", "write the whole file again")
    if not blocks:
        raise Unusable(f"{path} {pem.without(content)}", "give a PEM file with -----BEGIN CERTIFICATE-----")
    chain = []
    for number, block in enumerate(blocks, start=1):
        try:
            chain.append(x509.load_pem_x509_certificate(block))
        except pem.PARSE_ERRORS as error:
            raise Unusable(f"certificate {number} of {path} is not valid: {error}", "copy it again") from error
    return chain


def _key_of(path: str, content: bytes, mode: int | None, findings: list[Finding]) -> PrivateKey:
    if mode is not None and mode & (stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH):
        who = "everyone" if mode & (stat.S_IROTH | stat.S_IWOTH) else "its group"
        problem = f"{path} can be read or changed by {who} (mode {mode:04o})"
        findings.append(Finding(Severity.WARNING, problem, f"chmod 600 {path}", of_key=True))
    blocks = [text for label, text in pem.blocks(content) if label.endswith(b"PRIVATE KEY")]
    if pem.is_cut_off(content):
        raise Unusable(f"{path} {pem.CUT_OFF}", "write the whole file again", of_key=True)
    if len(blocks) != 1:
        problem = f"has {len(blocks)} private keys" if blocks else pem.without(content)
        raise Unusable(f"{path} {problem}", "give a PEM file with one private key", of_key=True)
    try:
        known = _digest(blocks[0]) in _FITTING
        private_key = load_pem_private_key(blocks[0], None, unsafe_skip_rsa_key_validation=known)
        _remember(private_key, blocks[0])
    except TypeError as error:
        remedy = "decrypt it" if mode is None else f"decrypt it: openssl pkey -in {path} -out decrypted.key"
        raise Unusable(f"the private key in {path} is encrypted", remedy, of_key=True) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unusable(f"the private key in {path} is not valid: {error}", "copy it again", of_key=True) from error
    if not isinstance(
        private_key,
        (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey),
    ):
        raise Unusable(f"the private key in {path} is of no type for TLS", "use EC, RSA or Ed25519", of_key=True)
    if isinstance(private_key, rsa.RSAPrivateKey) and private_key.key_size < _SMALLEST_RSA:
        problem = f"the RSA key in {path} has {private_key.key_size} bits"
        raise Unusable(problem, f"use {_SMALLEST_RSA} or more, or an EC key", of_key=True)
    if isinstance(private_key, ec.EllipticCurvePrivateKey) and not isinstance(private_key.curve, _CURVES):
        problem = f"the EC key in {path} is on the curve {private_key.curve.name}, which TLS clients do not take"
        raise Unusable(problem, "use P-256 or P-384", of_key=True)
    return private_key


def _digest(key_pem: bytes) -> bytes:
    return sha256(key_pem.strip()).digest()


def _remember(private_key: object, key_pem: bytes) -> None:
    if isinstance(private_key, rsa.RSAPrivateKey):
        if len(_FITTING) >= _MOST_FITTING:
            _FITTING.clear()
        _FITTING[_digest(key_pem)] = None


def judge_validity(certificate: x509.Certificate, what: str, now: datetime, findings: list[Finding]) -> None:
    """Warn of a certificate that is not valid now.

    :param what: its name in messages.
    """
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end < now:
        problem = f"{what} expired on {end:%Y-%m-%d %H:%M:%S} UTC"
        findings.append(Finding(Severity.WARNING, problem, "renew the certificate", of_dates=True))
    elif start > now:
        problem = f"{what} is not valid before {start:%Y-%m-%d %H:%M:%S} UTC"
        findings.append(Finding(Severity.WARNING, problem, "check the clock, or wait", of_dates=True))


def _key_type(private_key: PrivateKey) -> str:
    return next(name for class_, name in _KEY_TYPES.items() if isinstance(private_key, class_))


def _subject_alt_names(certificate: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the DNS names in canonical form and the URIs as they stand."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    dns_names: dict[str, None] = {}
    for name in names.get_values_for_type(x509.DNSName):
        wildcard = "*." if name.startswith("*.") else ""
        canonical = canonical_name(name.removeprefix("*."))
        if canonical is not None:
            dns_names[wildcard + canonical] = None
    return tuple(dns_names), tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
