"""Gateways become native listeners and conditions."""
from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config.faults import Report
from edgegw.config.native import load_document
from edgegw.config.plain_data import nodes_of
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.gateway_addresses import named_addresses
from edgegw.gateway_api.gateway_classes import SUPPORTED_FEATURES, class_statuses
from edgegw.gateway_api.gateway_status import gateway_status, withdraw
from edgegw.gateway_api.gateways import CompiledGateways, compile_gateways
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.objects import Object
from edgegw.model import Gateway, Protocol, TLSMode, ValidationMode
from tests.config_documents import CA, SERVER, issue
from tests.gateway_objects import config_map, objects_of, secret, standing

GOOD = ("True", "Accepted")
SERVED = {
    "Accepted": GOOD,
    "Conflicted": ("False", "NoConflicts"),
    "Programmed": ("True", "Programmed"),
    "ResolvedRefs": ("True", "ResolvedRefs"),
}
OTHER_CA = issue("Test CA", ca=True)


def compiled(*texts: str | Object, **surroundings: Any) -> CompiledGateways:
    """Compile manifests."""
    objects = objects_of(*texts)
    return compile_gateways(objects, Grants(objects), Surroundings(**surroundings))


def gateway(listeners: str, more: str = "", name: str = "public", namespace: str = "default") -> str:
    """Write a Gateway; listeners as a flow sequence's content."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}, generation: 7}}
spec: {{gatewayClassName: edgegw, listeners: [{listeners}]{', ' if more else ''}{more}}}
"""


def http(name: str = "http", port: int = 80, more: str = "") -> str:
    """Write a listener without TLS."""
    return f"{{name: {name}, port: {port}, protocol: HTTP{', ' if more else ''}{more}}}"


def https(name: str = "https", port: int = 443, more: str = "", refs: str = "{name: cert}", options: str = "") -> str:
    """Write a listener with TLS."""
    tls = f"certificateRefs: [{refs}], options: {{{options}}}"
    return f"{{name: {name}, port: {port}, protocol: HTTPS, tls: {{{tls}}}{', ' if more else ''}{more}}}"


def grant(kind: str, name: str = "", namespace: str = "other") -> str:
    """Write a ReferenceGrant for Gateways of the namespace default."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: grant, namespace: {namespace}}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}}]
  to: [{{group: "", kind: {kind}{name}}}]
"""


class GatewayTestCase(SynchronousTestCase):
    """Compiles manifests and looks at what comes of them."""

    def compile(self, *texts: str | Object, **surroundings: Any) -> CompiledGateways:
        """Compile manifests, and check that the native language takes the listeners."""
        result = compiled(*texts, **surroundings)
        self.assertEqual(set(result.owners), {entry["name"] for entry in result.listeners})
        if result.listeners:
            self.loaded(result)
        return result

    def loaded(self, result: CompiledGateways) -> Gateway:
        """Load the listeners as they are."""
        document = {"listeners": result.listeners}
        report = Report("")
        return load_document(nodes_of(document), "/nowhere/x.yaml", report).gateway

    def statuses(self, result: CompiledGateways) -> list[dict[str, Any]]:
        """Give the status of each Gateway, each condition with the generation."""
        found = [dict(gateway_status(state).status) for state in result.states]
        for status in found:
            for conditions in [status["conditions"], *[one["conditions"] for one in status["listeners"]]]:
                self.assertEqual({one["observedGeneration"] for one in conditions}, {7})
                self.assertLessEqual(len(conditions), 8)
                for one in conditions:
                    self.assertNotIn("-----END", one["message"])
        return found

    def of_listener(self, result: CompiledGateways, name: str, number: int = 0) -> dict[str, tuple[str, str]]:
        """Give the conditions of a listener."""
        (found,) = [one for one in self.statuses(result)[number]["listeners"] if one["name"] == name]
        return standing(found["conditions"])

    def message(self, result: CompiledGateways, name: str, condition: str, number: int = 0) -> str:
        """Give the message of a condition of a listener."""
        (found,) = [one for one in self.statuses(result)[number]["listeners"] if one["name"] == name]
        return str(next(one["message"] for one in found["conditions"] if one["type"] == condition))


