"""The gateway's own certificates are shown with fresh OCSP responses, and with no others."""
from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.api import HTTPAnswer, HTTPUnavailable
from edgegw.certificate import Certificate
from edgegw.http_client import HTTPClient
from edgegw.model import ServerCertificate
from edgegw.testing import SERVER, Authority, Issued
from edgegw.tls.staples import Staple, Stapling, must_staple, read_staple
from edgegw.tls.stapling import Stapler
from tests.gateway import run, server_certificate, until
from tests.http_service import Asked, reply, start_service
from tests.revocation_parts import HOUR, Environment, Responder, delegate, directory, ocsp_at

URL = "http://ocsp.example/"
MUST = x509.TLSFeature([x509.TLSFeatureType.status_request]), False


class Network:
    """What the responder's host answers; it may be away, or hold answers back.

    :ivar asked: how often it was asked.
    """

    def __init__(self, responder: Callable[[bytes], bytes]) -> None:
        self.responder = responder
        self.away = False
        self.held: list[Deferred[None]] | None = None
        self.asked: list[str] = []

    def __call__(self, request: Any) -> Any:
        self.asked.append(request.url)
        if self.away:
            raise HTTPUnavailable("connection refused")
        encoded = request.url.rpartition("/")[2]
        data = request.body or b64decode(unquote(encoded))
        if self.held is None:
            return HTTPAnswer(200, {}, self.responder(data))
        self.held.append(Deferred())
        return self.later(self.held[-1], data)

    async def later(self, waiting: Deferred[None], data: bytes) -> HTTPAnswer:
        """Answer when that fires."""
        await waiting
        return HTTPAnswer(200, {}, self.responder(data))


def contexts(*issued: Issued) -> SSL.Context:
    """Make a server's context with certificates of several key types."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    for one in issued:
        context.use_certificate(one.certificate)
        context.use_privatekey(one.key)
    return context


def shown_to_client(server: SSL.Context, ciphers: bytes | None = None) -> tuple[bytes, bytes]:
    """Shake hands as a client that asks for a response; gives the certificate's DER and the response."""
    got: list[bytes] = []
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_ocsp_client_callback(lambda connection, response, data: got.append(response) or True)
    if ciphers is not None:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(ciphers)
    ends = SSL.Connection(context), SSL.Connection(server)
    ends[0].request_ocsp()
    ends[0].set_connect_state()
    ends[1].set_accept_state()
    for _ in range(6):
        for one, other in (ends, ends[::-1]):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                other.bio_write(one.bio_read(65_536))
            except SSL.WantReadError:
                pass
    certificate = ends[0].get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate.public_bytes(Encoding.DER), got[0] if got else b""


