"""What rules do with requests and responses, from the native document."""
from __future__ import annotations

from typing import Any

from attrs import evolve

from edgegw.config import ConfigError, describe
from edgegw.config.document_http import UPGRADES
from edgegw.model import (
    CORS,
    Compression,
    Encoding,
    ExternalAuth,
    Filters,
    FixedResponse,
    HeaderModifier,
    Mirror,
    OnFailure,
    PathModifier,
    PathModifierType,
    RateLimit,
    RateLimitKey,
    Redirect,
    Retry,
    Rewrite,
    RouteRule,
    Timeouts,
)

from .config_documents import NOW, ConfigTestCase

BEGIN = "listeners: [{name: a, port: 1, protocol: HTTP%s}]\nupstreams: [{name: u, endpoints: ['h:1']}]\n"
ROUTES = "routes: [{name: r, rules: [{%s}]}]\n"
BACKENDS = ", backends: [{upstream: u}]"


class FilterConfigTests(ConfigTestCase):
    """Keys of a rule."""

    def rule(self, text: str, listener: str = "") -> RouteRule:
        return self.load(BEGIN % listener + ROUTES % text).gateway.routes[0].rules[0]

    def filters(self, text: str) -> Filters:
        return self.rule(text + BACKENDS).filters

    def faults(self, text: str, listener: str = "") -> list[str]:
        with self.assertRaises(ConfigError) as caught:
            self.load(BEGIN % listener + ROUTES % text)
        return [f"{one.problem}; {one.remedy}" for one in caught.exception.faults]

    def fault(self, text: str, *parts: str, listener: str = "", warned: bool = False) -> None:
        faults = self.faults(text, listener)
        self.assertEqual(len(faults), 1 + warned, faults)
        for part in parts:
            self.assertIn(part, faults[-1])

    # --- headers ---

    def test_headers(self) -> None:
        """Names come in any case; three actions."""
        got = self.filters("request_headers: {set: {X-A: '1'}, add: {x-b: b c}, remove: [Cookie]}")
        self.assertEqual(got.request_headers, HeaderModifier((("x-a", "1"),), (("x-b", "b c"),), ("cookie",)))
        got = self.filters("response_headers: {set: {Server: x}}")
        self.assertEqual(got.response_headers, HeaderModifier((("server", "x"),)))

    def test_upgrades(self) -> None:
        """Names of protocols, but none that would carry requests; the schema says the same."""
        rule = self.rule(f"upgrades: [WebSocket, SPDY/3.1], upgrade_idle_timeout: 1h{BACKENDS}")
        self.assertEqual((rule.upgrades, rule.upgrade_idle_timeout), (("websocket", "SPDY/3.1"), 3600.0))
        self.assertEqual(self.rule(f"upgrades: []{BACKENDS}").upgrades, ())
        rule = self.rule(BACKENDS.lstrip(", "))
        self.assertEqual((rule.upgrades, rule.upgrade_idle_timeout), (None, None))
        schema: dict[str, Any] = UPGRADES.schema({})["items"]
        pattern = next(one["pattern"] for one in schema.get("anyOf", [schema]) if "pattern" in one)
        for name in ("h2c", "H2C", "h2", "HTTP/2.0", "http", "TLS/1.0"):
            self.fault(f"upgrades: [{name}]{BACKENDS}", "would carry requests past the rules")
            self.assertNotRegex(name, pattern)
        for name in ("''", "a b", "a/b/c", "'a,b'", "ä"):
            self.fault(f"upgrades: [{name}]{BACKENDS}", "is not the name of a protocol")
            self.assertNotRegex(name.strip("'"), pattern)
        for name in ("websocket", "SPDY/3.1", "h2x", "tcp"):
            self.assertRegex(name, pattern)
        self.fault(f"upgrades: [websocket, WebSocket]{BACKENDS}", "repeats")

    def test_of_a_backend(self) -> None:
        """Backends have some of them."""
        rule = self.rule("backends: [{upstream: u, request_headers: {remove: [x-a]}, rewrite: {hostname: b.example}}]")
        self.assertEqual(
            rule.backends[0].filters,
            Filters(request_headers=HeaderModifier(remove=("x-a",)), rewrite=Rewrite("b.example")),
        )
        self.assertEqual(rule.filters, Filters())
        self.fault("backends: [{upstream: u, timeouts: {request: 1s}}]", "is no known key")

    def test_headers_that_cannot_be_changed(self) -> None:
        """What frames messages, tells the way, or says who is calling."""
        for name in (
            "Content-Length", "transfer-encoding", "connection", "te", "upgrade", "expect", "host", "x-forwarded-for",
            "forwarded", "x-request-id", "x-forwarded-client-cert", "client-cert", "x-ssl-client-dn", "x_client_cert",
        ):
            for action in (f"set: {{{name}: x}}", f"add: {{{name}: x}}", f"remove: [{name}]"):
                self.fault(f"request_headers: {{{action}}}{BACKENDS}", f'"{name}"')
        for name in ("content-length", "Transfer-Encoding", "connection", "trailer", "via"):
            self.fault(f"response_headers: {{remove: [{name}]}}{BACKENDS}", f'"{name}"')

    def test_headers_that_injectors_own(self) -> None:
        """Whichever listener's they are."""
        injection = ", header_injection: [fields: {headers: {x-caller: '{peer}'}}]"
        for action in ("set: {X-Caller: x}", "remove: [x-caller]"):
            self.fault(
                f"request_headers: {{{action}}}{BACKENDS}", "a listener injects it", listener=injection
            )
        self.rule(f"response_headers: {{set: {{x-caller: x}}}}{BACKENDS}", injection)

    def test_headers_twice(self) -> None:
        """One action for each header."""
        self.fault(f"request_headers: {{set: {{X-A: '1'}}, remove: [x-a]}}{BACKENDS}", "x-a is in", "set.X-A too")
        self.fault(f"request_headers: {{set: {{X-A: '1', x-a: '2'}}}}{BACKENDS}", "x-a is in")

    def test_values(self) -> None:
        """A value cannot end its line."""
        for value in ('"a\\r\\nb: c"', '"a\\0"', "' a'", '"é"', "''"):
            self.fault(f"request_headers: {{set: {{x-a: {value}}}}}{BACKENDS}", "is not a header's value")

    # --- places ---

    def test_redirect(self) -> None:
        """A redirect stands in place of backends."""
        rule = self.rule("redirect: {scheme: https, hostname: B.example, port: 8443, status: 308}")
        self.assertEqual(rule.filters.redirect, Redirect("https", "b.example", 8443, None, 308))
        self.assertEqual(rule.backends, ())
        self.assertEqual(self.rule("redirect: {}").filters.redirect, Redirect())
        self.fault("redirect: {}" + BACKENDS, "does not go with")
        self.fault("redirect: {}, fixed_response: {}", "does not go with")
        self.fault("redirect: {}, rewrite: {}", "does not go with redirect")
        self.fault("redirect: {status: 304}", "304 is no redirect")
        self.fault("redirect: {hostname: '*.example'}", "is a wildcard")

    def test_paths(self) -> None:
        """Prefixes are replaced where there is one."""
        path = "path: {type: ReplacePrefixMatch, value: /v1}"
        wanted = PathModifier(PathModifierType.REPLACE_PREFIX_MATCH, "/v1")
        self.assertEqual(self.filters(f"rewrite: {{{path}}}").rewrite, Rewrite(path=wanted))
        prefix = "matches: [{path: {value: /a}}]"
        self.assertEqual(self.filters(f"{prefix}, rewrite: {{{path}}}").rewrite, Rewrite(path=wanted))
        for matches in ("matches: [{path: {value: /a}}, {path: {value: /b}}]", "matches: [{path: {type: Exact}}]"):
            self.fault(f"{matches}, redirect: {{{path}}}", "exactly one PathPrefix")
        self.fault("redirect: {path: {type: ReplaceFullPath, value: ''}}", "is empty")
        for value in ("a", "/a//b", "/a/../b", "/a?b", "/a%2fb", "'/a b'"):
            self.fault(f"redirect: {{path: {{type: ReplaceFullPath, value: {value}}}}}", "is not a path")

    def test_fixed_response(self) -> None:
        """A body is text or a file's."""
        rule = self.rule("fixed_response: {status: 418, headers: {X-A: b}, body: 'Tee, schön.'}")
        self.assertEqual(
            rule.filters.fixed_response, FixedResponse(418, (("x-a", "b"),), "Tee, schön.".encode())
        )
        (self.directory / "page.html").write_bytes(b"<p>\xff")
        rule = self.rule("fixed_response: {file: page.html}")
        self.assertEqual(rule.filters.fixed_response, FixedResponse(body=b"<p>\xff"))
        self.fault("fixed_response: {file: page.html, body: x}", "stands beside body")
        self.fault("fixed_response: {file: none.html}", "none.html cannot be read: No such file")
        self.fault("fixed_response: {file: .}", "it is no regular file")
        self.fault("fixed_response: {status: 204, body: x}", "204 has no body")
        self.fault("fixed_response: {status: 205, body: x}", "205 has no body")
        with (self.directory / "large").open("wb") as large:
            large.truncate(1_048_577)
        self.fault("fixed_response: {file: large}", "larger than 1048576 bytes")

    # --- time, number and size ---

    def test_limits(self) -> None:
        """Time-outs, sizes and tries."""
        got = self.filters("timeouts: {request: 1m, backend_request: 500ms}, max_body_size: 1MiB, retry: {}")
        self.assertEqual((got.timeouts, got.max_body, got.retry), (Timeouts(60.0, 0.5), 1_048_576, Retry()))
        got = self.filters("timeouts: {request: 0s}, retry: {codes: [500, 503], methods: [POST], max_body: 0}")
        self.assertEqual(got.timeouts, Timeouts())
        self.assertEqual(got.retry, Retry(frozenset({500, 503}), methods=frozenset({"POST"}), max_body=0))
        self.fault("timeouts: {request: 1s, backend_request: 2s}" + BACKENDS, "is longer than request")
        self.fault("retry: {backoff: 2s}" + BACKENDS, "longer than max_backoff")
        self.fault("retry: {codes: [200]}" + BACKENDS, "200 is out of range")
        self.fault("retry: {methods: [get]}" + BACKENDS, "is not a method")

    def test_rate_limit(self) -> None:
        """So many in a unit, and at once."""
        self.assertEqual(self.filters("rate_limit: {requests: 10}").rate_limit, RateLimit(10, 1.0, 10))
        got = self.filters("rate_limit: {requests: 10, unit: minute, burst: 3, per: identity, max_entries: 5}")
        self.assertEqual(got.rate_limit, RateLimit(10, 60.0, 3, RateLimitKey.IDENTITY, 5))
        self.fault("rate_limit: {unit: hour}" + BACKENDS, "has no requests")

    def test_cors(self) -> None:
        """Origins, and what is allowed to them."""
        got = self.filters("cors: {allow_origins: ['https://*.a.example', 'http://[::1]:81'], allow_methods: [PUT]}")
        self.assertEqual(got.cors, CORS(("https://*.a.example", "http://[::1]:81"), ("PUT",)))
        got = self.filters("cors: {allow_origins: ['*'], allow_headers: ['*'], allow_credentials: true, max_age: 0s}")
        self.assertEqual(got.cors, CORS(("*",), (), ("*",), (), True, 0.0))
        for origin, warned in (("'*'", 1), ("https://*", 1), ("https://*.b.example", 0)):
            text = f"cors: {{allow_origins: [https://a.example, {origin}], allow_credentials: true}}{BACKENDS}"
            warnings = self.load(BEGIN % "" + ROUTES % text).warnings
            self.assertEqual(["every origin" in one.problem for one in warnings], [True] * warned)
        for origin in ("a.example", "https://a.example/", "https://a.*.example", "https://a@b", "'null'"):
            self.fault(f"cors: {{allow_origins: [{origin}]}}{BACKENDS}", "is not an origin")

    def test_mirrors(self) -> None:
        """All requests, or a share of them."""
        got = self.filters(
            "mirrors: [{upstream: u}, {upstream: u, percent: 0.5}, {upstream: u, fraction: {numerator: 3}}]"
        )
        self.assertEqual(got.mirrors, (Mirror("u"), Mirror("u", 5000, 1_000_000), Mirror("u", 3, 100)))
        self.fault("mirrors: [{upstream: v}]" + BACKENDS, "there is no upstream v")
        self.fault("mirrors: [{upstream: u, percent: 1, fraction: {numerator: 1}}]" + BACKENDS, "beside percent")
        self.fault("mirrors: [{upstream: u, percent: 101}]" + BACKENDS, "101 is out of range")
        self.fault("mirrors: [{upstream: u, fraction: {numerator: 4, denominator: 3}}]" + BACKENDS, "is greater")

    def test_external_auth(self) -> None:
        """A URL, and what is told to whom."""
        self.assertEqual(self.filters("external_auth: {url: 'http://h/'}").external_auth, ExternalAuth("http://h/"))
        got = self.filters(
            "external_auth: {url: 'https://h:1/x?y=z', timeout: 1s, request_headers: [X-A], facts: {x-b: '{subject}'}, "
            "upstream_headers: [x-c], client_headers: [], on_failure: allow, status: 503, ca_certificates: ca.pem}"
        ).external_auth
        assert got is not None
        self.assertEqual(got.ca_certificates, (self.directory / "ca.pem").read_bytes())
        self.assertEqual(
            evolve(got, ca_certificates=None),
            ExternalAuth(
                "https://h:1/x?y=z", 1.0, ("x-a",), (("x-b", "{subject}"),), ("x-c",), (), OnFailure.ALLOW, 503
            ),
        )
        for url in ("h/x", "ftp://h/", "'http://h/ x'", "'http://u@h/'", "'http://h:0/'", "'http:///x'", "'http://h:x/'"):
            self.fault(f"external_auth: {{url: {url}}}{BACKENDS}", "URL" if "@" not in url else "user")
        found = self.filters("external_auth: {url: 'http://h/', append_path: true}").external_auth
        self.assertEqual(found, ExternalAuth("http://h/", append_path=True))
        self.fault(f"external_auth: {{url: 'http://h/?a', append_path: true}}{BACKENDS}", "has a query")
        url = "url: 'http://h/'"
        self.fault(f"external_auth: {{{url}, upstream_headers: [x-forwarded-client-cert]}}{BACKENDS}", "who is calling")
        self.fault(f"external_auth: {{{url}, facts: {{cookie: '{{subject}}'}}}}{BACKENDS}", "among request_headers")
        self.fault(f"external_auth: {{{url}, ca_certificates: server.key}}{BACKENDS}", "no CA certificate", warned=True)
        injection = ", header_injection: [fields: {headers: {x-caller: '{peer}'}}]"
        for key in ("request_headers", "upstream_headers"):
            self.fault(f"external_auth: {{{url}, {key}: [x-caller]}}{BACKENDS}", "injects it", listener=injection)

    def test_compression(self) -> None:
        """Off unless it is given."""
        self.assertIsNone(self.filters("max_body_size: 1").compression)
        self.assertEqual(self.filters("compression: {}").compression, Compression())
        got = self.filters(
            "compression: {encodings: [gzip], content_types: [text/x], min_length: 1, with_credentials: true}"
        )
        self.assertEqual(got.compression, Compression((Encoding.GZIP,), ("text/x",), 1, True))
        self.fault("compression: {encodings: [deflate]}" + BACKENDS, "is not gzip or br or zstd")
        self.fault("compression: {content_types: [text]}" + BACKENDS, "is not a media type")

    def test_no_backends(self) -> None:
        """A rule that sends requests nowhere answers them."""
        self.fault("client: none", "has no backends")
        loaded = self.load(BEGIN % "" + ROUTES % "backends: []")
        self.assertEqual(loaded.gateway.routes[0].rules[0].backends, ())
        self.assertIn("backends: is an empty list: requests get 500", str(loaded.warnings[0]))

    def test_every_fault(self) -> None:
        """All of them are told at once."""
        self.assertEqual(
            len(self.faults("request_headers: {set: {host: a, te: b}}, retry: {attempts: 0}, rewrite: {port: 0}")), 5
        )

    def test_described(self) -> None:
        """``edgegw check`` says what a rule without backends does."""
        model: Any = self.load(BEGIN % "" + ROUTES % "redirect: {status: 301}").gateway
        self.assertIn("PathPrefix / → redirect (301)\n", describe(model, NOW))
        model = self.load(BEGIN % "" + ROUTES % "fixed_response: {status: 503}").gateway
        self.assertIn("PathPrefix / → fixed response (503)\n", describe(model, NOW))