class ListenerTests(GatewayTestCase):
    """What a single Gateway's listeners become."""

    def test_plain_listeners(self) -> None:
        """HTTP and HTTPS listeners are served as they are written."""
        secure = https(more="hostname: '*.Example.com'")
        result = self.compile(gateway(f"{http()}, {secure}"), secret("cert"))
        plain, tls = self.loaded(result).listeners
        self.assertEqual((plain.name, plain.port, plain.protocol), ("default/public/http", 80, Protocol.HTTP))
        self.assertEqual((plain.address, plain.hostname), (None, None))
        self.assertEqual((tls.name, tls.port, tls.protocol), ("default/public/https", 443, Protocol.HTTPS))
        self.assertEqual(tls.hostname, "*.example.com")
        assert tls.tls is not None
        self.assertEqual([one.name for one in tls.tls.certificates], ["Secret default/cert"])
        self.assertEqual(tls.tls.certificates[0].chain, SERVER.pem + CA.pem)
        self.assertIsNone(tls.tls.client_validation)
        (status,) = self.statuses(result)
        self.assertEqual(
            standing(status["conditions"]),
            {"Accepted": GOOD, "Programmed": ("True", "Programmed"), "ResolvedRefs": ("True", "ResolvedRefs")},
        )
        for name in ("http", "https"):
            self.assertEqual(self.of_listener(result, name), SERVED)
        self.assertEqual(
            [kind["kind"] for kind in status["listeners"][0]["supportedKinds"]], ["HTTPRoute", "GRPCRoute"]
        )
        self.assertEqual(status["addresses"], [{"type": "IPAddress", "value": "127.0.0.1"}])

    def test_no_gateway(self) -> None:
        """Without Gateways there is nothing."""
        self.assertEqual(self.compile().listeners, [])

    def test_routes_are_counted(self) -> None:
        """What is attached to a listener is counted, whether it is served or not."""
        result = self.compile(gateway(https()))
        result.states[0].listeners[0].attached = 2
        self.assertEqual(self.statuses(result)[0]["listeners"][0]["attachedRoutes"], 2)

    def test_unsupported_protocols(self) -> None:
        """A listener of another protocol is not accepted and takes no others with it."""
        udp = "{name: udp, port: 53, protocol: UDP}"
        result = self.compile(gateway(f"{http()}, {udp}"))
        self.assertEqual(self.of_listener(result, "udp")["Accepted"], ("False", "UnsupportedProtocol"))
        self.assertEqual(self.statuses(result)[0]["listeners"][1]["supportedKinds"], [])
        self.assertEqual(standing(self.statuses(result)[0]["conditions"])["Accepted"], ("True", "ListenersNotValid"))
        self.assertEqual(len(result.listeners), 1)
        alone = self.compile(gateway(udp))
        conditions = standing(self.statuses(alone)[0]["conditions"])
        self.assertEqual(conditions["Accepted"], ("False", "ListenersNotValid"))
        self.assertEqual(conditions["Programmed"], ("False", "Invalid"))

    def test_kinds(self) -> None:
        """Kinds of routes that a protocol does not carry are left out and named."""
        some = http("some", 80, "allowedRoutes: {kinds: [{kind: HTTPRoute}, {kind: TCPRoute}]}")
        none = http("none", 81, "allowedRoutes: {kinds: [{kind: HTTPRoute, group: other.example}]}")
        result = self.compile(gateway(f"{some}, {none}"))
        listeners = self.statuses(result)[0]["listeners"]
        self.assertEqual([[kind["kind"] for kind in one["supportedKinds"]] for one in listeners], [["HTTPRoute"], []])
        for name, served in (("some", "True"), ("none", "False")):
            found = self.of_listener(result, name)
            self.assertEqual(found["ResolvedRefs"], ("False", "InvalidRouteKinds"))
            self.assertEqual(found["Programmed"][0], served)
        self.assertIn("TCPRoute", self.message(result, "some", "ResolvedRefs"))
        self.assertIn("other.example/HTTPRoute", self.message(result, "none", "ResolvedRefs"))

    def test_kinds_by_protocol(self) -> None:
        """TLS listeners carry TLSRoutes, whether TLS ends there or not, and TCP listeners TCPRoutes."""
        ended = "{name: ended, port: 443, protocol: TLS, hostname: a.example, tls: {certificateRefs: [{name: cert}]}}"
        through = "{name: through, port: 443, protocol: TLS, hostname: b.example, tls: {mode: Passthrough}}"
        tcp = "{name: tcp, port: 25, protocol: TCP}"
        result = self.compile(gateway(f"{ended}, {through}, {tcp}"), secret("cert"))
        kinds = {
            one["name"]: [kind["kind"] for kind in one["supportedKinds"]]
            for one in self.statuses(result)[0]["listeners"]
        }
        self.assertEqual(kinds, {"ended": ["TLSRoute"], "through": ["TLSRoute"], "tcp": ["TCPRoute"]})
        for name in kinds:
            self.assertEqual(self.of_listener(result, name), SERVED)

    def test_withdrawn(self) -> None:
        """What the native language finds out later takes a listener back, with its reason."""
        result = self.compile(gateway(f"{http()}, {http('other', 81)}"))
        self.statuses(result)
        withdraw(result.owners["default/public/other"], "there is no policy nope")
        self.assertEqual(self.of_listener(result, "other")["Programmed"], ("False", "Invalid"))
        self.assertEqual(self.message(result, "other", "Programmed"), "there is no policy nope")
        self.assertEqual(standing(self.statuses(result)[0]["conditions"])["Programmed"], ("True", "Programmed"))
        withdraw(result.owners["default/public/http"], "nor this")
        self.assertEqual(standing(self.statuses(result)[0]["conditions"])["Programmed"], ("False", "Invalid"))

    def test_longest_names(self) -> None:
        """Names may be as long as the API lets them be."""
        name, namespace, listener = "a" * 253, "b" * 63, "c" * 253
        addresses = "addresses: [{value: '::'}, {value: 127.0.0.1}]"
        result = self.compile(gateway(http(listener), addresses, name, namespace))
        self.assertEqual(len(result.listeners), 2)


