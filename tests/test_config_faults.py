"""Every fault of a document, with its line, column and path, and none that is not there."""
from __future__ import annotations

from collections.abc import Sequence

from edgegw.config import ConfigError, Fault, Severity
from edgegw.model import TLSSettings
from tests.config_documents import LISTENERS, ConfigTestCase

_TLS = "tls: {certificates: [{certificate: server.pem, private_key: server.key}]}"


class Wording(ConfigTestCase):
    """How faults read."""

    def test_one_line(self) -> None:
        """File, line, column, path, problem and remedy, as compilers write them."""
        fault = Fault("a.yaml", 3, 5, "listeners[0].port", "is text", "write a number")
        self.assertEqual(str(fault), "a.yaml:3:5: listeners[0].port: is text; write a number")
        warning = Fault("a.yaml", 1, 1, "", "is odd", severity=Severity.WARNING)
        self.assertEqual(str(warning), "a.yaml:1:1: warning: is odd")
        self.assertEqual(str(ConfigError([fault, warning])), f"{fault}\n{warning}")

    def test_all_at_once(self) -> None:
        """Faults of every kind are reported together, in the order of the document, warnings marked."""
        self.write("server.key", (self.directory / "server.key").read_bytes(), 0o644)
        error = self.refusal(LISTENERS + "drain_timeout: 30\nroutes: [{name: r, rules: []}]\nadmim: {}\n")
        self.assertEqual(
            [(fault.line, fault.path, fault.severity.value) for fault in error.faults],
            [
                (2, "listeners[0].tls.certificates[0].private_key", "warning"),
                (3, "drain_timeout", "fault"),
                (4, "routes[0].rules", "fault"),
                (5, "admim", "fault"),
            ],
        )

    def test_odd_variables_are_shown_safely(self) -> None:
        """A variable that is not UTF-8 or has line breaks in it makes one line that can be printed."""
        text = LISTENERS.replace("server.pem", '"${FILE}"')
        for value in ("a\nb", "a\udcff"):
            for fault in self.refusal(text, environ={"FILE": value}).faults:
                self.assertTrue(str(fault).isprintable(), str(fault))

    def test_odd_values_are_shown_safely(self) -> None:
        """Control characters of a value reach no terminal, and long values are cut."""
        (fault,) = self.refusal(LISTENERS + 'logging: {level: "\\e[31m' + "x" * 500 + '"}\n').faults
        self.assertIn('"\\x1b[31mxxx', str(fault))
        self.assertLess(len(str(fault)), 400)


