"""The native document, described once: ``load`` judges files by it, ``schema`` writes it for editors.

The defaults stand in :mod:`edgegw.model` and nowhere else; the fields only point to them.
"""
from __future__ import annotations

from typing import Final

from edgegw.config.addresses import parse_ip_address
from edgegw.config.bindings import ADDRESS, check_binding
from edgegw.config.document_http import FORWARDING, HEALTH_CHECK, HTTP, HTTP2, LIMITS
from edgegw.config.document_routes import ROUTE
from edgegw.config.document_terms import FILE, HOSTNAME, NAME, PORT, setting
from edgegw.config.document_tls import APPLICATION_PROTOCOL, HTTP_PROTOCOLS, TLS, VALIDATION_OR_NONE
from edgegw.config.document_tunnels import TCP_ROUTE, TLS_ROUTE
from edgegw.config.document_upstreams import UPSTREAM
from edgegw.config.faults import Report
from edgegw.config.injection import HEADER_INJECTION
from edgegw.config.policies import POLICIES
from edgegw.config.ports import PORT_SETTINGS
from edgegw.config.routing import SNI_ROUTER
from edgegw.config.scalars import Choice, Duration, Integer, Parsed, Words
from edgegw.config.shapes import REQUIRED, Field, LaterListOf, ListOf, OrWord, Record, Section
from edgegw.model import (
    Admin,
    Gateway,
    Listener,
    Logging,
    Protocol,
    TLSMode,
)

__all__ = ["ADMIN", "DOCUMENT", "LISTENER", "LOGGING"]

# --- listeners --------------------------------------------------------------------------------


#: Keys of a listener that are of no use with a protocol, each with what to do about it.
_HTTP_ALONE: Final = ("header_injection", "http", "http2", "forwarding", "health_check")


def _check_listener(section: Section, report: Report) -> None:
    node = section.node
    check_binding(section, report)
    if "protocol" in node.values and "protocol" not in section:
        return
    protocol = section.get("protocol", Protocol.HTTPS)
    name = protocol.value
    if protocol in (Protocol.HTTPS, Protocol.TLS):
        if "tls" not in node.values:
            other = "HTTP" if protocol is Protocol.HTTPS else "TCP"
            remedy = f"give tls with certificates, or protocol: {other}"
            report.fault(node, f"has no tls, but its protocol is {name}", remedy)
    elif "tls" in node.values:
        other = "HTTPS" if protocol is Protocol.HTTP else "TLS"
        remedy = f"leave tls out, or use protocol: {other}"
        report.fault(node.key("tls"), f"does not go with the protocol {name}", remedy)
    if protocol in (Protocol.HTTP, Protocol.TCP):
        if "policies" in section:
            http = protocol is Protocol.HTTP
            remedy = "use protocol: HTTPS, or policies of a route's rule" if http else "use protocol: TLS"
            report.fault(node.key("policies"), "needs TLS: without it nobody has an identity", remedy)
        if "application_protocols" in section:
            report.fault(node.key("application_protocols"), "needs TLS: what a client offers stands in its ClientHello")
    if protocol is Protocol.TCP and "hostname" in section:
        report.fault(node.key("hostname"), "needs TLS or HTTP: nothing in TCP names a host", "leave it out")
    if protocol in (Protocol.TLS, Protocol.TCP):
        for key in _HTTP_ALONE:
            if key in node.values:
                problem = f"is about HTTP, which the protocol {name} does not look into"
                report.fault(node.key(key), problem, "leave it out")
    _check_mode(section, protocol, report)


def _check_mode(section: Section, protocol: Protocol, report: Report) -> None:
    tls: Section | None = section.get("tls")
    if tls is None or tls.get("mode") is not TLSMode.PASSTHROUGH:
        return
    if protocol is Protocol.HTTPS:
        report.fault(
            tls.at("mode"),
            "Passthrough does not go with the protocol HTTPS, whose TLS ends here",
            "use protocol: TLS, and a route under tls_routes",
        )
    if "policies" in section:
        report.fault(
            section.at("policies"), "has nothing to judge: with Passthrough the upstream asks for certificates",
            "leave it out, or use mode: Terminate",
        )