class DistinctTests(GatewayTestCase):
    """Listeners that can be told apart, and others."""

    def test_same_hostname(self) -> None:
        """Of two listeners with one name on one port neither is served."""
        result = self.compile(
            gateway(f"{http('a', 80, 'hostname: A.example')}, {http('b', 80, 'hostname: a.example')}, {http('c', 80)}")
        )
        for name, other in (("a", "b"), ("b", "a")):
            found = self.of_listener(result, name)
            self.assertEqual(found["Conflicted"], ("True", "HostnameConflict"))
            self.assertEqual(found["Accepted"], ("False", "HostnameConflict"))
            self.assertEqual(found["Programmed"], ("False", "Invalid"))
            self.assertIn(f"what {other} takes too", self.message(result, name, "Conflicted"))
        self.assertEqual(self.of_listener(result, "c"), SERVED)

    def test_conflicting_names_reach_no_other_listener(self) -> None:
        """A less specific listener does not get the clients of those that are not served."""
        result = self.compile(
            gateway(
                f"{https('a', more='hostname: a.example')}, {https('b', more='hostname: a.example')}, "
                f"{https('broken', more='hostname: b.example', refs='{name: none}')}, {https('all')}, "
                f"{https('elsewhere', 444, 'hostname: c.example', refs='{name: none}')}"
            ),
            secret("cert"),
        )
        listeners = {one.hostname: one for one in self.loaded(result).listeners}
        self.assertEqual(set(listeners), {None, "a.example", "b.example"})
        for hostname in ("a.example", "b.example"):
            self.assertEqual(listeners[hostname].mode, TLSMode.PASSTHROUGH)
        self.assertEqual([one.native for one in result.states[0].listeners if one.name in "a, b, broken"], [[], [], []])

    def test_protocols(self) -> None:
        """HTTP and TLS cannot share a port, nor TCP with anything."""
        result = self.compile(
            gateway(
                f"{http('a', 80, 'hostname: a.example')}, {https('b', 80, 'hostname: b.example')}, "
                "{name: c, port: 25, protocol: TCP}, {name: d, port: 25, protocol: TCP}, "
                f"{http('e', 81)}"
            ),
            secret("cert"),
        )
        for name in "abcd":
            self.assertEqual(self.of_listener(result, name)["Conflicted"], ("True", "ProtocolConflict"))
        self.assertEqual([one["name"] for one in result.listeners], ["default/public/e"])

    def test_https_and_tls_share_a_port(self) -> None:
        """HTTPS and TLS, passed through or not, share a port by their names."""
        through = "{name: through, port: 443, protocol: TLS, hostname: b.example, tls: {mode: Passthrough}}"
        result = self.compile(gateway(f"{https(more='hostname: a.example')}, {through}"), secret("cert"))
        self.assertEqual(self.of_listener(result, "https"), SERVED)
        self.assertEqual(self.of_listener(result, "through"), SERVED)

    def test_overlaps(self) -> None:
        """Listeners with TLS of which one takes names of another say so; without TLS, or on other ports, not."""
        result = self.compile(
            gateway(
                f"{https('all')}, {https('wild', more='hostname: ' + chr(39) + '*.example' + chr(39))}, "
                f"{https('one', more='hostname: a.b.example')}, {https('far', 444, 'hostname: c.example')}, "
                f"{http()}, {http('named', 80, 'hostname: a.example')}"
            ),
            secret("cert"),
        )
        for name in ("all", "wild", "one"):
            self.assertEqual(self.of_listener(result, name)["OverlappingTLSConfig"], ("True", "OverlappingHostnames"))
        for name in ("far", "http", "named"):
            self.assertNotIn("OverlappingTLSConfig", self.of_listener(result, name))


