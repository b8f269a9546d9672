"""TLS and client validation in the native document."""
from __future__ import annotations

from typing import Final

from edgegw.config.document_terms import FILE, setting
from edgegw.config.faults import Report
from edgegw.config.pem_text import FILE_OR_PEM
from edgegw.config.policies import PLUGIN, POLICIES
from edgegw.config.scalars import Boolean, Choice, Duration, Integer, Parsed, Text
from edgegw.config.shapes import REQUIRED, Field, ListOf, OrWord, Record, Section
from edgegw.config.suites import CIPHER_SUITES, parse_cipher_suite, parse_group, parse_signature_algorithm
from edgegw.model import (
    ClientValidation,
    DynamicCertificates,
    OnMissing,
    RefuseWith,
    TLSMode,
    TLSSettings,
    TLSVersion,
    ValidationMode,
)

__all__ = [
    "APPLICATION_PROTOCOL",
    "CIPHER_SUITES_FIELD",
    "CLIENT_VALIDATION",
    "DYNAMIC_CERTIFICATES",
    "HTTP_PROTOCOLS",
    "GROUP_LIST",
    "TLS",
    "VALIDATION_OR_NONE",
    "check_versions",
]


def _check_validation(section: Section, report: Report) -> None:
    if section.get("mode") is ValidationMode.ALLOW_INSECURE_FALLBACK and section.get("required") is True:
        report.fault(
            section.at("required"),
            "AllowInsecureFallback requires no certificate",
            "leave required out, or use AllowValidOnly",
        )
    fallback = section.get("mode") is ValidationMode.ALLOW_INSECURE_FALLBACK
    given = section.node.values
    if "ca_certificates" not in given and not (fallback and "policies" in given):
        report.fault(
            section.node,
            "has no ca_certificates",
            "list the CA files; without any, no certificate could be told from another, unless the mode is "
            "AllowInsecureFallback and policies decide",
        )
    if section.get("envoy_compatible") and not fallback and ("mode" in section or "mode" not in section.node.values):
        report.fault(
            section.at("envoy_compatible"),
            "lets everyone in, which AllowValidOnly does not",
            "leave it out, or use mode: AllowInsecureFallback",
        )
    if "on_missing" in section and "policies" not in section.node.values:
        report.fault(
            section.at("on_missing"),
            "is about policies, and there are none here",
            "leave it out, or use required: false",
        )
    elif "on_missing" in section and not fallback and section.get("required") is not False:
        report.fault(
            section.at("on_missing"),
            "has no effect where a certificate is required",
            "give required: false as well, or leave it out",
        )


_validation = ClientValidation(ValidationMode.ALLOW_VALID_ONLY, ())
CLIENT_VALIDATION: Final = Record(
    (
        setting(
            _validation,
            "mode",
            Choice(ValidationMode),
            "AllowValidOnly refuses clients without a valid certificate; AllowInsecureFallback lets everyone in.",
        ),
        Field(
            "ca_certificates",
            ListOf(FILE_OR_PEM, min_items=1, distinct=True),
            "PEM files, or PEM itself, with the certificates that clients' chains end in, roots or intermediates.  "
            "AllowInsecureFallback with policies may do without: they decide alone then.",
        ),
        Field(
            "required",
            Boolean(),
            "In AllowValidOnly: refuse clients that send no certificate. Default: true.",
            attribute="required",
        ),
        setting(
            _validation, "max_depth", Integer(1, 100), "Certificates above the client's own, the trust anchor counted."
        ),
        Field("policies", POLICIES, "What must accept a client's certificate as well: all of these."),
        setting(
            _validation,
            "on_missing",
            Choice(OnMissing),
            "Where there are policies and no certificate is required: what becomes of a client without one.",
        ),
        setting(
            _validation,
            "refuse_with",
            Choice(RefuseWith),
            "What is done after the handshake with a client that is refused: close, or response for a 403.",
        ),
        setting(_validation, "policy_timeout", Duration(maximum=60.0), "For the answer of a policy that waits."),
        setting(
            _validation,
            "recheck_established",
            Boolean(),
            "Close open connections whose certificate no longer passes when lists, CRLs or the configuration change.",
        ),
        setting(_validation, "explain_to_client", Boolean(), "Name the reason code in responses that refuse."),
        setting(
            _validation,
            "envoy_compatible",
            Boolean(),
            "In AllowInsecureFallback let everyone in, as Envoy does; whom a policy refuses counts as unverified.",
        ),
    ),
    name="client_validation",
    description="Which client certificates come in.",
    check=_check_validation,
    rules={
        "if": {"properties": {"mode": {"const": "AllowInsecureFallback"}}, "required": ["mode"]},
        "then": {
            "properties": {"required": {"not": {"const": True}}},
            "anyOf": [{"required": ["ca_certificates"]}, {"required": ["policies"]}],
        },
        "else": {"required": ["ca_certificates"]},
    },
)
VALIDATION_OR_NONE: Final = OrWord("disabled", CLIENT_VALIDATION)



