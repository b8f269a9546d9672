"""Manifests as a gateway loads them: addresses of a pool, listeners that cannot be had, and warnings."""
from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config.native import Loaded
from edgegw.gateway_api.loading import Manifests, load_manifests
from edgegw.gateway_api.manifest_settings import ManifestSettings
from edgegw.gateway_api.objects import Object
from edgegw.model import TLSMode, UnmatchedName
from tests.config_documents import CA
from tests.gateway_objects import config_map, secret, standing

GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: NAME}
spec: {gatewayClassName: edgegw, SPEC}
"""
HTTP = "listeners: [{name: http, port: 80, protocol: HTTP}]"
ROUTE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: app}
spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: web, port: 80}]}]}
"""
# A list without entries is all that it takes to be one.
CRL = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"


def gateway(name: str = "gw", spec: str = HTTP) -> str:
    return GATEWAY.replace("NAME", name).replace("SPEC", spec)


def json_of(made: Object, kind: str) -> str:
    """Write an object as a document."""
    return f"\n---\n{json.dumps({'apiVersion': 'v1', 'kind': kind, **made.content})}\n"


def https(name: str, hostname: str = "", cert: str = "cert", options: str = "", port: int = 443) -> str:
    """Write a listener."""
    place = f", hostname: {hostname}" if hostname else ""
    tls = f"tls: {{certificateRefs: [{{name: {cert}}}], options: {{{options}}}}}"
    return f"{{name: {name}, port: {port}, protocol: HTTPS{place}, {tls}}}"


def _programmed(listener: Mapping[str, Any]) -> bool:
    return standing(listener["conditions"])["Programmed"][0] == "True"


class LoadingTestCase(SynchronousTestCase):
    """Loads manifests."""

    def load(self, text: str, settings: ManifestSettings | None = None) -> Loaded:
        path = Path(self.mktemp())
        path.mkdir()
        (path / "all.yaml").write_text(text, "utf-8")
        manifests = Manifests([str(path)], settings or ManifestSettings())
        return load_manifests(manifests, str(path))[0]

    def warnings(self, text: str) -> list[str]:
        return [f"{one.path}: {one.problem}" for one in self.load(text).warnings]


class AddressTests(LoadingTestCase):
    """Addresses that Gateways are given."""

    def test_pool(self) -> None:
        """Each Gateway that leaves its address to others has its own; none listens everywhere for want of one."""
        text = "".join(
            (
                gateway("a"), gateway("b", f"addresses: [{{type: IPAddress}}], {HTTP}"), gateway("c"),
                gateway("d", f"addresses: [{{value: 127.0.9.1}}], {HTTP}"),
                gateway("e", f"addresses: [{{type: Hostname}}], {HTTP}"),
            )
        )  # fmt: skip
        loaded = self.load(text, ManifestSettings(address_pool=ip_network("127.0.9.0/29")))
        self.assertEqual(
            {one.name: one.address for one in loaded.gateway.listeners},
            {
                "default/a/http": "127.0.9.2", "default/b/http": "127.0.9.3", "default/c/http": "127.0.9.4",
                "default/d/http": "127.0.9.1",
            },
        )  # fmt: skip
        found = {one.object.name: one.status for one in loaded.statuses}
        self.assertEqual(found["b"]["addresses"], [{"type": "IPAddress", "value": "127.0.9.3"}])
        pool = ip_network("127.0.9.0/30")
        found = {one.object.name: one.status for one in self.load(text, ManifestSettings(address_pool=pool)).statuses}
        self.assertEqual(found["a"]["addresses"], [{"type": "IPAddress", "value": "127.0.9.2"}])
        for name in ("b", "c", "e"):
            conditions = standing(found[name]["conditions"])
            self.assertEqual(conditions["Programmed"], ("False", "AddressNotAssigned"))
            self.assertEqual(conditions["Accepted"], ("True", "Accepted"))
            self.assertEqual(found[name]["addresses"], [])
            listener = standing(found[name]["listeners"][0]["conditions"])
            self.assertEqual(listener["Programmed"], ("False", "Pending"))


