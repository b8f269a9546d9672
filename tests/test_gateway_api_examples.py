"""A guide's two ways of mutual TLS as Gateways: what is passed through, and what ends at the gateway."""
from __future__ import annotations

import base64
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography.x509 import Certificate
from twisted.trial.unittest import TestCase

from edgegw.config import ConfigError, Loaded
from edgegw.configuration import Configuration, manifest_settings
from tests.gateway import (
    CLIENT,
    SERVER,
    Authority,
    Issued,
    RecordedRequest,
    RunningGateway,
    answer,
    client_context,
    closing,
    get,
    in_thread,
    start_gateway,
    start_upstream,
    talk,
)
from tests.tls_upstreams import server_context, start_tls_upstream

#: The guide's two examples as they are printed: parts of a Gateway.
PASSTHROUGH = """\
listeners:
  - name: https-mtls
    protocol: HTTPS
    port: 443
    tls:
      mode: Passthrough  # Backend handles mTLS
"""
TERMINATE = """\
listeners:
  - name: https-terminate
    protocol: HTTPS
    port: 8443
    tls:
      mode: Terminate
      certificateRefs:
        - name: server-cert
          kind: Secret
      # Client certificate validation is provider-specific
"""
GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: mutual-tls
spec:
  gatewayClassName: edgegw
"""
#: What the guide leaves to the provider, in the Gateway API's own words.
FRONTEND = """\
  tls:
    frontend:
      default:
        validation:
          caCertificateRefs: [{group: "", kind: ConfigMap, name: clients}]
"""
ROUTES = """\
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata:
  name: secure