class SharedPortTests(GatewayTestCase):
    """Several Gateways that want the same port."""

    def test_different_addresses(self) -> None:
        """On addresses of their own Gateways have the same ports."""
        result = self.compile(
            gateway(http(), "addresses: [{value: 127.0.0.2}]", "a"),
            gateway(http(), "addresses: [{value: 127.0.0.3}]", "b"),
            gateway(http(), name="c"),
            gateway_addresses={("default", "c"): "127.0.0.4"},
        )
        self.assertEqual([one["address"] for one in result.listeners], ["127.0.0.2", "127.0.0.3", "127.0.0.4"])

    def test_older_wins(self) -> None:
        """Where names collide the older Gateway has the port, and others are told whose it is."""
        born = "generation: 7, creationTimestamp: '2026-0{}-01T00:00:00Z'"
        old = gateway(http(), name="old").replace("generation: 7", born.format(1))
        listeners = f"{http()}, {http('named', 80, 'hostname: a.example')}"
        young = gateway(listeners, name="a-younger").replace("generation: 7", born.format(2))
        result = self.compile(young, old)
        self.assertEqual([one["name"] for one in result.listeners], ["default/old/http", "default/a-younger/named"])
        self.assertEqual(self.of_listener(result, "http", 1)["Accepted"], ("False", "PortUnavailable"))
        self.assertEqual(self.of_listener(result, "http", 1)["Programmed"], ("False", "Invalid"))
        self.assertIn("Gateway default/old", self.message(result, "http", "Accepted", 1))
        self.assertEqual(self.of_listener(result, "named", 1), SERVED)

    def test_protocols_and_addresses_collide(self) -> None:
        """Another protocol, or an address among all of another's, is not to be had either."""
        result = self.compile(
            gateway(f"{http()}, {{name: tcp, port: 25, protocol: TCP}}", name="a"),
            gateway(https(port=80, more="hostname: a.example"), name="b"),
            gateway(http(more="hostname: b.example"), "addresses: [{value: 127.0.0.2}]", "c"),
            gateway("{name: tcp, port: 25, protocol: TCP}", name="d"),
            secret("cert"),
        )
        for number, name in ((1, "https"), (2, "http"), (3, "tcp")):
            self.assertEqual(self.of_listener(result, name, number)["Accepted"], ("False", "PortUnavailable"))
        self.assertEqual(len(result.listeners), 2)

    def test_broken_listeners_hold_no_port(self) -> None:
        """What an older Gateway cannot serve a younger one can."""
        result = self.compile(
            gateway(f"{http('a')}, {http('b')}, {http('x', 81)}, {https('y', 81)}", name="a"),
            gateway(f"{http()}, {https(port=81)}", name="b"),
            secret("cert"),
        )
        self.assertEqual([one["name"] for one in result.listeners], ["default/b/http", "default/b/https"])
        self.assertEqual(self.of_listener(result, "https", 1), SERVED)