def _check_certificate(section: Section, report: Report) -> None:
    given = section.node.values
    for key in ("certificate", "private_key", "ocsp_response"):
        if "source" in given and key in given:
            report.fault(section.node.key(key), "does not go with source", "give the one or the other")
        elif key != "ocsp_response" and "source" not in given and key not in given:
            report.fault(section.node, f"has no {key}", f"give {key}: {FILE_OR_PEM.wanted}; or a source of both")


_CERTIFICATE: Final = Record(
    (
        Field("certificate", FILE_OR_PEM, "A PEM file, or PEM: the certificate and its chain, the leaf first."),
        Field("private_key", FILE_OR_PEM, "A PEM file, or PEM: the unencrypted private key."),
        Field("ocsp_response", FILE, "A file with its OCSP response, DER, which somebody keeps fresh; it is followed."),
        Field("source", PLUGIN("certificate_source"), "What yields both instead, and newer ones without a reload."),
    ),
    name="certificate",
    check=_check_certificate,
    rules={
        "if": {"required": ["source"]},
        "then": {"properties": {"certificate": False, "private_key": False, "ocsp_response": False}},
        "else": {"required": ["certificate", "private_key"]},
    },
)


_dynamic = DynamicCertificates(None, None)
DYNAMIC_CERTIFICATES: Final = Record(
    (
        Field(
            "source",
            PLUGIN("dynamic_certificate_source"),
            "What mints or fetches the certificate for a name that a client asks for.",
            REQUIRED,
        ),
        setting(
            _dynamic, "timeout", Duration(maximum=60.0), "For the source's answer; past it the client is refused."
        ),
        setting(_dynamic, "capacity", Integer(1, 100_000), "Certificates that are kept, those that were used last."),
        setting(_dynamic, "ttl", Duration(), "How long a certificate is kept, within its own validity."),
        setting(
            _dynamic,
            "concurrency",
            Integer(1, 1000),
            "Names that the source is asked about at a time; clients with further ones are refused.",
        ),
    ),
    name="dynamic_certificates",
    description="Certificates for names that are on none of the listener's own, as clients ask for them.",
)


def check_versions(section: Section, report: Report) -> None:
    """Find a lowest version that is above the highest."""
    lowest = section.get("min_version", _tls.min_version)
    highest = section.get("max_version", _tls.max_version)
    if lowest.value > highest.value:
        place = section.at("min_version" if "min_version" in section else "max_version")
        report.fault(
            place,
            f"min_version {lowest.value} is higher than max_version {highest.value}",
            f"let min_version be {highest.value} or lower",
        )


def _check_tls(section: Section, report: Report) -> None:
    if section.get("mode") is TLSMode.PASSTHROUGH:
        for key in section.node.values:
            if key != "mode":
                problem = "does nothing with Passthrough: TLS ends at the upstream"
                report.fault(section.node.key(key), problem, "leave it out")
        return
    check_versions(section, report)
    if "ocsp_responder" in section and section.get("ocsp_stapling") is not True:
        remedy = "give ocsp_stapling: true as well, or leave it out"
        report.fault(section.at("ocsp_responder"), "is asked by nobody", remedy)
    given = section.node.values
    if "certificates" in given:
        return
    if "dynamic_certificates" not in given:
        report.fault(section.node, "has no certificates", "give certificates: a list; or dynamic_certificates")
    elif section.get("ocsp_stapling") is True:
        remedy = "give certificates as well, or leave it out"
        report.fault(section.at("ocsp_stapling"), "is not done for dynamic_certificates", remedy)


