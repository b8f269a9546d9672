"""The native document: what it becomes, its schema, the configuration that comes with the gateway."""
from __future__ import annotations

import json
import re
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from attrs import evolve
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # has no annotations

from edgegw.config import ConfigError, describe, schema, schema_text
from edgegw.config.description import describe_policies, describe_rule, describe_validation
from edgegw.config.document import DOCUMENT, LISTENER
from edgegw.config.document_http import FORWARDING, HTTP, LIMITS
from edgegw.config.document_tls import TLS
from edgegw.config.document_upstreams import UPSTREAM
from edgegw.config.faults import Report
from edgegw.config.nodes import Mapping
from edgegw.config.reader import read_text
from edgegw.config.shapes import REQUIRED, Record, Section
from edgegw.model import (
    XFCC,
    ActiveHealthCheck,
    Admin,
    BackendRef,
    Balancing,
    BalancingPolicy,
    ClientCertificateField,
    ClientRequirement,
    ClientValidation,
    ConnectionLimits,
    CookieLifetime,
    Endpoint,
    EndpointKind,
    FieldHeaders,
    Forwarding,
    Gateway,
    HashKey,
    HashSource,
    HeaderMatch,
    HealthCheck,
    HTTP2Settings,
    HTTPSettings,
    IdentityMatch,
    Listener,
    Logging,
    OnMissing,
    OutlierDetection,
    PathMatch,
    PathMatchType,
    PEMHeader,
    PolicyAll,
    PolicyAny,
    PolicyNot,
    PolicyUse,
    Protocol,
    QueryParamMatch,
    Resolution,
    RetryBudget,
    RouteMatch,
    SameSite,
    SessionPersistence,
    SessionType,
    TLSSettings,
    TLSVersion,
    TrustAnchor,
    UnderscoreAction,
    Upstream,
    UpstreamLimits,
    ValidationMode,
    ValueMatchType,
    XFCCDetail,
    XFCCMode,
)
from edgegw.registry import Registry
from tests.config_documents import LISTENERS, NOW, ConfigTestCase

_CONF = Path(__file__).parent.parent / "conf"
_TLS = "tls: {certificates: [{certificate: server.pem, private_key: server.key}]}"


def _tls_of(listener: Listener) -> TLSSettings:
    assert listener.tls is not None
    return listener.tls


def _validation_of(listener: Listener) -> ClientValidation:
    validation = _tls_of(listener).client_validation
    assert validation is not None
    return validation