class AddressTests(GatewayTestCase):
    """Where Gateways listen."""

    def addresses(self, addresses: str, **surroundings: Any) -> tuple[list[str | None], list[Any], dict[str, Any]]:
        """Give what is bound, shown, and said."""
        result = self.compile(gateway(http(), f"addresses: [{addresses}]"), **surroundings)
        (status,) = self.statuses(result)
        bound = [one.get("address") for one in result.listeners]
        return bound, status["addresses"], standing(status["conditions"])

    def test_several(self) -> None:
        """Each address is a native listener of its own, and is called by it."""
        result = self.compile(
            gateway(http(), "addresses: [{type: IPAddress, value: 127.0.0.2}, {value: '::1'}, {value: 127.0.0.2}]")
        )
        self.assertEqual(
            [one["name"] for one in result.listeners], ["default/public/http/127.0.0.2", "default/public/http/::1"]
        )
        self.assertEqual(result.states[0].listeners[0].native, [one["name"] for one in result.listeners])
        shown = [{"type": "IPAddress", "value": value} for value in ("127.0.0.2", "::1")]
        self.assertEqual(self.statuses(result)[0]["addresses"], shown)

    def test_all_of_a_family(self) -> None:
        """0.0.0.0 takes in the other addresses of IPv4."""
        self.assertEqual(self.addresses("{value: 127.0.0.2}, {value: 0.0.0.0}")[0], ["0.0.0.0"])
        self.assertEqual(self.addresses("{value: 0.0.0.0}, {value: 127.0.0.2}")[0], ["0.0.0.0"])

    def test_unsupported_type(self) -> None:
        """A type that is not known makes the Gateway unacceptable, and it is not served."""
        bound, shown, said = self.addresses("{type: example.com/x, value: y}, {value: 127.0.0.2}")
        self.assertEqual((bound, shown), ([], []))
        self.assertEqual(said["Accepted"], ("False", "UnsupportedAddress"))
        self.assertEqual(said["Programmed"], ("False", "Invalid"))

    def test_unusable(self) -> None:
        """Addresses that cannot be bound are said so, and the others are served."""
        unusable = {"192.0.2.1": "Cannot assign requested address"}
        bound, shown, said = self.addresses("{value: 192.0.2.1}, {value: 127.0.0.2}", unusable_addresses=unusable)
        self.assertEqual(bound, ["127.0.0.2"])
        self.assertEqual(shown, [{"type": "IPAddress", "value": "127.0.0.2"}])
        self.assertEqual(said["Accepted"], GOOD)
        self.assertEqual(said["Programmed"], ("False", "AddressNotUsable"))
        bound, shown, said = self.addresses("{value: 192.0.2.1}", unusable_addresses=unusable)
        self.assertEqual((bound, shown, said["Programmed"]), ([], [], ("False", "AddressNotUsable")))
        self.assertEqual(self.addresses("{value: nonsense}")[2]["Programmed"], ("False", "AddressNotUsable"))

    def test_host_names(self) -> None:
        """A name stands for the addresses that are known of it, and is shown as a name."""
        bound, shown, said = self.addresses(
            "{type: Hostname, value: Edge.example}", host_names={"edge.example": ("127.0.0.2", "::1")}
        )
        self.assertEqual(bound, ["127.0.0.2", "::1"])
        self.assertEqual(shown, [{"type": "Hostname", "value": "Edge.example"}])
        self.assertEqual(said["Programmed"], ("True", "Programmed"))
        said = self.addresses("{type: Hostname, value: edge.example}")[2]
        self.assertEqual(said["Programmed"], ("False", "AddressNotUsable"))

    def test_without_value(self) -> None:
        """An address without a value is the one that was assigned, or every one where it stands alone."""
        assigned = {("default", "public"): "127.0.0.9"}
        self.assertEqual(self.addresses("{type: IPAddress}", gateway_addresses=assigned)[0], ["127.0.0.9"])
        self.assertEqual(self.addresses("{type: IPAddress}")[0], [None])
        bound, _, said = self.addresses("{type: IPAddress}, {value: 127.0.0.2}")
        self.assertEqual((bound, said["Programmed"]), (["127.0.0.2"], ("False", "AddressNotAssigned")))
        said = self.addresses("{type: Hostname}")[2]
        self.assertEqual(said["Programmed"], ("False", "AddressNotAssigned"))
        bound, shown, said = self.addresses("{type: IPAddress}", gateway_addresses={("default", "public"): ""})
        self.assertEqual((bound, shown, said["Programmed"]), ([], [], ("False", "AddressNotAssigned")))

    def test_many(self) -> None:
        """A status has 16 addresses at the most, as the CRD has it."""
        many = tuple(f"10.0.0.{number}" for number in range(20))
        self.assertEqual(len(self.addresses("{type: IPAddress}", host_addresses=many)[1]), 16)

    def test_named_addresses(self) -> None:
        """Whoever binds addresses can learn beforehand which ones are named."""
        objects = objects_of(gateway(http(), "addresses: [{value: 127.0.0.2}, {type: Hostname, value: a.example}]"))
        self.assertEqual(named_addresses(objects), (frozenset({"127.0.0.2"}), frozenset({"a.example"})))


