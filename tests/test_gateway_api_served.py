"""Gateways as clients meet them: client certificates, pins, and names of listeners that cannot be served."""
from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

from edgegw.config.faults import Report
from edgegw.config.native import load_document
from edgegw.config.plain_data import nodes_of
from edgegw.environment import Environments
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.gateways import compile_gateways
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.registry import Registry
from tests.config_documents import Issued
from tests.gateway import (
    CLIENT,
    SERVER,
    Authority,
    RunningGateway,
    answer,
    client_context,
    gateway,
    get,
    in_thread,
    start_gateway,
    start_upstream,
    talk,
)
from tests.gateway_objects import config_map, secret

reactor: Any = global_reactor
OK = b"HTTP/1.1 200"


def listener(name: str, hostname: str | None = None, cert: str = "https-cert", **options: str) -> dict[str, Any]:
    """Write an HTTPS listener; ``options`` are kgateway's, with underscores for hyphens."""
    written = {f"kgateway.dev/{key.replace('_', '-')}": value for key, value in options.items()}
    tls = {
        "mode": "Terminate",
        "certificateRefs": [{"group": "", "kind": "Secret", "name": cert}],
        "options": written,
    }
    place = {} if hostname is None else {"hostname": hostname}
    return {"name": name, "port": 8443, "protocol": "HTTPS", **place, "tls": tls}


class ServedTests(TestCase):
    """A Gateway's listeners on a free port, with everything going to one upstream."""

    def setUp(self) -> None:
        self.pki = Authority()
        server = self.pki.issue("server", dns=["example.com", "*.example.com"], usages=SERVER)
        self.given: list[Object] = [
            secret("https-cert", Issued(server.certificate, server.key), crt=server.chain_pem),
            config_map("ca-cert", self.pki.pem),
        ]

    async def serve(self, *listeners: dict[str, Any], mode: str | None = "AllowValidOnly") -> RunningGateway:
        """Serve a Gateway whose HTTPS listeners ask for certificates in a mode; ``None`` for none."""
        spec: dict[str, Any] = {
            "gatewayClassName": "kgateway",
            "addresses": [{"type": "IPAddress", "value": "127.0.0.1"}],
            "listeners": list(listeners),
        }
        if mode is not None:
            references = [
                {"group": "", "kind": "ConfigMap", "name": one.name} for one in self.given if one.kind == "ConfigMap"
            ]
            spec["tls"] = {"frontend": {"default": {"validation": {"mode": mode, "caCertificateRefs": references}}}}
        content = {"metadata": {"name": "mtls"}, "spec": spec}
        objects = Objects([*self.given, Object(f"{GATEWAY_API}/v1", "Gateway", "default", "mtls", content)])
        result = compile_gateways(objects, Grants(objects), Surroundings())
        document = {"listeners": [{**one, "port": 0} for one in result.listeners]}
        environments = Environments(reactor, "/nowhere", PluginCounters())
        self.addCleanup(environments.stop)
        loaded = load_document(
            nodes_of(document), "/nowhere/x.yaml", Report(""), find_plugins=Registry, make_environment=environments.make
        )
        upstream = start_upstream(self, answer(b"hello"))
        model = gateway(loaded.gateway.listeners, upstream)
        served = {name for one in result.states for each in one.listeners for name in each.native}
        routes = tuple(evolve(route, listeners=tuple(sorted(served))) for route in model.routes)
        return await start_gateway(self, evolve(model, routes=routes))

    async def get(self, running: RunningGateway, certificate: Any = None, name: str = "example.com") -> bytes:
        """Ask for something; empty where there is no answer."""
        context = client_context(None, certificate)
        try:
            got = await in_thread(talk, running.address(), get(host=name), context, name)
        except (ssl.SSLError, ConnectionError):
            return b""
        return bytes(got[: len(OK)])

    async def test_pins_as_printed(self) -> None:
        """The guide's last section: the name and the hash have to be the certificate's, and another name is refused."""
        client = self.pki.issue("client.example.com", dns=["example.com", "*.example.com"], usages=CLIENT)
        other = self.pki.issue("client.example.com", dns=["example.com"], usages=CLIENT)
        digest = sha256(client.certificate.public_bytes(Encoding.DER)).hexdigest().upper()
        printed = ":".join(digest[place : place + 2] for place in range(0, 64, 2))
        running = await self.serve(
            listener("https-8443", verify_subject_alt_names="example.com", verify_certificate_hash=printed)
        )
        self.assertEqual(await self.get(running, client), OK)
        self.assertEqual(await self.get(running, other), b"")
        self.assertEqual(await self.get(running), b"")
        await running.stop()
        running = await self.serve(
            listener("https-8443", verify_subject_alt_names="mtls.com", verify_certificate_hash=printed)
        )
        self.assertEqual(await self.get(running, client), b"")

    async def test_hash_alone(self) -> None:
        """Without any CA exactly the certificate with the hash comes in, whoever has issued it."""
        stranger = Authority("stranger")
        pinned, other = (stranger.issue(name, usages=CLIENT) for name in ("pinned", "other"))
        digest = sha256(pinned.certificate.public_bytes(Encoding.DER)).hexdigest()
        running = await self.serve(listener("https", verify_certificate_hash=digest), mode=None)
        self.assertEqual(await self.get(running, pinned), OK)
        self.assertEqual(await self.get(running, other), b"")
        self.assertEqual(await self.get(running, self.pki.issue("client", usages=CLIENT)), b"")
        self.assertEqual(await self.get(running), b"")

    async def test_broken_listener(self) -> None:
        """A mistake in a listener's pin opens its name to nobody, although another listener takes every name."""
        running = await self.serve(
            listener("all"), listener("secret", "secret.example.com", verify_certificate_hash="x"), mode=None
        )
        self.assertEqual(await self.get(running), OK)
        self.assertEqual(await self.get(running, name="secret.example.com"), b"")
        self.assertEqual(await self.get(running, name="other.example.com"), OK)

    async def test_authorities_that_look_alike(self) -> None:
        """CAs with one name and serial number are told apart, and all of them are tried."""
        first, second, third = Lookalike(), Lookalike(), Lookalike()
        self.given[1:] = [config_map(str(n), one.certificate_pem) for n, one in enumerate((first, second))]
        running = await self.serve(listener("https"))
        for authority, expected in ((first, OK), (second, OK), (third, b"")):
            self.assertEqual(await self.get(running, authority.issue()), expected)
        await running.stop()
        running = await self.serve(listener("https"), mode="AllowInsecureFallback")
        for certificate in (first.issue(), third.issue(), None):
            self.assertEqual(await self.get(running, certificate), OK)


class _Client(Issued):
    @property
    def chain_pem(self) -> bytes:
        return self.pem


class Lookalike:
    """A CA of the same name and serial number as all others, whose certificates do not say whose key has signed."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gatewayapi")])
        self._name = name
        builder = self._builder(name, self._key, 2024).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.certificate_pem = builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def issue(self) -> _Client:
        """Issue a client's certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "default")])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(subject, key, x509.random_serial_number()).add_extension(usage, critical=False)
        return _Client(builder.sign(self._key, SHA256()), key)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, serial: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )
