"""What is filled in in Kubernetes objects, and what an API server would refuse, kind by kind."""
from __future__ import annotations

import base64
from textwrap import indent

from tests.manifests import GATEWAY, ManifestTestCase, gateway, route

HTTP = "name: http, port: 80, protocol: HTTP"
HTTPS = "name: https, port: 443, protocol: HTTPS"
SERVER = "tls: {certificateRefs: [{name: server}]}"


def many(part: str, count: int) -> str:
    """Repeat a part of a list, with its number where it has %d."""
    return ", ".join(part.replace("%d", str(number)) for number in range(count))


class GatewayClasses(ManifestTestCase):
    """``GatewayClass``."""

    def test_class(self) -> None:
        """It names a controller."""
        head = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c}\n"
        one = self.one(head + "spec: {controllerName: example.net/gateway-controller}\n")
        self.assertEqual((str(one), one.namespace), ("GatewayClass c", ""))
        self.assert_faults(head, ("GatewayClass c", "has no spec"))
        self.assert_faults(
            head + f"spec: {{controllerName: example.net, parametersRef: {{name: a}}, description: {'a' * 65}}}\n",
            ("controllerName", "example.net/gateway-controller"),
            ("parametersRef", "has no group"),
            ("parametersRef", "has no kind"),
            ("description", "64 or fewer"),
        )


