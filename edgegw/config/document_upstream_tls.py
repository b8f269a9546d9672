"""TLS to upstreams, and the PROXY protocol, in the native document."""
from __future__ import annotations

from typing import Final

from edgegw.config.addresses import parse_hostname, parse_ip_address
from edgegw.config.document_terms import HOSTNAME, setting
from edgegw.config.document_tls import CIPHER_SUITES_FIELD, GROUP_LIST, check_versions
from edgegw.config.faults import Report
from edgegw.config.pem_text import FILE_OR_PEM
from edgegw.config.scalars import Boolean, Choice, Parsed, Text, Unparsable
from edgegw.config.shapes import REQUIRED, Alternatives, Field, ListOf, OrWord, Record, Section
from edgegw.model import ProxyProtocol, TLSVersion, UpstreamTLS, UpstreamVerification

__all__ = ["PROXY_PROTOCOL", "SYSTEM", "UPSTREAM_TLS"]

#: Stands for the platform's CA certificates.
SYSTEM: Final = "system"
_NAME_PATTERN: Final = r"^[^*\s/\[\]]+$"


def _parse_sni(text: str) -> str:
    if "*" in text:
        raise Unparsable("has a wildcard in it", "write the name of the upstream")
    return parse_hostname(text)


def _parse_server_name(text: str) -> str:
    """Give a host name in canonical form, or an IP address in its shortest spelling."""
    try:
        return parse_ip_address(text)
    except Unparsable as error:
        if not error.remedy.startswith("write an"):
            raise
    return _parse_sni(text)


def _check_verification(section: Section, report: Report) -> None:
    verify = section.get("verify", UpstreamVerification.FULL)
    if "verify" in section.node.values and "verify" not in section:
        return
    if verify is not UpstreamVerification.FULL and "subject_alt_names" in section.node.values:
        report.fault(
            section.node.key("subject_alt_names"),
            f"has no effect with verify: {verify.value}",
            "leave it out, or use verify: full",
        )
    if verify is UpstreamVerification.NONE and "ca_certificates" in section.node.values:
        report.fault(
            section.node.key("ca_certificates"),
            "has no effect with verify: none",
            "leave it out, or use verify: full",
        )
    check_versions(section, report)


_CLIENT_CERTIFICATE: Final = Record(
    (
        Field("certificate", FILE_OR_PEM, "A PEM file, or PEM: the certificate and its chain.", REQUIRED),
        Field("private_key", FILE_OR_PEM, "A PEM file, or PEM: the unencrypted private key.", REQUIRED),
    ),
    name="client_certificate",
    description="What the gateway shows of itself.",
)

_tls = UpstreamTLS()
UPSTREAM_TLS: Final = Record(
    (
        setting(
            _tls,
            "verify",
            Choice(UpstreamVerification),
            "full: the chain and the name; chain_only: any certificate of the CAs; none: whatever it shows.",
        ),
        Field(
            "ca_certificates",
            OrWord(SYSTEM, ListOf(FILE_OR_PEM, min_items=1, distinct=True), SYSTEM),
            "PEM files, or PEM itself, with the certificates that its chain ends in; or system, for the platform's.",
            SYSTEM,
        ),
        Field(
            "hostname",
            Parsed("a host name or an IP address", _parse_server_name, {"pattern": _NAME_PATTERN}),
            "The name that is asked for and that its certificate must be for.  Default: of an endpoint that is a name.",
            attribute="hostname",
        ),
        Field(
            "sni",
            Parsed("a host name", _parse_sni, {"pattern": _NAME_PATTERN}),
            "The name that is asked for.  Default: hostname.",
            attribute="sni",
        ),
        Field(
            "subject_alt_names",
            ListOf(
                Alternatives(
                    (
                        Field("dns", HOSTNAME, "A DNS name."),
                        Field("uri", Text("a URI", r"[A-Za-z][A-Za-z0-9+.\-]*:[!-~]+", max_length=2048), "A URI."),
                    )
                ),
                1,
                32,
                distinct=True,
            ),
            "One of these must be in its certificate, whatever hostname says.",
        ),
        Field("client_certificate", _CLIENT_CERTIFICATE, "What the gateway shows to an upstream that asks for it."),
        setting(_tls, "min_version", Choice(TLSVersion), "The oldest version of TLS."),
        setting(_tls, "max_version", Choice(TLSVersion), "The newest version of TLS."),
        CIPHER_SUITES_FIELD,
        setting(_tls, "groups", GROUP_LIST, "Key exchange groups by preference."),
        setting(_tls, "session_resumption", Boolean(), "Resume sessions, for each endpoint its own."),
    ),
    name="upstream_tls",
    description="How connections to an upstream are secured.",
    check=_check_verification,
    rules={
        "if": {"properties": {"verify": {"const": "none"}}, "required": ["verify"]},
        "then": {"properties": {"ca_certificates": False, "subject_alt_names": False}},
    },
)

PROXY_PROTOCOL: Final = Field(
    "proxy_protocol",
    Choice(ProxyProtocol),
    "Begin each connection with a PROXY header: v1 or v2.  Such a connection serves one client only.  Default: none.",
    attribute="proxy_protocol",
)