class RefusedTests(LoadingTestCase):
    """Listeners that cannot be had."""

    def test_their_clients_get_nothing_elsewhere(self) -> None:
        """A less specific listener does not take the names of those with a mistake, whoever has found it."""
        policy = "edgegw.io/policies: '[{unheard_of: {}}]'"
        listeners = (
            https("all"), https("early", "a.example", "none"), https("late", "b.example", options=policy),
            https("apart", "c.example", options=policy, port=8443),
            "{name: http, port: 80, protocol: HTTP}",
            "{name: wrong, port: 80, protocol: HTTP, hostname: 1.2.3.4}",
        )  # fmt: skip
        loaded = self.load(gateway("gw", f"listeners: [{', '.join(listeners)}]") + json_of(secret("cert"), "Secret"))
        self.assertEqual(
            {one.name: (one.hostname, one.mode) for one in loaded.gateway.listeners},
            {
                "default/gw/all": (None, TLSMode.TERMINATE), "default/gw/http": (None, TLSMode.TERMINATE),
                "default/gw/early": ("a.example", TLSMode.PASSTHROUGH),
                "default/gw/late": ("b.example", TLSMode.PASSTHROUGH),
            },
        )  # fmt: skip
        (status,) = (one.status for one in loaded.statuses)
        served = {one["name"]: standing(one["conditions"])["Programmed"][0] for one in status["listeners"]}
        self.assertEqual([name for name, programmed in served.items() if programmed == "True"], ["all", "http"])
        (message,) = (
            one["message"] for one in status["listeners"][3]["conditions"] if one["type"] == "Programmed"
        )
        self.assertIn("there is no policy unheard_of", message)

    def test_by_their_gateway(self) -> None:
        """Nor does another Gateway's, or one on another address, and who names nobody finds what is served."""
        nothing = "infrastructure: {parametersRef: {group: example.com, kind: Parameters, name: p}}, "
        here, both = ("addresses: [{value: 127.0.0.2}], ", "addresses: [{value: 127.0.0.2}, {value: 127.0.0.3}], ")
        wild, own = https("wild", "'*.a.example'"), https("own", "x.a.example")
        late = https("late", "y.a.example", options="edgegw.io/policies: '[{unheard_of: {}}]'")
        text = (
            gateway("a", f"{nothing}{here}listeners: [{https('refused', 'r.a.example')}]")
            + gateway("b", f"{here}listeners: [{own}]")
            + gateway("c", f"{both}listeners: [{wild}, {own}, {late}]")
            + json_of(secret("cert"), "Secret")
        )
        loaded = self.load(text)
        self.assertEqual(
            {one.name: one.mode is TLSMode.TERMINATE for one in loaded.gateway.listeners},
            {
                "default/a/refused": False, "default/b/own": True, "default/c/own/127.0.0.3": False,
                "default/c/wild/127.0.0.2": True, "default/c/wild/127.0.0.3": True,
                "default/c/late/127.0.0.2": False, "default/c/late/127.0.0.3": False,
            },
        )  # fmt: skip
        self.assertEqual(
            {one.bindings: one.unmatched_name for one in loaded.gateway.ports},
            dict.fromkeys([((f"127.0.0.{n}", 443),) for n in (2, 3)], UnmatchedName.DEFAULT_CERTIFICATE),
        )
        statuses = {one.object.name: one.status for one in loaded.statuses}
        self.assertEqual([one["name"] for one in statuses["c"]["listeners"] if _programmed(one)], ["wild"])
        self.assertEqual(standing(statuses["a"]["listeners"][0]["conditions"])["Programmed"], ("False", "Invalid"))

    def test_port_of_the_admin_listener(self) -> None:
        """It is not to be had twice."""
        kind = "apiVersion: edgegw.io/v1alpha1\nkind: Settings"
        admin = f"\n---\n{kind}\nmetadata: {{name: s}}\nspec: {{admin: {{port: 19}}}}\n"
        listeners = "listeners: [{name: a, port: 19, protocol: HTTP}, {name: b, port: 20, protocol: HTTP}]"
        loaded = self.load(gateway("gw", listeners) + admin)
        self.assertEqual([one.name for one in loaded.gateway.listeners], ["default/gw/b"])
        (status,) = (one.status for one in loaded.statuses)
        conditions = standing(status["listeners"][0]["conditions"])
        self.assertEqual(conditions["Accepted"], ("False", "PortUnavailable"))
        self.assertEqual(conditions["Programmed"], ("False", "Invalid"))
        self.assertEqual(standing(status["conditions"])["Accepted"], ("True", "ListenersNotValid"))


class WarningTests(LoadingTestCase):
    """What is odd in the native document, said of the objects that it comes from."""

    def test_missing_backend(self) -> None:
        """The route's condition says it, and nothing else does."""
        said = "GRPCRoute default/app: ResolvedRefs is False (BackendNotFound): rules[0].backendRefs[0]: "
        self.assertEqual(self.warnings(gateway() + ROUTE), [f"{said}there is no Service default/web"])

    def test_revocation_list_beside_a_ca(self) -> None:
        """It is not looked at, which nobody may take for granted."""
        tls = "tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}"
        listener = "{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}"
        base = gateway("gw", f"listeners: [{listener}], {tls}") + json_of(secret("cert"), "Secret")
        for content, warned in ((CA.pem, False), (CA.pem + CRL, True)):
            found = self.warnings(base + json_of(config_map("ca", content), "ConfigMap"))
            said = [one for one in found if "ConfigMap default/ca has a CRL in it, which is not used" in one]
            self.assertEqual([one.startswith("Gateway default/gw: ") for one in said], [True] * warned, found)