class Defaults(ConfigTestCase):
    """What is used where nothing is said."""

    def test_least_document(self) -> None:
        """A document of what is required alone has the model's defaults everywhere else."""
        gateway = self.load(LISTENERS + 'upstreams: [{name: u, endpoints: ["h:1"]}]\n').gateway
        (listener,) = gateway.listeners
        certificates = _tls_of(listener).certificates
        self.assertEqual(
            gateway,
            Gateway(
                listeners=(Listener("web", 8443, tls=TLSSettings(certificates)),),
                upstreams=(Upstream("u", (Endpoint("h", 1),)),),
            ),
        )

    def test_default_values_can_be_written(self) -> None:
        """The defaults that the schema shows, written into a document, change nothing."""
        for record, model in (
            (LIMITS, ConnectionLimits()),
            (HTTP, HTTPSettings()),
            (FORWARDING, Forwarding()),
            (TLS, TLSSettings(())),
            (LISTENER, Listener("", 0)),
            (UPSTREAM, Upstream("", ())),
        ):
            self.assertEqual(self._of_defaults(record, model), model)

    def _of_defaults(self, record: Record, model: Any) -> object:
        defaults = {
            entry.key: entry.shape.show(entry.default)
            for entry in record.fields
            if entry.default is not REQUIRED and entry.default is not None
        }
        report = Report("x")
        node = read_text(json.dumps(defaults), "x", {}, report)
        assert node is not None
        # What is required is missing, which is none of this test's business.
        section = record.read(node, report)
        assert isinstance(section, Section)
        self.assertEqual(set(section.values), set(defaults), report.findings)
        return record.settings(section, model)

    def test_http2_of_a_listener(self) -> None:
        """A listener replaces single keys of http2, and what has no HTTP has none."""
        document = f"""\
http2: {{max_resets: 7, ping_interval: 5s}}
listeners:
  - {{name: a, port: 1, {_TLS[:-1]}}}, http2: {{ping_interval: disabled, max_concurrent_streams: 3}}}}
  - {{name: b, port: 2, protocol: HTTP}}
"""
        first, second = self.load(document).gateway.listeners
        self.assertEqual(first.http2, HTTP2Settings(max_resets=7, ping_interval=None, max_concurrent_streams=3))
        self.assertEqual(second.http2, HTTP2Settings(max_resets=7, ping_interval=5.0))
        assert first.tls is not None
        self.assertEqual(first.tls.alpn, ("h2", "http/1.1"))

    def test_every_setting_arrives(self) -> None:
        """Every setting of the model can be given, and is then in the model."""
        document = f"""\
admin: {{address: "::1", port: 9}}
logging: {{format: json, level: debug}}
drain_timeout: 0s
limits: {{max_connections: 1, max_connections_per_peer: 2, max_handshakes: 3, handshake_timeout: 4s}}
http:
  max_head_size: 1KiB
  max_headers: 2
  max_uri_size: 300
  max_body_size: 1GiB
  head_timeout: 5s
  body_idle_timeout: 6s
  keep_alive_timeout: 7s
  write_timeout: 8s
  max_requests: 9
http2:
  prior_knowledge: false
  max_concurrent_streams: 2
  stream_window: 3KiB
  connection_window: 4MiB
  header_table_size: 5
  max_open_heads_size: 2KiB
  max_continuations: 11
  max_cookie_crumbs: 12
  max_unread_answers: 13
  max_resets: 6
  max_useless_frames: 7
  stream_idle_timeout: 8s
  ping_interval: disabled
  ping_timeout: 10s
forwarding: {{trusted_proxies: [10.0.0.0/8, "::1"], via: edge, underscores: refuse, preserve_host: false}}
listeners:
  - name: a
    address: 0:0::1
    port: 1
    hostname: "*.Example.com."
    {_TLS[:-1]},
      min_version: "1.3", max_version: "1.3", groups: [secp256r1, x25519, brainpoolP256r1],
      cipher_suites: [TLS13_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256,
                      ECDHE-ECDSA-CHACHA20-POLY1305],
      signature_algorithms: [ecdsa_secp256r1_sha256, RSA-PSS+SHA256], security_level: 3, alpn: [], strict_sni: true,
      session_tickets: false, session_lifetime: 1h30m}}
upstreams:
  - name: u
    endpoints: ["127.0.0.1:8000", "[::1]:8001", "app.internal:8002", "bücher.example:1",
                {{address: "srv:_Http._tcp.App.internal.", weight: 2, priority: 3}}, {{address: "unix:/run/a b"}}]
    connect_timeout: 1s
    response_timeout: 2s
    idle_timeout: 3s
    keep_alive_timeout: 4s
    max_idle: 0
    balancing: {{policy: consistent_hash,
                hash_on: [{{header: X-User}}, {{cookie: Sid}}, {{identity: sha256}}, address]}}
    session_persistence: {{type: Cookie, session_name: at, absolute_timeout: 1h, lifetime: Permanent, path: /a,
                          same_site: Strict, secret: sixteen characters}}
    resolution: {{servers: ["10.0.0.2", "[::1]:53", "127.0.0.1:8600"], min_interval: 5s, max_interval: 6s}}
    health_check: {{path: /h, host: "h:1", method: HEAD, statuses: ["200", "300-399"], interval: 1s, timeout: 3s,
                   unhealthy_threshold: 4, healthy_threshold: 5}}
    outlier_detection: {{consecutive_5xx: disabled, consecutive_gateway_errors: 1, consecutive_connect_failures: 2,
                        base_ejection_time: 3s, max_ejection_time: 4s, max_ejected: 5}}
    panic_threshold: 6
    slow_start: 7s
    limits: {{max_connections: 8, max_pending: 9, max_requests: 10, max_requests_per_connection: 11,
             max_connection_age: 12s}}
    retry_budget: {{percent: 13, interval: 14s, min_retries: 15}}
"""
        gateway = self.load(document).gateway
        (listener,) = gateway.listeners
        self.assertEqual(
            gateway,
            Gateway(
                listeners=(
                    Listener(
                        "a",
                        1,
                        Protocol.HTTPS,
                        "::1",
                        "*.example.com",
                        TLSSettings(
                            _tls_of(listener).certificates,
                            None,
                            TLSVersion.TLS1_3,
                            TLSVersion.TLS1_3,
                            ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
                            ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"),
                            ("P-256", "X25519", "brainpoolP256r1"),
                            ("ecdsa_secp256r1_sha256", "RSA-PSS+SHA256"),
                            3,
                            (),
                            True,
                            False,
                            5400.0,
                        ),
                        (),
                        ConnectionLimits(1, 2, 3, 4.0),
                        HTTPSettings(1024, 2, 300, 1 << 30, 5.0, 6.0, 7.0, 8.0, 9),
                        Forwarding(
                            (ip_network("10.0.0.0/8"), ip_network("::1")), "edge", UnderscoreAction.REFUSE, False
                        ),
                        http2=HTTP2Settings(False, 2, 3072, 4 << 20, 5, 2048, 11, 12, 6, 7, 13, 8.0, None, 10.0),
                    ),
                ),
                upstreams=(
                    Upstream(
                        "u",
                        (
                            Endpoint("127.0.0.1", 8000),
                            Endpoint("::1", 8001),
                            Endpoint("app.internal", 8002),
                            Endpoint("xn--bcher-kva.example", 1),
                            Endpoint("_http._tcp.app.internal", 0, 2, 3, EndpointKind.SRV),
                            Endpoint("/run/a b", 0, kind=EndpointKind.UNIX),
                        ),
                        1.0,
                        2.0,
                        3.0,
                        4.0,
                        0,
                        None,
                        Balancing(
                            BalancingPolicy.CONSISTENT_HASH,
                            (
                                HashKey(HashSource.HEADER, "x-user"),
                                HashKey(HashSource.COOKIE, "Sid"),
                                HashKey(HashSource.IDENTITY, "sha256"),
                                HashKey(HashSource.ADDRESS),
                            ),
                        ),
                        SessionPersistence(
                            SessionType.COOKIE, "at", 3600.0, CookieLifetime.PERMANENT, "/a", SameSite.STRICT,
                            "sixteen characters",
                        ),
                        Resolution(
                            (Endpoint("10.0.0.2", 53), Endpoint("::1", 53), Endpoint("127.0.0.1", 8600)), 5.0, 6.0
                        ),
                        ActiveHealthCheck("/h", "h:1", "HEAD", ((200, 200), (300, 399)), 1.0, 3.0, 4, 5),
                        OutlierDetection(None, 1, 2, 3.0, 4.0, 5),
                        6,
                        7.0,
                        UpstreamLimits(8, 9, 10, 11, 12.0),
                        RetryBudget(13, 14.0, 15),
                    ),
                ),
                admin=Admin("::1", 9),
                logging=Logging("json", "debug"),
                drain_timeout=0.0,
            ),
        )


