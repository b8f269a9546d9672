"""The native document, described once: ``load`` judges files by it, ``schema`` writes it for editors.

The defaults stand in :mod:`edgegw.model` and nowhere else; the fields only point to them.
"""
from __future__ import annotations

from typing import Final

from edgegw.config.addresses import parse_address, parse_endpoint, parse_ip_address
from edgegw.config.document_http import FORWARDING, HEALTH_CHECK, HTTP, LIMITS
from edgegw.config.document_terms import FILE, HOSTNAME, NAME, PORT, setting
from edgegw.config.document_tls import TLS, VALIDATION_OR_NONE
from edgegw.config.faults import Report
from edgegw.config.injection import HEADER_INJECTION
from edgegw.config.policies import PLUGIN, POLICIES
from edgegw.config.routing import SNI_ROUTER, check_upstream
from edgegw.config.scalars import Boolean, Choice, Duration, Integer, Parsed, Text, Words
from edgegw.config.shapes import REQUIRED, Field, ListOf, OrWord, Record, Section
from edgegw.model import (
    Admin,
    BackendRef,
    ClientRequirement,
    Gateway,
    Listener,
    Logging,
    PathMatch,
    PathMatchType,
    Protocol,
    RouteRule,
    Upstream,
)

__all__ = ["ADMIN", "BACKEND", "DOCUMENT", "LISTENER", "LOGGING", "PATH", "ROUTE", "RULE", "UPSTREAM"]

#: Gateway API's rules for the value of a path match (HTTPPathMatch).
_PATH_VALUE: Final = Text(
    "a path",
    r"(?!.*(//|/\./|/\.\./|%2[fF]))(?!.*/\.\.?$)/([\-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*",
    "begin with /, percent-encode what needs it, and leave out //, /./, /../, %2F, ? and #",
    1024,
)


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

# --- routes and upstreams -----------------------------------------------------------------------

PATH: Final = Record(
    (
        setting(PathMatch(), "type", Choice(PathMatchType), "Exact, or PathPrefix by whole elements of the path."),
        setting(PathMatch(), "value", _PATH_VALUE, "The path or its prefix."),
    ),
    name="path",
)
BACKEND: Final = Record(
    (
        Field("upstream", NAME, "The name of an upstream.", REQUIRED),
        setting(BackendRef(""), "weight", Integer(0, 1_000_000), "Its share of the requests, beside the others'."),
    ),
    name="backend_ref",
)
RULE: Final = Record(
    (
        Field(
            "matches",
            ListOf(
                Record((Field("path", PATH, "What the path must be. Default: anything."),), name="match"), 1
            ),
            "What a request must be: any of these. Default: anything.",
        ),
        Field("backends", ListOf(BACKEND, 1), "Where requests go.", REQUIRED),
        Field(
            "client",
            Choice(ClientRequirement),
            "What the client needs: a verified certificate, any certificate, or none; otherwise 403.  "
            "Default: verified where there are policies, none where there are not.",
        ),
        Field("policies", POLICIES, "What must accept the client, otherwise 403: all of these."),
        setting(RouteRule(), "policy_timeout", Duration(maximum=60.0), "For the answer of a policy that waits."),
        setting(RouteRule(), "explain_to_client", Boolean(), "Name the reason code in the 403."),
    ),
    name="rule",
)
ROUTE: Final = Record(
    (
        Field("name", NAME, "A unique name, for logs and metrics.", REQUIRED),
        Field("hostnames", ListOf(HOSTNAME, 1, distinct=True), "Default: every name of its listeners."),
        Field("listeners", ListOf(NAME, 1, distinct=True), "Names of listeners. Default: all."),
        Field("rules", ListOf(RULE, 1), "The most specific match of all rules wins.", REQUIRED),
    ),
    name="route",
    description="Where the requests for some names go.",
)


_upstream = Upstream("", ())
UPSTREAM: Final = Record(
    (
        Field("name", NAME, "A unique name, for routes, logs and metrics.", REQUIRED),
        Field(
            "endpoints",
            ListOf(
                Parsed(
                    "an address and a port such as 127.0.0.1:8000",
                    parse_endpoint,
                    {"pattern": r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}$"},
                ),
                1,
                distinct=True,
            ),
            "Addresses and ports that serve the same thing, taken in turn.",
        ),
        Field("backend", PLUGIN("backend"), "Code that answers, in place of endpoints."),
        setting(_upstream, "connect_timeout", Duration(), "For a connection; past it the next endpoint, then 503."),
        setting(_upstream, "response_timeout", Duration(), "For the head of a response; past it 504."),
        setting(_upstream, "idle_timeout", Duration(), "Without a byte of a body, either way."),
        setting(_upstream, "keep_alive_timeout", Duration(), "How long an unused connection is kept."),
        setting(_upstream, "max_idle", Integer(0, 1_000_000), "Unused connections kept to one endpoint."),
    ),
    name="upstream",
    description="Where requests are sent.",
    check=check_upstream,
    rules={"oneOf": [{"required": ["endpoints"]}, {"required": ["backend"]}]},
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
        Field("routes", ListOf(ROUTE), "Where requests go."),
        Field("upstreams", ListOf(UPSTREAM), "Where requests can go."),
    ),
)
