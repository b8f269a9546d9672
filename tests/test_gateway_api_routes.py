"""HTTPRoutes and GRPCRoutes in the native language, and what is said of their rules."""
from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from edgegw.match.routes import RouteTable
from edgegw.model import Gateway
from tests.kubernetes_objects import Compiled

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra, generation: 3}
spec:
  gatewayClassName: edgegw
  listeners:
  - {name: http, port: 8080, protocol: HTTP}
"""
SERVICES = """
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: infra}
spec:
  ports: [{name: http, port: 80, targetPort: 8000}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: infra, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8000, protocol: TCP}]
endpoints:
- {addresses: [127.0.0.1], conditions: {ready: true}}
- {addresses: [127.0.0.2]}
- {addresses: [127.0.0.3], conditions: {ready: false}}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: infra, annotations: {edgegw.io/endpoints: "127.0.0.4:80"}}
spec:
  ports: [{name: http, port: 80}]
"""
#: A Service of which nothing is ready.
NOBODY = """
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: infra}
spec:
  ports: [{name: http, port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: nobody-1, namespace: infra, labels: {kubernetes.io/service-name: nobody}}
addressType: IPv4
ports: [{name: http, port: 8000, protocol: TCP}]
endpoints: [{addresses: [127.0.0.5], conditions: {ready: false}}]
"""
WEB = "backendRefs: [{group: '', kind: Service, name: web, port: 80, weight: 1}]"


def route(rules: str, name: str = "app", kind: str = "HTTPRoute", more: str = "") -> str:
    """Give a route to the Gateway of these tests.

    :param rules: YAML in braces.
    """
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: infra, generation: 7}}
spec: {{parentRefs: [{{name: edge}}], rules: [{rules}]{more}}}
"""


class RouteTestCase(SynchronousTestCase):
    """Compiles one route."""

    def rule(self, rule: str, kind: str = "HTTPRoute") -> dict[str, Any]:
        """Give what a rule becomes, which the native language takes."""
        self.compiled = Compiled(GATEWAY, SERVICES, route(f"{{{rule}}}", kind=kind))
        self.gateway: Gateway = self.compiled.load()
        (native,) = self.compiled.routes.routes
        (found,) = native["rules"]
        assert isinstance(found, dict)
        return found

    def filters(self, filters: str, rest: str = WEB) -> dict[str, Any]:
        """Give what filters of a rule become."""
        found = self.rule(f"filters: [{filters}]" + (f", {rest}" if rest else ""))
        return {key: value for key, value in found.items() if key not in ("matches", "backends")}

    def refused(self, *rules: str, kind: str = "HTTPRoute") -> dict[str, tuple[str, str]]:
        """Give the conditions of a route with rules that cannot be had."""
        self.compiled = Compiled(GATEWAY, SERVICES, route(", ".join(f"{{{rule}}}" for rule in rules), kind=kind))
        self.compiled.load()
        return self.compiled.conditions("app", kind)

    def message(self, condition: str) -> str:
        """Give the message of a condition."""
        (parent,) = self.compiled.parents("app")
        return str(next(one["message"] for one in parent["conditions"] if one["type"] == condition))


class RouteTests(RouteTestCase):
    """Routes as a whole."""

    def test_service(self) -> None:
        """A route becomes one of the native document, to the ready endpoints of the Service's slices."""
        found = self.rule(WEB)
        self.assertEqual(found["backends"], [{"upstream": "infra/web:80"}])
        (native,) = self.compiled.routes.routes
        self.assertEqual((native["name"], native["listeners"]), ("infra/app", ["infra/edge/http"]))
        self.assertEqual(
            self.compiled.routes.upstreams,
            [{"name": "infra/web:80", "endpoints": ["127.0.0.1:8000", "127.0.0.2:8000"]}],
        )
        (upstream,) = self.gateway.upstreams
        self.assertEqual([str(one) for one in upstream.endpoints], ["127.0.0.1:8000", "127.0.0.2:8000"])
        self.assertEqual(self.compiled.attached, {"http": 1})
        owners = {key: str(owner) for key, owner in self.compiled.routes.owners.items()}
        self.assertEqual(
            owners,
            {("routes", "infra/app"): "HTTPRoute infra/app", ("upstreams", "infra/web:80"): "HTTPRoute infra/app"},
        )

    def test_status(self) -> None:
        """Both conditions are there, with the route's generation and the whole reference."""
        self.rule(WEB)
        self.assertEqual(
            self.compiled.parents("app"),
            [
                {
                    "parentRef": {
                        "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "edge",
                    },
                    "controllerName": "edgegw.io/gateway-controller",
                    "conditions": [
                        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                         "observedGeneration": 7},
                        {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": "",
                         "observedGeneration": 7},
                    ],
                }
            ],
        )  # fmt: skip

    def test_precedence(self) -> None:
        """Of equal matches of several routes the oldest route's counts, then the first by its name."""
        texts = []
        for name, year in (("a", 2024), ("b", 2023), ("c", 2023)):
            text = route("{matches: [{path: {type: PathPrefix, value: /x}}], " + WEB + "}, {" + WEB + "}", name)
            texts.append(text.replace("generation: 7", f"creationTimestamp: '{year}-01-01T00:00:00Z'"))
        compiled = Compiled(GATEWAY, SERVICES, *texts)
        self.assertEqual([one["name"] for one in compiled.routes.routes], ["infra/b", "infra/c", "infra/a"])
        entries = [
            (one.hostnames, match, (one.name, number))
            for one in compiled.load().routes
            for number, rule in enumerate(one.rules)
            for match in rule.matches
        ]
        table = RouteTable(entries)
        self.assertEqual(table.find(None, b"/x/y"), ("infra/b", 0))
        self.assertEqual(table.find(None, b"/z"), ("infra/b", 1))

    def test_same_names(self) -> None:
        """An HTTPRoute and a GRPCRoute of one name are two routes of the document."""
        compiled = Compiled(GATEWAY, SERVICES, route(f"{{{WEB}}}"), route(f"{{{WEB}}}", kind="GRPCRoute"))
        names = [one["name"] for one in compiled.routes.routes]
        self.assertEqual(len(set(names)), 2, names)
        self.assertEqual(compiled.attached, {"http": 2})
        self.assertEqual({one["name"] for one in compiled.routes.upstreams}, {"infra/web:80", "infra/web:80/http2"})
        compiled.load()

    def test_no_backends(self) -> None:
        """A rule without backends is one that answers 500."""
        self.assertEqual(self.rule("matches: [{path: {type: Exact, value: /x}}]")["backends"], [])
        self.assertEqual(self.compiled.conditions("app")["ResolvedRefs"], ("True", "ResolvedRefs"))

    def test_broken_rules(self) -> None:
        """A rule that cannot be had answers 500 where others would have answered; one without any match is left out."""
        conditions = self.refused(
            "matches: [{path: {type: PathPrefix, value: /x}}], filters: [{type: Brew}], " + WEB,
            "matches: [{path: {type: RegularExpression, value: '(?=a)'}}], " + WEB,
            "matches: [{path: {type: RegularExpression, value: '(?=a)'}}, {path: {value: /y}}], " + WEB,
            WEB,
        )
        self.assertEqual(conditions["Accepted"], ("True", "Accepted"))
        self.assertEqual(conditions["PartiallyInvalid"], ("True", "UnsupportedValue"))
        message = self.message("PartiallyInvalid")
        self.assertTrue(message.startswith("Dropped Rule 0: rules[0].filters[0]: the type Brew"), message)
        self.assertIn("Dropped Rule 1: matches", message)
        (native,) = self.compiled.routes.routes
        self.assertEqual(
            [(one["matches"][0]["path"]["value"], one.get("fixed_response")) for one in native["rules"]],
            [("/x", {"status": 500}), ("/y", {"status": 500}), ("/", None)],
        )
        self.assertEqual(self.compiled.attached, {"http": 1})

    def test_broken_rules_of_routes_that_are_not_accepted(self) -> None:
        """Nothing is partially valid there, as RouteConditionPartiallyInvalid has it."""
        text = route(f"{{filters: [{{type: Brew}}], {WEB}}}, {{{WEB}}}")
        compiled = Compiled(GATEWAY, SERVICES, text.replace("{name: edge}", "{name: edge}, {name: edge, port: 81}"))
        self.assertEqual(compiled.conditions("app")["PartiallyInvalid"], ("True", "UnsupportedValue"))
        refused = {"Accepted": ("False", "NoMatchingParent"), "ResolvedRefs": ("True", "ResolvedRefs")}
        self.assertEqual(compiled.conditions("app", parent=1), refused)

    def test_broken_route(self) -> None:
        """A route of which no rule can be had is not accepted; other routes do not answer what it would have."""
        conditions = self.refused("filters: [{type: Brew}], " + WEB)
        self.assertEqual(conditions["Accepted"], ("False", "UnsupportedValue"))
        self.assertNotIn("PartiallyInvalid", conditions)
        self.assertEqual(self.compiled.attached, {"http": 0})
        (native,) = self.compiled.routes.routes
        self.assertEqual([one["fixed_response"] for one in native["rules"]], [{"status": 500}])
        self.refused("matches: [{path: {type: RegularExpression, value: '(?=a)'}}], " + WEB)
        self.assertEqual(self.compiled.routes.routes, [])

    def test_rule_names(self) -> None:
        """Names of rules are taken over where the native language has room for them."""
        compiled = Compiled(GATEWAY, SERVICES, route(f"{{name: a, {WEB}}}, {{name: '1', {WEB}}}, {{name: a, {WEB}}}"))
        compiled.load()
        self.assertEqual([one.get("name") for one in compiled.routes.routes[0]["rules"]], ["a", None, None])


