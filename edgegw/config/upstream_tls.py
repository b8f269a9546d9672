"""TLS to upstreams, from the native document: certificates, trust, and the names that are verified."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import certifi
from attrs import evolve

from edgegw.config.certificates import CertificateFiles, Finding
from edgegw.config.document_upstream_tls import SYSTEM, UPSTREAM_TLS
from edgegw.config.faults import Place, Report, Severity
from edgegw.config.shapes import Section
from edgegw.config.tls_parameters import CheckTLS, report_unknown, with_suites
from edgegw.model import (
    Endpoint,
    EndpointKind,
    ServerCertificate,
    SubjectAltName,
    SubjectAltNameType,
    TLSSettings,
    TrustAnchor,
    UpstreamTLS,
    UpstreamVerification,
)

__all__ = ["UpstreamTLSTranslation", "system_certificates"]

#: Where distributions keep their CA certificates: Debian and its kin, Fedora and its kin, openSUSE, Alpine.
_SYSTEM_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def system_certificates(environ: Mapping[str, str] = os.environ, files: Sequence[str] = _SYSTEM_FILES) -> str:
    """Give the path of the platform's CA certificates; where it has none, of those that come with ``certifi``.

    ``SSL_CERT_FILE`` names another file, as it does to OpenSSL.
    """
    named = environ.get("SSL_CERT_FILE")
    if named:
        return named
    return next((path for path in files if os.path.isfile(path)), None) or certifi.where()


class UpstreamTLSTranslation:
    """Makes the model's settings of sections that were read.

    :param check_tls: asks OpenSSL; ``None`` leaves names of groups and the like unchecked.
    """

    def __init__(self, files: CertificateFiles, report: Report, check_tls: CheckTLS | None) -> None:
        self._files = files
        self._report = report
        self._check_tls = check_tls

    def tls(self, section: Section, endpoints: Sequence[Endpoint]) -> UpstreamTLS:
        """Give an upstream's settings.

        :param endpoints: whose names are verified where the section gives none.
        """
        settings = UPSTREAM_TLS.settings(section, UpstreamTLS())
        settings = with_suites(section, settings, self._report, "the gateway")
        settings = evolve(
            settings,
            subject_alt_names=tuple(
                SubjectAltName(SubjectAltNameType(kind), value)
                for kind, value in (item.value for item in section.items("subject_alt_names"))
            ),
            client_certificate=self._client_certificate(section.get("client_certificate")),
        )
        if settings.verify is UpstreamVerification.NONE:
            self._report.warn(
                section.at("verify"),
                "nothing of the upstream's certificate is verified: anybody on the way can be the upstream",
                "use verify: full, with ca_certificates",
            )
        else:
            settings = self._with_trust(section, settings)
        self._check_names(section, settings, endpoints)
        if self._check_tls is not None:
            asked = TLSSettings(
                (),
                min_version=settings.min_version,
                max_version=settings.max_version,
                tls12_ciphers=settings.tls12_ciphers,
                tls13_ciphers=settings.tls13_ciphers,
                groups=settings.groups,
            )
            report_unknown(section, self._check_tls(asked), self._report)
        return settings

    def _with_trust(self, section: Section, settings: UpstreamTLS) -> UpstreamTLS:
        place = section.at("ca_certificates")
        if section.get("ca_certificates", SYSTEM) == SYSTEM:
            if "ca_certificates" in section.node.values and "ca_certificates" not in section:
                return settings
            path = system_certificates()
            try:
                with Path(path).open("rb"):
                    pass
            except OSError as error:
                problem = f"the platform's CA certificates, {path}, cannot be read: {error.strerror}"
                self._report.fault(place, problem, "give ca_certificates, or install them")
            if settings.verify is UpstreamVerification.CHAIN_ONLY:
                self._report.warn(
                    section.at("verify"),
                    "whoever has a certificate of any public CA can be the upstream",
                    "give the ca_certificates of a CA of your own, or use verify: full",
                )
            return evolve(settings, system_trust=path)
        anchors: dict[bytes, TrustAnchor] = {}
        for item in section.items("ca_certificates"):
            found, findings = self._files.bundle(item.value)
            for finding in findings:
                # Without it the upstream could not be told from another.
                tell = self._report.warn if found else self._report.fault
                tell(item.node, finding.problem, finding.remedy)
            for anchor in found:
                anchors.setdefault(anchor.pem, anchor)
        return evolve(settings, trust_anchors=tuple(anchors.values()))

    def _client_certificate(self, section: Section | None) -> ServerCertificate | None:
        if section is None:
            return None
        path, key = section.get("certificate"), section.get("private_key")
        if path is None or key is None:
            return None
        certificate, findings = self._files.server(path, key)
        # A client's certificate need not be for any name.
        about = [finding for finding in findings if not finding.of_names]
        self._findings(about, section.at("certificate"), section.at("private_key"))
        return certificate

    def _findings(self, findings: Sequence[Finding], certificate: Place, key: Place) -> None:
        for finding in findings:
            tell = self._report.warn if finding.severity is Severity.WARNING else self._report.fault
            tell(key if finding.of_key else certificate, finding.problem, finding.remedy)

    def _check_names(self, section: Section, settings: UpstreamTLS, endpoints: Sequence[Endpoint]) -> None:
        """Find endpoints of which nobody has said what their certificates are for."""
        given = section.node.values
        if settings.verify is not UpstreamVerification.FULL or "hostname" in given or "subject_alt_names" in given:
            return
        remedy = "give hostname: the name in its certificate, or subject_alt_names"
        for one in endpoints:
            if one.kind is EndpointKind.SRV:
                # Whoever can forge an answer of DNS names the targets (RFC 6125 §6.2.1).
                problem = f"has no hostname, and {one} stands for whatever DNS names"
            elif _is_address(one.host):
                problem = f"has no hostname, and the endpoint {one} is an address"
            else:
                continue
            self._report.fault(section.node, problem, remedy)
            return


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