class StaplerCase(SynchronousTestCase):
    """A certificate that names a responder, and a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.began = datetime.now(UTC).replace(microsecond=0)
        self.ca = Authority("ca")
        self.inter = Authority("inter", self.ca)
        self.issued = self.issue()
        self.certificate = server_certificate(self.issued, "edge")
        self.responder = Responder(self.inter)
        self.responder.begin, self.responder.end = self.began, self.began + 8 * HOUR
        self.network = Network(self.responder)
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)

    def note(self, event: Any) -> None:
        """Keep what stapling logs."""
        if event.get("log_namespace") == "edgegw.tls.stapling":
            self.events.append(event)

    def told(self) -> list[str]:
        """Give what was logged since the last time."""
        told = [formatEvent(event) for event in self.events]
        self.events.clear()
        return told

    def issue(self, *extensions: Any, authority: Authority | None = None, url: str = URL, key: str = "EC") -> Issued:
        """Issue a certificate of the gateway's."""
        given = [*extensions, ocsp_at(url)] if url else list(extensions)
        return (authority or self.inter).issue("a", dns=["a.example"], usages=SERVER, extensions=given, key=key)

    def start(self, *staplings: Stapling, issuers: tuple[bytes, ...] = ()) -> Stapler:
        """Make a stapler; without arguments, for the certificate."""
        client = Environment(http=self.network).http()
        stapler = Stapler(self.clock, client, self.now, lambda low, high: 1.0)
        stapler.use(staplings or [Stapling(self.certificate)], issuers)
        self.addCleanup(stapler.stop)
        return stapler

    def now(self) -> datetime:
        """Give the time of the clock."""
        return self.began + timedelta(seconds=self.clock.seconds())

    def shown(self, stapler: Stapler, issued: Issued | None = None) -> bytes:
        """Give what a client gets."""
        context = contexts(issued or self.issued)
        context.set_ocsp_server_callback(stapler.callback)
        return shown_to_client(context)[1]

    def good(self, response: bytes) -> bool:
        """Whether a response says that the certificate is good."""
        read = ocsp.load_der_ocsp_response(response)
        self.assertEqual(read.serial_number, self.issued.certificate.serial_number)
        return read.certificate_status is ocsp.OCSPCertStatus.GOOD

    def pass_time(self, seconds: float, step: float = 30.0) -> None:
        """Let time pass in steps."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(step, end - self.clock.seconds()))


class FetchTests(StaplerCase):
    """Responses are fetched and kept fresh."""

    def test_shown(self) -> None:
        """A client that asks gets a response that says that the certificate is good."""
        stapler = self.start()
        self.assertTrue(self.good(self.shown(stapler)))
        self.assertEqual((stapler.asked, stapler.stapled, len(self.network.asked)), (1, 1, 1))
        self.assertEqual(stapler.first_end, self.responder.end)
        self.assertEqual((self.told(), stapler.problems), ([], {}))

    def test_without_nonce(self) -> None:
        """A short request goes out with GET, so that caches on the way can answer it."""
        self.start()
        self.assertTrue(self.network.asked[0].startswith(URL + "M"))
        self.assertEqual(len(self.responder.requests[0].extensions), 0)

    def test_refreshed(self) -> None:
        """It is fetched again when half of its time is over, and the new one is shown."""
        stapler = self.start()
        first = self.shown(stapler)
        self.pass_time(4 * 3600 - 60)
        self.assertEqual(len(self.network.asked), 1)
        self.responder.begin, self.responder.end = self.now(), self.now() + 8 * HOUR
        self.pass_time(120)
        self.assertEqual(len(self.network.asked), 2)
        self.assertNotEqual(self.shown(stapler), first)

    def test_refreshed_late(self) -> None:
        """A responder that keeps its answers until the end is asked again ever sooner, and not all the time."""
        stapler = self.start()
        self.pass_time(8 * 3600 - 1)
        self.assertTrue(self.shown(stapler))
        self.assertLess(len(self.network.asked), 15)

    def test_varied(self) -> None:
        """Waits vary by a tenth, so that many certificates do not come at once."""
        client = Environment(http=self.network).http()
        for vary, wanted in ((min, 0.9), (max, 1.1)):
            clock = Clock()
            stapler = Stapler(clock, client, self.now, vary)
            stapler.use([Stapling(self.certificate)])
            (call,) = clock.getDelayedCalls()
            self.assertLess(abs(call.getTime() - 4 * 3600 * wanted), 2)
            stapler.stop()

    def test_away(self) -> None:
        """While the responder is away the response is shown until it expires; tries come at growing intervals."""
        stapler = self.start()
        self.network.away = True
        self.pass_time(4 * 3600 + 15)
        self.assertEqual(len(self.told()), 1)
        self.assertEqual(len(self.network.asked), 2)
        # After 30, 60, 120, 240, 480 and 960 seconds.
        self.pass_time(3600)
        self.assertEqual(len(self.network.asked), 8)
        self.assertTrue(self.shown(stapler))
        self.pass_time(3 * 3600 + 60)
        self.assertEqual(self.shown(stapler), b"")
        self.assertIn("nothing is stapled", self.told()[-1])
        self.network.away = False
        self.responder.begin, self.responder.end = self.now(), self.now() + 8 * HOUR
        self.pass_time(3600)
        self.assertTrue(self.shown(stapler))
        self.assertEqual(self.told(), ["edge: an OCSP response is stapled again"])

    def test_not_good(self) -> None:
        """A response that says revoked or unknown, or that is none, is told of and not shown."""
        serial = self.issued.certificate.serial_number
        self.responder.revoked.add(serial)
        stapler = self.start()
        self.assertEqual(self.shown(stapler), b"")
        self.assertIn("is revoked on 2026-01-31", self.told()[0])
        self.responder.revoked.clear()
        self.responder.unknown.add(serial)
        self.assertEqual(self.shown(self.start()), b"")
        self.responder.unknown.clear()
        self.network.responder = lambda request: b"junk"
        self.assertEqual(self.shown(self.start()), b"")
        self.network.responder = Responder(Authority("inter"))
        self.assertEqual(self.shown(self.start()), b"")

    def test_revoked_later(self) -> None:
        """When the certificate is revoked the good response goes on to be shown only until it expires."""
        stapler = self.start()
        self.responder.revoked.add(self.issued.certificate.serial_number)
        self.pass_time(4 * 3600 + 60)
        self.assertTrue(self.good(self.shown(stapler)))
        self.assertIn("is revoked", self.told()[0])
        self.pass_time(4 * 3600)
        self.assertEqual(self.shown(stapler), b"")

    def test_no_next_update(self) -> None:
        """A response that does not say until when it holds is shown for an hour and fetched again before that."""
        self.responder.end = None
        stapler = self.start()
        for _ in range(4):
            self.assertTrue(self.shown(stapler))
            self.responder.begin = self.now() + timedelta(seconds=1790)
            self.pass_time(1800)
        self.assertEqual(len(self.network.asked), 5)

    def test_delegate(self) -> None:
        """A responder that speaks for the CA is taken, whether or not it could be revoked itself."""
        for no_check in (True, False):
            self.responder.signer = delegate(self.inter, no_check)
            self.assertTrue(self.shown(self.start()))

    def test_configured_responder(self) -> None:
        """A responder of the configuration is asked in place of the certificate's."""
        self.start(Stapling(self.certificate, responder="http://other.example/ocsp"))
        self.assertTrue(self.network.asked[0].startswith("http://other.example/ocsp/"))

    def test_issuer(self) -> None:
        """The issuer is found in the chain or among the other CAs; without it nobody can be asked, which is told."""
        self.responder.authority = self.ca
        self.issued = self.issue(authority=self.ca)
        self.certificate = server_certificate(self.issued, "edge")
        self.assertEqual(self.shown(self.start()), b"")
        self.assertIn("edge: no new OCSP response: its issuer's certificate is not at hand", self.told()[0])
        self.assertTrue(self.shown(self.start(issuers=(Authority("ca").pem, b"junk", self.inter.pem, self.ca.pem))))

    def test_issuer_that_comes_later(self) -> None:
        """A configuration that has the issuer at last has the response fetched, and a fault that stays is told once."""
        self.responder.authority = self.ca
        self.issued = self.issue(authority=self.ca)
        self.certificate = server_certificate(self.issued, "edge")
        stapler = self.start()
        stapler.use([Stapling(self.certificate)])
        self.assertEqual((self.shown(stapler), len(self.told())), (b"", 1))
        stapler.use([Stapling(self.certificate)], [self.ca.pem])
        self.assertTrue(self.shown(stapler))
        self.assertEqual(stapler.problems, {})
        asked = len(self.network.asked)
        stapler.use([Stapling(self.certificate)], [self.ca.pem])
        self.assertEqual(len(self.network.asked), asked)

    def test_must_staple(self) -> None:
        """A certificate that clients refuse without a response, and that has none, is an error in the log."""
        self.assertTrue(must_staple(Certificate(self.issue(MUST).der)))
        self.assertFalse(must_staple(Certificate(self.issued.der)))
        self.start(Stapling(server_certificate(self.issue(url=""), "plain")))
        self.assertEqual(self.told(), [])
        self.start(Stapling(server_certificate(self.issue(MUST, url=""), "must")))
        self.assertEqual(self.events[0]["log_level"], LogLevel.error)
        self.assertIn("must: no OCSP response, and clients may refuse the certificate", self.told()[0])
        self.network.away = True
        stapler = self.start(Stapling(server_certificate(self.issue(MUST), "must")))
        self.assertEqual(self.events[0]["log_level"], LogLevel.error)
        self.assertIn("connection refused", stapler.problems["must"])

    def test_odd_urls(self) -> None:
        """A responder that cannot be asked is told of."""
        self.start(Stapling(server_certificate(self.issue(url="ldap://ocsp.example/"), "edge")))
        self.assertIn("'ldap://ocsp.example/' cannot be asked", self.told()[0])
        self.assertEqual(self.network.asked, [])

    def test_stop(self) -> None:
        """Nothing is left when it has ended, whatever was under way."""
        self.network.held = []
        stapler = self.start()
        self.assertEqual(len(self.network.held), 1)
        stapler.stop()
        self.network.held[0].callback(None)
        self.network.held = None
        other = self.start()
        other.stop()
        other.use([Stapling(self.certificate)])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.told(), [])


