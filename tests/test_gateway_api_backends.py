"""Backends of Gateway API routes: Services and where they are, Backends, and TLS with them."""
from __future__ import annotations

import base64
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from edgegw.gateway_api.compiled import Surroundings
from edgegw.testing import Authority
from tests.kubernetes_objects import Compiled

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec: {listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
ROUTE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: infra}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]}
"""


def route(*refs: str, kind: str = "HTTPRoute") -> str:
    """Give a route with these references to backends, a rule for each."""
    rules = ", ".join(f"{{backendRefs: [{ref}]}}" for ref in refs)
    return ROUTE.replace("{backendRefs: [{name: web, port: 80}]}", rules).replace("HTTPRoute", kind)


def service(spec: str = "ports: [{port: 80}]", annotations: str = "{}", name: str = "web") -> str:
    """Give a Service."""
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: infra, annotations: {annotations}}}
spec: {{{spec}}}
"""


def endpoint_slice(name: str, ports: str, endpoints: str, kind: str = "IPv4") -> str:
    """Give an EndpointSlice of the Service."""
    return f"""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: infra, labels: {{kubernetes.io/service-name: web}}}}
addressType: {kind}
ports: {ports}
endpoints: {endpoints}
"""


class BackendTestCase(SynchronousTestCase):
    """Compiles routes to backends."""

    def upstreams(self, *texts: str, told: Surroundings | None = None) -> dict[str, dict[str, Any]]:
        """Give the upstreams, which the native language takes."""
        self.compiled = Compiled(GATEWAY, *texts, surroundings=told)
        self.compiled.load()
        return self.compiled.upstreams

    def endpoints(self, *texts: str, told: Surroundings | None = None) -> list[str]:
        """Give the endpoints of the Service's upstream."""
        found: list[str] = self.upstreams(*texts, told=told)["infra/web:80"]["endpoints"]
        return found

    def refs(self, *texts: str, kind: str = "HTTPRoute", told: Surroundings | None = None) -> tuple[str, str]:
        """Give status and reason of ``ResolvedRefs``."""
        self.compiled = Compiled(GATEWAY, *texts, surroundings=told)
        self.compiled.load()
        self.assertEqual(self.compiled.conditions("app", kind)["Accepted"], ("True", "Accepted"))
        return self.compiled.conditions("app", kind)["ResolvedRefs"]