class ClassTests(GatewayTestCase):
    """GatewayClasses."""

    OURS = """
        {kind: GatewayClass, metadata: {name: edgegw, generation: 7},
         spec: {controllerName: edgegw.io/gateway-controller}}
    """

    def test_others(self) -> None:
        """A Gateway whose class is another controller's is none of ours; one without a class object is."""
        other = self.OURS.replace("edgegw.io", "other.example")
        self.assertEqual(self.compile(gateway(http()), other).states, [])
        self.assertEqual(class_statuses(objects_of(other)), [])
        self.assertEqual(len(self.compile(gateway(http()), self.OURS).states), 1)
        self.assertEqual(len(self.compile(gateway(http())).states), 1)

    def test_status(self) -> None:
        """Our classes are accepted and say what is supported, in order."""
        (found,) = class_statuses(objects_of(self.OURS))
        self.assertEqual(
            standing(found.status["conditions"]),
            {"Accepted": GOOD, "SupportedVersion": ("True", "SupportedVersion")},
        )
        self.assertEqual({one["observedGeneration"] for one in found.status["conditions"]}, {7})
        self.assertEqual([one["name"] for one in found.status["supportedFeatures"]], sorted(SUPPORTED_FEATURES))

    def test_parameters(self) -> None:
        """Parameters are taken from nothing: neither the class nor its Gateways are accepted."""
        reference = "parametersRef: {group: example.com, kind: Parameters, name: p}"
        with_parameters = self.OURS.replace("gateway-controller", f"gateway-controller, {reference}")
        (found,) = class_statuses(objects_of(with_parameters))
        self.assertEqual(standing(found.status["conditions"])["Accepted"], ("False", "InvalidParameters"))
        for result in (
            self.compile(gateway(http()), with_parameters),
            self.compile(gateway(http(), f"infrastructure: {{{reference}}}")),
        ):
            conditions = standing(self.statuses(result)[0]["conditions"])
            self.assertEqual(conditions["Accepted"], ("False", "InvalidParameters"))
            self.assertEqual(conditions["Programmed"], ("False", "Invalid"))
            self.assertEqual(result.listeners, [])


class CertificateTests(GatewayTestCase):
    """Server certificates, and the one that upstreams are shown."""

    def assert_unresolved(self, reason: str, part: str, *objects: str | Object, refs: str = "{name: cert}") -> None:
        """Check that a listener's certificates are refused, and nothing else is."""
        result = self.compile(gateway(f"{https(refs=refs)}, {http()}"), *objects)
        found = self.of_listener(result, "https")
        self.assertEqual(found["ResolvedRefs"], ("False", reason))
        self.assertEqual(found["Programmed"], ("False", "Invalid"))
        self.assertEqual(found["Accepted"], GOOD)
        self.assertIn(part, self.message(result, "https", "ResolvedRefs"))
        conditions = standing(self.statuses(result)[0]["conditions"])
        self.assertEqual(conditions["Accepted"], GOOD)
        self.assertEqual(conditions["ResolvedRefs"], ("False", "ListenersNotResolved"))
        self.assertEqual(self.of_listener(result, "http"), SERVED)
        self.assertEqual([kind["kind"] for kind in self.statuses(result)[0]["listeners"][0]["supportedKinds"]],
                         ["HTTPRoute", "GRPCRoute"])

    def test_unusable(self) -> None:
        """What a reference names must be there, a Secret, and have a certificate and its own key."""
        wrong = "InvalidCertificateRef"
        self.assert_unresolved(wrong, "there is no Secret default/cert")
        self.assert_unresolved(wrong, "WrongKind", secret("cert"), refs="{name: cert, kind: WrongKind}")
        self.assert_unresolved(wrong, "example.com", secret("cert"), refs="{name: cert, group: example.com}")
        self.assert_unresolved(wrong, "no such PEM block", secret("cert", crt=b"Hello world", key=b"Hello world"))
        self.assert_unresolved(wrong, "has no tls.key", secret("cert", key=None))
        self.assert_unresolved(wrong, "has no tls.crt and no tls.key", secret("cert", key=None, crt=None))
        self.assert_unresolved(wrong, "is not the private key", secret("cert", key=OTHER_CA.key_pem))
        self.assert_unresolved(wrong, "there is no Secret default/b", secret("a"), refs="{name: a}, {name: b}")
        odd = Object("v1", "Secret", "default", "cert", {"data": {"tls.crt": "%", "tls.key": ""}})
        self.assert_unresolved(wrong, "is not base64", odd)

    def test_strings(self) -> None:
        """stringData is as good as data."""
        content = {"stringData": {"tls.crt": SERVER.pem.decode(), "tls.key": SERVER.key_pem.decode()}}
        result = self.compile(gateway(https()), Object("v1", "Secret", "default", "cert", content))
        self.assertEqual(self.of_listener(result, "https"), SERVED)

    def test_other_namespaces(self) -> None:
        """A Secret of another namespace needs a grant there; its want goes before all other problems."""
        there = "{name: cert, namespace: other}"
        self.assert_unresolved("RefNotPermitted", "no ReferenceGrant", secret("cert", namespace="other"), refs=there)
        self.assert_unresolved("RefNotPermitted", "there is no Secret default/x", refs=f"{{name: x}}, {there}")
        for name in ("", ", name: cert"):
            result = self.compile(gateway(https(refs=there)), secret("cert", namespace="other"), grant("Secret", name))
            self.assertEqual(self.of_listener(result, "https"), SERVED)
        self.assert_unresolved(
            "RefNotPermitted", "no ReferenceGrant", secret("cert", namespace="other"), grant("Secret", ", name: x"),
            refs=there,
        )

    def test_several(self) -> None:
        """All certificates of a listener are served."""
        other = issue("other", CA, dns=["other.example"])
        result = self.compile(gateway(https(refs="{name: a}, {name: b}")), secret("a"), secret("b", other))
        tls = self.loaded(result).listeners[0].tls
        assert tls is not None
        self.assertEqual([one.name for one in tls.certificates], ["Secret default/a", "Secret default/b"])

    def test_none(self) -> None:
        """Options alone make no certificate."""
        result = self.compile(gateway(https(refs="", options="example.com/x: y")))
        self.assertEqual(self.of_listener(result, "https")["ResolvedRefs"], ("False", "InvalidCertificateRef"))
        self.assertEqual(self.of_listener(result, "https")["Programmed"], ("False", "Invalid"))

    def test_client_certificate(self) -> None:
        """The certificate for upstreams is a condition of the Gateway."""
        for refs, reason in (
            ("name: cert", "ResolvedRefs"),
            ("name: none", "InvalidClientCertificateRef"),
            ("name: cert, kind: ConfigMap", "InvalidClientCertificateRef"),
            ("name: cert, group: example.com", "InvalidClientCertificateRef"),
            ("name: cert, namespace: other", "RefNotPermitted"),
        ):
            text = gateway(http(), f"tls: {{backend: {{clientCertificateRef: {{{refs}}}}}}}")
            result = self.compile(text, secret("cert"), secret("cert", namespace="other"))
            conditions = standing(self.statuses(result)[0]["conditions"])
            good = reason == "ResolvedRefs"
            self.assertEqual(conditions["ResolvedRefs"], (str(good), reason))
            self.assertEqual(conditions["Accepted"], GOOD)
            self.assertEqual(conditions["Programmed"], ("True", "Programmed"))
            self.assertEqual(result.states[0].client_certificate is not None, good)
        assert result.states[0].client_certificate is None