class Listeners(ConfigTestCase):
    """How listeners get their settings."""

    def test_overrides(self) -> None:
        """A listener replaces what stands at the top key by key, also by the words for nothing."""
        document = """\
            http: {max_headers: 7, max_body_size: 1MiB, max_requests: 5}
            forwarding: {via: edge, trusted_proxies: [10.0.0.0/8]}
            limits: {max_handshakes: 3}
            listeners:
              - {name: a, port: 1, protocol: HTTP}
              - name: b
                port: 2
                protocol: HTTP
                http: {max_body_size: unlimited, head_timeout: 1s}
                forwarding: {via: disabled, trusted_proxies: []}
                limits: {max_connections: 9}
            """
        first, second = self.load(document).gateway.listeners
        self.assertEqual(first.http, HTTPSettings(max_headers=7, max_body_bytes=1 << 20, max_requests=5))
        self.assertEqual(first.forwarding, Forwarding((ip_network("10.0.0.0/8"),), "edge"))
        self.assertEqual(second.http, HTTPSettings(max_headers=7, max_requests=5, head_timeout=1.0))
        self.assertEqual(second.forwarding, Forwarding())
        self.assertEqual(second.limits, ConnectionLimits(max_connections=9, max_handshakes=3))

    def test_client_validation(self) -> None:
        """An entry for a port replaces the default as a whole, and a listener's own replaces both."""
        document = f"""\
client_validation:
  default: {{ca_certificates: [ca.pem], max_depth: 3}}
  per_port:
    - {{port: 2, validation: {{mode: AllowInsecureFallback, ca_certificates: [ca.pem]}}}}
    - {{port: 3, validation: disabled}}
listeners:
  - {{name: default, port: 1, {_TLS}}}
  - {{name: port, port: 2, {_TLS}}}
  - {{name: none, port: 3, {_TLS}}}
  - {{name: own, port: 2, hostname: example.com,
      {_TLS[:-1]}, client_validation: {{ca_certificates: [ca.pem], required: false}}}}}}
  - {{name: off, port: 1, hostname: example.com, {_TLS[:-1]}, client_validation: disabled}}}}
  - {{name: plain, port: 4, protocol: HTTP}}
  - {{name: unix, address: "unix:a.sock", {_TLS}}}
"""
        listeners = {listener.name: listener for listener in self.load(document).gateway.listeners}
        default = _validation_of(listeners["default"])
        self.assertEqual((default.mode, default.max_depth), (ValidationMode.ALLOW_VALID_ONLY, 3))
        self.assertTrue(default.demands_certificate)
        port = _validation_of(listeners["port"])
        self.assertEqual((port.mode, port.max_depth), (ValidationMode.ALLOW_INSECURE_FALLBACK, 100))
        self.assertFalse(port.demands_certificate)
        own = _validation_of(listeners["own"])
        self.assertEqual((own.mode, own.required), (ValidationMode.ALLOW_VALID_ONLY, False))
        self.assertFalse(own.demands_certificate)
        self.assertIsNone(_tls_of(listeners["none"]).client_validation)
        self.assertIsNone(_tls_of(listeners["off"]).client_validation)
        self.assertIsNone(listeners["plain"].tls)
        self.assertEqual(_validation_of(listeners["unix"]), default)
        # Who asks for certificates tells upstreams of them.
        self.assertEqual(
            {name for name, listener in listeners.items() if listener.header_injection == (XFCC(),)},
            {"default", "port", "own", "unix"},
        )
        self.assertEqual(listeners["plain"].header_injection, ())
        self.assertEqual(
            listeners["unix"].address, f"unix:{(self.directory / 'a.sock').absolute()}", "relative to the document"
        )

    def test_cipher_suites_of_one_version(self) -> None:
        """Naming suites of one version leaves the other version's as they are."""
        defaults = TLSSettings(())
        for names, expected in (
            (
                "ECDHE-RSA-AES256-GCM-SHA384",
                evolve(defaults, tls12_ciphers=("ECDHE-RSA-AES256-GCM-SHA384",)),
            ),
            ("TLS13_AES_256_GCM_SHA384", evolve(defaults, tls13_ciphers=("TLS_AES_256_GCM_SHA384",))),
        ):
            text = LISTENERS.replace("}]}", "}], cipher_suites: [" + names + "]}")
            tls = _tls_of(self.load(text).gateway.listeners[0])
            self.assertEqual(evolve(tls, certificates=()), expected)

    def test_suites_of_a_version_that_is_not_spoken(self) -> None:
        """Suites that cannot come into use are warned of."""
        for settings in ('min_version: "1.3", cipher_suites: [ECDHE-RSA-AES256-GCM-SHA384]',
                         'max_version: "1.2", cipher_suites: [TLS_AES_128_GCM_SHA256]'):
            (warning,) = self.load(LISTENERS.replace("}]}", "}], " + settings + "}")).warnings
            self.assertEqual(warning.path, "listeners[0].tls.cipher_suites")

    def test_header_injection(self) -> None:
        """Every injector, in the document's order, and none."""
        document = """\
            listeners:
              - name: a
                port: 1
                protocol: HTTP
                header_injection:
                  - fields: {headers: {x-b: "{{{subject}}} {sha256}", x-a: const}}
                  - xfcc: {mode: append_forward, details: [cert, chain]}
                  - client_cert: {chain: true}
                  - pem: {header: x-client-cert}
              - {name: b, port: 2, protocol: HTTP, header_injection: []}
              - {name: c, port: 3, protocol: HTTP, header_injection: [xfcc: {details: []}, client_cert: {}]}
            """
        first, second, third = self.load(document).gateway.listeners
        self.assertEqual(
            first.header_injection,
            (
                FieldHeaders((("x-b", "{{{subject}}} {sha256}"), ("x-a", "const"))),
                XFCC(XFCCMode.APPEND_FORWARD, frozenset({XFCCDetail.CERT, XFCCDetail.CHAIN})),
                ClientCertificateField(chain=True),
                PEMHeader("x-client-cert"),
            ),
        )
        self.assertEqual(second.header_injection, ())
        self.assertEqual(third.header_injection, (XFCC(details=frozenset()), ClientCertificateField()))

    def test_international_hostname(self) -> None:
        """A name in Unicode becomes A-labels, by IDNA 2008 with UTS 46's mapping."""
        document = "listeners: [{name: a, port: 1, protocol: HTTP, hostname: '*.BÜCHER.example'}]"
        (listener,) = self.load(document).gateway.listeners
        self.assertEqual(listener.hostname, "*.xn--bcher-kva.example")

    def test_port_shared_by_names(self) -> None:
        """Listeners of one port are told apart by their names; ports may be left to the system."""
        loaded = self.load(
            """\
            admin: {port: 0}
            listeners:
              - {name: a, port: 1, hostname: a.example.com, protocol: HTTP}
              - {name: b, port: 1, hostname: "*.example.com", protocol: HTTP}
              - {name: c, port: 1, protocol: HTTP}
              - {name: d, port: 2, address: 127.0.0.1, protocol: HTTP}
              - {name: e, port: 2, address: "::1", protocol: HTTP}
              - {name: f, port: 3, address: 0.0.0.0, protocol: HTTP}
              - {name: g, port: 3, address: "::", protocol: HTTP}
              - {name: h, port: 0, protocol: HTTP}
              - {name: i, port: 0, protocol: HTTP}
            """
        )
        self.assertEqual(len(loaded.gateway.listeners), 9)


