"""OCSP stapling from the configuration to the handshake."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from edgegw.observe.plugin_counters import PluginCounters
from edgegw.service import GatewayService
from edgegw.tap import read
from tests.gateway import SERVER, Authority, Issued, in_thread, until
from tests.tls_peers import connect

reactor: Any = global_reactor


class Responder(Resource):
    """Says of every certificate of one authority that it is good."""

    isLeaf = True

    def __init__(self, authority: Authority) -> None:
        super().__init__()
        self.authority = authority
        self.asked = 0

    def answer(self, leaf: x509.Certificate) -> bytes:
        """Make a response about a certificate."""
        now = datetime.now(UTC)
        builder = ocsp.OCSPResponseBuilder().add_response(
            leaf, self.authority.certificate, SHA256(), ocsp.OCSPCertStatus.GOOD, now - timedelta(minutes=5),
            now + timedelta(hours=1), None, None,
        ).responder_id(ocsp.OCSPResponderEncoding.HASH, self.authority.certificate)
        key: Any = self.authority.key
        return builder.sign(key, SHA256()).public_bytes(Encoding.DER)

    def render_POST(self, request: Request) -> bytes:  # Twisted's name
        """Answer about the one certificate that there is."""
        self.asked += 1
        request.setHeader(b"content-type", b"application/ocsp-response")
        return self.answer(self.leaf)

    render_GET = render_POST
    leaf: x509.Certificate


class StapledTests(TestCase):
    """What a client that asks for the status gets."""

    def setUp(self) -> None:
        self.root = Authority()
        self.responder = Responder(self.root)
        site = Site(self.responder)
        site.noisy = False
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        url = f"http://127.0.0.1:{self.port.getHost().port}/"
        access = x509.AuthorityInformationAccess(
            [x509.AccessDescription(x509.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))]
        )
        self.server = self.root.issue("server", dns=["a.example"], usages=SERVER, extensions=[(access, False)])
        self.responder.leaf = self.server.certificate
        self.write(self.server)

    def write(self, server: Issued) -> None:
        """Write the server's certificate and key."""
        (self.folder / "server.pem").write_bytes(server.pem + self.root.pem)
        key = self.folder / "server.key"
        key.write_bytes(server.key_pem)
        key.chmod(0o600)

    async def start(self, tls: str) -> GatewayService:
        """Start a service with these TLS settings beside the certificate."""
        config = self.folder / "edgegw.yaml"
        config.write_text(f"admin: disabled\nlisteners:\n  - {{name: a, address: 127.0.0.1, port: 0, tls: {tls}}}\n")
        counters = PluginCounters()
        service = GatewayService(
            reactor, lambda: read(str(config), counters), counters=counters, take_signals=False
        )
        service.startService()
        self.addCleanup(service.stopService)
        await until(lambda: service.ready)
        return service

    async def shown(self, service: GatewayService) -> bytes:
        """Give what a client is shown that asks for the status."""
        (port,) = service.ports.values()
        host = port.getHost()

        def visit() -> bytes:
            got: list[bytes] = []
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)

            def take(connection: SSL.Connection, response: bytes, data: object) -> bool:
                got.append(response)
                return True

            context.set_ocsp_client_callback(take)
            with connect((host.host, host.port)) as plain:
                client = SSL.Connection(context, plain)
                client.set_tlsext_host_name(b"a.example")
                client.request_ocsp()
                client.set_connect_state()
                client.do_handshake()
            return got[0]

        return await in_thread(visit)

    async def becomes(self, service: GatewayService, wanted: bytes) -> None:
        """Wait until a response about the right certificate is shown."""
        while True:
            response = await self.shown(service)
            if response and (not wanted or response == wanted):
                break
            pause: Deferred[None] = Deferred()
            reactor.callLater(0.02, pause.callback, None)
            await pause
        answered = ocsp.load_der_ocsp_response(response)
        self.assertEqual(answered.serial_number, self.responder.leaf.serial_number)

    async def test_fetched(self) -> None:
        """The responder that the certificate names is asked, and its word is shown, over a reload too."""
        service = await self.start(
            "{ocsp_stapling: true, certificates: [{certificate: server.pem, private_key: server.key}]}"
        )
        await self.becomes(service, b"")
        self.assertEqual(self.responder.asked, 1)
        self.assertTrue(await service.reload())
        self.assertNotEqual(await self.shown(service), b"")
        self.assertEqual(self.responder.asked, 1)

    async def test_off(self) -> None:
        """Nobody is asked where that is not wanted."""
        service = await self.start("{certificates: [{certificate: server.pem, private_key: server.key}]}")
        self.assertEqual((await self.shown(service), self.responder.asked), (b"", 0))

    async def test_from_a_file(self) -> None:
        """A file with a response is shown, and followed as it changes; one that is about nothing is not."""
        path = self.folder / "server.ocsp"
        first = self.responder.answer(self.server.certificate)
        path.write_bytes(first)
        service = await self.start(
            "{certificates: [{certificate: server.pem, private_key: server.key, ocsp_response: server.ocsp}]}"
        )
        await self.becomes(service, first)
        second = self.responder.answer(self.server.certificate)
        (self.folder / "new").write_bytes(second)
        (self.folder / "new").rename(path)
        await self.becomes(service, second)
        self.assertEqual(self.responder.asked, 0)

    async def test_renewed_certificate(self) -> None:
        """A certificate that its source renews is shown with a response of its own."""
        service = await self.start(
            "{ocsp_stapling: true, "
            "certificates: [{source: {files: {certificate: server.pem, private_key: server.key}}}]}"
        )
        await self.becomes(service, b"")
        extension = self.server.certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        newer = self.root.issue("server", dns=["a.example"], usages=SERVER, extensions=[(extension, False)])
        self.responder.leaf = newer.certificate
        self.write(newer)
        await until(lambda: self.responder.asked == 2, 20.0)
        while True:
            response = await self.shown(service)
            if response and ocsp.load_der_ocsp_response(response).serial_number == newer.certificate.serial_number:
                break