class MatchTests(RouteTestCase):
    """What requests a rule takes."""

    def test_everything(self) -> None:
        """Every kind of condition."""
        found = self.rule(
            "matches: [{path: {type: Exact, value: /a}, method: POST, headers: [{name: X-A, value: b}, "
            "{name: x-a, value: c}, {name: y, type: RegularExpression, value: 'd.*'}], "
            "queryParams: [{name: q, value: e}, {name: Q, type: RegularExpression, value: f}]}, "
            "{path: {type: RegularExpression, value: '/[a-z]+'}}], " + WEB
        )
        self.assertEqual(
            found["matches"],
            [
                {
                    "path": {"type": "Exact", "value": "/a"}, "method": "POST",
                    "headers": [
                        {"name": "x-a", "type": "Exact", "value": "b"},
                        {"name": "y", "type": "RegularExpression", "value": "d.*"},
                    ],
                    "query_params": [
                        {"name": "q", "type": "Exact", "value": "e"},
                        {"name": "Q", "type": "RegularExpression", "value": "f"},
                    ],
                },
                {"path": {"type": "RegularExpression", "value": "/[a-z]+"}},
            ],
        )

    def test_nothing(self) -> None:
        """Without matches every path is taken."""
        self.assertEqual(self.rule(WEB)["matches"], [{"path": {"type": "PathPrefix", "value": "/"}}])

    def test_grpc(self) -> None:
        """Methods of gRPC are paths."""
        for method, path in (
            ("", ("PathPrefix", "/")),
            ("method: {type: Exact, service: a.B, method: C}", ("Exact", "/a.B/C")),
            ("method: {type: Exact, service: a.B}", ("PathPrefix", "/a.B")),
            ("method: {type: Exact, method: C}", ("RegularExpression", "/[^/]+/C")),
            ("method: {type: RegularExpression, service: 'a|b', method: 'C.*'}",
             ("RegularExpression", "/(?:a|b)/(?:C.*)")),
            ("method: {type: RegularExpression, service: 'a'}", ("RegularExpression", "/(?:a)/[^/]+")),
        ):  # fmt: skip
            found = self.rule(f"matches: [{{{method}}}], {WEB}", kind="GRPCRoute")
            self.assertEqual(found["matches"], [{"path": {"type": path[0], "value": path[1]}}])
        (upstream,) = self.compiled.routes.upstreams
        self.assertEqual((upstream["name"], upstream["http_version"]), ("infra/web:80/http2", "2"))

    def test_grpc_headers(self) -> None:
        """Headers as with HTTP; other types of methods are not supported."""
        found = self.rule(f"matches: [{{headers: [{{name: V, type: Exact, value: '2'}}]}}], {WEB}", kind="GRPCRoute")
        self.assertEqual(found["matches"][0]["headers"], [{"name": "v", "type": "Exact", "value": "2"}])
        conditions = self.refused(f"matches: [{{method: {{type: Odd, service: a}}}}], {WEB}", kind="GRPCRoute")
        self.assertEqual(conditions["Accepted"], ("False", "UnsupportedValue"))