class Routes(ConfigTestCase):
    """Routes."""

    def test_route(self) -> None:
        """Rules, matches and backends, and their defaults."""
        document = (
            LISTENERS
            + """\
routes:
  - name: r
    hostnames: [A.example.com, "*.example.com"]
    listeners: [web]
    rules:
      - matches: [{path: {type: Exact, value: /a}}, {path: {value: /b/}}, {}]
        backends: [{upstream: u, weight: 3}, {upstream: v}]
      - backends: [{upstream: u}]
upstreams: [{name: u, endpoints: ["h:1"]}, {name: v, endpoints: ["h:2"]}]
"""
        )
        (route,) = self.load(document).gateway.routes
        self.assertEqual(route.hostnames, ("a.example.com", "*.example.com"))
        self.assertEqual(route.listeners, ("web",))
        first, second = route.rules
        self.assertEqual(
            first.matches,
            (
                RouteMatch(PathMatch(PathMatchType.EXACT, "/a")),
                RouteMatch(PathMatch(PathMatchType.PATH_PREFIX, "/b/")),
                RouteMatch(),
            ),
        )
        self.assertEqual(first.backends, (BackendRef("u", 3), BackendRef("v", 1)))
        self.assertEqual(second.matches, (RouteMatch(),))

    def test_matches(self) -> None:
        """Every kind of condition, as the model has it and as it is described."""
        document = (
            LISTENERS
            + """\
routes:
  - name: r
    rules:
      - name: first
        matches:
          - path: {type: RegularExpression, value: "/v[0-9]+(/.*)?"}
            method: GET
            headers: [{name: X-Version, value: "2"}, {name: x-version, value: "3"}, {name: x-b, type: Present}]
            query_params: [{name: Q a, type: RegularExpression, value: "a|b"}]
            identity: [{fact: spiffe_id, value: "spiffe://a/b"}, {fact: "attribute:team", type: Present}]
          - {method: TRACE}
        backends: [{upstream: u}]
upstreams: [{name: u, endpoints: ["h:1"]}]
"""
        )
        loaded = self.load(document)
        (rule,) = loaded.gateway.routes[0].rules
        self.assertEqual(rule.name, "first")
        self.assertEqual(
            rule.matches,
            (
                RouteMatch(
                    PathMatch(PathMatchType.REGULAR_EXPRESSION, "/v[0-9]+(/.*)?"),
                    "GET",
                    (HeaderMatch("x-version", "2"), HeaderMatch("x-b", None, ValueMatchType.PRESENT)),
                    (QueryParamMatch("Q a", "a|b", ValueMatchType.REGULAR_EXPRESSION),),
                    (
                        IdentityMatch("spiffe_id", "spiffe://a/b"),
                        IdentityMatch("attribute:team", None, ValueMatchType.PRESENT),
                    ),
                ),
                RouteMatch(method="TRACE"),
            ),
        )
        described = describe_rule(rule)
        self.assertEqual(
            described,
            "RegularExpression /v[0-9]+(/.*)? (method GET, header x-version exactly 2, header x-b present, "
            "query Q a matching a|b, identity spiffe_id exactly spiffe://a/b, identity attribute:team present), "
            "PathPrefix / (method TRACE) → u",
        )
        self.assertEqual(
            [(warning.path, warning.problem) for warning in loaded.warnings],
            [
                (
                    "routes[0].rules[0].matches[0].headers[1].name",
                    "x-version stands in the list already, and only the first one counts",
                ),
                ("routes[0].rules[0].matches[1].method", "never matches: TRACE is answered with 405"),
            ],
        )

    def test_matching_injected_headers(self) -> None:
        """A rule that would believe what clients say of themselves is warned of."""
        injection = 'header_injection: [xfcc: {}, fields: {headers: {x-who: "{common_name}"}}]'
        loaded = self.load(
            LISTENERS.replace("port: 8443", f"port: 8443, {injection}")
            + """\
routes:
  - name: r
    rules:
      - matches:
          - headers: [{name: X-Who, value: admin}, {name: x-forwarded-client-cert, type: Present}, {name: x, value: y}]
        backends: [{upstream: u}]
upstreams: [{name: u, endpoints: ["h:1"]}]
"""
        )
        self.assertEqual(
            [(warning.path, warning.remedy) for warning in loaded.warnings],
            [(f"routes[0].rules[0].matches[0].headers[{number}].name", "match by identity") for number in (0, 1)],
        )

    def test_never_matching(self) -> None:
        """A name that no listener of the route takes, and weights that are all zero, are warned of."""
        loaded = self.load(
            """\
            listeners:
              - {name: a, port: 1, hostname: "*.example.com", protocol: HTTP}
              - {name: b, port: 2, protocol: HTTP}
            routes:
              - name: r
                listeners: [a]
                hostnames: [example.com, x.example.com, "*.x.example.com", "*.com", example.org]
                rules: [{backends: [{upstream: u, weight: 0}]}]
              - {name: s, hostnames: [example.org], rules: [{backends: [{upstream: u}]}]}
            upstreams: [{name: u, endpoints: ["h:1"]}]
            """
        )
        self.assertEqual(
            [(found.line, found.path) for found in loaded.warnings],
            [
                (7, "routes[0].hostnames[0]"),
                (7, "routes[0].hostnames[4]"),
                (8, "routes[0].rules[0].backends"),
            ],
        )

    def test_many_routes(self) -> None:
        """Routes by the thousand load, and a fault among them is found in its line."""
        routes = "".join(
            f"- {{name: r{n}, hostnames: [h{n}.example.com], rules: [{{backends: [{{upstream: u}}]}}]}}\n"
            for n in range(3000)
        )
        text = LISTENERS + 'upstreams: [{name: u, endpoints: ["h:1"]}]\nroutes:\n' + routes
        self.assertEqual(len(self.load(text).gateway.routes), 3000)
        self.assert_faults(
            text.replace("name: r2999", "name: r1"), (3004, 10, "routes[2999].name", "another in line 6")
        )