spec:
  parentRefs: [{name: mutual-tls, sectionName: https-mtls}]
  hostnames: [secure.example.com]
  rules:
    - backendRefs: [{name: secure, port: 443}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: plain
spec:
  parentRefs: [{name: mutual-tls, sectionName: https-terminate}]
  rules:
    - backendRefs: [{name: plain, port: 80}]
"""
NAME = "secure.example.com"


def in_gateway(*parts: str) -> str:
    """Put parts into a Gateway's ``spec``."""
    return GATEWAY + "".join(f"  {line}\n" for part in parts for line in part.splitlines())


class ExampleTests(TestCase):
    """The examples, with a server behind that wants certificates and one that does not."""

    def setUp(self) -> None:
        self.pki, self.clients = Authority("servers"), Authority("clients")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.server = self.pki.issue("server", dns=[NAME], usages=SERVER)
        self.client = self.clients.issue("client", usages=CLIENT)
        self.stranger = Authority("strangers").issue("stranger", usages=CLIENT)

    def write(self, name: str, text: str) -> Path:
        """Write a manifest."""
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path

    def faults(self, path: Path) -> str:
        """Give what is wrong with manifests."""
        with self.assertRaises(ConfigError) as caught:
            Configuration([str(path)]).read()
        return str(caught.exception)

    def load(self, *resolve: str) -> Loaded:
        """Read what was written, as ``edgegw run --resolve`` would."""
        loaded = Configuration([str(self.folder)], manifest_settings(resolve)).read()
        assert loaded.environments is not None
        self.addCleanup(loaded.environments.stop)
        self.assertEqual(list(map(str, loaded.warnings)), [])
        return loaded

    async def start(self, loaded: Loaded) -> RunningGateway:
        """Serve it on free ports of the loopback interface."""
        listeners = [evolve(one, address="127.0.0.1", port=0) for one in loaded.gateway.listeners]
        return await start_gateway(self, evolve(loaded.gateway, listeners=tuple(listeners), admin=None))

    async def ask(self, running: RunningGateway, certificate: Issued | None, **options: Any) -> bytes:
        """Ask for something; empty where the connection fails."""
        try:
            context = client_context(self.pki, certificate, **options)
            return bytes(await in_thread(talk, running.address(), get("/", NAME), context, NAME))
        except (ssl.SSLError, ConnectionError):
            return b""

    def write_certificates(self) -> None:
        """Write the Secret and the ConfigMap that the Gateway refers to."""
        data = {"tls.crt": self.server.chain_pem, "tls.key": self.server.key_pem}
        encoded = "".join(f"  {key}: {base64.b64encode(value).decode()}\n" for key, value in data.items())
        head = "apiVersion: v1\nkind: Secret\nmetadata: {name: server-cert}\ntype: kubernetes.io/tls\n"
        self.write("secret.yaml", f"{head}data:\n{encoded}")
        indented = "".join(f"    {line}\n" for line in self.clients.pem.decode().splitlines())
        head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: clients}\n"
        self.write("configmap.yaml", f"{head}data:\n  ca.crt: |\n{indented}")

    def test_passthrough_as_printed(self) -> None:
        """An API server would refuse it; the fault says where it is, and both ways to mend it."""
        path = self.write("gateway.yaml", in_gateway(PASSTHROUGH))
        self.assertEqual(
            self.faults(path),
            f"{path}:12:15: Gateway default/mutual-tls: spec.listeners[0].tls.mode: Passthrough does not go with "
            "protocol HTTPS, which ends TLS at the gateway; write protocol: TLS and route by TLSRoutes, or "
            "mode: Terminate with certificateRefs",
        )

    def test_parts_as_printed(self) -> None:
        """Whoever saves an example as it stands is told what belongs around it."""
        for part in (PASSTHROUGH, TERMINATE):
            self.write("listeners.yaml", part)
            text = self.faults(self.folder)
            self.assertIn("listeners.yaml:1:1: is no object: it has no apiVersion and no kind", text)
            self.assertIn("put it under spec of a Gateway: apiVersion: gateway.networking.k8s.io/v1", text)

    async def test_passthrough_mended(self) -> None:
        """With protocol TLS and a TLSRoute the server behind sees the client's own certificate, and refuses others."""
        self.write("gateway.yaml", in_gateway(PASSTHROUGH.replace("protocol: HTTPS", "protocol: TLS")))
        self.write("routes.yaml", ROUTES.partition("---\n")[0])
        context = server_context(self.server, self.clients.certificate)
        seen: list[Certificate] = []

        def script(request: RecordedRequest) -> bytes:
            seen.append(request.talk.transport.getHandle().get_peer_certificate(as_cryptography=True))
            request.talk.transport.write(answer(b"from behind"))
            request.talk.transport.loseConnection()
            return b""

        upstream = start_tls_upstream(self, context, script)
        running = await self.start(self.load(f"secure.default=127.0.0.1:{upstream.port}"))
        self.assertTrue((await self.ask(running, self.client)).endswith(b"from behind"))
        self.assertEqual(seen, [self.client.certificate])
        for certificate in (None, self.stranger):
            self.assertEqual(await self.ask(running, certificate), b"")
        self.assertEqual(len(seen), 1)

    async def serve_terminated(self, *parts: str) -> RunningGateway:
        """Serve the second example."""
        self.write_certificates()
        self.write("gateway.yaml", in_gateway(TERMINATE) + "".join(parts))
        self.write("routes.yaml", ROUTES.partition("---\n")[2])
        upstream = start_upstream(self, closing(b"plain"))
        loaded = self.load(f"plain.default=127.0.0.1:{upstream.port}")
        self.assertEqual(_conditions(loaded, "Gateway"), ["Accepted", "Programmed", "ResolvedRefs"])
        return await self.start(loaded)

    async def test_terminate_as_printed(self) -> None:
        """As it is printed it asks nobody for a certificate."""
        running = await self.serve_terminated()
        for certificate in (None, self.client, self.stranger):
            self.assertTrue((await self.ask(running, certificate)).endswith(b"plain"))

    async def test_terminate_with_validation(self) -> None:
        """With the frontend's validation a certificate of the CA is what lets a client in, in both versions of TLS."""
        running = await self.serve_terminated(FRONTEND)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.assertTrue((await self.ask(running, self.client, version=version)).endswith(b"plain"))
            for certificate in (None, self.stranger):
                self.assertEqual(await self.ask(running, certificate, version=version), b"")


def _conditions(loaded: Loaded, kind: str) -> Sequence[str]:
    """Give the types of conditions that are true of the only object of a kind."""
    (status,) = (one.status for one in loaded.statuses or () if one.object.kind == kind)
    return sorted(one["type"] for one in status["conditions"] if one["status"] == "True")