class FilterTests(RouteTestCase):
    """What is done with requests and responses."""

    def test_headers(self) -> None:
        """Names of headers are of any case; of one name in one list the first counts."""
        modifier = "{set: [{name: X-A, value: '1'}, {name: x-a, value: '2'}], add: [{name: B, value: c}], "
        modifier += "remove: [D, d]}"
        wanted = {"set": {"x-a": "1"}, "add": {"b": "c"}, "remove": ["d"]}
        found = self.filters(
            f"{{type: RequestHeaderModifier, requestHeaderModifier: {modifier}}}, "
            f"{{type: ResponseHeaderModifier, responseHeaderModifier: {modifier}}}"
        )
        self.assertEqual(found, {"request_headers": wanted, "response_headers": wanted})

    def test_owned_headers(self) -> None:
        """No route sets what tells upstreams who is calling."""
        for name in ("X-Forwarded-Client-Cert", "x-forwarded-for", "Host", "Connection"):
            conditions = self.refused(
                "filters: [{type: RequestHeaderModifier, requestHeaderModifier: "
                f"{{set: [{{name: {name}, value: a}}]}}}}], {WEB}"
            )
            self.assertEqual(conditions["Accepted"], ("False", "UnsupportedValue"))
            self.assertIn(name.lower(), self.message("Accepted").lower())

    def test_redirect(self) -> None:
        """Every part of one; there are no backends beside it."""
        found = self.filters(
            "{type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.example.com, port: 8443, "
            "statusCode: 308, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}", "",
        )
        self.assertEqual(
            found,
            {
                "redirect": {
                    "scheme": "https", "hostname": "a.example.com", "port": 8443, "status": 308,
                    "path": {"type": "ReplacePrefixMatch", "value": "/b"},
                }
            },
        )
        found = self.filters("{type: RequestRedirect, requestRedirect: {}}", "")
        self.assertEqual(found, {"redirect": {"status": 302}})

    def test_rewrite(self) -> None:
        """Host name and path."""
        found = self.filters(
            "{type: URLRewrite, urlRewrite: {hostname: b, path: {type: ReplaceFullPath, replaceFullPath: /c}}}"
        )
        self.assertEqual(found, {"rewrite": {"hostname": "b", "path": {"type": "ReplaceFullPath", "value": "/c"}}})
        path = "{type: ReplacePrefixMatch, replacePrefixMatch: ''}"
        found = self.filters(f"{{type: URLRewrite, urlRewrite: {{path: {path}}}}}")
        self.assertEqual(found["rewrite"]["path"], {"type": "ReplacePrefixMatch", "value": ""})

    def test_incompatible(self) -> None:
        """A redirect does not go with a rewrite, and no filter with another of its type."""
        redirect = "{type: RequestRedirect, requestRedirect: {hostname: a}}"
        rewrite = "{type: URLRewrite, urlRewrite: {hostname: b}}"
        for filters in (f"{redirect}, {rewrite}", f"{rewrite}, {rewrite}"):
            conditions = self.refused(f"filters: [{filters}]")
            self.assertEqual(conditions["Accepted"], ("False", "IncompatibleFilters"))

    def test_prefix_without_one(self) -> None:
        """A prefix can be replaced where there is one."""
        conditions = self.refused(
            "matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: "
            f"{{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /b}}}}}}], {WEB}"
        )
        self.assertEqual(conditions["Accepted"], ("False", "UnsupportedValue"))

    def test_mirrors(self) -> None:
        """Several, of all requests or of a share; one that leads nowhere is left out and told of."""
        def mirror(name: str, more: str = "") -> str:
            return f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}, port: 80}}{more}}}}}"

        found = self.filters(
            ", ".join(
                (
                    mirror("other"), mirror("web", ", percent: 20"), mirror("none"),
                    mirror("other", ", fraction: {numerator: 5, denominator: 2000000}"),
                )
            )
        )
        self.assertEqual(
            found["mirrors"],
            [
                {"upstream": "infra/other:80"},
                {"upstream": "infra/web:80", "percent": 20},
                {"upstream": "infra/other:80", "fraction": {"numerator": 1, "denominator": 400_000}},
            ],
        )
        self.assertEqual(self.compiled.conditions("app")["ResolvedRefs"], ("False", "BackendNotFound"))
        self.assertEqual(self.compiled.conditions("app")["Accepted"], ("True", "Accepted"))

    def test_cors(self) -> None:
        """Every part of it."""
        found = self.filters(
            "{type: CORS, cors: {allowOrigins: ['https://a.example', 'https://*.b.example'], allowMethods: [PUT], "
            "allowHeaders: ['*'], exposeHeaders: [x-a], allowCredentials: true, maxAge: 100000}}"
        )
        self.assertEqual(
            found["cors"],
            {
                "allow_origins": ["https://a.example", "https://*.b.example"], "allow_methods": ["PUT"],
                "allow_headers": ["*"], "expose_headers": ["x-a"], "allow_credentials": True, "max_age": "27h46m40s",
            },
        )
        found = self.filters("{type: CORS, cors: {maxAge: 5}}")
        self.assertEqual(found["cors"], {"allow_origins": ["https://none.invalid"], "max_age": "5s"})

    def test_extension(self) -> None:
        """Who filters in a way that is not known lets nothing pass."""
        found = self.filters("{type: ExtensionRef, extensionRef: {group: example.com, kind: Waf, name: w}}")
        self.assertEqual(found, {"fixed_response": {"status": 500}})
        self.assertEqual(self.compiled.conditions("app")["ResolvedRefs"], ("False", "InvalidKind"))
        self.assertEqual(self.compiled.conditions("app")["Accepted"], ("True", "Accepted"))

    def test_external_auth(self) -> None:
        """A Service that is asked by HTTP; otherwise nothing passes."""
        auth = "{type: ExternalAuth, externalAuth: {protocol: %s, backendRef: {name: %s, port: 80}%s}}"
        found = self.filters(
            auth % ("HTTP", "other", ", http: {path: /check, allowedHeaders: [X-A], allowedResponseHeaders: [X-User]}")
        )
        self.assertEqual(
            found["external_auth"],
            {
                "url": "http://127.0.0.4:80/check", "append_path": True, "request_headers": ["authorization", "x-a"],
                "upstream_headers": ["x-user"],
            },
        )
        found = self.filters(auth % ("HTTP", "none", ""))
        self.assertEqual(found, {"fixed_response": {"status": 500}})
        self.assertEqual(self.compiled.conditions("app")["ResolvedRefs"], ("False", "BackendNotFound"))
        rule = f"{{filters: [{auth % ('HTTP', 'nobody', '')}], {WEB}}}"
        self.compiled = Compiled(GATEWAY, SERVICES, NOBODY, route(rule))
        self.compiled.load()
        self.assertEqual(self.compiled.routes.routes[0]["rules"][0]["fixed_response"], {"status": 500})
        accepted = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
        self.assertEqual(self.compiled.conditions("app"), accepted)
        for wrong in (auth % ("GRPC", "other", ""), auth % ("HTTP", "other", ", forwardBody: {maxSize: 5}")):
            conditions = self.refused(f"filters: [{wrong}], {WEB}")
            self.assertEqual(conditions["Accepted"], ("False", "UnsupportedValue"))

    def test_filters_of_backends(self) -> None:
        """Each backend has its own; where they cannot be had its share fails, and so it does without the backend."""
        found = self.rule(
            "backendRefs: [{name: web, port: 80, weight: 3, filters: [{type: RequestHeaderModifier, "
            "requestHeaderModifier: {add: [{name: a, value: b}]}}]}, "
            "{name: other, port: 80, filters: [{type: ExtensionRef, extensionRef: {kind: X, name: x}}]}, "
            "{name: none, port: 80, weight: 0, filters: [{type: RequestRedirect, requestRedirect: {hostname: a}}]}]"
        )
        self.assertEqual(
            found["backends"],
            [
                {"upstream": "infra/web:80", "weight": 3, "request_headers": {"add": {"a": "b"}}},
                {"upstream": "unresolved/500"},
                {"upstream": "unresolved/500", "weight": 0},
            ],
        )
        self.assertEqual(self.compiled.upstreams["unresolved/500"]["backend"], {"respond": {"status": 500}})
        conditions = self.refused(
            "backendRefs: [{name: web, port: 80, filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP}}]}]"
        )
        self.assertEqual(conditions["Accepted"], ("False", "UnsupportedValue"))


