"""The TLS of listeners: certificates, versions, suites and client validation, from the native document."""
from __future__ import annotations

from collections.abc import Sequence as SequenceABC

from attrs import evolve

from edgegw.config.certificates import CertificateFiles, Finding, covered_by
from edgegw.config.document_tls import CLIENT_VALIDATION, DYNAMIC_CERTIFICATES, HTTP_PROTOCOLS, TLS
from edgegw.config.faults import Place, Report, Severity
from edgegw.config.nodes import Node
from edgegw.config.options import report_raised
from edgegw.config.policies import PluginTranslation
from edgegw.config.server_certificates import judge_yielded
from edgegw.config.shapes import Item, Section
from edgegw.config.tls_parameters import CheckTLS, report_unknown, with_suites
from edgegw.model import (
    CertificateSourceUse,
    ClientValidation,
    DynamicCertificates,
    OCSPResponseFile,
    Protocol,
    RefuseWith,
    ServerCertificate,
    TLSMode,
    TLSSettings,
    TrustAnchor,
    ValidationMode,
)

__all__ = ["TLSTranslation"]

#: Bytes of an OCSP response in a file.
_MOST_RESPONSE = 65_536


class TLSTranslation:
    """Makes the model's TLS settings of sections that were read.

    :param check_tls: asks OpenSSL; ``None`` leaves names of groups and the like unchecked.
    """

    def __init__(
        self, files: CertificateFiles, report: Report, check_tls: CheckTLS | None, plugins: PluginTranslation
    ) -> None:
        self._files = files
        self._plugins = plugins
        self._report = report
        self._check_tls = check_tls

    # --- client validation ---------------------------------------------------

    def client_validation(self, section: Section | None) -> ClientValidation | None:
        """Give the validation that a section describes; ``None`` for ``disabled``."""
        if section is None:
            return None
        mode = section.get("mode", ValidationMode.ALLOW_VALID_ONLY)
        anchors: dict[bytes, TrustAnchor] = {}
        unusable = False
        for item in section.items("ca_certificates"):
            found, findings = self._files.bundle(item.value)
            self._findings(findings, item.node, item.node)
            unusable = unusable or not found
            for anchor in found:
                anchors.setdefault(anchor.pem, anchor)
        if unusable and not anchors:
            self._report.warn(
                section.at("ca_certificates"),
                "no CA certificate can be used: the listeners that this is for will refuse every connection",
                "correct the files",
            )
        policies = self._plugins.policies(section.get("policies"))
        # That there are policies is seen to by the document's own rules.
        base = ClientValidation(
            mode,
            tuple(anchors.values()),
            policies=policies,
            policies_alone="ca_certificates" not in section.node.values,
        )
        return CLIENT_VALIDATION.settings(section, base)

    # --- a listener ----------------------------------------------------------

    def tls(
        self, section: Section, validation: ClientValidation | None, hostname: str | None, protocol: Protocol
    ) -> TLSSettings | None:
        """Give a listener's TLS settings; ``None`` where TLS is passed through.

        :param validation: what holds for its port, unless the section has its own.
        :param hostname: of the listener, for what its certificates should cover.
        """
        if section.get("mode") is TLSMode.PASSTHROUGH:
            return None
        certificates = [
            certificate
            for item in section.items("certificates")
            if (certificate := self._certificate(item)) is not None
        ]
        dynamic = self._dynamic(section.get("dynamic_certificates"))
        wanted = None if dynamic is not None else hostname
        if wanted is not None and certificates and not any(covered_by(wanted, each) for each in certificates):
            self._report.warn(
                section.at("certificates"),
                f"no certificate has {hostname} in subjectAltName",
                "issue one for it, or correct the listener's hostname",
            )
        if "client_validation" in section:
            validation = self.client_validation(section.get("client_validation"))
        base = TLSSettings(tuple(certificates), validation, dynamic_certificates=dynamic)
        if protocol is Protocol.TLS:
            # What is spoken inside, only the upstream knows.
            base = evolve(base, alpn=())
        settings = TLS.settings(section, base)
        self._check_protocol(section, settings, protocol)
        settings = with_suites(section, settings, self._report)
        if self._check_tls is not None:
            report_unknown(section, self._check_tls(settings), self._report)
        return settings

    def _check_protocol(self, section: Section, settings: TLSSettings, protocol: Protocol) -> None:
        """Find what only HTTPS listeners can do, and what they cannot."""
        if protocol is Protocol.HTTPS:
            for item in section.items("alpn"):
                if item.value not in HTTP_PROTOCOLS:
                    self._report.fault(
                        item.node, f"{item.value} is not spoken here", f"use {' or '.join(HTTP_PROTOCOLS)}"
                    )
            return
        validation, place = settings.client_validation, section.get("client_validation")
        if validation is not None and validation.refuse_with is RefuseWith.RESPONSE and place is not None:
            self._report.fault(
                place.at("refuse_with"), "there is no response to give where the protocol is TLS", "use close"
            )

    def _certificate(self, item: Item[Section]) -> ServerCertificate | None:
        section = item.value
        if "source" in section:
            return self._yielded(section.get("source"))
        path, key = section.get("certificate"), section.get("private_key")
        if path is None or key is None:
            return None
        certificate, findings = self._files.server(path, key)
        self._findings(findings, section.at("certificate"), section.at("private_key"))
        if certificate is not None and "ocsp_response" in section:
            return evolve(certificate, ocsp_response=self._response(section))
        return certificate

    def _response(self, section: Section) -> OCSPResponseFile | None:
        """Follow a file with an OCSP response; what is in it is judged where it is shown."""
        node = section.at("ocsp_response")
        environment = self._plugins.environment("ocsp_response", node)
        if environment is None:
            return None
        path = section.get("ocsp_response")
        try:
            return OCSPResponseFile(path, environment.follow(path, bytes, _MOST_RESPONSE), environment)
        except (OSError, ValueError) as error:
            report_raised(self._report, node, error)
            return None

    def _yielded(self, node: Node) -> ServerCertificate | None:
        """Have a certificate source yield what it has now."""
        used = self._plugins.use("certificate_source", node)
        if used is None:
            return None
        use = CertificateSourceUse(*used)
        try:
            yielded = use.source.load()
        except Exception as error:
            report_raised(self._report, node, error)
            return None
        certificate, findings = judge_yielded(use, yielded, self._files.now)
        self._findings(findings, node, node)
        return certificate

    def _dynamic(self, section: Section | None) -> DynamicCertificates | None:
        """Give what certificates by name come from."""
        used = None if section is None or "source" not in section else self._plugins.use(
            "dynamic_certificate_source", section.get("source")
        )
        if section is None or used is None:
            return None
        if not callable(getattr(used[1], "certificate_for", None)):
            problem = f"its kind made a {type(used[1]).__name__}, which has no certificate_for()"
            self._report.fault(section.at("source"), problem)
            return None
        return DYNAMIC_CERTIFICATES.settings(section, DynamicCertificates(*used))

    def _findings(self, findings: SequenceABC[Finding], certificate: Place, key: Place) -> None:
        for finding in findings:
            tell = self._report.warn if finding.severity is Severity.WARNING else self._report.fault
            tell(key if finding.of_key else certificate, finding.problem, finding.remedy)
