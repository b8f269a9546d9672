"""Certificates and keys from PEM files, or from PEM itself, with everything that is wrong with them.

Nothing here is raised: a file that cannot be used gives findings, each with the file it is about,
and the dialects decide where in their documents these stand.  PEM that stands in a document is called by its name
(:func:`edgegw.config.pem_text.name_of`) where a file is called by its path.
"""
from __future__ import annotations

import stat
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgegw.config import pem
from edgegw.config.faults import Severity
from edgegw.config.pem_text import is_pem, name_of
from edgegw.config.server_certificates import MAX_BYTES, Finding, Unusable, judge_pair, judge_validity
from edgegw.model import ServerCertificate, TrustAnchor

__all__ = ["CertificateFiles", "Finding", "covered_by"]


def covered_by(hostname: str, certificate: ServerCertificate) -> bool:
    """Whether a certificate's DNS SANs serve for a listener's host name; wildcards are of one label (RFC 9525 §6.3).

    For a wildcard listener the certificate needs the same wildcard.
    """
    wildcard = "*." + hostname.partition(".")[2]
    return hostname in certificate.dns_names or (not hostname.startswith("*.") and wildcard in certificate.dns_names)


class CertificateFiles:
    """Reads certificates, each file once.

    :param directory: what relative paths start from.
    :ivar now: aware; the time by which validity is judged.
    """

    def __init__(self, directory: Path, now: datetime) -> None:
        self.now = now
        self._directory = directory
        self._contents: dict[str, tuple[bytes, int | None] | Unusable] = {}
        self._servers: dict[tuple[str, str], tuple[ServerCertificate | None, tuple[Finding, ...]]] = {}
        self._bundles: dict[str, tuple[tuple[TrustAnchor, ...], tuple[Finding, ...]]] = {}

    def server(self, certificate: str, private_key: str) -> tuple[ServerCertificate | None, tuple[Finding, ...]]:
        """Read a certificate with its chain and key, each the path of a file or PEM.

        :returns: the certificate, ``None`` if a finding is a fault, and the findings.
        """
        key = (certificate, private_key)
        if key not in self._servers:
            findings: list[Finding] = []
            self._servers[key] = self._read_server(certificate, private_key, findings), tuple(findings)
        return self._servers[key]

    def bundle(self, path: str) -> tuple[tuple[TrustAnchor, ...], tuple[Finding, ...]]:
        """Read a file of CA certificates, or such PEM.

        :returns: the certificates that can be used, and findings, all of them warnings.
        """
        if path not in self._bundles:
            findings: list[Finding] = []
            try:
                anchors = tuple(self._read_bundle(path, findings))
            except Unusable as error:
                anchors = ()
                findings.append(Finding(Severity.WARNING, error.finding.problem, error.finding.remedy))
            self._bundles[path] = (anchors, tuple(findings))
        return self._bundles[path]

    # --- files ---------------------------------------------------------------

    def _content(self, path: str, of_key: bool = False) -> tuple[bytes, int | None]:
        """Give what is in a file, and its permissions; PEM as it is, which has none.

        :raises Unusable: it cannot be read.
        """
        if is_pem(path):
            return path.encode("utf-8", "surrogateescape"), None
        content = self._contents.get(path)
        if content is None:
            try:
                content = self._read_file(self._directory / path)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                content = Unusable(f"{path} cannot be read: {reason}", "give the path of a readable PEM file")
            self._contents[path] = content
        if isinstance(content, Unusable):
            raise Unusable(content.finding.problem, content.finding.remedy, of_key)
        return content

    @staticmethod
    def _read_file(path: Path) -> tuple[bytes, int]:
        # Opening a pipe would wait for whoever writes into it.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        return content, stat.S_IMODE(status.st_mode)

    # --- server certificates -------------------------------------------------

    def _read_server(self, path: str, key_path: str, findings: list[Finding]) -> ServerCertificate | None:
        return judge_pair(
            _called(path),
            _called(key_path),
            lambda: self._content(path)[0],
            lambda: self._content(key_path, of_key=True),
            self.now,
            findings,
        )

    # --- trust anchors -------------------------------------------------------

    def _read_bundle(self, path: str, findings: list[Finding]) -> list[TrustAnchor]:
        content, _ = self._content(path)
        path = _called(path)
        anchors: list[TrustAnchor] = []
        certificates = pem.certificates(content)
        if pem.is_cut_off(content):
            if not certificates:
                raise Unusable(f"{path} {pem.CUT_OFF}", "write the whole file again")
            problem = f"{path} {pem.CUT_OFF}: what is not whole is left out"
            findings.append(Finding(Severity.WARNING, problem, "write the whole file again"))
        if not certificates:
            raise Unusable(f"{path} {pem.without(content)}", "give a PEM file with -----BEGIN CERTIFICATE-----")
        if any(label == b"X509 CRL" for label, _ in pem.blocks(content)):
            problem = f"{path} has a CRL in it, which is not used: nothing is checked for revocation"
            findings.append(Finding(Severity.WARNING, problem, "remove it from the file"))
        for number, block in enumerate(certificates, start=1):
            name = path if len(certificates) == 1 else f"{path}#{number}"
            try:
                certificate = x509.load_pem_x509_certificate(block)
                judge_validity(certificate, name, self.now, findings)
                if not _is_ca(certificate):
                    problem = f"{name} is not the certificate of a CA: only whoever has just this one is trusted by it"
                    findings.append(Finding(Severity.WARNING, problem, "list the certificate of the CA that issues"))
                text = certificate.public_bytes(Encoding.PEM)
                anchors.append(TrustAnchor(name, text, certificate.not_valid_after_utc))
            except pem.PARSE_ERRORS as error:
                problem = f"{name} is left out, it is not valid: {error}"
                findings.append(Finding(Severity.WARNING, problem, "copy the certificate again"))
        return anchors


def _called(path: str) -> str:
    return name_of(path) if is_pem(path) else path


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        # X.509 v1 roots say nothing of it.
        return certificate.version is x509.Version.v1