class ChoiceTests(StaplerCase):
    """Each certificate is shown with its own response."""

    def test_key_types(self) -> None:
        """Of two certificates in one context the response is that of the one which the client gets."""
        other = self.issue(key="RSA")
        stapler = self.start(Stapling(self.certificate), Stapling(server_certificate(other, "rsa")))
        context = contexts(self.issued, other)
        context.set_ocsp_server_callback(stapler.callback)
        for kind, issued in ((b"ECDSA", self.issued), (b"RSA", other)):
            der, response = shown_to_client(context, b"ECDHE-%b-AES128-GCM-SHA256" % kind)
            self.assertEqual(der, issued.der)
            found = ocsp.load_der_ocsp_response(response).serial_number
            self.assertEqual(found, issued.certificate.serial_number)

    def test_unknown(self) -> None:
        """A certificate that is not looked after is shown without a response."""
        self.assertEqual(self.shown(self.start(), self.issue()), b"")

    def test_nothing_raised(self) -> None:
        """Whatever happens in the callback, the handshake goes on without a response."""
        stapler = self.start()
        self.assertEqual(stapler.callback(None), b"")  # type: ignore[arg-type]
        self.assertEqual(len(self.told()), 1)
        self.flushLoggedErrors()

    def test_reload(self) -> None:
        """What is looked after already keeps its response, what is new is fetched, what is gone is forgotten."""
        other = self.issue()
        stapler = self.start()
        stapler.use([Stapling(self.certificate), Stapling(server_certificate(other, "other"))])
        self.assertEqual(len(self.network.asked), 2)
        self.assertTrue(self.shown(stapler))
        self.assertTrue(self.shown(stapler, other))
        self.network.away = True
        stapler.use([Stapling(self.certificate, responder="http://new.example/")])
        self.assertTrue(self.shown(stapler))
        self.assertEqual(self.shown(stapler, other), b"")
        stapler.use([])
        self.assertEqual(self.shown(stapler), b"")
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FileTests(StaplerCase):
    """Responses that come from files."""

    def staple(self, **given: Any) -> Staple:
        """Read what a file has about the certificate."""
        return read_staple(self.certificate, self.responder(self.request()), now=self.now(), **given)

    def request(self) -> bytes:
        """Make a request about the certificate."""
        builder = ocsp.OCSPRequestBuilder()
        made = builder.add_certificate(self.issued.certificate, self.inter.certificate, hashes.SHA1())
        return made.build().public_bytes(Encoding.DER)

    def test_given(self) -> None:
        """A response of a file is shown until it expires, which is told; nobody is asked."""
        stapler = self.start(Stapling(self.certificate, fetch=False))
        self.assertEqual(self.shown(stapler), b"")
        stapler.give(self.certificate, self.staple())
        self.assertTrue(self.good(self.shown(stapler)))
        self.pass_time(8 * 3600 - 60)
        self.assertTrue(self.shown(stapler))
        self.pass_time(120)
        self.assertEqual(self.shown(stapler), b"")
        self.assertEqual(self.told(), ["edge: no new OCSP response: the response has expired; nothing is stapled"])
        self.responder.end = self.now() + 8 * HOUR
        stapler.give(self.certificate, self.staple())
        self.assertTrue(self.shown(stapler))
        stapler.give(server_certificate(self.issue()), self.staple())
        self.assertEqual(self.network.asked, [])

    def test_refused(self) -> None:
        """A file with something else in it, an old response or one that is not good is a fault."""
        for data, wanted in ((b"", "OCSP response"), (self.issued.der, "OCSP response")):
            self.assertIn(wanted, str(self.assertRaises(ValueError, read_staple, self.certificate, data)))
        other = server_certificate(self.issue())
        good = self.responder(self.request())
        error = self.assertRaises(ValueError, read_staple, other, good)
        self.assertIn("about another certificate", str(error))
        error = self.assertRaises(ValueError, read_staple, self.certificate, good, now=self.now() + 9 * HOUR)
        self.assertIn("holds only until", str(error))
        self.responder.revoked.add(self.issued.certificate.serial_number)
        error = self.assertRaises(ValueError, self.staple)
        self.assertIn("the certificate is revoked", str(error))
        rootless = ServerCertificate("edge", self.issued.pem, b"", (), (), "EC", self.began)
        error = self.assertRaises(ValueError, read_staple, rootless, good)
        self.assertIn("add it to the file", str(error))
        self.assertTrue(read_staple(rootless, good, [self.inter.pem]).der)