class ShippedConfiguration(ConfigTestCase):
    """``conf/edgegw.yaml`` and its schema."""

    def test_loads(self) -> None:
        """It loads without a finding where its files are."""
        loaded = self.load((_CONF / "edgegw.yaml").read_text())
        self.assertEqual(loaded.warnings, ())
        strict, lenient = loaded.gateway.listeners
        self.assertEqual(_validation_of(strict).mode, ValidationMode.ALLOW_VALID_ONLY)
        self.assertEqual(_validation_of(lenient).mode, ValidationMode.ALLOW_INSECURE_FALLBACK)
        self.assertEqual(strict.header_injection, (XFCC(),))

    def _uncommented(self) -> str:
        return re.sub(r"^#(?=  |[a-z])", "", (_CONF / "edgegw.yaml").read_text(), flags=re.MULTILINE)

    def test_commented_settings_are_the_defaults(self) -> None:
        """What is commented out loads too, and says what holds without it."""
        given = self.load(self._uncommented())
        self.assertEqual(given.warnings, ())
        shipped = self.load((_CONF / "edgegw.yaml").read_text()).gateway
        gateway = given.gateway
        self.assertEqual(
            (gateway.admin, gateway.logging, gateway.drain_timeout), (Admin(), Logging(), Gateway(()).drain_timeout)
        )
        self.assertEqual(gateway.upstreams, shipped.upstreams)
        first, second = gateway.listeners
        self.assertEqual(second, shipped.listeners[1])
        self.assertEqual(
            evolve(first, address=None, hostname=None, header_injection=(XFCC(),)),
            evolve(
                shipped.listeners[0],
                tls=evolve(
                    _tls_of(shipped.listeners[0]),
                    signature_algorithms=("ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256"),
                ),
            ),
        )

    def test_shows_every_key(self) -> None:
        """Every key that can be given is in it."""
        text = self._uncommented()
        node = read_text(text, "x", {}, Report("x"))
        assert isinstance(node, Mapping)
        # Also what is only an example, because what holds without it cannot be written.
        shown = set(re.findall(r"(?:^[ #-]*|[\[{,] ?)([a-z0-9_]+):", text, flags=re.MULTILINE))
        keys: set[str] = set()
        described = schema()
        stack: list[Any] = [described]
        while stack:
            part = stack.pop()
            if isinstance(part, dict):
                keys.update(key for key in part.get("properties", {}) if part.get("additionalProperties") is False)
                stack += part.values()
            elif isinstance(part, list):
                stack += part
        self.assertEqual(keys - shown, set())

    def test_names_its_schema(self) -> None:
        """Editors find the schema beside it."""
        first = (_CONF / "edgegw.yaml").read_text().splitlines()[0]
        self.assertEqual(first, "# yaml-language-server: $schema=edgegw.schema.json")

    def test_schema_is_up_to_date(self) -> None:
        """``conf/edgegw.schema.json`` is what ``edgegw schema`` prints."""
        kinds = (found for found in Registry().all() if found.built_in)
        self.assertEqual((_CONF / "edgegw.schema.json").read_text(), schema_text(kinds))