class ServiceTests(BackendTestCase):
    """Where a Service is."""

    def test_slices(self) -> None:
        """All of a Service's slices count, ports are known by their names, and only what is ready takes requests."""
        found = self.endpoints(
            ROUTE, service("ports: [{name: a, port: 80}, {name: b, port: 81}]"),
            endpoint_slice("one", "[{name: a, port: 1}, {name: b, port: 2}]", "[{addresses: [10.0.0.1, 10.0.0.2]}]"),
            endpoint_slice(
                "two", "[{name: a, port: 3}]",
                "[{addresses: ['2001:DB8::1'], conditions: {ready: true}}, "
                "{addresses: ['2001:db8::2'], conditions: {ready: false}}]", "IPv6",
            ),
            endpoint_slice("three", "[{name: a, port: 4}]", "[{addresses: [a.example.com]}]", "FQDN"),
            endpoint_slice("udp", "[{name: a, port: 5, protocol: UDP}]", "[{addresses: [10.0.0.9]}]"),
        )
        self.assertEqual(sorted(found), ["10.0.0.1:1", "10.0.0.2:1", "[2001:db8::1]:3", "a.example.com:4"])

    def test_unnamed_port(self) -> None:
        """A Service with one port need not name it."""
        slice_ = endpoint_slice("one", "[{name: '', port: 8000}]", "[{addresses: [10.0.0.1]}]")
        self.assertEqual(self.endpoints(ROUTE, service(), slice_), ["10.0.0.1:8000"])

    def test_nothing_ready(self) -> None:
        """A Service with slices and nothing in them is there, and answers 503."""
        told = Surroundings({("infra", "web"): ("127.0.0.1:1",)})
        self.assertEqual(self.endpoints(ROUTE, service(), endpoint_slice("one", "[]", "[]"), told=told), [])
        self.assertEqual(self.compiled.conditions("app")["ResolvedRefs"], ("True", "ResolvedRefs"))

    def test_order(self) -> None:
        """Without slices: who was told, an annotation, the name in the cluster's DNS."""
        annotated = service(annotations="{edgegw.io/endpoints: '127.0.0.1:2, [::1]:3,unix:/run/a'}")
        told = Surroundings({("infra", "web"): ("127.0.0.1:1",)}, cluster_domain="example.org")
        self.assertEqual(self.endpoints(ROUTE, annotated, told=told), ["127.0.0.1:1"])
        self.assertEqual(self.endpoints(ROUTE, annotated), ["127.0.0.1:2", "[::1]:3", "unix:/run/a"])
        self.assertEqual(self.endpoints(ROUTE, service()), ["web.infra.svc.cluster.local:80"])
        found = self.endpoints(ROUTE, service(), told=Surroundings(cluster_domain="example.org"))
        self.assertEqual(found, ["web.infra.svc.example.org:80"])

    def test_headless(self) -> None:
        """The name of a headless Service stands for its pods, whose port nobody translates."""
        found = self.endpoints(ROUTE, service("clusterIP: None, ports: [{port: 80, targetPort: 8000}]"))
        self.assertEqual(found, ["web.infra.svc.cluster.local:8000"])

    def test_external_name(self) -> None:
        """It is the name, with the port of the reference; it need not have ports."""
        found = self.endpoints(ROUTE, service("type: ExternalName, externalName: App.example.com"))
        self.assertEqual(found, ["app.example.com:80"])
        self.assertEqual(self.endpoints(ROUTE, service("type: ExternalName, externalName: a b")), [])

    def test_without_object(self) -> None:
        """A Service whose place was told is there, though nobody has its object."""
        told = Surroundings({("infra", "web"): ("127.0.0.1:1", "nonsense")})
        self.assertEqual(self.endpoints(ROUTE, told=told), ["127.0.0.1:1"])
        self.assertEqual(self.refs(ROUTE, told=told), ("True", "ResolvedRefs"))
        self.assertEqual(self.refs(ROUTE), ("False", "BackendNotFound"))

    def test_wrong_annotation(self) -> None:
        """What is no endpoint is left out, and told of."""
        found = self.endpoints(ROUTE, service(annotations="{edgegw.io/endpoints: 'a, b:1'}"))
        self.assertEqual(found, ["b:1"])
        ((owner, warning),) = self.compiled.routes.warnings
        self.assertEqual(str(owner), "Service infra/web")
        self.assertIn("a is no endpoint", warning)

    def test_not_found(self) -> None:
        """A Service, or a port of it, that is not there."""
        for ports in ("[{port: 81}]", "[{port: 80, protocol: UDP}]", "[]"):
            self.assertEqual(self.refs(ROUTE, service(f"ports: {ports}")), ("False", "BackendNotFound"))
            (rule,) = self.compiled.routes.routes[0]["rules"]
            self.assertEqual(rule["backends"], [{"upstream": "unresolved/500"}])

    def test_kinds(self) -> None:
        """Kinds that are no backends, and other namespaces without a grant."""
        self.assertEqual(self.refs(route("{group: a.b, kind: C, name: d}")), ("False", "InvalidKind"))
        self.assertEqual(self.refs(route("{kind: ConfigMap, name: d}")), ("False", "InvalidKind"))
        ref = "{name: web, namespace: infra, port: 80}"
        foreign = route(ref).replace("name: app, namespace: infra", "name: app, namespace: other")
        gateway = GATEWAY.replace("protocol: HTTP", "protocol: HTTP, allowedRoutes: {namespaces: {from: All}}")
        foreign = foreign.replace("parentRefs: [{name: edge}]", "parentRefs: [{name: edge, namespace: infra}]")
        grant = """
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: infra}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: other}]
  to: [{group: '', kind: Service}]
"""
        compiled = Compiled(gateway, foreign, service())
        self.assertEqual(compiled.conditions("app")["ResolvedRefs"], ("False", "RefNotPermitted"))
        compiled = Compiled(gateway, foreign, service(), grant)
        self.assertEqual(compiled.conditions("app")["ResolvedRefs"], ("True", "ResolvedRefs"))

    def test_app_protocols(self) -> None:
        """HTTP/2 without TLS, WebSocket, and what no route speaks."""
        for protocol, kind, wanted in (
            ("kubernetes.io/h2c", "HTTPRoute", "infra/web:80/http2"),
            ("kubernetes.io/ws", "HTTPRoute", "infra/web:80"),
            ("HTTPS", "HTTPRoute", "infra/web:80"),
            ("http", "GRPCRoute", "infra/web:80/http2"),
            ("kubernetes.io/h2c", "GRPCRoute", "infra/web:80/http2"),
            ("kubernetes.io/ws", "GRPCRoute", None),
            ("mysql", "HTTPRoute", None),
        ):
            ports = f"ports: [{{port: 80, appProtocol: {protocol}}}]"
            reason = self.refs(route("{name: web, port: 80}", kind=kind), service(ports), kind=kind)[1]
            self.assertEqual(reason, "UnsupportedProtocol" if wanted is None else "ResolvedRefs", protocol)
            if wanted is not None:
                self.assertEqual(set(self.compiled.upstreams), {wanted})

    def test_grpc_fails(self) -> None:
        """A backend of gRPC that is not there is unavailable."""
        self.refs(route("{name: web, port: 80}", kind="GRPCRoute"), kind="GRPCRoute")
        self.assertEqual(self.compiled.upstreams, {"unresolved/closed": {"name": "unresolved/closed", "endpoints": []}})