#: What HTTPS listeners speak inside TLS, by its ALPN name.
HTTP_PROTOCOLS: Final = ("h2", "http/1.1")
APPLICATION_PROTOCOL: Final = Text(
    "the name of a protocol such as http/1.1", r"[!-~]+", "write its ALPN name, of ASCII without spaces", 255
)
_CIPHER_SUITE_LIST: Final = ListOf(
    Parsed("a cipher suite", parse_cipher_suite, {"enum": list(CIPHER_SUITES)}), 1, distinct=True
)
GROUP_LIST: Final = ListOf(
    Parsed("a group", parse_group, {"pattern": r"^[A-Za-z][A-Za-z0-9_+\-]*$"}), 1, distinct=True
)
_tls = TLSSettings(())
CIPHER_SUITES_FIELD: Final = Field(
    "cipher_suites",
    _CIPHER_SUITE_LIST,
    "By preference, IANA's or OpenSSL's names; a version of which no suite is named keeps its own.",
    (*_tls.tls13_ciphers, *_tls.tls12_ciphers),
)
TLS: Final = Record(
    (
        Field("mode", Choice(TLSMode), "Terminate, or Passthrough to an upstream that ends TLS.", TLSMode.TERMINATE),
        Field("certificates", ListOf(_CERTIFICATE, 1, 1000), "What the listener shows, chosen by SNI."),
        Field("dynamic_certificates", DYNAMIC_CERTIFICATES, "Where certificates for all other names come from."),
        setting(_tls, "min_version", Choice(TLSVersion), "The oldest version of TLS."),
        setting(_tls, "max_version", Choice(TLSVersion), "The newest version of TLS."),
        CIPHER_SUITES_FIELD,
        setting(
            _tls,
            "groups",
            GROUP_LIST,
            "Key exchange groups by preference.",
        ),
        Field(
            "signature_algorithms",
            ListOf(
                Parsed(
                    "a signature algorithm",
                    parse_signature_algorithm,
                    {"pattern": r"^[A-Za-z][A-Za-z0-9_+\-]*$"},
                ),
                1,
                distinct=True,
            ),
            "By preference. Default: OpenSSL's own.",
            attribute="signature_algorithms",
        ),
        setting(
            _tls,
            "security_level",
            Integer(0, 5),
            "OpenSSL's: how weak keys and signatures in certificates may be. 1 takes RSA of 1024 bits, 0 SHA-1, too.",
        ),
        setting(
            _tls,
            "alpn",
            ListOf(APPLICATION_PROTOCOL, distinct=True),
            "Application protocols by preference; an empty list answers no ALPN.  HTTPS listeners speak h2 and "
            "http/1.1; with the protocol TLS these are the upstream's, and none is the default.",
        ),
        setting(_tls, "strict_sni", Boolean(), "Refuse handshakes for names that are on no certificate."),
        setting(_tls, "session_tickets", Boolean(), "Let clients resume sessions."),
        setting(
            _tls, "session_lifetime", Duration(), "How long a session may be resumed; 7 days at most (RFC 8446 §4.6.1)."
        ),
        setting(_tls, "fingerprints", Boolean(), "Take the JA3 and JA4 of every ClientHello, for logs and metrics."),
        setting(_tls, "ocsp_stapling", Boolean(), "Ask the certificates' OCSP responders, and show what they say."),
        Field(
            "ocsp_responder",
            Text("an http or https URL", r"https?://[!-~]+", max_length=2048),
            "The URL to ask in place of those that the certificates name.",
            attribute="ocsp_responder",
        ),
        Field(
            "client_validation",
            VALIDATION_OR_NONE,
            "Replaces what client_validation at the top says, for this listener.",
        ),
    ),
    name="tls",
    description="How a listener terminates TLS.",
    check=_check_tls,
    rules={
        "if": {"properties": {"mode": {"const": "Passthrough"}}, "required": ["mode"]},
        "then": {"maxProperties": 1},
        "else": {"anyOf": [{"required": ["certificates"]}, {"required": ["dynamic_certificates"]}]},
    },
)
