"""Certificates and keys from PEM files, with everything that is wrong with them.

Nothing here is raised: a file that cannot be used gives findings, each with the file it is about,
and the dialects decide where in their documents these stand.
"""
from __future__ import annotations

import re
import stat
from datetime import datetime
from pathlib import Path
from typing import Final, Union

from attrs import frozen
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

from edgegw.config.faults import Severity
from edgegw.model import ServerCertificate, TrustAnchor
from edgegw.names import canonical_name

__all__ = ["CertificateFiles", "Finding", "covered_by"]

_MAX_FILE: Final = 8 * 1024 * 1024
_SMALLEST_RSA: Final = 2048
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

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
#: What a PEM block begins with, whether it was written to its end or not.
_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]*(?:-----|-{0,4}\Z)")
_CERTIFICATE_LABELS: Final = (b"CERTIFICATE", b"X509 CERTIFICATE")
#: What ``cryptography`` raises for certificates that it does not understand.
_PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@frozen
class Finding:
    """Something about a file.

    :ivar of_key: whether it is about the private key's file and not the certificate's.
    """

    severity: Severity
    problem: str
    remedy: str = ""
    of_key: bool = False


class _Unusable(Exception):
    """Carries the findings that make a file of no use."""

    def __init__(self, problem: str, remedy: str, of_key: bool = False) -> None:
        super().__init__(problem)
        self.finding = Finding(Severity.FAULT, problem, remedy, of_key)


def covered_by(hostname: str, certificate: ServerCertificate) -> bool:
    """Whether a certificate's DNS SANs serve for a listener's host name; wildcards are of one label (RFC 9525 §6.3).

    For a wildcard listener the certificate needs the same wildcard.
    """
    wildcard = "*." + hostname.partition(".")[2]
    return hostname in certificate.dns_names or (not hostname.startswith("*.") and wildcard in certificate.dns_names)