class OwnKindTests(BackendTestCase):
    """Envoy Gateway's Backend."""

    REF = "{group: gateway.envoyproxy.io, kind: Backend, name: b}"

    def backend(self, spec: str) -> str:
        """Give a Backend."""
        return f"""
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: b, namespace: infra}}
spec: {{{spec}}}
"""

    def test_endpoints(self) -> None:
        """Addresses, names and Unix sockets."""
        found = self.upstreams(
            route(self.REF),
            self.backend(
                "endpoints: [{ip: {address: 127.0.0.1, port: 1}}, {ip: {address: '::1', port: 2}}, "
                "{fqdn: {hostname: a.example.com, port: 3}}, {unix: {path: /run/a}}], "
                "appProtocols: [gateway.envoyproxy.io/h2c]"
            ),
        )
        self.assertEqual(
            found["infra/b/http2"],
            {
                "name": "infra/b/http2", "http_version": "2",
                "endpoints": ["127.0.0.1:1", "[::1]:2", "a.example.com:3", "unix:/run/a"],
            },
        )

    def test_wrong(self) -> None:
        """One that is not there, and what is not supported, which never goes without TLS."""
        self.assertEqual(self.refs(route(self.REF)), ("False", "BackendNotFound"))
        for spec in ("tls: {insecureSkipVerify: true}", "type: DynamicResolver", "endpoints: [{ip: {}}]"):
            found = self.refs(route(self.REF), self.backend(spec))
            self.assertEqual(found, ("False", "UnsupportedProtocol"))


CA = Authority()
CA_PEM = CA.pem.decode("ascii")
#: What stands for it in the native document.
CA_TEXT = f"ConfigMap infra/ca\n{CA_PEM}"


def config_map(name: str, text: str, kind: str = "ConfigMap") -> str:
    """Give an object with CA certificates."""
    data = {"ca.crt": text if kind == "ConfigMap" else base64.b64encode(text.encode("ascii")).decode("ascii")}
    content = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "infra"}, "data": data}
    return "\n---\n" + yaml.safe_dump(content)


def policy(
    name: str = "p", validation: str = "", targets: str = "{name: web}", more: str = "", created: str = ""
) -> str:
    """Give a policy; its CA certificates are in the ConfigMap ``ca`` unless others are given."""
    validation = validation or "caCertificateRefs: [{kind: ConfigMap, name: ca}]"
    targets = targets.replace("{name", "{group: '', kind: Service, name")
    stamp = f", creationTimestamp: '{created}'" if created else ""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {name}, namespace: infra, generation: 4{stamp}}}