class FrontendTests(GatewayTestCase):
    """Client certificates (spec.tls.frontend)."""

    def frontend(self, default: str = "", *per_port: str) -> str:
        """Write spec.tls."""
        first = f"default: {{validation: {{{default}}}}}" if default else "default: {}"
        return f"tls: {{frontend: {{{first}, perPort: [{', '.join(per_port)}]}}}}"

    def test_default_and_ports(self) -> None:
        """A port's entry replaces the default, one without validation asks for nothing, and HTTP does not care."""
        result = self.compile(
            gateway(
                f"{https('a', 443)}, {https('b', 8443)}, {https('c', 9443)}, {http()}",
                self.frontend(
                    "caCertificateRefs: [{name: ca, kind: ConfigMap, group: ''}]",
                    "{port: 8443, tls: {validation: {mode: AllowInsecureFallback, caCertificateRefs: "
                    "[{name: other, kind: Secret, group: ''}]}}}",
                    "{port: 9443, tls: {}}",
                    "{port: 80, tls: {validation: {caCertificateRefs: [{name: none, kind: ConfigMap}]}}}",
                ),
            ),
            secret("cert"),
            config_map("ca"),
            Object("v1", "Secret", "default", "other", {"stringData": {"ca.crt": OTHER_CA.pem.decode()}}),
        )
        validations = [None if one.tls is None else one.tls.client_validation for one in self.loaded(result).listeners]
        assert validations[0] is not None
        assert validations[1] is not None
        self.assertEqual(validations[0].mode, ValidationMode.ALLOW_VALID_ONLY)
        self.assertEqual([one.name for one in validations[0].trust_anchors], ["ConfigMap default/ca"])
        self.assertEqual(validations[1].mode, ValidationMode.ALLOW_INSECURE_FALLBACK)
        self.assertEqual([one.pem for one in validations[1].trust_anchors], [OTHER_CA.pem])
        self.assertEqual(validations[2:], [None, None])
        for name in ("a", "b", "c", "http"):
            self.assertEqual(self.of_listener(result, name), SERVED)
        conditions = standing(self.statuses(result)[0]["conditions"])
        self.assertEqual(conditions["InsecureFrontendValidationMode"], ("True", "ConfigurationChanged"))

    def test_secure_modes_are_not_mentioned(self) -> None:
        """Without AllowInsecureFallback there is no such condition."""
        result = self.compile(
            gateway(https(), self.frontend("caCertificateRefs: [{name: ca, kind: ConfigMap}]")),
            secret("cert"), config_map("ca"),
        )
        self.assertNotIn("InsecureFrontendValidationMode", standing(self.statuses(result)[0]["conditions"]))

    def test_no_usable_ca(self) -> None:
        """Without any usable CA the HTTPS listeners that are meant are not served, whatever the mode."""
        there = "{name: ca, kind: ConfigMap, namespace: other}"
        for reference, reason in (
            ("{name: none, kind: ConfigMap}", "InvalidCACertificateRef"),
            ("{name: keyless, kind: ConfigMap}", "InvalidCACertificateRef"),
            ("{name: broken, kind: ConfigMap}", "InvalidCACertificateRef"),
            ("{name: ca, kind: Service}", "InvalidCACertificateKind"),
            ("{name: ca, kind: ConfigMap, group: example.com}", "InvalidCACertificateKind"),
            (there, "RefNotPermitted"),
        ):
            for mode in ("AllowValidOnly", "AllowInsecureFallback"):
                result = self.compile(
                    gateway(
                        f"{https()}, {http()}, {https('other', 8443)}",
                        self.frontend(f"mode: {mode}, caCertificateRefs: [{reference}]", "{port: 8443, tls: {}}"),
                    ),
                    secret("cert"), config_map("ca"), config_map("ca", namespace="other"),
                    config_map("keyless", key="x"), config_map("broken", b"Hello world"),
                )
                found = self.of_listener(result, "https")
                self.assertEqual(found["ResolvedRefs"], ("False", reason))
                self.assertEqual(found["Accepted"], ("False", "NoValidCACertificate"))
                self.assertEqual(found["Programmed"], ("False", "Invalid"))
                self.assertEqual(self.of_listener(result, "http"), SERVED)
                self.assertEqual(self.of_listener(result, "other"), SERVED)
                conditions = standing(self.statuses(result)[0]["conditions"])
                self.assertEqual(conditions["Accepted"], ("True", "ListenersNotValid"))

    def test_some_usable(self) -> None:
        """One bad reference, or certificate, is said, and the others are used."""
        result = self.compile(
            gateway(
                https(),
                self.frontend(
                    "caCertificateRefs: [{name: ca, kind: ConfigMap}, {name: none, kind: ConfigMap}, "
                    "{name: half, kind: ConfigMap}]"
                ),
            ),
            secret("cert"), config_map("ca"),
            config_map("half", OTHER_CA.pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        )
        self.assertEqual(
            self.of_listener(result, "https"), {**SERVED, "ResolvedRefs": ("False", "InvalidCACertificateRef")}
        )
        self.assertIn("certificate 2 of ca.crt", self.message(result, "https", "ResolvedRefs"))
        tls = self.loaded(result).listeners[0].tls
        assert tls is not None
        assert tls.client_validation is not None
        self.assertEqual([one.pem for one in tls.client_validation.trust_anchors], [CA.pem, OTHER_CA.pem])

    def test_granted(self) -> None:
        """A ConfigMap of another namespace needs a grant for it."""
        result = self.compile(
            gateway(https(), self.frontend("caCertificateRefs: [{name: ca, kind: ConfigMap, namespace: other}]")),
            secret("cert"), config_map("ca", namespace="other"), grant("ConfigMap"),
        )
        self.assertEqual(self.of_listener(result, "https"), SERVED)

    def test_tls_listeners(self) -> None:
        """Only HTTPS is meant."""
        tls = "{name: tls, port: 443, protocol: TLS, tls: {certificateRefs: [{name: cert}]}}"
        result = self.compile(
            gateway(tls, self.frontend("caCertificateRefs: [{name: ca, kind: ConfigMap}]")),
            secret("cert"), config_map("ca"),
        )
        settings = self.loaded(result).listeners[0].tls
        assert settings is not None
        self.assertIsNone(settings.client_validation)