class CertificateFiles:
    """Reads certificates, each file once.

    :param directory: what relative paths start from.
    :param now: aware; for judging validity.
    """

    def __init__(self, directory: Path, now: datetime) -> None:
        self._directory = directory
        self._now = now
        self._contents: dict[str, tuple[bytes, int] | _Unusable] = {}
        self._servers: dict[tuple[str, str], tuple[ServerCertificate | None, tuple[Finding, ...]]] = {}
        self._bundles: dict[str, tuple[tuple[TrustAnchor, ...], tuple[Finding, ...]]] = {}

    def server(self, certificate: str, private_key: str) -> tuple[ServerCertificate | None, tuple[Finding, ...]]:
        """Read a certificate with its chain and key.

        :returns: the certificate, ``None`` if a finding is a fault, and the findings.
        """
        key = (certificate, private_key)
        if key not in self._servers:
            findings: list[Finding] = []
            self._servers[key] = self._read_server(certificate, private_key, findings), tuple(findings)
        return self._servers[key]

    def bundle(self, path: str) -> tuple[tuple[TrustAnchor, ...], tuple[Finding, ...]]:
        """Read a file of CA certificates.

        :returns: the certificates that can be used, and findings, all of them warnings.
        """
        if path not in self._bundles:
            findings: list[Finding] = []
            try:
                anchors = tuple(self._read_bundle(path, findings))
            except _Unusable as error:
                anchors = ()
                findings.append(Finding(Severity.WARNING, error.finding.problem, error.finding.remedy))
            self._bundles[path] = (anchors, tuple(findings))
        return self._bundles[path]

    # --- files ---------------------------------------------------------------

    def _content(self, path: str, of_key: bool = False) -> tuple[bytes, int]:
        """Give what is in a file, and its permissions.

        :raises _Unusable: it cannot be read.
        """
        content = self._contents.get(path)
        if content is None:
            try:
                content = self._read_file(self._directory / path)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                content = _Unusable(f"{path} cannot be read: {reason}", "give the path of a readable PEM file")
            self._contents[path] = content
        if isinstance(content, _Unusable):
            raise _Unusable(content.finding.problem, content.finding.remedy, of_key)
        return content

    @staticmethod
    def _read_file(path: Path) -> tuple[bytes, int]:
        # Opening a pipe would wait for whoever writes into it.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        with path.open("rb") as file:
            content = file.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise ValueError(f"it is larger than {_MAX_FILE} bytes")
        return content, stat.S_IMODE(status.st_mode)

    # --- server certificates -------------------------------------------------

    def _read_server(self, path: str, key_path: str, findings: list[Finding]) -> ServerCertificate | None:
        chain = key = None
        try:
            chain = self._read_chain(path)
        except _Unusable as error:
            findings.append(error.finding)
        try:
            # Also after a fault of the certificate's: both are worth knowing at once.
            key = self._read_key(key_path, findings)
            return None if chain is None else self._pair(path, chain, key_path, key, findings)
        except _Unusable as error:
            findings.append(error.finding)
        return None

    def _pair(
        self,
        path: str,
        chain: list[x509.Certificate],
        key_path: str,
        private_key: PrivateKey,
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
            self._judge_validity(leaf, path, findings)
            dns_names, uris = _subject_alt_names(leaf)
        except _PARSE_ERRORS as error:
            raise _Unusable(f"{path} has a certificate that is not understood: {error}", "issue it anew") from error
        if not matches[0]:
            if True in matches:
                raise _Unusable(
                    f"the private key belongs to certificate {matches.index(True) + 1} of {path}",
                    "put the server's own certificate first, then each one's issuer",
                )
            raise _Unusable(
                f"{key_path} is not the private key of the certificate in {path}",
                "give the key that the certificate was issued for",
                of_key=True,
            )
        if misplaced is not None:
            problem = f"certificate {misplaced + 1} of {path} is not the issuer of the one before it"
            findings.append(Finding(Severity.WARNING, problem, "let each certificate be followed by its issuer"))
        if not dns_names and not uris:
            problem = f"the certificate in {path} has no DNS name in subjectAltName"
            findings.append(Finding(Severity.WARNING, problem, "issue it with one; clients no longer read the subject"))
        return ServerCertificate(
            name=path,
            chain=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain),
            private_key=private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            dns_names=dns_names,
            uris=uris,
            key_type=_key_type(private_key),
            not_after=not_after,
        )

    def _read_chain(self, path: str) -> list[x509.Certificate]:
        content, _ = self._content(path)
        blocks = [match[0] for match in _BLOCK.finditer(content) if match[1] in _CERTIFICATE_LABELS]
        if _is_cut_off(content):
            raise _Unusable(f"{path} {_CUT_OFF}", "write the whole file again")
        if not blocks:
            raise _Unusable(f"{path} {_without(content)}", "give a PEM file with -----BEGIN CERTIFICATE-----")
        chain = []
        for number, block in enumerate(blocks, start=1):
            try:
                chain.append(x509.load_pem_x509_certificate(block))
            except _PARSE_ERRORS as error:
                raise _Unusable(f"certificate {number} of {path} is not valid: {error}", "copy it again") from error
        return chain

    def _read_key(self, path: str, findings: list[Finding]) -> PrivateKey:
        content, mode = self._content(path, of_key=True)
        if mode & (stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH):
            who = "everyone" if mode & (stat.S_IROTH | stat.S_IWOTH) else "its group"
            problem = f"{path} can be read or changed by {who} (mode {mode:04o})"
            findings.append(Finding(Severity.WARNING, problem, f"chmod 600 {path}", of_key=True))
        blocks = [match[0] for match in _BLOCK.finditer(content) if match[1].endswith(b"PRIVATE KEY")]
        if _is_cut_off(content):
            raise _Unusable(f"{path} {_CUT_OFF}", "write the whole file again", of_key=True)
        if len(blocks) != 1:
            problem = f"has {len(blocks)} private keys" if blocks else _without(content)
            raise _Unusable(f"{path} {problem}", "give a PEM file with one private key", of_key=True)
        try:
            private_key = load_pem_private_key(blocks[0], None)
        except TypeError as error:
            raise _Unusable(
                f"the private key in {path} is encrypted",
                f"decrypt it: openssl pkey -in {path} -out decrypted.key",
                of_key=True,
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _Unusable(f"the private key in {path} is not valid: {error}", "copy it again", of_key=True) from error
        if not isinstance(
            private_key,
            (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey),
        ):
            raise _Unusable(f"the private key in {path} is of no type for TLS", "use EC, RSA or Ed25519", of_key=True)
        if isinstance(private_key, rsa.RSAPrivateKey) and private_key.key_size < _SMALLEST_RSA:
            problem = f"the RSA key in {path} has {private_key.key_size} bits"
            raise _Unusable(problem, f"use {_SMALLEST_RSA} or more, or an EC key", of_key=True)
        if isinstance(private_key, ec.EllipticCurvePrivateKey) and not isinstance(private_key.curve, _CURVES):
            problem = f"the EC key in {path} is on the curve {private_key.curve.name}, which TLS clients do not take"
            raise _Unusable(problem, "use P-256 or P-384", of_key=True)
        return private_key

    def _judge_validity(self, certificate: x509.Certificate, what: str, findings: list[Finding]) -> None:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if end < self._now:
            problem = f"{what} expired on {end:%Y-%m-%d %H:%M:%S} UTC"
            findings.append(Finding(Severity.WARNING, problem, "renew the certificate"))
        elif start > self._now:
            problem = f"{what} is not valid before {start:%Y-%m-%d %H:%M:%S} UTC"
            findings.append(Finding(Severity.WARNING, problem, "check the clock, or wait"))

    # --- trust anchors -------------------------------------------------------

    def _read_bundle(self, path: str, findings: list[Finding]) -> list[TrustAnchor]:
        content, _ = self._content(path)
        anchors: list[TrustAnchor] = []
        blocks = list(_BLOCK.finditer(content))
        certificates = [match[0] for match in blocks if match[1] in _CERTIFICATE_LABELS]
        if _is_cut_off(content):
            if not certificates:
                raise _Unusable(f"{path} {_CUT_OFF}", "write the whole file again")
            problem = f"{path} {_CUT_OFF}: what is not whole is left out"
            findings.append(Finding(Severity.WARNING, problem, "write the whole file again"))
        if not certificates:
            raise _Unusable(f"{path} {_without(content)}", "give a PEM file with -----BEGIN CERTIFICATE-----")
        if any(match[1] == b"X509 CRL" for match in blocks):
            problem = f"{path} has a CRL in it, which is not used: nothing is checked for revocation"
            findings.append(Finding(Severity.WARNING, problem, "remove it from the file"))
        for number, block in enumerate(certificates, start=1):
            name = path if len(certificates) == 1 else f"{path}#{number}"
            try:
                certificate = x509.load_pem_x509_certificate(block)
                self._judge_validity(certificate, name, findings)
                if not _is_ca(certificate):
                    problem = f"{name} is not the certificate of a CA: only a client with just this one comes in by it"
                    findings.append(Finding(Severity.WARNING, problem, "list the issuer of the clients' certificates"))
                pem = certificate.public_bytes(Encoding.PEM)
                anchors.append(TrustAnchor(name, pem, certificate.not_valid_after_utc))
            except _PARSE_ERRORS as error:
                problem = f"{name} is left out, it is not valid: {error}"
                findings.append(Finding(Severity.WARNING, problem, "copy the certificate again"))
        return anchors


def _key_type(private_key: PrivateKey) -> str:
    return next(name for class_, name in _KEY_TYPES.items() if isinstance(private_key, class_))


_CUT_OFF: Final = "has a PEM block without its end in it: it was written in part, or is being written now"


def _is_cut_off(content: bytes) -> bool:
    """Whether PEM blocks begin that do not end, as in a file that was not written to its end."""
    whole = sum(len(_BEGIN.findall(match[0])) == 1 for match in _BLOCK.finditer(content))
    return len(_BEGIN.findall(content)) > whole


def _without(content: bytes) -> str:
    if not content.strip():
        return "is empty"
    if content.startswith(b"\x30"):
        return "is in DER"
    return "has no such PEM block in it"


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        # X.509 v1 roots say nothing of it.
        return certificate.version is x509.Version.v1


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