class Structure(ConfigTestCase):
    """Keys and types."""

    def test_unknown_keys(self) -> None:
        """An unknown key is reported at the key, with the key that was meant."""
        self.assert_faults(
            LISTENERS + "loging: {level: info}\nhttp:\n  max_heads: 1KiB\n  xyzzy: 1\n",
            (3, 1, "loging", "did you mean logging?"),
            (5, 3, "http.max_heads", "did you mean max_headers?"),
            (6, 3, "http.xyzzy", "use one of max_head_size"),
        )

    def test_wrong_types(self) -> None:
        """A value of another type is reported with what is wanted."""
        self.assert_faults(
            LISTENERS
            + """\
admin: yes
logging: []
drain_timeout: 30
limits: {max_connections: "5", max_handshakes: 1.5}
http: {max_head_size: true, max_headers: , head_timeout: 1}
forwarding: {preserve_host: yes, trusted_proxies: 10.0.0.0/8}
routes: {}
upstreams: [x, {name: 1, endpoints: [1, {}]}]
""",
            (3, 8, "admin", "a mapping, or disabled"),
            (4, 10, "logging", "is a list; write a mapping"),
            (5, 16, "drain_timeout", "30 has no unit"),
            (6, 27, "limits.max_connections", "without quotes"),
            (6, 48, "limits.max_handshakes", "is a fraction"),
            (7, 23, "http.max_head_size", "is true or false"),
            (7, 42, "http.max_headers", "has no value"),
            (7, 58, "http.head_timeout", "has no unit"),
            (8, 29, "forwarding.preserve_host", "write true or false"),
            (8, 51, "forwarding.trusted_proxies", "is text; write a list"),
            (9, 9, "routes", "is a mapping; write a list"),
            (10, 13, "upstreams[0]", "is text; write a mapping"),
            (10, 23, "upstreams[1].name", 'in quotes: "1"'),
            (10, 38, "upstreams[1].endpoints[0]", "in quotes"),
            (10, 41, "upstreams[1].endpoints[1]", "has no address"),
        )

    def test_ranges_and_words(self) -> None:
        """Values out of range and words that are none of the known."""
        self.assert_faults(
            LISTENERS
            + """\
admin: {port: 65536}
logging: {format: yaml, level: warning}
limits: {max_connections: 0, handshake_timeout: 0s}
http: {max_head_size: 10, max_uri_size: 64kb, max_body_size: unlimted, head_timeout: 200h}
forwarding: {underscores: refused, via: "a b", trusted_proxies: [10.0.0.1/8, x]}
""",
            (3, 15, "admin.port", "out of range"),
            (4, 19, "logging.format", "text or json"),
            (4, 32, "logging.level", "did you mean warn?"),
            (5, 27, "limits.max_connections", "from 1 to"),
            (5, 49, "limits.handshake_timeout", "from 1ms"),
            (6, 23, "http.max_head_size", "write 1KiB to"),
            (6, 41, "http.max_uri_size", "such as 64KiB"),
            (6, 62, "http.max_body_size", "did you mean unlimited?"),
            (6, 86, "http.head_timeout", "to 168h"),
            (7, 27, "forwarding.underscores", "did you mean refuse?"),
            (7, 41, "forwarding.via", "token"),
            (7, 66, "forwarding.trusted_proxies[0]", "write 10.0.0.0/8"),
            (7, 78, "forwarding.trusted_proxies[1]", "is not a network"),
        )

    def test_huge_numbers(self) -> None:
        """Numbers of any length are only out of range."""
        self.assert_faults(
            LISTENERS + f"http: {{max_headers: {'9' * 10_000}}}\n", (3, 21, "http.max_headers", "whole number")
        )


