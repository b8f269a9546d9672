"""Gateways become native listeners and conditions."""
from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from edgegw.config.faults import Report
from edgegw.config.native import load_document
from edgegw.config.plain_data import nodes_of
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.gateway_classes import SUPPORTED_FEATURES, class_statuses
from edgegw.gateway_api.gateway_status import gateway_status, withdraw
from edgegw.gateway_api.gateways import CompiledGateways, compile_gateways
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.objects import Object
from edgegw.model import Gateway, Protocol, ValidationMode
from edgegw.registry import Registry
from tests.config_documents import CA, SERVER, issue
from tests.gateway_objects import config_map, objects_of, secret, standing

GOOD = ("True", "Accepted")
NO_CONFLICT = ("False", "NoConflicts")
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
        made = load_document(
            nodes_of(document), "/nowhere/x.yaml", report, find_plugins=Registry, make_environment=_environment
        )
        return made.gateway

    def statuses(self, result: CompiledGateways) -> list[dict[str, Any]]:
        """Give the status of each Gateway, each condition with the generation."""
        found = [dict(gateway_status(state).status) for state in result.states]
        for status in found:
            for conditions in [status["conditions"], *[one["conditions"] for one in status["listeners"]]]:
                self.assertEqual({one["observedGeneration"] for one in conditions}, {7})
                self.assertLessEqual(len(conditions), 8)
                for one in conditions:
                    self.assertNotIn("-----", one["message"])
        return found

    def of_listener(self, result: CompiledGateways, name: str, number: int = 0) -> dict[str, tuple[str, str]]:
        """Give the conditions of a listener."""
        (found,) = [one for one in self.statuses(result)[number]["listeners"] if one["name"] == name]
        return standing(found["conditions"])

    def message(self, result: CompiledGateways, name: str, condition: str, number: int = 0) -> str:
        """Give the message of a condition of a listener."""
        (found,) = [one for one in self.statuses(result)[number]["listeners"] if one["name"] == name]
        return str(next(one["message"] for one in found["conditions"] if one["type"] == condition))


class _Environment:
    def holds(self, built: object) -> None:
        pass


def _environment(name: str, place: str) -> Any:
    return _Environment()


class ListenerTests(GatewayTestCase):
    """What a single Gateway's listeners become."""

    def test_plain_listeners(self) -> None:
        """HTTP and HTTPS listeners are served as they are written."""
        secure = https(more="hostname: '*.Example.com'")
        result = self.compile(gateway(f"{http()}, {secure}"), secret("cert"))
        self.assertEqual([entry["name"] for entry in result.listeners], ["default/public/http", "default/public/https"])

    def test_no_gateway(self) -> None:
        """Without Gateways there is nothing."""
        self.assertEqual(self.compile().listeners, [])
