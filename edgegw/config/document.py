"""The native document, described once: ``load`` judges files by it, ``schema`` writes it for editors.

The defaults stand in :mod:`edgegw.model` and nowhere else; the fields only point to them.
"""
from __future__ import annotations

from typing import Final

from edgegw.config.addresses import parse_address, parse_ip_address
from edgegw.config.document_http import FORWARDING, HEALTH_CHECK, HTTP, LIMITS
from edgegw.config.document_routes import ROUTE
from edgegw.config.document_terms import FILE, HOSTNAME, NAME, PORT, setting
from edgegw.config.document_tls import TLS, VALIDATION_OR_NONE
from edgegw.config.document_upstreams import UPSTREAM
from edgegw.config.faults import Report
from edgegw.config.injection import HEADER_INJECTION
from edgegw.config.policies import POLICIES
from edgegw.config.routing import SNI_ROUTER
from edgegw.config.scalars import Choice, Duration, Integer, Parsed, Words
from edgegw.config.shapes import REQUIRED, Field, LaterListOf, ListOf, OrWord, Record, Section
from edgegw.model import (
    Admin,
    Gateway,
    Listener,
    Logging,
    Protocol,
)

__all__ = ["ADMIN", "DOCUMENT", "LISTENER", "LOGGING"]

# --- listeners --------------------------------------------------------------------------------


def _check_listener(section: Section, report: Report) -> None:
    node = section.node
    unix = section.get("address", "").startswith("unix:")
    if unix and "port" in node.values:
        report.fault(section.at("port"), "a Unix socket has no port", "leave port out")
    if not unix and "port" not in node.values and ("address" in section or "address" not in node.values):
        report.fault(node, "has no port", f"give port: {PORT.wanted}")
    if "protocol" in node.values and "protocol" not in section:
        return
    protocol = section.get("protocol", Protocol.HTTPS)
    if protocol is Protocol.HTTPS and "tls" not in node.values:
        report.fault(node, "has no tls, but its protocol is HTTPS", "give tls with certificates, or protocol: HTTP")
    if protocol is Protocol.HTTP and "tls" in node.values:
        report.fault(node.key("tls"), "does not go with the protocol HTTP", "leave tls out, or use protocol: HTTPS")
    if protocol is Protocol.HTTP and "policies" in section:
        report.fault(
            node.key("policies"),
            "needs TLS: without it nobody has an identity",
            "use protocol: HTTPS, or policies of a route's rule",
        )


_listener = Listener("", 0)
LISTENER: Final = Record(
    (
        Field("name", NAME, "A unique name, for routes, logs and metrics.", REQUIRED),
        Field(
            "address",
            Parsed(
                "an IP address, or unix: and a path",
                parse_address,
                {"pattern": r"^([0-9.]+|[0-9A-Fa-f:.]+(%[^\s]+)?|unix:[^\u0000]+)$"},
            ),
            "An IP address, or unix: and the path of a socket. Default: all addresses, IPv4 and IPv6.",
        ),
        Field("port", PORT, "The TCP port; 0 lets the system choose one."),
        setting(_listener, "protocol", Choice(Protocol), "HTTPS, or HTTP without TLS."),
        Field("hostname", HOSTNAME, 'A name, or "*." and a name. Default: every name.'),
        Field("tls", TLS, "How TLS is terminated; for HTTPS only."),
        Field(
            "header_injection",
            HEADER_INJECTION,
            "How upstreams are told who calls. Default: x-forwarded-client-cert where certificates are asked for.",
        ),
        Field("policies", POLICIES, "What must accept a client, after the policies of its client validation."),
        Field("health_check", HEALTH_CHECK, "A path that is answered here, without a certificate, for probes."),
        Field("limits", LIMITS, "Replaces limits at the top, key by key."),
        Field("http", HTTP, "Replaces http at the top, key by key."),
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
                "if": {"properties": {"protocol": {"const": "HTTP"}}, "required": ["protocol"]},
                "then": {"properties": {"tls": False}},
                "else": {"required": ["tls"]},
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
        Field("forwarding", FORWARDING, "Defaults for all listeners."),
        Field(
            "client_validation",
            Record(
                (
                    Field("default", VALIDATION_OR_NONE, "For every HTTPS listener. Default: disabled."),
                    Field(
                        "per_port",
                        ListOf(
                            Record(
                                (
                                    Field("port", Integer(1, 65_535), "The port of HTTPS listeners.", REQUIRED),
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
            "Client certificates of all HTTPS listeners (Gateway API tls.frontend).",
        ),
        Field("listeners", ListOf(LISTENER, 1), "What the gateway listens on.", REQUIRED),
        Field(
            "sni_routers",
            ListOf(SNI_ROUTER, max_items=1000),
            "Code that decides by the ClientHello which listener of a port terminates a connection, which upstream it "
            "is passed through to, or that it is refused.",
        ),
        Field("routes", LaterListOf(ROUTE), "Where requests go."),
        Field("upstreams", ListOf(UPSTREAM), "Where requests can go."),
    ),
)
