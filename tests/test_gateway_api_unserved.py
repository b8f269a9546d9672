"""Gateways and routes that are nobody's here."""
from __future__ import annotations

from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.compiling import compile_objects
from tests.manifests import ManifestTestCase, gateway, route

_CLASS = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: edgegw}
spec: {controllerName: example.com/other}
"""
_HTTP = "name: http, port: 80, protocol: HTTP"


class NobodysTests(ManifestTestCase):
    """What is said of what no condition says anything of."""

    def warnings(self, *documents: str) -> list[str]:
        """Compile documents, and give what is odd of whom."""
        compiled = compile_objects(self.read(*documents).objects, Surroundings())
        return [f"{one}: {problem}" for one, problem in compiled.warnings]

    def test_ours(self) -> None:
        """Of what is served nothing is said."""
        self.assertEqual(self.warnings(gateway(_HTTP), route()), [])

    def test_of_others(self) -> None:
        """Gateways of another controller are named, and routes that name no Gateway of ours."""
        first, second = self.warnings(_CLASS, gateway(_HTTP), route())
        gateway_class = "the controller of GatewayClass edgegw is not edgegw.io/gateway-controller"
        self.assertEqual(first, f"Gateway default/gw: is not served: {gateway_class}")
        self.assertEqual(
            second, "HTTPRoute default/r: is not served: its parentRefs name no Gateway that is served here"
        )

    def test_parents_of_other_kinds(self) -> None:
        """A Service of the Gateway's name is no Gateway, and one in another namespace is another one."""
        for parent in ('{name: gw, kind: Service, group: ""}', "{name: gw, namespace: other}"):
            (warning,) = self.warnings(gateway(_HTTP), route().replace("{name: gw}", parent))
            self.assertIn("HTTPRoute default/r: is not served", warning)