class Gateways(ManifestTestCase):
    """``Gateway``."""

    def test_defaults(self) -> None:
        """What an API server fills in."""
        content = self.content(gateway(
            f"{HTTPS}, {SERVER}, allowedRoutes: {{kinds: [{{kind: HTTPRoute}}]}}",
            rest="tls: {frontend: {default: {validation: {caCertificateRefs: "
            '[{group: "", kind: ConfigMap, name: ca}]}}}}\naddresses: [{value: 127.0.0.1}]\n',
        ))
        self.assertEqual(content["spec"]["listeners"], [{
            "name": "https", "port": 443, "protocol": "HTTPS",
            "tls": {"mode": "Terminate", "certificateRefs": [{"name": "server", "group": "", "kind": "Secret"}]},
            "allowedRoutes": {
                "namespaces": {"from": "Same"},
                "kinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}],
            },
        }])
        self.assertEqual(content["spec"]["tls"]["frontend"]["default"]["validation"]["mode"], "AllowValidOnly")
        self.assertEqual(content["spec"]["addresses"], [{"value": "127.0.0.1", "type": "IPAddress"}])

    def test_null_is_absent(self) -> None:
        """A field without a value gets its default, or counts as missing."""
        content = self.content(gateway(f"{HTTP}, tls: null, allowedRoutes: {{namespaces: {{from: }}}}"))
        self.assertEqual(content["spec"]["listeners"][0]["allowedRoutes"], {"namespaces": {"from": "Same"}})
        self.assertNotIn("tls", content["spec"]["listeners"][0])
        self.assert_faults(gateway("name: http, port: , protocol: HTTP"), ("listeners[0]", "has no port"))

    def test_https_passthrough(self) -> None:
        """The first thing that people write for mutual TLS is told the protocol that it needs."""
        (fault,) = self.faults(GATEWAY + (
            "  listeners:\n"
            "  - name: https-mtls\n"
            "    protocol: HTTPS\n"
            "    port: 443\n"
            "    tls:\n"
            "      mode: Passthrough  # Backend handles mTLS\n"
        ))
        self.assertEqual((fault.line, fault.column), (11, 13))
        self.assertEqual(fault.path, "Gateway default/gw: spec.listeners[0].tls.mode")
        self.assertIn("write protocol: TLS", fault.remedy)

    def test_tls_by_protocol(self) -> None:
        """TLS where the protocol has it, and not where it has not."""
        self.read(gateway(HTTPS.replace(", protocol", ", hostname: a.com, protocol")))
        self.read(gateway("name: a, port: 443, protocol: TLS, tls: {mode: Passthrough}"))
        self.read(gateway("name: a, port: 443, protocol: HTTPS, tls: {options: {a/b: c}}"))
        self.read(gateway("name: a, port: 443, protocol: example.com/x, tls: {mode: Passthrough}"))
        self.assert_faults(
            gateway(
                f"{HTTP}, {SERVER}",
                "name: b, port: 1, protocol: TLS",
                "name: c, port: 2, protocol: tls, tls: {certificateRefs: [{name: server}]}",
                "name: d, port: 3, protocol: TCP, hostname: a.com",
                "name: e, port: 4, protocol: HTTPS, tls: {certificateRefs: []}",
                "name: f, port: 5, protocol: HTTPS, tls: {certificateRefs: [{nam: x}]}",
            ),
            ("[0].tls", "does not go with protocol HTTP"),
            ("[1]", "give tls: {mode: Passthrough}"),
            ("[2].tls", "has no tls.mode"),
            ("[3].hostname", "does not go with protocol TCP"),
            ("[4].tls.certificateRefs", "Terminate has no certificate"),
            ("[5].tls.certificateRefs[0]", "has no name"),
            ("[5].tls.certificateRefs[0].nam", "did you mean name?"),
        )

    def test_listeners(self) -> None:
        """Names and combinations are unique, and there are 1 to 64."""
        self.read(gateway(*(f"name: l{n}, port: {n}, protocol: HTTP" for n in range(1, 65))))
        self.read(gateway(HTTP, HTTP.replace("http", "b") + ", hostname: a.com"))
        self.assert_faults(
            gateway(
                HTTP, "name: http, port: 81, protocol: HTTP", "name: c, port: 80, protocol: HTTP",
                "name: d, port: 80, protocol: HTTP, hostname: A.com", "name: e_, port: 70000, protocol: H T",
            ),
            ("[1].name", "element 1 has the name of element 0"),
            ("[2]", "port 80, protocol HTTP and no hostname as another listener"),
            ("[3].hostname", '"A.com" is not right here; write a DNS name in lower case'),
            ("[4].name", "a-z, 0-9, - and ."),
            ("[4].port", "is 70000; write a whole number from 1 to 65535"),
            ("[4].protocol", "HTTP, HTTPS, TLS, TCP"),
        )
        self.assert_faults(GATEWAY + "  listeners: []\n", ("spec.listeners", "is an empty list"))
        self.assert_faults(GATEWAY, ("spec", "has no listeners; give listeners: a list"))
        self.assert_faults(
            gateway(*(f"name: l{n}, port: {n}, protocol: HTTP" for n in range(1, 66))),
            ("spec.listeners", "has 65 elements; give 64 or fewer"),
        )

    def test_hostnames(self) -> None:
        """A wildcard stands alone as the first label."""
        for hostname in ("a.com", "*.a.com", "1.2.3.4", "a"):
            self.read(gateway(f"{HTTP}, hostname: '{hostname}'"))
        for hostname in ("*", "a.*.com", "*a.com", "a.com.", "a..b", "-a", "ä.com", "a:80", "", "a" * 254):
            self.assert_faults(gateway(f"{HTTP}, hostname: '{hostname}'"), ("hostname", ""))

    def test_allowed_routes(self) -> None:
        """From where routes may come."""
        self.assert_faults(
            gateway(
                f"{HTTP}, allowedRoutes: {{namespaces: {{from: Some, selector: {{matchLabels: {{a: b c}}, "
                "matchExpressions: [{key: a, operator: In}, {key: a, operator: Exists, values: [b]}, {operator: X}]}}}"
            ),
            ("namespaces.from", '"Some" is not right here; did you mean Same?'),
            ("matchLabels.a", "a label's value"),
            ("matchExpressions[0]", "has operator In and no values"),
            ("matchExpressions[1].values", "leave values out"),
            ("matchExpressions[2]", "has no key"),
            ("matchExpressions[2].operator", "use one of In"),
        )
        found = self.read(gateway(f"{HTTP}, allowedRoutes: {{namespaces: {{from: Selector}}}}"))
        self.assertIn("lets no namespace in", str(found.warnings[0]))

    def test_options(self) -> None:
        """Options are 16 texts at most."""
        options = "name: a, port: 443, protocol: HTTPS, tls: {options: {%s}}"
        self.assert_faults(gateway(options % "a/b/c: x, d: 1"), ("a/b/c\"]", "a key"), ("options.d", 'quote it: "1"'))
        self.assert_faults(gateway(options % many("k%d: x", 17)), ("options", "has 17 entries; give 16 or fewer"))

    def test_frontend(self) -> None:
        """Client certificates: a default is needed, ports are unique, and references are whole."""
        valid = 'validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]%s}'
        self.assert_faults(
            gateway(HTTP, rest="tls: {frontend: {perPort: [{port: 1, tls: {}}, {port: 1, tls: {}}, {port: 2}]}}\n"),
            ("tls.frontend", "has no default"),
            ("perPort[1].port", "has the port of element 0"),
            ("perPort[2]", "has no tls"),
        )
        self.assert_faults(
            gateway(HTTP, rest="tls: {frontend: {default: {%s}}}\n" % (valid % ", mode: AllowAll")),
            ("validation.mode", "did you mean AllowValidOnly?"),
        )
        self.assert_faults(
            gateway(HTTP, rest="tls: {frontend: {default: {validation: {caCertificateRefs: [{name: ca}]}}}}\n"),
            ("caCertificateRefs[0]", "has no group"),
            ("caCertificateRefs[0]", "has no kind"),
        )
        self.assert_faults(
            gateway(HTTP, rest="tls: {frontend: {default: {validation: {caCertificateRefs: []}}}}\n"),
            ("caCertificateRefs", "is an empty list"),
        )
        self.assert_faults(
            gateway("name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}], frontendValidation: {}}",
                    rest="backendTLS: {}\n"),
            ("frontendValidation", "write spec.tls.frontend.default.validation"),
            ("backendTLS", "write spec.tls.backend.clientCertificateRef"),
        )

    def test_addresses(self) -> None:
        """Addresses are of their type and unique; other types are for the status to refuse."""
        self.read(gateway(HTTP, rest="addresses: [{type: test/fake, value: x y}, {}, {type: Hostname}]\n"))
        self.assert_faults(
            gateway(HTTP, rest="addresses: [{value: x}, {value: '::1'}, {value: '::1'}, {type: Hostname, value: A}, "
                               "{type: Other}]\n"),
            ("addresses[0].value", "is no IP address"),
            ("addresses[2].value", "is there twice"),
            ("addresses[3].value", "a DNS name"),
            ("addresses[4].type", "IPAddress, Hostname"),
        )

    def test_not_used(self) -> None:
        """What is not done here is warned of."""
        found = self.read(gateway(HTTP, rest="allowedListeners: {namespaces: {from: All}}\ndefaultScope: All\n"))
        self.assertEqual(
            [fault.path for fault in found.warnings],
            ["Gateway default/gw: spec.allowedListeners", "Gateway default/gw: spec.defaultScope"],
        )