class Listeners(ConfigTestCase):
    """Faults of listeners and between them."""

    def test_no_listeners(self) -> None:
        """A gateway without listeners is a fault."""
        self.assert_faults("listeners: []\n", (1, 12, "listeners", "give 1 or more"))

    def test_required(self) -> None:
        """What a listener needs."""
        self.assert_faults(
            "listeners:\n  - {}\n  - {name: a, port: 1, protocol: HTTPS}\n  - {name: b, port: 2, tls: {}}\n",
            (2, 5, "listeners[0]", "has no name"),
            (2, 5, "listeners[0]", "has no port"),
            (2, 5, "listeners[0]", "has no tls"),
            (3, 5, "listeners[1]", "has no tls, but its protocol is HTTPS"),
            (4, 29, "listeners[2].tls", "has no certificates"),
        )

    def test_protocols(self) -> None:
        """TLS does not go with HTTP; other protocols are not spoken."""
        self.assert_faults(
            f"listeners:\n  - {{name: a, port: 1, protocol: HTTP, {_TLS}}}\n"
            f"  - {{name: b, port: 2, protocol: UDP, {_TLS}}}\n",
            (2, 40, "listeners[0].tls", "does not go with the protocol HTTP"),
            (3, 34, "listeners[1].protocol", "HTTP or HTTPS or TLS or TCP"),
        )

    def test_addresses(self) -> None:
        """Addresses are IP addresses or Unix sockets, and only the former have ports."""
        self.assert_faults(
            """\
            listeners:
              - {name: a, protocol: HTTP, port: 1, address: localhost}
              - {name: b, protocol: HTTP, port: 2, address: "[::1]"}
              - {name: c, protocol: HTTP, port: 3, address: "::ffff:10.0.0.1"}
              - {name: d, protocol: HTTP, port: 4, address: unix:a.sock}
              - {name: e, protocol: HTTP, address: "unix:"}
              - {name: f, protocol: HTTP, address: unix:/%s}
              - {name: g, protocol: HTTP, address: 10.0.0.1}
            """
            % ("x" * 110),
            (2, 49, "listeners[0].address", "is not an IP address"),
            (3, 49, "listeners[1].address", "without brackets"),
            (4, 49, "listeners[2].address", "write 10.0.0.1"),
            (5, 37, "listeners[3].port", "a Unix socket has no port"),
            (6, 40, "listeners[4].address", "names no Unix socket"),
            (7, 40, "listeners[5].address", "longer than 107 bytes"),
            (8, 5, "listeners[6]", "has no port"),
        )

    def test_hostnames(self) -> None:
        """Host names that are none."""
        names = ["a..b", "*", "a.*.example.com", "*.*.example.com", "10.0.0.1", "::1", "a b", "a:80"]
        names += ["x" * 64, "ä." * 99]
        text = "listeners:\n" + "".join(
            f'  - {{name: n{number}, port: {number + 1}, protocol: HTTP, hostname: "{name}"}}\n'
            for number, name in enumerate(names)
        )
        parts = ["not a host name", "wildcard", "wildcard", "wildcard", "IP address", "IP address", "not a host name"]
        parts += ["no port", "not a host name", "international"]
        self.assert_faults(
            text, *((n + 2, 51 + n // 9, f"listeners[{n}].hostname", part) for n, part in enumerate(parts))
        )

    def test_duplicate_names(self) -> None:
        """Names of listeners, routes and upstreams are unique, each kind for itself."""
        self.assert_faults(
            """\
            listeners:
              - {name: a, port: 1, protocol: HTTP}
              - {name: a, port: 2, protocol: HTTP}
            routes:
              - {name: a, rules: [{backends: [{upstream: a}]}]}
              - {name: a, rules: [{backends: [{upstream: a}]}]}
            upstreams:
              - {name: a, endpoints: ["h:1"]}
              - {name: a, endpoints: ["h:1"]}
            """,
            (3, 12, "listeners[1].name", "to another in line 2"),
            (6, 12, "routes[1].name", "to another in line 5"),
            (9, 12, "upstreams[1].name", "to another in line 8"),
        )

    def test_shared_ports(self) -> None:
        """Listeners on a port need one protocol, one address and different names."""
        self.assert_faults(
            f"""\
listeners:
  - {{name: a, port: 1, hostname: example.com, {_TLS}}}
  - {{name: b, port: 1, hostname: EXAMPLE.com., {_TLS}}}
  - {{name: c, port: 1, protocol: HTTP, hostname: c.example.com}}
  - {{name: d, port: 1, address: 127.0.0.1, hostname: d.example.com, {_TLS}}}
  - {{name: e, port: 1, hostname: "*.example.com", {_TLS}}}
  - {{name: f, port: 2, address: 127.0.0.1, protocol: HTTP}}
  - {{name: g, port: 2, address: 127.0.0.2, protocol: HTTP}}
  - {{name: h, port: 2, address: 0.0.0.0, protocol: HTTP}}
  - {{name: i, port: 2, address: "::", protocol: HTTP}}
  - {{name: j, port: 2, address: "0:0::1", protocol: HTTP}}
  - {{name: k, address: unix:k.sock, protocol: HTTP}}
  - {{name: l, address: unix:k.sock, protocol: HTTP}}
  - {{name: m, port: 0, protocol: HTTP}}
  - {{name: n, port: 0, protocol: HTTP}}
""",
            (3, 34, "listeners[1].hostname", "port 1 is used by a for example.com already"),
            (4, 34, "listeners[2].protocol", "with the protocol HTTPS already"),
            (5, 33, "listeners[3].address", "every address of a overlap on port 1"),
            (9, 33, "listeners[7].address", "0.0.0.0 and 127.0.0.1 of f overlap"),
            (11, 33, "listeners[9].address", "::1 and :: of i overlap"),
            (13, 24, "listeners[11].address", "for every name already"),
        )

    def test_shared_settings(self) -> None:
        """What holds for a whole port is warned of where its listeners differ in it."""
        self.assert_warnings(
            f"""\
limits: {{max_connections_per_peer: 7}}
listeners:
  - {{name: a, port: 1, hostname: example.com, {_TLS}}}
  - {{name: b, port: 1, hostname: b.example.com, limits: {{max_connections: 5, handshake_timeout: 1s}}, {_TLS}}}
  - {{name: c, port: 2, protocol: HTTP, limits: {{max_connections_per_peer: 3}}}}
  - {{name: d, port: 2, protocol: HTTP, hostname: d, http: {{max_uri_size: 1KiB, keep_alive_timeout: 1s}}}}
  - {{name: e, port: 3, protocol: HTTP}}
  - {{name: f, port: 3, protocol: HTTP, hostname: f, limits: {{connection_rate: {{connections: 1}}}}}}
""",
            (4, 97, "listeners[1].limits.handshake_timeout", "not the same as that of a, and on port 1 the highest"),
            (6, 5, "listeners[3]", "limits.max_connections_per_peer is not the same as that of c"),
            (6, 74, "listeners[3].http.max_uri_size", "on port 2 the first listener's holds"),
            (8, 79, "listeners[5].limits.connection_rate", "on port 3 the first listener's holds"),
        )

    def test_tickets_without_chain(self) -> None:
        """Tickets that were asked for are not issued where upstreams are told the chain, which is warned of."""
        for injector, warned in (("client_cert: {chain: true}", 1), ("xfcc: {details: [chain]}", 1), ("xfcc: {}", 0)):
            listener = _TLS.replace("tls: {", "tls: {session_tickets: true, ")
            loaded = self.load(f"listeners:\n  - {{name: a, port: 1, header_injection: [{injector}], {listener}}}\n")
            self.assertEqual([str(one).split(": ")[2] for one in loaded.warnings],
                             ["listeners[0].tls.session_tickets"] * warned)

    def test_admin_port(self) -> None:
        """The admin listener's port is taken."""
        self.assert_faults(
            "listeners:\n  - {name: a, port: 9901, protocol: HTTP}\n"
            "  - {name: b, port: 9901, address: 127.0.0.2, hostname: b, protocol: HTTP}\n",
            (2, 21, "listeners[0].port", "the admin listener's"),
            (3, 36, "listeners[1].address", "overlap"),
        )
        self.load("admin: disabled\nlisteners:\n  - {name: a, port: 9901, protocol: HTTP}\n")
        self.load("listeners:\n  - {name: a, port: 9901, address: 127.0.0.2, protocol: HTTP}\n")


class TLS(ConfigTestCase):
    """Faults of TLS settings."""

    def _tls(self, settings: str) -> str:
        certificates = "certificates: [{certificate: server.pem, private_key: server.key}]"
        return f"listeners:\n- name: a\n  port: 1\n  tls:\n    {certificates}\n    {settings}\n"

    def test_versions(self) -> None:
        """Versions are 1.2 and 1.3, in this order, as text."""
        path = "listeners[0].tls.min_version"
        self.assert_faults(self._tls('min_version: "1.1"'), (6, 18, path, "1.2 or 1.3"))
        self.assert_faults(self._tls("min_version: 1.3"), (6, 18, path, 'write it in quotes: "1.3"'))
        self.assert_faults(
            self._tls('min_version: "1.3"\n    max_version: "1.2"'), (6, 18, path, "higher than max_version 1.2")
        )

    def test_cipher_suites(self) -> None:
        """Suites that are unknown, weak, misspelt or repeated."""
        weak = "no ECDHE suite with authenticated encryption"
        cases = [
            ("ECDHE-RSA-AES128-SHA256", weak),
            ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", weak),
            ("TLS_RSA_WITH_AES_128_GCM_SHA256", weak),
            ("AES128-GCM-SHA256", weak),
            ("NULL-SHA256", weak),
            ("RC4-MD5", weak),
            ("DES-CBC3-SHA", weak),
            ("DHE-RSA-AES128-GCM-SHA256", weak),
            ("ECDHE-PSK-CHACHA20-POLY1305", weak),
            ("TLS_AES_128_GCM_SHA25", "did you mean TLS_AES_128_GCM_SHA256?"),
            ("tls_aes_128_gcm_sha256", "write TLS_AES_128_GCM_SHA256"),
            ("HIGH:!aNULL", "is not a cipher suite"),
        ]
        for name, part in cases:
            self.assert_faults(
                self._tls(f'cipher_suites: ["{name}"]'), (6, 21, "listeners[0].tls.cipher_suites[0]", part)
            )
        self.assert_faults(
            self._tls("cipher_suites: [TLS_AES_128_GCM_SHA256, TLS13_AES_128_GCM_SHA256]"),
            (6, 45, "listeners[0].tls.cipher_suites[1]", "repeats listeners[0].tls.cipher_suites[0]"),
        )
        self.assert_faults(self._tls("cipher_suites: []"), (6, 20, "listeners[0].tls.cipher_suites", "empty list"))

    def test_other_names(self) -> None:
        """Groups, signature algorithms and protocols."""
        self.assert_faults(
            self._tls("groups: ['a:b', P-256, secp256r1]\n    signature_algorithms: [ecdsa_sha1]\n    alpn: [h3]"),
            (6, 14, "listeners[0].tls.groups[0]", "is not the name of a group"),
            (6, 28, "listeners[0].tls.groups[2]", "repeats"),
            (7, 28, "listeners[0].tls.signature_algorithms[0]", "RFC 9155"),
            (8, 12, "listeners[0].tls.alpn[0]", "http/1.1"),
        )
        self.assert_faults(
            self._tls("session_lifetime: 169h"), (6, 23, "listeners[0].tls.session_lifetime", "to 168h")
        )

    def test_names_that_openssl_lacks(self) -> None:
        """What the check of TLS settings does not know is a fault where the name stands."""

        def check(tls: TLSSettings) -> Sequence[tuple[str, str, str]]:
            return [
                ("tls13_ciphers", "TLS_AES_128_CCM_SHA256", "is not in this OpenSSL"),
                ("groups", "X25519MLKEM768", "is not in this OpenSSL"),
                ("certificates", "", "cannot be used: too weak"),
            ]

        self.assert_faults(
            self._tls("cipher_suites: [TLS_AES_128_GCM_SHA256, TLS13_AES_128_CCM_SHA256]"),
            (5, 5, "listeners[0].tls", "the default groups"),
            (5, 19, "listeners[0].tls.certificates", "cannot be used"),
            (6, 45, "listeners[0].tls.cipher_suites[1]", '"TLS_AES_128_CCM_SHA256" is not in this OpenSSL'),
            check_tls=check,
        )

    def test_client_validation(self) -> None:
        """Requiring certificates without CAs is a fault, in either mode."""
        self.assert_faults(
            self._tls("client_validation: {}"), (6, 24, "listeners[0].tls.client_validation", "has no ca_certificates")
        )
        self.assert_faults(
            LISTENERS
            + """\
client_validation:
  default: {mode: AllowValidOnly, ca_certificates: []}
  per_port:
    - {port: 8443, validation: {mode: AllowInsecureFallback}}
    - {port: 8443, validation: disabled}
    - {port: 8444, validation: {mode: allow, ca_certificates: [ca.pem, ca.pem], max_depth: 0}}
    - {port: 1}
""",
            (4, 52, "client_validation.default.ca_certificates", "is an empty list"),
            (6, 32, "client_validation.per_port[0].validation", "has no ca_certificates"),
            (7, 14, "client_validation.per_port[1].port", "has an entry already"),
            (8, 14, "client_validation.per_port[2].port", "no listener that terminates TLS has the port 8444"),
            (8, 39, "client_validation.per_port[2].validation.mode", "AllowValidOnly or AllowInsecureFallback"),
            (8, 72, "client_validation.per_port[2].validation.ca_certificates[1]", "repeats"),
            (8, 92, "client_validation.per_port[2].validation.max_depth", "from 1"),
            (9, 7, "client_validation.per_port[3]", "has no validation"),
            (9, 14, "client_validation.per_port[3].port", "no listener that terminates TLS"),
        )

    def test_required_in_fallback(self) -> None:
        """AllowInsecureFallback cannot require anything."""
        self.assert_faults(
            self._tls("client_validation: {mode: AllowInsecureFallback, required: true, ca_certificates: [ca.pem]}"),
            (6, 64, "listeners[0].tls.client_validation.required", "requires no certificate"),
        )

    def test_per_port_of_http(self) -> None:
        """A port with HTTP listeners only has no client validation."""
        self.assert_faults(
            """\
            listeners: [{name: a, port: 80, protocol: HTTP}]
            client_validation: {per_port: [{port: 80, validation: {ca_certificates: [ca.pem]}}]}
            """,
            (2, 39, "client_validation.per_port[0].port", "no listener that terminates TLS has the port 80"),
        )


class HeaderInjection(ConfigTestCase):
    """Faults of header injection."""

    def _injection(self, *lines: str) -> str:
        head = "listeners:\n- name: a\n  port: 1\n  protocol: HTTP\n  header_injection:\n"
        return head + "".join(f"  - {line}\n" for line in lines)

    def test_names(self) -> None:
        """Names that may not be injected."""
        cases = [
            ("X-Client", "write x-client"),
            ("x_client", "write x-client"),
            ("x client", "is not a header's name"),
            (":path", "is not a header's name"),
            ("connection", "belongs to the connection"),
            ("transfer-encoding", "belongs to the connection"),
            ("te", "belongs to the connection"),
            ("content-length", "set by the gateway"),
            ("host", "set by the gateway"),
            ("forwarded", "set by the gateway"),
            ("x-forwarded-for", "set by the gateway"),
            ("x-forwarded-proto", "set by the gateway"),
            ("x-forwarded-host", "set by the gateway"),
            ("x-request-id", "set by the gateway"),
        ]
        path = "listeners[0].header_injection[0]"
        for name, part in cases:
            self.assert_faults(self._injection(f'pem: {{header: "{name}"}}'), (6, 19, f"{path}.pem.header", part))
            key = f".{name}" if ":" not in name and " " not in name else f'["{name}"]'
            self.assert_faults(
                self._injection(f'fields: {{headers: {{"{name}": x}}}}'), (6, 24, f"{path}.fields.headers{key}", part)
            )

    def test_templates(self) -> None:
        """Templates with unknown facts, odd braces or line breaks."""
        path = "listeners[0].header_injection[0].fields.headers.x-a"
        for template, part in (
            ("{subjekt}", "did you mean subject?"),
            ("{}", "unknown fact {}"),
            ("{subject", "single {"),
            ("subject}", "single }"),
            ("{{subject}", "single }"),
            ("a\\r\\nb", "U+000D"),
            ("a\\tb", "U+0009"),
            ("é {subject}", "U+00E9"),
            ("", "is empty"),
            (" ", "is empty"),
            ("{subject} ", "has spaces around it"),
            ("a\\nb", "U+000A"),
            ("a\\0b", "U+0000"),
        ):
            self.assert_faults(
                self._injection(f'fields: {{headers: {{x-a: "{template}"}}}}'), (6, 29, path, part)
            )

    def test_one_owner(self) -> None:
        """Two injectors of a listener cannot set one header."""
        path = "listeners[0].header_injection"
        already = "already; let one injector of a listener set each header"
        self.assert_faults(
            self._injection(
                "xfcc: {}",
                "xfcc: {mode: sanitize}",
                "client_cert: {}",
                "pem: {header: client-cert}",
                "fields: {headers: {x-forwarded-client-cert: a, client-cert-chain: b, x-b: c}}",
                "pem: {header: x-b}",
            ),
            (7, 5, f"{path}[1]", already),
            (9, 19, f"{path}[3].pem.header", already),
            (10, 24, f"{path}[4].fields.headers.x-forwarded-client-cert", f"is set by {path}[0] {already}"),
            (10, 52, f"{path}[4].fields.headers.client-cert-chain", already),
            (11, 19, f"{path}[5].pem.header", already),
        )

    def test_shape(self) -> None:
        """Each element has one known key with what it needs."""
        path = "listeners[0].header_injection"
        self.assert_faults(
            self._injection(
                "xfcc",
                "xfc: {}",
                "{xfcc: {}, pem: {header: x}}",
                "pem: {}",
                "fields: {headers: {}}",
                "xfcc: {mode: set, details: [hash, dns, dns]}",
                "client_cert: {chain: 1}",
            ),
            (6, 5, f"{path}[0]", "is text"),
            (7, 5, f"{path}[1].xfc", "did you mean xfcc?"),
            (8, 5, f"{path}[2]", "exactly one of"),
            (9, 10, f"{path}[3].pem", "has no header"),
            (10, 23, f"{path}[4].fields.headers", "empty mapping"),
            (11, 18, f"{path}[5].xfcc.mode", "sanitize"),
            (11, 33, f"{path}[5].xfcc.details[0]", "subject or cert"),
            (11, 44, f"{path}[5].xfcc.details[2]", "repeats"),
            (12, 26, f"{path}[6].client_cert.chain", "true or false"),
        )

    def test_details_without_use(self) -> None:
        """Details where the mode adds nothing would do nothing."""
        self.assert_faults(
            self._injection("xfcc: {mode: forward_only, details: [dns]}"),
            (6, 41, "listeners[0].header_injection[0].xfcc.details", "not used in the mode forward_only"),
        )


class Routes(ConfigTestCase):
    """Faults of routes and upstreams."""

    def test_references(self) -> None:
        """Listeners and upstreams that are not there."""
        self.assert_faults(
            LISTENERS
            + """\
routes:
  - name: r
    listeners: [web, webb]
    rules: [{backends: [{upstream: app}, {upstream: ap}, {upstream: xyzzy}]}]
upstreams: [{name: app, endpoints: ["127.0.0.1:1"]}]
""",
            (5, 22, "routes[0].listeners[1]", "there is no listener webb; did you mean web?"),
            (6, 53, "routes[0].rules[0].backends[1].upstream", "there is no upstream ap; did you mean app?"),
            (6, 69, "routes[0].rules[0].backends[2].upstream", "use one of app"),
        )

    def test_no_upstreams(self) -> None:
        """A reference where there is nothing to refer to says what to add."""
        self.assert_faults(
            LISTENERS + "routes: [{name: r, rules: [{backends: [{upstream: app}]}]}]\n",
            (3, 51, "routes[0].rules[0].backends[0].upstream", "add app to upstreams"),
        )

    def test_paths(self) -> None:
        """Paths that no request has, as the Gateway API refuses them."""
        values = ["", "a", "//", "/a//b", "/./a", "/a/../b", "/a/..", "/a/.", "/%2Fa", "/%2f", "/%zz", "/a?b", "/a#b"]
        for value in values:
            self.assert_faults(
                LISTENERS
                + f"""\
routes: [{{name: r, rules: [{{backends: [{{upstream: app}}], matches: [{{path: {{value: "{value}"}}}}]}}]}}]
upstreams: [{{name: app, endpoints: ["127.0.0.1:1"]}}]
""",
                (3, 83, "routes[0].rules[0].matches[0].path.value", "begin with /"),
            )

    def test_matches(self) -> None:
        """Conditions that no request could meet, expressions that are none, and lists that are too long."""
        many = ", ".join(f"{{name: x{number}, value: y}}" for number in range(17))
        self.assert_faults(
            LISTENERS
            + f"""\
routes:
  - name: r
    rules:
      - name: "1"
        backends: [{{upstream: app}}]
        matches:
          - path: {{type: RegularExpression}}
          - path: {{type: RegularExpression, value: ""}}
          - path: {{type: RegularExpression, value: "/(?=a)"}}
          - path: {{type: Prefix}}
          - method: get
          - headers: [{{name: a b, value: x}}, {{name: a}}, {{name: a, type: Present, value: x}}]
          - headers: [{{name: a, type: RegularExpression, value: "("}}, {{value: x}}]
          - headers: [{many}]
          - query_params: [{{name: q, type: Regex, value: x}}, {{name: q, value: ""}}]
          - identity: [{{fact: common_nam, value: x}}, {{fact: "attribute:", value: x}}, {{fact: status}}]
          - identity: []
          - cookies: []
      - {{name: two, backends: [{{upstream: app}}]}}
      - {{name: two, backends: [{{upstream: app}}]}}
      - {{matches: [{", ".join(["{}"] * 65)}], backends: [{{upstream: app}}]}}
upstreams: [{{name: app, endpoints: ["127.0.0.1:1"]}}]
""",
            (6, 15, "routes[0].rules[0].name", "looks like a rule's number"),
            (9, 19, "routes[0].rules[0].matches[0].path", "has no value; give value: a regular expression"),
            (10, 52, "routes[0].rules[0].matches[1].path.value", '"" is not a regular expression'),
            (11, 52, "routes[0].rules[0].matches[2].path.value", "is no regular expression of RE2: "),
            (12, 26, "routes[0].rules[0].matches[3].path.type", "did you mean PathPrefix?"),
            (13, 21, "routes[0].rules[0].matches[4].method", "write one such as GET"),
            (14, 30, "routes[0].rules[0].matches[5].headers[0].name", '"a b" is not the name of a header'),
            (14, 46, "routes[0].rules[0].matches[5].headers[1]", "has no value; give value"),
            (14, 82, "routes[0].rules[0].matches[5].headers[2].value", "does not go with the type Present"),
            (15, 65, "routes[0].rules[0].matches[6].headers[0].value", '"(" is no regular expression of RE2: missing'),
            (15, 71, "routes[0].rules[0].matches[6].headers[1]", "has no name"),
            (16, 22, "routes[0].rules[0].matches[7].headers", "has 17 elements; give 16 or fewer"),
            (17, 44, "routes[0].rules[0].matches[8].query_params[0].type", "use one of Exact, Regular"),
            (17, 79, "routes[0].rules[0].matches[8].query_params[1].value", "is not a value"),
            (18, 31, "routes[0].rules[0].matches[9].identity[0].fact", "is no fact; did you mean common_name?"),
            (18, 61, "routes[0].rules[0].matches[9].identity[1].fact", "names no attribute"),
            (18, 86, "routes[0].rules[0].matches[9].identity[2]", "has no value"),
            (19, 23, "routes[0].rules[0].matches[10].identity", "is an empty list"),
            (20, 13, "routes[0].rules[0].matches[11].cookies", "is no known key"),
            (22, 16, "routes[0].rules[2].name", "the name two is given to another rule in line 21"),
            (23, 19, "routes[0].rules[3].matches", "has 65 elements; give 64 or fewer"),
        )

    def test_endpoints(self) -> None:
        """Endpoints are hosts and ports."""
        endpoints = ["127.0.0.1", "127.0.0.1:0", "h:65536", "::1:80", "[::1]", "[1.2.3.4]:1", "1.2.3:4", "a..b:1"]
        for endpoint in endpoints:
            self.assert_faults(
                LISTENERS + f'upstreams: [{{name: app, endpoints: ["{endpoint}"]}}]\n',
                (3, 37, "upstreams[0].endpoints[0]", f'"{endpoint}"'),
            )

    def test_lists(self) -> None:
        """Empty lists and repeated names."""
        self.assert_faults(
            LISTENERS
            + """\
routes:
  - {name: a, hostnames: [A.example.com, a.example.com], rules: []}
  - {name: b, hostnames: [], listeners: [], rules: [{matches: [], backends: []}]}
""",
            (4, 42, "routes[0].hostnames[1]", "repeats"),
            (4, 65, "routes[0].rules", "empty"),
            (5, 26, "routes[1].hostnames", "empty"),
            (5, 41, "routes[1].listeners", "empty"),
            (5, 63, "routes[1].rules[0].matches", "empty"),
        )