class JSONSchema(ConfigTestCase):
    """The schema says what the loader says."""

    def setUp(self) -> None:
        super().setUp()
        Draft202012Validator.check_schema(schema())
        self.validator = Draft202012Validator(schema())

    def test_shipped_configuration(self) -> None:
        """It is valid, also with everything that is commented out."""
        text = (_CONF / "edgegw.yaml").read_text()
        uncommented = re.sub(r"^#(?=  |[a-z])", "", text, flags=re.MULTILINE)
        for each in (text, uncommented):
            self.assertEqual([error.message for error in self.validator.iter_errors(yaml.safe_load(each))], [])

    def test_descriptions(self) -> None:
        """Every key is described."""
        for entry in DOCUMENT.fields:
            self.assertTrue(entry.description.endswith((".", ").")), entry.key)

    def test_agreement(self) -> None:
        """Documents that the loader takes are valid and those it refuses are not, as far as a schema can tell."""
        upstream = "upstreams: [{name: u, endpoints: [%s]}]\n"
        rule = "routes: [{name: r, rules: [%s]}]\nupstreams: [{name: u, endpoints: ['h:1']}]\n"
        good = [
            "",
            "admin: disabled\n",
            "admin: {port: 0}\n",
            "logging: {level: warn}\n",
            "drain_timeout: 0s\n",
            "drain_timeout: ${X:-1m}\n",
            "limits: {max_connections: '${X:-5}'}\n",
            "http: {max_head_size: 65536, max_body_size: 0, max_requests: unlimited}\n",
            "http: {max_head_size: 1MiB, max_body_size: unlimited}\n",
            "forwarding: {via: disabled, trusted_proxies: [10.0.0.1, '2001:db8::/32']}\n",
            "client_validation: {}\n",
            "client_validation: {default: disabled}\n",
            "client_validation: {default: {ca_certificates: [ca.pem], required: false}}\n",
            "client_validation: {per_port: [{port: 8443, validation: disabled}]}\n",
            "  - {name: b, port: 1, protocol: HTTP, address: '::1'}\n",
            "  - {name: b, address: 'unix:/run/b.sock', protocol: HTTP, hostname: '*.example.com'}\n",
            "  - {name: b, port: 1, protocol: HTTP, header_injection: []}\n",
            "  - {name: b, port: 1, protocol: HTTP, header_injection: [fields: {headers: {x-a: '{{{subject}}}'}}]}\n",
            upstream % "'127.0.0.1:1', '[::1]:2', 'a.b:3'",
            upstream % "",
            rule % "{backends: [{upstream: u}]}",
            rule % "{matches: [{path: {type: Exact, value: /a%20b}}, {}], backends: [{upstream: u, weight: 0}]}",
        ]
        bad = [
            "unknown: 1\n",
            "admin: off\n",
            "admin: {port: 65536}\n",
            "admin: {address: localhost}\n",
            "logging: {level: warning}\n",
            "drain_timeout: 30\n",
            "drain_timeout: 1 min\n",
            "limits: {handshake_timeout: 0s}\n",
            "limits: {max_connections: 0}\n",
            "limits: {max_connections: '5'}\n",
            "http: {max_head_size: 64KB}\n",
            "http: {max_body_size: none}\n",
            "forwarding: {via: a b}\n",
            "forwarding: {trusted_proxies: [localhost]}\n",
            "client_validation: {default: {}}\n",
            "client_validation: {default: {ca_certificates: []}}\n",
            "client_validation: {default: {ca_certificates: [ca.pem], mode: AllowInsecureFallback, required: true}}\n",
            "client_validation: {per_port: [{port: 8443}]}\n",
            "  - {name: b, protocol: HTTP}\n",
            "  - {name: b, port: 1}\n",
            "  - {name: b, port: 1, protocol: UDP}\n",
            "  - {name: b, port: 1, protocol: HTTP, tls: {certificates: []}}\n",
            "  - {name: b, port: 1, protocol: HTTP, address: 'unix:/run/b.sock'}\n",
            "  - {name: b, port: 1, protocol: HTTP, hostname: 'a.*.b'}\n",
            "  - {name: b, port: 1, protocol: HTTP, header_injection: [xfcc]}\n",
            "  - {name: b, port: 1, protocol: HTTP, header_injection: [{}]}\n",
            "  - {name: b, port: 1, protocol: HTTP, header_injection: [pem: {header: X-A}]}\n",
            "  - {name: b, port: 1, protocol: HTTP, header_injection: [pem: {header: x_a}]}\n",
            "  - {name: b, port: 1, protocol: HTTP, header_injection: [fields: {headers: {x-a: '{subjekt}'}}]}\n",
            "  - {name: b, port: 1, protocol: HTTP, header_injection: [fields: {headers: {x-a: '{subject'}}]}\n",
            f"  - {{name: b, port: 1, {_TLS[:-1]}, min_version: '1.1'}}}}\n",
            f"  - {{name: b, port: 1, {_TLS[:-1]}, cipher_suites: [AES128-SHA]}}}}\n",
            f"  - {{name: b, port: 1, {_TLS[:-1]}, alpn: [h3]}}}}\n",
            f"  - {{name: b, port: 1, {_TLS[:-1]}, groups: ['a:b']}}}}\n",
            upstream % "'127.0.0.1'",
            rule % "{}",
            rule % "{matches: [], backends: [{upstream: u}]}",
            rule % "{matches: [{path: {value: a}}], backends: [{upstream: u}]}",
            rule % "{matches: [{path: {value: /a//b}}], backends: [{upstream: u}]}",
        ]
        listeners = LISTENERS.replace("&tls ", "")
        for wanted, documents in ((True, good), (False, bad)):
            for document in documents:
                text = listeners + document
                try:
                    self.load(text)
                    faults = ""
                except ConfigError as error:
                    faults = str(error)
                self.assertEqual(not faults, wanted, document + faults)
                self.assertEqual(self.validator.is_valid(yaml.safe_load(text)), wanted, document)