class HTTPRoutes(ManifestTestCase):
    """``HTTPRoute``."""

    def test_defaults(self) -> None:
        """A rule without anything matches everything; references get group and kind."""
        prefix = [{"path": {"type": "PathPrefix", "value": "/"}}]
        self.assertEqual(self.content(route())["spec"], {
            "parentRefs": [{"name": "gw", "group": "gateway.networking.k8s.io", "kind": "Gateway"}],
            "rules": [{"matches": prefix}],
        })
        content = self.content(route(
            "matches: [{headers: [{name: a, value: b}], queryParams: [{name: c, value: d}]}, {path: {value: /x}}], "
            "filters: [{type: CORS, cors: {}}, {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}, "
            "fraction: {numerator: 1}}}], sessionPersistence: {cookieConfig: {}}, backendRefs: [{name: s, port: 80}]"
        ))
        (rule,) = content["spec"]["rules"]
        self.assertEqual(rule["matches"], [
            {
                "headers": [{"name": "a", "value": "b", "type": "Exact"}],
                "queryParams": [{"name": "c", "value": "d", "type": "Exact"}],
                **prefix[0],
            },
            {"path": {"value": "/x", "type": "PathPrefix"}},
        ])
        self.assertEqual(rule["filters"][0], {"type": "CORS", "cors": {"maxAge": 5}})
        self.assertEqual(rule["filters"][1]["requestMirror"], {
            "backendRef": {"name": "m", "port": 1, "group": "", "kind": "Service"},
            "fraction": {"numerator": 1, "denominator": 100},
        })
        self.assertEqual(rule["sessionPersistence"], {"type": "Cookie", "cookieConfig": {"lifetimeType": "Session"}})
        self.assertEqual(
            rule["backendRefs"], [{"name": "s", "port": 80, "group": "", "kind": "Service", "weight": 1}]
        )
        redirect = self.content(route("filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]"))
        self.assertEqual(
            redirect["spec"]["rules"][0]["filters"][0]["requestRedirect"], {"scheme": "https", "statusCode": 302}
        )

    def test_defaults_are_not_shared(self) -> None:
        """What is filled in in one object is not that of another."""
        one, other = (self.content(route()) for _ in range(2))
        self.assertIsNot(one["spec"]["rules"], other["spec"]["rules"])
        self.assertIsNot(one["spec"]["rules"][0]["matches"], other["spec"]["rules"][0]["matches"])

    def test_paths(self) -> None:
        """Paths are absolute and plain."""
        for path in ("/", "/a/", "/a.b/..c/%41", "/a;b=c,d:e@f"):
            self.read(route(f"matches: [{{path: {{value: '{path}'}}}}]"))
        for path, words in (
            ("a", 'write "/a"'), ("", 'write "/"'), ("//", "has // in it"), ("/a/./b", "has /./ in it"),
            ("/a/../b", "has /../ in it"), ("/a%2fb", "has %2f in it"), ("/a%2Fb", "has %2F in it"),
            ("/a#b", "has # in it"), ("/a/.", "ends with /."), ("/a/..", "ends with /.."), ("/a b", "is no path"),
            ("/a%4", "is no path"), ("/ä", "is no path"), ("/" + "a" * 1024, "1025 characters long"),
        ):
            for type_ in ("Exact", "PathPrefix"):
                self.assert_faults(
                    route(f"matches: [{{path: {{type: {type_}, value: '{path}'}}}}]"), ("path.value", words)
                )
        self.read(route("matches: [{path: {type: RegularExpression, value: '^(a|b)#'}}]"))
        self.assert_faults(route("matches: [{path: {type: Prefix}}]"), ("path.type", "did you mean PathPrefix"))
        self.assert_faults(route("matches: [{path: {type: Exact}, method: get}]"), ("method", "write GET"))

    def test_matches(self) -> None:
        """Names of headers and parameters are unique, and their values are not empty."""
        self.assert_faults(
            route(
                "matches: [{headers: [{name: a, value: b}, {name: a, value: c}, {name: 'a b', value: ''}], "
                "queryParams: [{name: a, value: b}, {name: a, value: c}, {name: x, type: Prefix, value: 1}]}]"
            ),
            ("headers[1].name", "has the name of element 0"),
            ("headers[2].name", "a header name"),
            ("headers[2].value", "is empty"),
            ("queryParams[1].name", "has the name of element 0"),
            ("queryParams[2].type", "Exact, RegularExpression"),
            ("queryParams[2].value", 'quote it: "1"'),
        )

    def test_limits(self) -> None:
        """16 rules, 64 matches each, 128 together, 16 filters and backends, 16 hostnames, 32 parents."""
        self.assert_faults(route(f"matches: [{many('{}', 65)}]"), ("matches", "has 65 elements; give 64 or fewer"))
        rules = "\n".join(f"- matches: [{many('{}', 64)}]" for _ in range(2))
        self.read(route(rest=f"rules:\n{rules}\n"))
        self.assert_faults(route(rest=f"rules:\n{rules}\n- {{}}\n"), ("rules", "129 matches together"))
        self.assert_faults(route(rest=f"rules: [{many('{}', 17)}]\n"), ("rules", "16 or fewer"))
        self.assert_faults(route(rest="rules: []\n"), ("rules", "is an empty list"))
        self.assert_faults(route(f"backendRefs: [{many('{name: a, port: 1}', 17)}]"), ("backendRefs", "16 or fewer"))
        mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}}}"
        self.assert_faults(route(f"filters: [{many(mirror, 17)}]"), ("filters", "16 or fewer"))
        self.assert_faults(route(rest=f"hostnames: [{many('a%d.com', 17)}]\n"), ("hostnames", "16 or fewer"))

    def test_rule_names(self) -> None:
        """Names of rules are unique."""
        self.assert_faults(
            route(rest="rules: [{name: a}, {}, {}, {name: a}, {name: A}]\n"),
            ("rules[3].name", "another rule is called a too"),
            ("rules[4].name", "a-z, 0-9, - and ."),
        )

    def test_parents(self) -> None:
        """Several references to one Gateway each name another listener or port of it."""
        def parents(text: str) -> str:
            return route().replace("[{name: gw}]", f"[{text}]")

        for text in (
            "{name: a}, {name: b}", "{name: a}, {name: a, namespace: x}", "{name: a, port: 1}, {name: a, port: 2}",
            "{name: a, sectionName: x, port: 1}, {name: a, sectionName: x, port: 2}",
        ):
            self.read(parents(text))
        self.assert_faults(parents("{name: a}, {name: a}"), ("parentRefs[1]", "give sectionName: another listener"))
        self.assert_faults(
            parents("{name: a, sectionName: x}, {name: a, sectionName: y}, {name: a, sectionName: x}"),
            ("parentRefs[2]", "as another one does"),
        )
        self.assert_faults(
            parents("{name: a, sectionName: x}, {name: a, port: 1}"),
            ("parentRefs[1]", "names Gateway a as parentRefs[0] does, with other fields"),
        )
        self.assert_faults(parents("{nam: a}"), ("parentRefs[0]", "has no name"), ("nam", "did you mean name?"))
        self.assert_faults(parents(many("{name: a%d}", 33)), ("parentRefs", "32 or fewer"))

    def test_filters(self) -> None:
        """A filter has the settings of its type and no others; most may stand once."""
        header = "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}"
        self.assert_faults(
            route(
                f"filters: [{header}, {header}, {{type: URLRewrite}}, {{type: URLRewrite, cors: {{}}, "
                "urlRewrite: {}}, {type: Compress}, {requestMirror: {}}]"
            ),
            ("filters[1]", "is another RequestHeaderModifier filter"),
            ("filters[2]", "has type URLRewrite and no urlRewrite"),
            ("filters[3]", "is another URLRewrite filter"),
            ("filters[3].cors", "does not go with type URLRewrite"),
            ("filters[4].type", "use one of"),
            ("filters[5]", "has no type"),
            ("filters[5].requestMirror", "has no backendRef"),
        )

    def test_redirects(self) -> None:
        """A redirect goes neither with a rewrite nor with backends."""
        redirect = "{type: RequestRedirect, requestRedirect: {hostname: a.com}}"
        self.read(route(f"filters: [{redirect}]"))
        self.read(route(f"backendRefs: [{{name: s, port: 1, filters: [{redirect}]}}]"))
        self.assert_faults(
            route(f"filters: [{redirect}, {{type: URLRewrite, urlRewrite: {{}}}}]"),
            ("filters[1]", "URLRewrite does not go with RequestRedirect"),
        )
        self.assert_faults(
            route(f"filters: [{redirect}], backendRefs: [{{name: s, port: 1}}]"),
            ("filters[0]", "RequestRedirect does not go with backendRefs"),
        )
        self.assert_faults(
            route("filters: [{type: RequestRedirect, requestRedirect: {scheme: ftp, hostname: '*.a.com', port: 0, "
                  "statusCode: 304}}]"),
            ("scheme", "http, https"),
            ("hostname", "a DNS name"),
            ("port", "from 1 to 65535"),
            ("statusCode", "write one of 301, 302, 303, 307, 308"),
        )

    def test_prefix_replacement(self) -> None:
        """A prefix is replaced where exactly one is matched."""
        replace = "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]"
        self.read(route(f"matches: [{{path: {{value: /a}}}}], {replace}"))
        self.read(route(replace))
        for matches in ("{path: {type: Exact, value: /a}}", "{path: {value: /a}}, {path: {value: /b}}"):
            self.assert_faults(
                route(f"matches: [{matches}], {replace}"),
                ("urlRewrite.path.type", "needs exactly one match in its rule, of type PathPrefix"),
            )
            self.assert_faults(
                route(f"matches: [{matches}], backendRefs: [{{name: a, port: 1, {replace}}}]"),
                ("backendRefs[0].filters[0].urlRewrite.path.type", "needs exactly one match"),
            )
        self.assert_faults(
            route("filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /}}}]"),
            ("path", "has type ReplaceFullPath and no replaceFullPath"),
            ("replacePrefixMatch", "write type: ReplacePrefixMatch"),
        )

    def test_header_changes(self) -> None:
        """One action for each header, whatever the case of its letters."""
        self.assert_faults(
            route(
                "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: b}], "
                "add: [{name: a, value: c}, {name: x, value: y}, {name: x, value: z}], remove: [X, X, 'y z']}}]"
            ),
            ("add[0]", "a is under set too"),
            ("add[2].name", "has the name of element 1"),
            ("remove[0]", "X is under add too"),
            ("remove[1]", "is the same as element 0"),
            ("remove[1]", "X is under add too"),
            ("remove[2]", "a header name"),
        )
        self.assert_faults(
            route(
                "filters: [{type: RequestHeaderModifier, requestHeaderModifier: "
                '{set: [{name: a, value: "b\\r\\nc: d"}]}}]'
            ),
            ("value", "without control characters"),
        )

    def test_cors(self) -> None:
        """Origins have a scheme and a host, and stars stand alone."""
        for origin in ("*", "https://a.com", "http://*.a.com:8080", "https://*"):
            self.read(route(f"filters: [{{type: CORS, cors: {{allowOrigins: ['{origin}']}}}}]"))
        for origin in ("a.com", "ftp://a.com", "https://a.com/", "https://a*.com", "https://", "null"):
            self.assert_faults(
                route(f"filters: [{{type: CORS, cors: {{allowOrigins: ['{origin}']}}}}]"),
                ("allowOrigins[0]", "an origin"),
            )
        self.assert_faults(
            route(
                "filters: [{type: CORS, cors: {allowOrigins: ['*', 'http://a'], allowMethods: [GET, '*', get], "
                "allowHeaders: [a, a], allowCredentials: 'yes', maxAge: 0}}]"
            ),
            ("allowOrigins[0]", "* stands beside others"),
            ("allowMethods[1]", "* stands beside others"),
            ("allowMethods[2]", "write GET"),
            ("allowHeaders[1]", "is the same as element 0"),
            ("allowCredentials", "write true or false"),
            ("maxAge", "is 0"),
        )

    def test_mirrors_and_external_auth(self) -> None:
        """Percent or fraction; settings of the protocol."""
        backend = "backendRef: {name: a, port: 1}"
        self.assert_faults(
            route(
                f"filters: [{{type: RequestMirror, requestMirror: {{{backend}, percent: 101, "
                "fraction: {numerator: 3, denominator: 2}}}, "
                f"{{type: ExternalAuth, externalAuth: {{protocol: HTTP, {backend}, grpc: {{}}}}}}]"
            ),
            ("requestMirror.percent", "from 0 to 100"),
            ("requestMirror.fraction", "does not go with percent"),
            ("fraction.numerator", "is more than the denominator 2"),
            ("externalAuth", "has protocol HTTP and no http"),
            ("externalAuth.grpc", "does not go with protocol HTTP"),
        )

    def test_backends(self) -> None:
        """Services need a port; weights are up to a million."""
        self.read(route("backendRefs: [{name: a, kind: Other}, {name: b, group: x.io}, {name: c, port: 1, weight: 0}]"))
        self.assert_faults(
            route("backendRefs: [{name: a}, {name: b, port: 1, weight: 1000001}, {name: c, port: 1, weight: -1}, {}]"),
            ("backendRefs[0]", "refers to a Service without a port"),
            ("backendRefs[1].weight", "from 0 to 1000000"),
            ("backendRefs[2].weight", "from 0 to 1000000"),
            ("backendRefs[3]", "has no name"),
            ("backendRefs[3]", "without a port"),
        )

    def test_timeouts_and_retries(self) -> None:
        """Durations of GEP-2257; a backend's timeout is not longer than the request's; codes of 4xx and 5xx."""
        for duration in ("0s", "500ms", "1h30m", "1h2m3s4ms", "99999h"):
            self.read(route(f"timeouts: {{request: {duration}}}"))
        for duration in ("1.5s", "10", "s", "1d", "100000s", "1h1h1h1h1h", "''", "-1s", "1s "):
            self.assert_faults(route(f"timeouts: {{request: '{duration}'}}"), ("timeouts.request", ""))
        self.read(route("timeouts: {request: 0s, backendRequest: 1s}"))
        self.read(route("timeouts: {request: 1m, backendRequest: 60000ms}"))
        self.assert_faults(
            route("timeouts: {request: 1m, backendRequest: 61s}"),
            ("backendRequest", "is longer than the request timeout 1m; write 1m or less"),
        )
        self.assert_faults(
            route("retry: {codes: [500, 500, 200, 600, '503'], attempts: -1, backoff: 1}"),
            ("codes[1]", "is the same as element 0"),
            ("codes[2]", "from 400 to 599"),
            ("codes[3]", "from 400 to 599"),
            ("codes[4]", "write 503 without quotes"),
            ("attempts", "is -1"),
            ("backoff", 'quote it: "1"'),
        )

    def test_sessions(self) -> None:
        """A permanent cookie needs a lifetime; a header has none of its settings."""
        self.read(route("sessionPersistence: {absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}"))
        self.assert_faults(
            route("sessionPersistence: {cookieConfig: {lifetimeType: Permanent}}"),
            ("sessionPersistence", "no absoluteTimeout"),
        )
        self.assert_faults(
            route("sessionPersistence: {type: Header, cookieConfig: {}}"),
            ("cookieConfig", "does not go with type Header"),
        )