class TimeTests(RouteTestCase):
    """Time-outs, tries and sessions."""

    def test_timeouts(self) -> None:
        """Both; 0s is no limit."""
        found = self.rule(f"timeouts: {{request: 1m30s, backendRequest: 500ms}}, {WEB}")
        self.assertEqual(found["timeouts"], {"request": "1m30s", "backend_request": "500ms"})
        found = self.rule(f"timeouts: {{request: 0s}}, {WEB}")
        self.assertEqual(found["timeouts"], {"request": "0s"})
        conditions = self.refused(f"timeouts: {{request: 1 day}}, {WEB}")
        self.assertEqual(conditions["Accepted"], ("False", "UnsupportedValue"))

    def test_retry(self) -> None:
        """Codes, attempts and the pause; without any of it what the gateway does by itself."""
        found = self.rule(f"retry: {{codes: [500, 503, 500], attempts: 3, backoff: 2s}}, {WEB}")
        self.assertEqual(
            found["retry"], {"codes": [500, 503], "attempts": 3, "backoff": "2s", "max_backoff": "2s"}
        )
        self.assertEqual(self.rule(f"retry: {{}}, {WEB}")["retry"], {})
        self.assertNotIn("retry", self.rule(f"retry: {{attempts: 0}}, {WEB}"))

    def test_retries_within_a_request_timeout(self) -> None:
        """The pauses take half of the request's time at most, but are never shorter than backoff."""
        within = "timeouts: {request: 400ms, backendRequest: 200ms}"
        found = self.rule(f"retry: {{codes: [500], attempts: 5}}, {within}, {WEB}")
        self.assertEqual(found["retry"], {"codes": [500], "attempts": 5, "max_backoff": "40ms"})
        self.assertEqual(self.rule(f"retry: {{}}, {within}, {WEB}")["retry"], {"max_backoff": "200ms"})
        found = self.rule(f"retry: {{attempts: 20}}, {within}, {WEB}")
        self.assertEqual(found["retry"], {"attempts": 20, "max_backoff": "25ms"})
        found = self.rule(f"retry: {{attempts: 5, backoff: 100ms}}, {within}, {WEB}")
        self.assertEqual(found["retry"], {"attempts": 5, "backoff": "100ms", "max_backoff": "100ms"})
        found = self.rule(f"retry: {{attempts: 2}}, timeouts: {{request: 30s}}, {WEB}")
        self.assertEqual(found["retry"], {"attempts": 2})

    def test_sessions(self) -> None:
        """They are the upstream's, which other rules do not share."""
        cookie = "cookieConfig: {lifetimeType: Permanent}"
        persistence = f"sessionPersistence: {{type: Cookie, sessionName: s, absoluteTimeout: 1h, {cookie}}}"
        compiled = Compiled(GATEWAY, SERVICES, route(f"{{{persistence}, {WEB}}}, {{{WEB}}}"))
        compiled.load()
        first, second = (one["backends"][0]["upstream"] for one in compiled.routes.routes[0]["rules"])
        self.assertEqual(second, "infra/web:80")
        self.assertEqual(
            compiled.upstreams[first]["session_persistence"],
            {"session_name": "s", "type": "Cookie", "absolute_timeout": "1h", "lifetime": "Permanent"},
        )

    def test_sessions_over_backends(self) -> None:
        """A client stays with an endpoint whichever backend it came to: they are one upstream, with their shares."""
        found = self.rule(
            "sessionPersistence: {type: Header}, backendRefs: [{name: web, port: 80, weight: 1}, "
            "{name: other, port: 80, weight: 3}, {name: none, port: 80, weight: 2}]"
        )
        together, missing = found["backends"]
        self.assertEqual((together["weight"], missing), (4, {"upstream": "unresolved/500", "weight": 2}))
        upstream = self.compiled.upstreams[together["upstream"]]
        self.assertEqual(upstream["name"], "infra/app/rules-0")
        self.assertEqual(
            upstream["endpoints"],
            [
                {"address": "127.0.0.1:8000", "weight": 1},
                {"address": "127.0.0.2:8000", "weight": 1},
                {"address": "127.0.0.4:80", "weight": 6},
            ],
        )
        self.assertEqual(upstream["session_persistence"]["type"], "Header")
        self.assertTrue(upstream["session_persistence"]["session_name"].startswith("edgegw-session-"))

    def test_wrong_sessions(self) -> None:
        """A permanent cookie needs an end, and what is not looked at is told of."""
        conditions = self.refused(f"sessionPersistence: {{cookieConfig: {{lifetimeType: Permanent}}}}, {WEB}")
        self.assertEqual(conditions["Accepted"], ("False", "UnsupportedValue"))
        self.rule(f"sessionPersistence: {{idleTimeout: 5m}}, {WEB}")
        ((owner, warning),) = self.compiled.routes.warnings
        self.assertEqual(str(owner), "HTTPRoute infra/app")
        self.assertIn("idleTimeout", warning)