class Description(ConfigTestCase):
    """What ``edgegw check`` prints of a good configuration."""

    def test_shipped_configuration(self) -> None:
        """Listeners, certificates with expiry, client validation, routes, upstreams and the admin listener."""
        text = describe(self.load((_CONF / "edgegw.yaml").read_text()).gateway, NOW)
        self.assertEqual(
            text,
            """\
listeners: 2
  https-8443: HTTPS on *:8443 for every name
    TLS 1.2 to 1.3
    certificate server.pem (EC) for example.com, *.example.com, spiffe://example.com/edge, \
expires on 2030-09-09 (in 100 days)
    client certificates: AllowValidOnly: required, depth 100
      trust anchor ca.pem, expires on 2030-09-09 (in 100 days)
    tells upstreams the caller in: x-forwarded-client-cert (sanitize_set)
  https-8444: HTTPS on *:8444 for every name
    TLS 1.2 to 1.3
    certificate server.pem (EC) for example.com, *.example.com, spiffe://example.com/edge, \
expires on 2030-09-09 (in 100 days)
    client certificates: AllowInsecureFallback: asked for, and everyone comes in
      trust anchor ca.pem, expires on 2030-09-09 (in 100 days)
    tells upstreams the caller in: x-forwarded-client-cert (sanitize_set)
routes: 1
  app: every name
    PathPrefix / → app
upstreams: 1
  app: 127.0.0.1:8000
admin: http://127.0.0.1:9901
logging: text, info
drain timeout: 30s
""",
        )

    def test_other_settings(self) -> None:
        """What is switched off, expired or refuses everyone is said plainly."""
        document = f"""\
admin: disabled
listeners:
  - {{name: a, port: 0, address: "::1",
      {_TLS[:-1]}, max_version: "1.2", client_validation: {{ca_certificates: [no.pem]}}}}}}
  - {{name: b, address: "unix:/run/b.sock", protocol: HTTP,
      header_injection: [client_cert: {{chain: true}}, pem: {{header: x-p}}]}}
  - {{name: c, port: 1, {_TLS}}}
  - {{name: d, port: 2, {_TLS[:-1]}, client_validation: {{ca_certificates: [ca.pem], required: false}}}}}}
routes:
  - {{name: r, hostnames: [x.org], listeners: [b],
      rules: [{{backends: [{{upstream: u, weight: 2}}, {{upstream: v}}]}}]}}
upstreams: [{{name: u, endpoints: ["[::1]:1", "h:2"]}}, {{name: v, endpoints: ["h:1"]}}]
"""
        gateway = self.load(document).gateway
        text = describe(gateway, NOW.replace(year=2031))
        for part in (
            "  a: HTTPS on [::1]:(chosen by the system) for every name\n    TLS 1.2\n",
            "EXPIRED on 2030-09-09",
            "NO TRUST ANCHOR: every connection is refused",
            "  b: HTTP on unix:/run/b.sock for every name\n",
            "in: client-cert, client-cert-chain, x-p\n",
            "client certificates: not asked for\n    tells upstreams the caller in: nothing\n",
            "AllowValidOnly: asked for; clients without one come in, depth 100\n",
            "  r: x.org on b\n    PathPrefix / → u (weight 2), v (weight 1)\n",
            "  u: [::1]:1, h:2\n",
            "admin: disabled\n",
        ):
            self.assertIn(part, text)

    def test_policies(self) -> None:
        """Policies are named as they are combined, where they hold; rules say whom they are for."""
        spiffe, other, third = (PolicyUse(SimpleNamespace(name=name), None) for name in ("spiffe", "a", "b"))
        rules = (spiffe, PolicyAny((other, PolicyAll((third, spiffe)))), PolicyNot(other))
        gateway = self.load(
            LISTENERS + "routes: [{name: r, rules: [{backends: [{upstream: u}]}]}]\n"
            'upstreams: [{name: u, endpoints: ["h:1"]}]\n'
        ).gateway
        listener, route = gateway.listeners[0], gateway.routes[0]
        validation = ClientValidation(
            ValidationMode.ALLOW_VALID_ONLY, (TrustAnchor("ca.pem", b"", NOW),), policies=rules
        )
        listener = evolve(
            listener, policies=(third,), tls=evolve(_tls_of(listener), client_validation=validation),
            health_check=HealthCheck("/up", (ip_network("10.0.0.0/8"), ip_network("::1"))),
        )
        rule = evolve(route.rules[0], client=ClientRequirement.VERIFIED, policies=(other, third))
        anyone = evolve(route.rules[0], client=ClientRequirement.ANY)
        route = evolve(route, rules=(rule, anyone))
        text = describe(evolve(gateway, listeners=(listener,), routes=(route,)), NOW)
        for part in (
            "    client certificates: AllowValidOnly: required, depth 100\n      policies: all of: spiffe, any of (a, ",
            "      policies: all of: spiffe, any of (a, all of (b, spiffe)), not a\n      trust anchor ca.pem",
            "    policies: b\n    health check: /up for 10.0.0.0/8, ::1/128\n    tells upstreams",
            "    PathPrefix / \u2192 u\n      the client needs a verified certificate\n      policies: all of: a, b\n",
            "    PathPrefix / \u2192 u\n      the client needs any certificate\nupstreams",
        ):
            self.assertIn(part, text)

    def test_who_comes_in(self) -> None:
        """Policies make a certificate required, unless on_missing or envoy_compatible says otherwise."""
        policies = (PolicyUse(SimpleNamespace(name="a"), None),)
        anchors = (TrustAnchor("ca.pem", b"", NOW),)
        strict = ClientValidation(ValidationMode.ALLOW_VALID_ONLY, anchors, policies=policies)
        fallback = evolve(strict, mode=ValidationMode.ALLOW_INSECURE_FALLBACK)
        optional = "asked for; clients without one come in if the policies that judge them accept"
        for validation, words in (
            (evolve(strict, required=False), "AllowValidOnly: required, depth 100"),
            (evolve(strict, required=False, on_missing=OnMissing.ACCEPT), f"AllowValidOnly: {optional}, depth 100"),
            (fallback, "AllowInsecureFallback: required; whether it is verified or not, the policies decide"),
            (evolve(fallback, on_missing=OnMissing.ACCEPT),
             f"AllowInsecureFallback: {optional}; whether it is verified or not, the policies decide"),
            (evolve(fallback, envoy_compatible=True),
             "AllowInsecureFallback: asked for, and everyone comes in, as with Envoy"),
            (evolve(strict, policies=()), "AllowValidOnly: required, depth 100"),
        ):
            self.assertEqual(describe_validation(validation), words)
        self.assertEqual(describe_policies(()), "an empty list, which refuses everyone")