spec: {{targetRefs: [{targets}], validation: {{hostname: App.example.com, {validation}}}{more}}}
"""


class BackendTLSTests(SynchronousTestCase):
    """BackendTLSPolicy."""

    def compile(self, *texts: str, route_text: str = ROUTE) -> dict[str, Any]:
        """Give the one upstream of a route to a Service with two ports."""
        ports = "ports: [{name: a, port: 80}, {name: b, port: 81}]"
        self.compiled = Compiled(GATEWAY, route_text, service(ports), config_map("ca", CA_PEM), *texts)
        return self.compiled.routes.upstreams[0]

    def conditions(self, name: str = "p") -> dict[str, tuple[str, str]]:
        """Give the conditions of a policy for the Gateway."""
        for status in self.compiled.routes.statuses:
            if status.object.kind == "BackendTLSPolicy" and status.object.name == name:
                (ancestor,) = status.status["ancestors"]
                self.assertEqual(
                    ancestor["ancestorRef"],
                    {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "edge"},
                )
                self.assertEqual(ancestor["controllerName"], "edgegw.io/gateway-controller")
                self.assertEqual({one["observedGeneration"] for one in ancestor["conditions"]}, {4})
                return {one["type"]: (one["status"], one["reason"]) for one in ancestor["conditions"]}
        raise AssertionError(f"{name} has no status")

    def assert_fails(self, upstream: dict[str, Any]) -> None:
        """The backend is not spoken with at all."""
        self.assertEqual(upstream["backend"], {"respond": {"status": 500}})
        self.assertNotIn("endpoints", upstream)
        self.compiled.load()

    def test_effect(self) -> None:
        """The host name is asked for and verified, with the CA's certificates."""
        upstream = self.compile(policy())
        self.assertEqual(upstream["tls"], {"hostname": "App.example.com", "ca_certificates": [CA_TEXT]})
        self.assertEqual(
            self.conditions(), {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
        )

    def test_names(self) -> None:
        """With subjectAltNames the host name is asked for only."""
        upstream = self.compile(
            policy(
                validation="wellKnownCACertificates: System, subjectAltNames: [{type: Hostname, hostname: b.example}, "
                "{type: URI, uri: 'spiffe://a/b'}, {type: Hostname, hostname: b.example}]"
            )
        )
        self.assertEqual(
            upstream["tls"],
            {
                "sni": "App.example.com", "ca_certificates": "system",
                "subject_alt_names": [{"dns": "b.example"}, {"uri": "spiffe://a/b"}],
            },
        )
        self.compiled.load()

    def test_secret(self) -> None:
        """A Secret may hold the certificates as well."""
        upstream = self.compile(
            config_map("s", CA_PEM, "Secret"), policy(validation="caCertificateRefs: [{kind: Secret, name: s}]")
        )
        self.assertEqual(upstream["tls"]["ca_certificates"], [f"Secret infra/s\n{CA_PEM}"])

    def test_no_ca(self) -> None:
        """Without any CA certificate nobody is spoken with, and the reasons say why."""
        for ref, reason in (
            ("{kind: ConfigMap, name: none}", "InvalidCACertificateRef"),
            ("{kind: ConfigMap, name: bad}", "InvalidCACertificateRef"),
            ("{kind: ConfigMap, name: worse}", "InvalidCACertificateRef"),
            ("{group: a.b, kind: C, name: d}", "InvalidKind"),
        ):
            broken = CA_PEM.replace("\nM", "\nN", 1)
            upstream = self.compile(
                config_map("bad", "no PEM"), config_map("worse", broken),
                policy(validation=f"caCertificateRefs: [{ref}]"),
            )
            self.assert_fails(upstream)
            self.assertEqual(
                self.conditions(), {"Accepted": ("False", "NoValidCACertificate"), "ResolvedRefs": ("False", reason)}
            )

    def test_some_ca(self) -> None:
        """One reference that leads nowhere is told of, and the others are used."""
        upstream = self.compile(
            policy(validation="caCertificateRefs: [{kind: ConfigMap, name: none}, {kind: ConfigMap, name: ca}]")
        )
        self.assertEqual(upstream["tls"]["ca_certificates"], [CA_TEXT])
        self.assertEqual(
            self.conditions(),
            {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("False", "InvalidCACertificateRef")},
        )

    def test_unknown_set(self) -> None:
        """Well-known certificates of another name are not known."""
        self.assert_fails(self.compile(policy(validation="wellKnownCACertificates: example.com/ours")))
        self.assertEqual(self.conditions()["Accepted"], ("False", "Invalid"))

    def test_conflict(self) -> None:
        """The older policy counts, then the first by its name; one for a port goes before one for the Service."""
        upstream = self.compile(
            policy("b", more=", options: {kgateway.dev/min-tls-version: '1.3'}"), policy("c"),
            policy("a", created="2024-01-01T00:00:00Z"),
        )
        self.assertEqual(upstream["tls"]["min_version"], "1.3")
        self.assertEqual(self.conditions("b")["Accepted"], ("True", "Accepted"))
        self.assertEqual(self.conditions("c")["Accepted"], ("False", "Conflicted"))
        self.assertEqual(self.conditions("a")["Accepted"], ("False", "Conflicted"))
        upstream = self.compile(
            policy("a"),
            policy("b", targets="{name: web, sectionName: a}", more=", options: {kgateway.dev/min-tls-version: '1.3'}"),
        )
        self.assertEqual(upstream["tls"]["min_version"], "1.3")
        for name in ("a", "b"):
            self.assertEqual(self.conditions(name)["Accepted"], ("True", "Accepted"))

    def test_targets(self) -> None:
        """Other ports are spoken with as before; targets that are not there are told of, where a route names them."""
        upstream = self.compile(policy(targets="{name: web, sectionName: b}"))
        self.assertNotIn("tls", upstream)
        self.assertEqual(self.compiled.routes.statuses[-1].status, {"ancestors": []})
        self.compile(policy(targets="{name: web, sectionName: c}"))
        self.assertEqual(self.conditions()["Accepted"], ("False", "TargetNotFound"))
        self.compile(policy(targets="{name: gone}"), route_text=route("{name: gone, port: 80}"))
        self.assertEqual(self.conditions()["Accepted"], ("False", "TargetNotFound"))

    def test_target_that_only_the_command_line_knows(self) -> None:
        """Nobody knows the names of its ports, and it is not spoken with in clear for that."""
        told = Surroundings(endpoints={("infra", "web"): ("127.0.0.1:8000",)})
        targets = "{name: web, sectionName: https}"
        self.compiled = Compiled(GATEWAY, ROUTE, config_map("ca", CA_PEM), policy(targets=targets), surroundings=told)
        (upstream,) = self.compiled.routes.upstreams
        self.assertEqual(upstream["tls"], {"hostname": "App.example.com", "ca_certificates": [CA_TEXT]})
        self.assertEqual(self.conditions()["Accepted"], ("True", "Accepted"))

    def test_options(self) -> None:
        """Those of listeners that mean something here; others' are not ours."""
        options = (
            "{kgateway.dev/min-tls-version: '1.2', edgegw.io/max-tls-version: '1.3', "
            "edgegw.io/ecdh-curves: 'X25519, P-256', "
            "kgateway.dev/cipher-suites: 'TLS_AES_128_GCM_SHA256,ECDHE-RSA-AES128-GCM-SHA256', "
            "kgateway.dev/alpn-protocols: 'h2,http/1.1', kgateway.dev/verify-subject-alt-names: 'a.example', x.y/z: w}"
        )
        upstream = self.compile(policy(validation="wellKnownCACertificates: System", more=f", options: {options}"))
        self.assertEqual(
            upstream["tls"],
            {
                "sni": "App.example.com", "ca_certificates": "system", "subject_alt_names": [{"dns": "a.example"}],
                "min_version": "1.2", "max_version": "1.3", "groups": ["X25519", "P-256"],
                "cipher_suites": ["TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"],
            },
        )
        self.assertEqual(upstream["http_version"], "auto")
        self.compiled.load()
        for option in (
            "kgateway.dev/min-tls-version: '1.0'", "kgateway.dev/ecdh-curves: brainpool", "edgegw.io/nonsense: a",
            "kgateway.dev/verify-certificate-hash: ab", "kgateway.dev/alpn-protocols: h3",
        ):
            self.assert_fails(self.compile(policy(more=f", options: {{{option}}}")))
            self.assertEqual(self.conditions()["Accepted"], ("False", "Invalid"))

    def test_client_certificate(self) -> None:
        """A Gateway with a certificate has upstreams of its own, where there is TLS."""
        other = GATEWAY.replace("name: edge", "name: other")
        parents = "parentRefs: [{name: edge}, {name: other}]"
        text = route("{name: web, port: 80}", "{name: web, port: 81}").replace("parentRefs: [{name: edge}]", parents)
        self.compiled = compiled = Compiled(
            GATEWAY, "---" + other, text, service("ports: [{name: a, port: 80}, {name: b, port: 81}]"),
            config_map("ca", CA_PEM), policy(targets="{name: web, sectionName: a}"),
            client_certificates={"edge": {"certificate": "C", "private_key": "K"}},
        )
        first, second = compiled.routes.routes
        self.assertEqual([first["name"], second["name"]], ["infra/app", "infra/app/2"])
        self.assertEqual((first["listeners"], second["listeners"]), (["infra/edge/http"], ["infra/other/http"]))
        names = [[one["backends"][0]["upstream"] for one in native["rules"]] for native in (first, second)]
        self.assertEqual(names, [["infra/web:80/infra/edge", "infra/web:81"], ["infra/web:80", "infra/web:81"]])
        tls = compiled.upstreams["infra/web:80/infra/edge"]["tls"]
        self.assertEqual(tls["client_certificate"], {"certificate": "C", "private_key": "K"})
        self.assertNotIn("client_certificate", compiled.upstreams["infra/web:80"]["tls"])
        status = next(one for one in compiled.routes.statuses if one.object.kind == "BackendTLSPolicy").status
        self.assertEqual([one["ancestorRef"]["name"] for one in status["ancestors"]], ["edge", "other"])