class OtherRoutes(ManifestTestCase):
    """``GRPCRoute``, ``TLSRoute`` and ``TCPRoute``."""

    def test_grpc(self) -> None:
        """Methods name a service, a method or both."""
        def grpc(rules: str) -> str:
            return route(rules, kind="GRPCRoute")

        one = self.one(grpc("matches: [{method: {service: a.B, method: Get}}], backendRefs: [{name: s, port: 1}]"))
        self.assertEqual(one.spec["rules"][0]["matches"], [
            {"method": {"service": "a.B", "method": "Get", "type": "Exact"}}
        ])
        self.read(grpc("matches: [{method: {type: RegularExpression, service: 'a/.*'}}]"))
        self.assert_faults(
            grpc("matches: [{method: {}}, {method: {service: a/b, method: a.b}}], filters: [{type: CORS, cors: {}}]"),
            ("matches[0].method", "has neither service nor method"),
            ("matches[1].method.service", "package.Service"),
            ("matches[1].method.method", "GetUser"),
            ("filters[0].type", "use one of"),
            ("filters[0].cors", "is no known field"),
        )

    def test_tls(self) -> None:
        """Hostnames are needed and no addresses; there is one rule."""
        backends = "backendRefs: [{name: a, port: 1}]"

        def tls(rest: str, version: str = "v1") -> str:
            return route(backends, rest, "TLSRoute", version)

        self.read(tls("hostnames: [a.com, '*.b.com']\n"))
        self.assert_faults(tls(""), ("spec", "has no hostnames"))
        self.assert_faults(
            tls("hostnames: [1.2.3.4, A, '*']\n"),
            ("hostnames[0]", "is an IP address"), ("hostnames[1]", "a DNS name"), ("hostnames[2]", "a DNS name"),
        )
        self.assert_faults(tls("hostnames: []\n"), ("hostnames", "is an empty list"))
        two = tls("hostnames: [a.com]\n").replace(f"[{{{backends}}}]", f"[{{{backends}}}, {{{backends}}}]")
        self.assert_faults(two, ("rules", "give 1 or fewer"))

    def test_tcp(self) -> None:
        """There is one rule with backends."""
        self.read(route("backendRefs: [{name: a, port: 1}]", kind="TCPRoute"))
        self.assert_faults(route(kind="TCPRoute"), ("spec", "has no rules"))
        self.assert_faults(route("name: a", kind="TCPRoute"), ("rules[0]", "has no backendRefs"))