_listener = Listener("", 0)
LISTENER: Final = Record(
    (
        Field("name", NAME, "A unique name, for routes, logs and metrics.", REQUIRED),
        Field(
            "address",
            ADDRESS,
            "An IP address, or unix: and the path of a socket. Default: all addresses, IPv4 and IPv6.",
        ),
        Field("port", PORT, "The TCP port; 0 lets the system choose one."),
        setting(_listener, "protocol", Choice(Protocol), "HTTPS, HTTP without TLS, TLS to an upstream, or TCP."),
        Field("hostname", HOSTNAME, 'A name, or "*." and a name. Default: every name.'),
        Field(
            "application_protocols",
            ListOf(APPLICATION_PROTOCOL, 1, 64, distinct=True),
            "Only for clients that offer one of these by ALPN; others go to the port's other listeners for the name.",
        ),
        Field("tls", TLS, "How TLS is terminated, or that it is passed through; for HTTPS and TLS."),
        Field(
            "header_injection",
            HEADER_INJECTION,
            "How upstreams are told who calls. Default: x-forwarded-client-cert where certificates are asked for.",
        ),
        Field("policies", POLICIES, "What must accept a client, after the policies of its client validation."),
        Field("health_check", HEALTH_CHECK, "A path that is answered here, without a certificate, for probes."),
        Field("limits", LIMITS, "Replaces limits at the top, key by key."),
        Field("http", HTTP, "Replaces http at the top, key by key."),
        Field("http2", HTTP2, "Replaces http2 at the top, key by key."),
        Field("forwarding", FORWARDING, "Replaces forwarding at the top, key by key."),
    ),
    name="listener",
    description="One name on one port.",
    check=_check_listener,
    rules={
        "allOf": [
            {
                "if": {"properties": {"address": {"pattern": "^unix:"}}, "required": ["address"]},
                "then": {"properties": {"port": False}},
                "else": {"required": ["port"]},
            },
            {
                "if": {"properties": {"protocol": {"enum": ["HTTP", "TCP"]}}, "required": ["protocol"]},
                "then": {"properties": {"tls": False, "application_protocols": False}},
                "else": {"required": ["tls"]},
            },
            {
                "if": {"properties": {"protocol": {"enum": ["TLS", "TCP"]}}, "required": ["protocol"]},
                "then": {"properties": dict.fromkeys(_HTTP_ALONE, False)},
            },
            {
                "if": {"properties": {"protocol": {"const": "HTTPS"}}},
                "then": {
                    "properties": {
                        "tls": {
                            "properties": {
                                "mode": {"const": TLSMode.TERMINATE.value},
                                "alpn": {"items": {"enum": list(HTTP_PROTOCOLS)}},
                            }
                        }
                    }
                },
            },
        ]
    },
)

# --- the whole ----------------------------------------------------------------------------------

ADMIN: Final = Record(
    (
        Field(
            "address",
            Parsed("an IP address", parse_ip_address, {"pattern": r"^[0-9A-Fa-f:.]+(%[^\s]+)?$"}),
            "An IP address.",
            Admin().address,
            "address",
        ),
        setting(Admin(), "port", PORT, "The TCP port; 0 lets the system choose one."),
    ),
    name="admin",
)
LOGGING: Final = Record(
    (
        setting(Logging(), "format", Words(("text", "json")), "How lines look on stdout."),
        setting(Logging(), "level", Words(("debug", "info", "warn", "error")), "The least that is logged."),
    ),
    name="logging",
)
_DRAIN: Final = Gateway(()).drain_timeout

DOCUMENT: Final = Record(
    (
        Field("admin", OrWord("disabled", ADMIN), "Where metrics and health are served; disabled turns it off."),
        Field("logging", LOGGING, "What is logged, and how."),
        Field(
            "drain_timeout",
            Duration(zero=True, maximum=24 * 3600.0),
            "What is in flight may take so long to finish after SIGTERM.",
            _DRAIN,
        ),
        Field(
            "plugin_path",
            ListOf(FILE, distinct=True),
            "Directories whose *.py files are plugins.  Default: plugins beside this file, and /etc/edgegw/plugins, "
            "if they exist.",
        ),
        setting(
            Gateway(()),
            "handshake_record",
            Integer(0, 100_000),
            "Handshakes that are remembered, for edgegw handshakes.",
        ),
        Field("limits", LIMITS, "Defaults for all listeners."),
        Field("http", HTTP, "Defaults for all listeners."),
        Field("http2", HTTP2, "Defaults for all listeners."),
        Field("forwarding", FORWARDING, "Defaults for all listeners."),
        Field(
            "client_validation",
            Record(
                (
                    Field("default", VALIDATION_OR_NONE, "For every listener that terminates TLS. Default: disabled."),
                    Field(
                        "per_port",
                        ListOf(
                            Record(
                                (
                                    Field("port", Integer(1, 65_535), "Of listeners that terminate TLS.", REQUIRED),
                                    Field(
                                        "validation",
                                        VALIDATION_OR_NONE,
                                        "Replaces the default as a whole; disabled asks for no certificate.",
                                        REQUIRED,
                                    ),
                                )
                            ),
                            max_items=1000,
                        ),
                        "Other settings for single ports.",
                    ),
                ),
            ),
            "Client certificates of all listeners that terminate TLS (Gateway API tls.frontend).",
        ),
        Field("listeners", ListOf(LISTENER), "What the gateway listens on: one at least.", REQUIRED),
        Field(
            "sni_routers",
            ListOf(SNI_ROUTER, max_items=1000),
            "Code that decides by the ClientHello which listener of a port terminates a connection, which upstream it "
            "is passed through to, or that it is refused.",
        ),
        Field("ports", ListOf(PORT_SETTINGS, max_items=1000), "What holds for all listeners of a port."),
        Field("routes", LaterListOf(ROUTE), "Where requests go."),
        Field("tls_routes", ListOf(TLS_ROUTE), "Where connections of TLS listeners go, by name."),
        Field("tcp_routes", ListOf(TCP_ROUTE), "Where connections of TCP listeners go."),
        Field("upstreams", ListOf(UPSTREAM), "Where requests can go."),
    ),
)