class ServerTests(TestCase):
    """A real responder, and OpenSSL as the client."""

    async def test_fetched_from_a_server(self) -> None:
        """What is fetched over HTTP is what ``openssl`` takes for a good response."""
        ca = Authority("ca")
        responder = Responder(ca)

        def answer(asked: Asked) -> bytes:
            data = asked.body or b64decode(unquote(asked.line.split(" ")[1].rpartition("/")[2]))
            return reply(responder(data), content_type="application/ocsp-response")

        service = start_service(self, answer)
        issued = ca.issue("a", dns=["a.example"], usages=SERVER, extensions=[ocsp_at(service.url)])
        client = HTTPClient(global_reactor, None, 4)
        self.addCleanup(client.close)
        stapler = Stapler(global_reactor, client)
        self.addCleanup(stapler.stop)
        stapler.use([Stapling(server_certificate(issued))], [ca.pem])
        await until(lambda: stapler.first_end is not None)
        context = contexts(issued)
        context.set_ocsp_server_callback(stapler.callback)
        _, response = shown_to_client(context)
        path = directory(self)
        ca_file, _ = ca.write(path)
        own_file, _ = issued.write(path, "own")
        (path / "response.der").write_bytes(response)
        done = await run(
            "openssl", "ocsp", "-respin", str(path / "response.der"), "-issuer", ca_file, "-cert", own_file, "-CAfile",
            ca_file, "-no_nonce",
        )  # fmt: skip
        self.assertIn("Response verify OK", done.text)
        self.assertIn(f"{own_file}: good", done.text)