class Policies(ManifestTestCase):
    """``BackendTLSPolicy`` and ``ReferenceGrant``."""

    def policy(self, targets: str, validation: str) -> str:
        head = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: p}\n"
        return head + f"spec: {{targetRefs: [{targets}], validation: {{{validation}}}}}\n"

    def test_policy(self) -> None:
        """CA certificates are named one way, and targets are distinct."""
        target = '{group: "", kind: Service, name: s%s}'
        cas = 'caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]'
        known = "wellKnownCACertificates: System"
        port, other = target % ", sectionName: a", target % ", sectionName: b"
        self.read(self.policy(f"{port}, {other}", f"hostname: a.com, {cas}"))
        self.read(self.policy(target % "", f"hostname: a.com, {known}"))
        self.read(self.policy(target % "", "hostname: a.com, wellKnownCACertificates: example.com/x"))
        plain = target % ""
        for targets, validation, path, words in (
            (plain, f"hostname: a.com, {cas}, {known}", "wellKnownCACertificates", "go with caCertificateRefs"),
            (plain, "hostname: a.com", "validation", "has neither caCertificateRefs nor wellKnownCACertificates"),
            (plain, "hostname: a.com, caCertificateRefs: []", "caCertificateRefs", "has neither"),
            (plain, "hostname: a.com, wellKnownCACertificates: Sys", "wellKnownCACertificates", "System, or a domain"),
            (plain, known, "validation", "has no hostname"),
            (plain, f"hostname: '*.a.com', {known}", "hostname", "a DNS name"),
            (f"{plain}, {plain}", f"hostname: a.com, {known}", "targetRefs[1]", "as another one does"),
            (f"{plain}, {port}", f"hostname: a.com, {known}", "targetRefs[0]", "give sectionName here too"),
            (f"{port}, {port}", f"hostname: a.com, {known}", "targetRefs[1]", "as another one does"),
            ("", f"hostname: a.com, {known}", "targetRefs", "is an empty list"),
        ):
            self.assert_faults(self.policy(targets, validation), (path, words))

    def test_alternative_names(self) -> None:
        """Names are of their type, and five at most."""
        self.assert_faults(
            self.policy(
                '{group: "", kind: Service, name: s}',
                "hostname: a.com, wellKnownCACertificates: System, subjectAltNames: [{type: URI}, "
                "{type: Hostname, hostname: a.com, uri: 'a://b'}, {type: URI, uri: a}, {type: DNS}]",
            ),
            ("subjectAltNames[0]", "has type URI and no uri"),
            ("subjectAltNames[1].uri", "does not go with type Hostname"),
            ("subjectAltNames[2].uri", "spiffe://"),
            ("subjectAltNames[3].type", "Hostname, URI"),
        )

    def test_grant(self) -> None:
        """A grant says from where and to what."""
        head = "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g}\n"
        self.read(head + 'spec: {from: [{group: a.io, kind: B, namespace: c}], to: [{group: "", kind: Secret}]}\n')
        self.assert_faults(
            head + 'spec: {from: [{group: a.io, kind: B}], to: [{kind: Secret, name: ""}]}\n',
            ("from[0]", "has no namespace"), ("to[0]", "has no group"), ("to[0].name", "is empty"),
        )
        self.assert_faults(head, ("", "has no spec"))


class CoreKinds(ManifestTestCase):
    """Kubernetes' own kinds."""

    def test_secret(self) -> None:
        """Data is in base64 without line breaks, stringData folded in."""
        head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
        one = self.one(head + 'immutable: true\ndata: {a: eA==, b: "eH\\nk="}\nstringData: {a: ä}\n')
        self.assertEqual(one.content["type"], "Opaque")
        self.assertNotIn("stringData", one.content)
        data = {key: base64.b64decode(value).decode() for key, value in one.content["data"].items()}
        self.assertEqual(data, {"a": "ä", "b": "xy"})
        tls = head + "type: kubernetes.io/tls\n"
        block = self.one(tls + "data:\n  tls.crt: |\n    eH\n    k=\nstringData:\n  tls.key: x\n")
        self.assertEqual(block.content["data"], {"tls.crt": "eHk=", "tls.key": "eA=="})
        self.assert_faults(head + "data: {a: '-----BEGIN X-----'}\n", ("data.a", "is PEM and not base64"))
        self.assert_faults(head + "data: {a: 'x y', b/c: eA==, ..: eA==}\n",
                           ("data.a", "put it under stringData"), ('"b/c"]', "a key of"), ('".."]', "a key of"))
        self.assert_faults(tls + "data: {tls.crt: eA==}\n", ("data", "has no tls.key"))
        self.assert_faults(tls + "data: {tls.crt: eA==, tls.key: '?'}\n", ('tls.key"]', "base64"))
        large = "a" * 600_000
        self.assert_faults(head + f"stringData: {{a: {large}, b: {large}}}\n", ("", "holds 1200000 bytes"))
        (found,) = self.faults(head + "stringData: {a: 31337}\n")
        self.assertTrue(str(found).endswith("stringData.a: is a whole number and not text; quote it"), found)

    def test_config_map(self) -> None:
        """Texts and bytes have keys of their own."""
        head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\n"
        self.assertEqual(self.content(head + "data: {a: b}\nbinaryData: {c: eA==}\n")["binaryData"], {"c": "eA=="})
        self.assert_faults(
            head + "data: {a: 1, b: x}\nbinaryData: {b: eA==, c: x}\n",
            ("data.a", 'quote it: "1"'), ("binaryData.b", "b is in data too"), ("binaryData.c", "put it under data"),
        )

    def test_service(self) -> None:
        """Ports get their targets; what only a cluster needs is read."""
        head = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
        one = self.one(head + (
            "spec: {selector: {app: a}, ipFamilies: [IPv4], sessionAffinity: None, clusterIP: None, "
            "ports: [{port: 80, name: a, appProtocol: kubernetes.io/h2c}, "
            "{port: 81, name: b, targetPort: http, nodePort: 30000}]}\n"
            "status: {loadBalancer: {}}\n"
        ))
        self.assertEqual(one.spec["type"], "ClusterIP")
        self.assertEqual(
            [(port["targetPort"], port["protocol"]) for port in one.spec["ports"]], [(80, "TCP"), ("http", "TCP")]
        )
        self.read(head + "spec: {type: ExternalName, externalName: a.example.com.}\n")
        for spec, *expected in (
            ("{}", ("spec", "has no ports")),
            ("{ports: []}", ("spec", "has no ports")),
            ("{type: ExternalName}", ("spec", "no externalName")),
            ("{type: LoadBalancer, clusterIP: None}", ("clusterIP", "does not go with type LoadBalancer")),
            ("{ports: [{port: 80}, {port: 81, name: a}]}", ("ports[0]", "has no name")),
            ("{ports: [{port: 80, name: a}, {port: 80, name: a}]}",
             ("ports[1].port", "port 80 of TCP is there twice"), ("ports[1].name", "has the name of")),
            ("{ports: [{port: 80, targetPort: a_b, protocol: tcp}]}",
             ("targetPort", "up to 15"), ("protocol", "write TCP")),
            ("{ports: [{port: '80'}]}", ("port", "write 80 without quotes")),
            ("{ports: [{port: 80}], selecter: {}}", ("selecter", "did you mean selector?")),
        ):
            self.assert_faults(head + f"spec: {spec}\n", *expected)

    def test_endpoint_slice(self) -> None:
        """Addresses are of the slice's type."""
        head = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\n"
        one = self.one(head + (
            "addressType: IPv4\nendpoints:\n- {addresses: [127.0.0.1], conditions: {ready: false}, targetRef: {a: b}, "
            "hints: {}}\nports: [{port: 80}]\n"
        ))
        self.assertEqual(one.content["ports"], [{"port": 80, "name": "", "protocol": "TCP"}])
        self.assertEqual(self.content(head + "addressType: FQDN\nendpoints: null\nports: null\n")["endpoints"], [])
        self.assert_faults(
            head + "addressType: IPv4\nendpoints: [{addresses: ['::1']}, {addresses: []}, {}]\nports: [{port: x}]\n",
            ("addresses[0]", "is no IPv4 address"), ("endpoints[1].addresses", "is an empty list"),
            ("endpoints[2]", "has no addresses"), ("ports[0].port", "write a whole number"),
        )
        self.assert_faults(head + "endpoints: []\n", ("", "has no addressType"))

    def test_backend(self) -> None:
        """Endpoints have one address each."""
        def backend(spec: str) -> str:
            head = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: b}\n"
            return head + indent(f"spec: {{{spec}}}\n", "")

        one = self.one(backend("endpoints: [{ip: {address: 127.0.0.1, port: 3000}}, {unix: {path: /run/x}}]"))
        self.assertEqual(one.spec["type"], "Endpoints")
        self.read(backend("type: DynamicResolver, tls: {insecureSkipVerify: true, minVersion: '1.2'}"))
        self.assert_faults(
            backend(
                "endpoints: [{}, {ip: {address: x.y, port: 1}, fqdn: {hostname: a.com, port: 1}}], "
                "appProtocols: [h2c]"
            ),
            ("endpoints", "make two Backends"),
            ("endpoints[0]", "has no address"),
            ("endpoints[1]", "has fqdn and ip"),
            ("ip.address", "is no IP address"),
            ("appProtocols[0]", "gateway.envoyproxy.io/h2c"),
        )
        self.assert_faults(
            backend("type: DynamicResolver, endpoints: [{unix: {path: x}}], tls: {wellKnownCACertificates: System, "
                    "insecureSkipVerify: true}"),
            ("endpoints", "do not go with type DynamicResolver"),
            ("insecureSkipVerify", "does not go with CA certificates"),
        )
