"""Certificates that are renewed while they are shown: when sources are asked, what is taken, that nobody notices."""
from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from threading import Event, Thread
from typing import Any

from attrs import evolve, frozen
from cryptography import x509
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.api import CertificateAndKey
from edgegw.config import Loaded
from edgegw.deadlines import Deadlines
from edgegw.model import (
    CertificateSourceUse,
    ClientValidation,
    HealthCheck,
    Listener,
    Protocol,
    ServerCertificate,
    TLSSettings,
)
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import ListenerMetrics, Metrics
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.proxy.generation import Generation
from edgegw.service import GatewayService
from edgegw.tap import read
from edgegw.testing import FakeEnvironment
from edgegw.tls import sources
from edgegw.tls.context import ContextError
from edgegw.tls.listener import TLSListener
from edgegw.tls.profile import PortProfile
from edgegw.tls.sources import CertificateRenewal
from edgegw.tls.turns import HandshakeTurns
from edgegw.tls.verification import ClientVerification
from tests.gateway import (
    SERVER,
    Authority,
    Issued,
    client_context,
    gateway,
    get,
    https_listener,
    in_thread,
    server_certificate,
    start_gateway,
    start_upstream,
    until,
    validation,
)
from tests.tls_peers import Greeter, try_tls

reactor: Any = global_reactor


class Reactor(Clock):
    """Time that stands still, and threads whose work is done at once or when the test lets them.

    :ivar held: work that waits for :meth:`release`; ``None`` lets none wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Callable[[], None]] | None = None

    def getThreadPool(self) -> Reactor:
        """Give the pool."""
        return self

    def callFromThread(self, function: Any, *args: Any) -> None:
        """Do it now: there is one thread."""
        function(*args)

    def callInThreadWithCallback(self, done: Any, function: Any, *args: Any, **named: Any) -> None:
        """Do some work, or keep it."""

        def work() -> None:
            try:
                result, good = function(*args, **named), True
            except BaseException:
                result, good = Failure(), False
            done(good, result)

        if self.held is None:
            work()
        else:
            self.held.append(work)

    def release(self) -> None:
        """Do the work that was kept."""
        held, self.held = self.held or [], None
        for work in held:
            work()


@frozen
class Kind:
    """As much of a kind as a source's use looks at."""

    name: str = "made_up"


class Source:
    """Yields whatever the test wants it to, or raises it.

    :ivar asked: how often it was.
    """

    def __init__(self, issued: Issued) -> None:
        self.asked = 0
        self.give: Any = pair(issued)

    def load(self) -> Any:
        """Give it."""
        self.asked += 1
        if isinstance(self.give, BaseException):
            raise self.give
        return self.give


def pair(issued: Issued, name: str = "") -> CertificateAndKey:
    """Give a certificate as sources yield it."""
    return CertificateAndKey(issued.chain_pem, issued.key_pem, name)


PKI = Authority()


def issue(*names: str, **options: Any) -> Issued:
    """Issue a server's certificate."""
    return PKI.issue(names[0] if names else "a.example", dns=names or ["a.example"], usages=SERVER, **options)


class RenewalCase(SynchronousTestCase):
    """A listener whose second certificate, for b.example, has a source."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.env = FakeEnvironment()
        self.first = issue("b.example")
        self.source = Source(self.first)
        self.counted: list[tuple[str, str]] = []
        self.metrics = Metrics()
        use = CertificateSourceUse(Kind(), self.source, self.env)
        of_source = evolve(server_certificate(self.first, "made_up"), source=use)
        self.start((server_certificate(issue("a.example"), "files"), of_source))

    def start(
        self,
        certificates: tuple[ServerCertificate, ...],
        client_validation: ClientValidation | None = None,
        **settings: Any,
    ) -> None:
        """Serve certificates."""
        tls = TLSSettings(certificates, client_validation)
        listener = Listener("edge", 0, Protocol.HTTPS, tls=tls, **settings)
        self.metrics.use_gateway(gateway([listener]))
        verification = ClientVerification(client_validation, None, False)
        self.listener = TLSListener(
            listener, ListenerMetrics(), lambda info, refusal=None: Greeter(info), verification, HandshakeRecord(),
            self.reactor,
        )  # fmt: skip
        self.profile = PortProfile(
            [self.listener], Deadlines(self.reactor), HandshakeTurns(self.reactor), lambda: None
        )
        self.renewal = CertificateRenewal(
            self.reactor, self.listener, self.profile, self.metrics, lambda *error: self.counted.append(error)
        )

    def shown(self, name: str | None = "b.example") -> int:
        """Give the serial number of the certificate that a client is shown who asks for a name."""
        context, _ = self.profile.only or (self.listener.certificates.find(name), self.listener)
        assert context is not None
        return serial_shown(context)

    def change(self, give: Any) -> None:
        """Have the source give something else, and say so; then wait until it should have been asked."""
        self.source.give = give
        self.env.changed()
        self.reactor.advance(sources.SETTLE)


def serial_shown(context: SSL.Context) -> int:
    """Shake hands in memory; gives the serial number of the server's certificate."""
    server = SSL.Connection(context, None)
    server.set_accept_state()
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except SSL.Error:
                pass
            try:
                other.bio_write(one.bio_read(65_536))
            except SSL.Error:
                pass
    certificate = client.get_peer_certificate()
    assert certificate is not None
    return certificate.get_serial_number()


class SwapTests(RenewalCase):
    """A new certificate takes the place of the old one."""

    def test_shown(self) -> None:
        """It is shown from then on, the others stay, and the metrics tell when it expires."""
        newer = issue("b.example", "c.example", not_after=datetime(2040, 1, 2, tzinfo=UTC))
        before = self.listener.certificates
        self.change(pair(newer))
        self.assertEqual(self.shown(), newer.certificate.serial_number)
        self.assertEqual(self.shown("c.example"), newer.certificate.serial_number)
        self.assertEqual(
            self.metrics.expiry["server", "made_up", "edge"], datetime(2040, 1, 2, tzinfo=UTC).timestamp()
        )
        self.assertEqual(set(self.metrics.expiry), {("server", "files", "edge"), ("server", "made_up", "edge")})
        self.assertEqual(
            self.env.messages,
            ["edge shows a new certificate, made_up, which expires on 2040-01-02 00:00:00 UTC"],
        )
        # Sessions for other names are resumed as before.
        after = self.listener.certificates
        self.assertIs(after.find("a.example"), before.find("a.example"))
        self.assertIsNot(after.find("b.example"), before.find("b.example"))
        self.assertEqual(serial_shown(before.find("b.example") or after.default), self.first.certificate.serial_number)

    def test_same(self) -> None:
        """The same certificate changes nothing, and costs no new contexts."""
        before = self.listener.certificates
        self.change(pair(self.first))
        self.assertEqual(self.source.asked, 1)
        self.assertIs(self.listener.certificates, before)
        self.assertEqual((self.env.messages, self.counted), ([], []))

    def test_name(self) -> None:
        """A source may call its certificates by names of its own."""
        self.change(pair(issue("b.example"), "vault/b"))
        self.assertEqual({key[1] for key in self.metrics.expiry}, {"files", "vault/b"})

    def test_only(self) -> None:
        """On a port where names make no difference they do as soon as a new certificate makes one."""
        use = CertificateSourceUse(Kind(), self.source, self.env)
        self.start((evolve(server_certificate(self.first), source=use),))
        self.assertIsNotNone(self.profile.only)
        newer = issue("b.example")
        self.change(pair(newer))
        self.assertEqual(self.shown(None), newer.certificate.serial_number)
        assert self.profile.only is not None
        self.assertIs(self.profile.only[0], self.listener.certificates.default)

        other = CertificateSourceUse(Kind(), Source(newer), FakeEnvironment())
        both = (evolve(server_certificate(self.first), source=use), evolve(server_certificate(newer), source=other))
        self.start(both)
        self.assertIsNotNone(self.profile.only)
        rsa = issue("a.example", key="RSA")
        other.source.give = pair(rsa)
        other.environment.changed()
        self.reactor.advance(sources.SETTLE)
        self.assertIsNone(self.profile.only)
        self.assertEqual(self.shown("a.example"), rsa.certificate.serial_number)

    def test_probes(self) -> None:
        """Load balancers' probes without a certificate see the new one too."""
        use = CertificateSourceUse(Kind(), self.source, self.env)
        self.start(
            (evolve(server_certificate(self.first), source=use),), validation(PKI),
            health_check=HealthCheck("/healthz", ()),
        )  # fmt: skip
        newer = issue("b.example")
        self.change(pair(newer))
        probes = self.listener._probes
        assert probes is not None
        self.assertEqual(serial_shown(probes.default), newer.certificate.serial_number)
        self.assertNotEqual(probes.contexts, self.listener.certificates.contexts)

    def test_uris(self) -> None:
        """Upstreams are told the URIs of the certificate that each connection was shown."""
        use = CertificateSourceUse(Kind(), self.source, self.env)
        self.start((evolve(server_certificate(self.first), source=use),))
        self.assertEqual(self.listener._server_uris, ())
        self.change(pair(issue("b.example")))
        self.assertEqual(self.listener._server_uris, ())
        self.change(pair(issue("b.example", uris=["spiffe://example.com/b"])))
        self.assertIsNone(self.listener._server_uris)

    def test_warnings(self) -> None:
        """A certificate that does not cover the listener's name is shown, and that is told."""
        use = CertificateSourceUse(Kind(), self.source, self.env)
        self.start((evolve(server_certificate(self.first), source=use),), hostname="b.example")
        self.change(pair(issue("c.example")))
        self.assertEqual(self.env.messages[1:], ["edge: no certificate has b.example in subjectAltName"])

    def test_two_sources(self) -> None:
        """Two that change at once are both shown."""
        envs = FakeEnvironment(), FakeEnvironment()
        uses = [CertificateSourceUse(Kind(), Source(issue()), env) for env in envs]
        self.start(tuple(evolve(server_certificate(issue(name)), source=use)
                         for name, use in zip(("a.example", "b.example"), uses, strict=True)))  # fmt: skip
        newer = issue("a.example"), issue("b.example")
        for env, use, issued in zip(envs, uses, newer, strict=True):
            use.source.give = pair(issued)
            env.changed()
        self.reactor.held = []
        self.reactor.advance(sources.SETTLE)
        for _ in range(4):
            self.reactor.release()
            self.reactor.held = []
        self.reactor.release()
        for issued, name in zip(newer, ("a.example", "b.example"), strict=True):
            self.assertEqual(self.shown(name), issued.certificate.serial_number)


class FailureTests(RenewalCase):
    """What cannot be used leaves the certificate that is in use."""

    def assert_kept(self) -> None:
        """See that nothing has changed."""
        self.assertEqual(self.shown(), self.first.certificate.serial_number)
        self.assertEqual(self.metrics.expiry["server", "made_up", "edge"],
                         self.first.certificate.not_valid_after_utc.timestamp())  # fmt: skip

    def test_faults(self) -> None:
        """Each is told with its reason, and counted, and what is good again is shown."""
        other = issue("b.example")
        for give, part in (
            (None, "made_up yielded a NoneType, which is no CertificateAndKey"),
            (CertificateAndKey(other.chain_pem, self.first.key_pem), "is not the private key of the certificate"),
            (CertificateAndKey(other.chain_pem[:-40], other.key_pem), "has a PEM block without its end"),
            (CertificateAndKey(b"", b""), "is empty"),
            (pair(issue("b.example", key="RSA-1024")), "has 1024 bits"),
            (pair(PKI.issue_expired("b.example", dns=["b.example"])), "expired on"),
            (pair(PKI.issue_future("b.example", dns=["b.example"])), "is not valid before"),
            (OSError(5, "Input/output error"), "made_up gave none: OSError: [Errno 5] Input/output error"),
            (ValueError("the vault is sealed"), "made_up gave none: ValueError: the vault is sealed"),
        ):
            self.counted.clear()
            self.change(give)
            self.assertEqual(self.counted, [("made_up", "load")])
            self.assertIn("edge: the certificate made_up stays in use: ", self.env.messages[-1])
            self.assertIn(part, self.env.messages[-1])
            self.assert_kept()
        self.change(pair(other))
        self.assertEqual(self.shown(), other.certificate.serial_number)

    def test_bugs(self) -> None:
        """A bug of the plugin's is told with its traceback, and ends nothing else."""
        for error in (KeyError("certificate"), SystemExit(1), KeyboardInterrupt()):
            self.change(error)
            self.assertIsInstance(self.env.events[-1]["log_failure"].value, type(error))
            self.assert_kept()

    def test_context(self) -> None:
        """Nor does one that OpenSSL does not take; the next one is."""

        def refuse(*_: object) -> None:
            raise ContextError("OpenSSL does not like it")

        newer = issue("b.example")
        patched = self.patch(TLSListener, "with_certificates", refuse)
        self.change(pair(newer))
        self.assertIn("stays in use: OpenSSL does not like it", self.env.messages[-1])
        self.assert_kept()
        patched.restore()
        self.reactor.advance(sources.FIRST_RETRY * 1.1)
        self.assertEqual(self.shown(), newer.certificate.serial_number)

    def test_gateways_bug(self) -> None:
        """Nor does a bug of the gateway's own."""

        def refuse(*_: object) -> None:
            raise RuntimeError("a bug")

        self.patch(TLSListener, "with_certificates", refuse)
        self.change(pair(issue("b.example")))
        self.assertIn("the gateway failed to renew it: RuntimeError('a bug')", self.env.messages[-1])
        self.assert_kept()

    def test_no_better(self) -> None:
        """Where the certificate in use has expired itself, an expired one that comes is shown, with a warning."""
        old = PKI.issue_expired("b.example", dns=["b.example"], usages=SERVER)
        use = CertificateSourceUse(Kind(), self.source, self.env)
        self.start((evolve(server_certificate(old), source=use),))
        newer = PKI.issue_expired("b.example", dns=["b.example"], usages=SERVER)
        self.change(pair(newer))
        self.assertEqual(self.shown(), newer.certificate.serial_number)
        self.assertRegex(self.env.messages[-1], "^edge: made_up expired on")

    def test_retries(self) -> None:
        """A source that has failed is asked again, ever less often, and told of once as long as it says the same."""
        self.change(ValueError("the vault is sealed"))
        waited = []
        for _ in range(12):
            asked, begin = self.source.asked, self.reactor.seconds()
            while self.source.asked == asked:
                self.reactor.advance(0.1)
            waited.append(self.reactor.seconds() - begin)
        for number, seconds in enumerate(waited):
            wanted = min(sources.FIRST_RETRY * 2**number, sources.LONGEST_RETRY)
            self.assertTrue(wanted * 0.89 <= seconds <= wanted * 1.11 + 0.2, waited)
        self.assertEqual((len(self.env.messages), len(self.counted)), (1, 13))
        self.source.give = ValueError("the vault is on fire")
        self.reactor.advance(sources.LONGEST_RETRY * 1.1)
        self.assertEqual(len(self.env.messages), 2)
        self.source.give = pair(self.first)
        self.reactor.advance(sources.LONGEST_RETRY * 1.1)
        self.assertEqual(self.env.messages[2:], ["edge: the certificate in use is the newest again"])
        asked = self.source.asked
        self.reactor.advance(sources.LONGEST_RETRY * 2)
        self.assertEqual(self.source.asked, asked)

    def test_change_ends_waiting(self) -> None:
        """A change is looked at soon, however long the wait after failures would have been."""
        self.change(ValueError("the vault is sealed"))
        for _ in range(8):
            self.reactor.advance(sources.LONGEST_RETRY * 1.1)
        newer = issue("b.example")
        self.change(pair(newer))
        self.assertEqual(self.shown(), newer.certificate.serial_number)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class AskingTests(RenewalCase):
    """When a source is asked."""

    def test_settles(self) -> None:
        """Changes that come together lead to one question, and it does not wait for their end."""
        newer = issue("b.example")
        self.source.give = pair(newer)
        for _ in range(8):
            self.env.changed()
            self.reactor.advance(sources.SETTLE / 8)
        self.assertEqual(self.source.asked, 1)
        self.assertEqual(self.shown(), newer.certificate.serial_number)

    def test_changes_meanwhile(self) -> None:
        """A change while it is being asked is looked at afterwards; it is never asked twice at once."""
        self.reactor.held = []
        self.change(pair(issue("b.example")))
        newest = issue("b.example")
        for _ in range(3):
            self.env.changed()
            self.reactor.advance(sources.SETTLE)
        self.assertEqual(len(self.reactor.held), 1)
        self.reactor.release()
        self.assertEqual(self.source.asked, 1)
        self.source.give = pair(newest)
        self.reactor.advance(sources.SETTLE)
        self.assertEqual(self.source.asked, 2)
        self.assertEqual(self.shown(), newest.certificate.serial_number)

    def test_overdue(self) -> None:
        """A source that does not come back is told of; what it gives at last is shown."""
        newer = issue("b.example")
        self.reactor.held = []
        self.change(pair(newer))
        self.reactor.advance(sources.OVERDUE)
        self.assertEqual(
            self.env.messages,
            ["edge: the certificate made_up stays in use: made_up has not answered for 60 seconds"],
        )
        self.assertEqual(self.counted, [("made_up", "load")])
        self.reactor.advance(sources.LONGEST_RETRY)
        self.assertEqual(self.source.asked, 0)
        self.reactor.release()
        self.assertEqual(self.shown(), newer.certificate.serial_number)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """Once it is stopped nothing is asked, and nothing that was asked for is shown."""
        self.env.changed()
        self.renewal.stop()
        self.env.changed()
        self.reactor.advance(sources.LONGEST_RETRY)
        self.assertEqual((self.source.asked, self.reactor.getDelayedCalls()), (0, []))

    def test_stopped_while_asking(self) -> None:
        """Neither is what comes when it was stopped meanwhile, while it was asked or while contexts were built."""
        for steps in (0, 1):
            self.setUp()
            self.reactor.held = []
            self.change(pair(issue("b.example")))
            if steps:
                held, self.reactor.held = self.reactor.held, []
                held[0]()
            self.renewal.stop()
            self.reactor.release()
            self.assertEqual(self.source.asked, 1)
            self.assertEqual(self.shown(), self.first.certificate.serial_number)
            self.assertEqual((self.env.messages, self.reactor.getDelayedCalls()), ([], []))

    def test_reload(self) -> None:
        """A configuration that has been replaced renews nothing more."""
        use = CertificateSourceUse(Kind(), self.source, self.env)
        listener = https_listener([self.first])
        assert listener.tls is not None
        shown = tuple(evolve(one, source=use) for one in listener.tls.certificates)
        model = gateway([evolve(listener, tls=evolve(listener.tls, certificates=shown))])
        for end in (Generation.retire, Generation.stop):
            generation = Generation(self.reactor, model, self.metrics)
            end(generation)
            self.env.changed()
            self.assertEqual([call for call in self.reactor.getDelayedCalls() if call.func == self.renewal._begin], [])
            self.reactor.advance(sources.LONGEST_RETRY)
        self.assertEqual(self.source.asked, 0)


# --- with files, time and clients -----------------------------------------------------------------

CONFIGURATION = """\
admin: {{port: 0}}
listeners:
  - name: edge
    port: 0
    address: 127.0.0.1
    tls:
      certificates:
        - source: {{files: {{certificate: tls.crt, private_key: tls.key}}}}
upstreams: [{{name: app, endpoints: ["127.0.0.1:{port}"]}}]
routes: [{{name: all, rules: [{{backends: [{{upstream: app}}]}}]}}]
"""


class Load:
    """Clients that connect again and again, on threads of their own, until they are told to stop.

    :ivar serials: the serial numbers that they were shown, in their order; ``errors``: what went wrong.
    """

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, clients: int = 3) -> None:
        self.serials: list[int] = []
        self.errors: list[str] = []
        self._stop = Event()
        self._threads = [Thread(target=self._run, args=(address, context)) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        while not self._stop.is_set():
            try:
                serial, answer = visit(address, context)
                if not answer.startswith(b"HTTP/1.1 200 OK"):
                    self.errors.append(repr(answer))
                self.serials.append(serial)
            except OSError as error:
                self.errors.append(repr(error))

    def stop(self) -> None:
        """Wait until they have; blocks."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def visit(address: tuple[str, int], context: ssl.SSLContext) -> tuple[int, bytes]:
    """Make a request; gives the serial number of the server's certificate and the answer."""
    with socket.create_connection(address, 20) as plain, context.wrap_socket(plain, server_hostname="a.example") as tls:
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        tls.sendall(get("/"))
        answer = b""
        while got := tls.recv(65_536):
            answer += got
    return x509.load_der_x509_certificate(der).serial_number, answer


class ServiceTests(TestCase):
    """A gateway in service whose certificate's files are renewed."""

    def setUp(self) -> None:
        self.directory = Path(mkdtemp(prefix="edgegw-"))
        self.addCleanup(rmtree, self.directory)
        self.clients = client_context(PKI)
        self.clients.options |= ssl.OP_NO_TICKET
        self.counters = PluginCounters()

    def write(self, issued: Issued, *names: str) -> None:
        """Renew files as tools do: each under another name first, the certificate before the key."""
        contents = {"tls.crt": issued.chain_pem, "tls.key": issued.key_pem}
        for name in names or contents:
            fresh = self.directory / f"{name}.new"
            fresh.write_bytes(contents[name])
            fresh.chmod(0o600)
            fresh.replace(self.directory / name)

    async def serve(self) -> GatewayService:
        """Start a service with the files' certificate."""
        upstream = start_upstream(self)
        path = self.directory / "edgegw.yaml"
        path.write_text(CONFIGURATION.format(port=upstream.port))
        service = self.start(partial(read, str(path), self.counters))
        await until(lambda: service.ready)
        return service

    def start(self, load: Callable[[], Loaded], **settings: Any) -> GatewayService:
        """Start a service until the test has ended."""
        generations: list[Generation] = []

        def build(*given: Any, **named: Any) -> Generation:
            generations.append(Generation(*given, **named))
            return generations[-1]

        service = GatewayService(
            reactor, load, build=build, counters=self.counters, take_signals=False, **settings
        )
        service.startService()

        async def stop() -> None:
            await service.stopService()
            for generation in generations:
                generation._deadlines.stop()

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        return service

    def address(self, service: GatewayService) -> tuple[str, int]:
        """Where it is reached."""
        (port,) = service.ports.values()
        return "127.0.0.1", port.getHost().port

    def expiry(self, service: GatewayService) -> float | None:
        """Give what the metrics say of the certificate."""
        labels = {"kind": "server", "name": str(self.directory / "tls.crt"), "listener": "edge"}
        return service.metrics.registry.get_sample_value("edgegw_certificate_expiry_timestamp_seconds", labels)

    async def test_renewed_under_load(self) -> None:
        """Clients that come all the time see the new certificate, and not one of them an error."""
        first, second = issue(), issue(not_after=datetime.now(UTC) + timedelta(days=90))
        self.write(first)
        service = await self.serve()
        load = Load(self.address(service), self.clients)
        try:
            await until(lambda: len(load.serials) > 20)
            self.write(second, "tls.crt")
            await until(lambda: len(load.serials) > 40)
            self.write(second, "tls.key")
            await until(lambda: load.serials[-1] == second.certificate.serial_number)
            seen = len(load.serials)
            await until(lambda: len(load.serials) > seen + 50)
        finally:
            await in_thread(load.stop)
        self.assertEqual(load.errors, [])
        numbers = first.certificate.serial_number, second.certificate.serial_number
        self.assertEqual(set(load.serials), set(numbers))
        self.assertEqual(set(load.serials[seen + 3 :]), {numbers[1]})
        self.assertEqual(self.expiry(service), second.certificate.not_valid_after_utc.timestamp())
        self.assertEqual(
            service.metrics.registry.get_sample_value(
                "edgegw_tls_handshakes_total", {"listener": "edge", "result": "success", "reason": ""}
            ),
            len(load.serials),
        )

    async def test_broken(self) -> None:
        """A renewal that is broken is counted and leaves the old certificate; mended, it is shown; reloads go on."""
        now = datetime.now(UTC)
        first, second, third = (issue(not_after=now + timedelta(days=days)) for days in (10, 20, 30))
        self.write(first)
        service = await self.serve()
        self.write(second, "tls.crt")
        await until(lambda: self.counters.errors("files", "load"))
        serial, _ = await in_thread(visit, self.address(service), self.clients)
        self.assertEqual(serial, first.certificate.serial_number)
        self.assertEqual(self.expiry(service), first.certificate.not_valid_after_utc.timestamp())
        self.assertEqual(
            service.metrics.registry.get_sample_value(
                "edgegw_plugin_errors_total", {"kind": "files", "operation": "load"}
            ),
            self.counters.errors("files", "load"),
        )
        # A reload in this state is refused, as it is with any faulty file.
        self.assertFalse(await service.reload())
        self.write(second, "tls.key")
        await until(lambda: self.expiry(service) == second.certificate.not_valid_after_utc.timestamp())
        self.assertTrue(await service.reload())
        self.write(third)
        await until(lambda: self.expiry(service) == third.certificate.not_valid_after_utc.timestamp())
        serial, _ = await in_thread(visit, self.address(service), self.clients)
        self.assertEqual(serial, third.certificate.serial_number)

    async def test_new_authority_by_name(self) -> None:
        """Where certificates are signed by name, a new CA signs those that are shown soon after."""
        upstream = start_upstream(self)
        signing = Authority("signing", PKI)

        def write(authority: Authority) -> None:
            for name, content in (("ca.pem", authority.pem), ("ca.key", authority.key_pem)):
                fresh = self.directory / f"{name}.new"
                fresh.write_bytes(content)
                fresh.chmod(0o600)
                fresh.replace(self.directory / name)

        write(signing)
        path = self.directory / "edgegw.yaml"
        own = "certificates:\n        - source: {files: {certificate: tls.crt, private_key: tls.key}}"
        by_name = "dynamic_certificates: {source: {dynamic_ca: {certificate: ca.pem, private_key: ca.key}}}"
        text = CONFIGURATION.format(port=upstream.port)
        self.assertIn(own, text)
        path.write_text(text.replace(own, by_name))
        service = self.start(partial(read, str(path), self.counters))
        await until(lambda: service.ready)
        address = self.address(service)
        first = await in_thread(try_tls, address, server_name="a.example", data=get())
        again = await in_thread(try_tls, address, server_name="a.example", data=get())
        self.assertEqual(first.server.get_serial_number(), again.server.get_serial_number())
        self.assertEqual(first.server.get_issuer().CN, "signing")
        serial, reply = await in_thread(visit, address, self.clients)
        self.assertEqual((serial, reply[:12]), (first.server.get_serial_number(), b"HTTP/1.1 200"))
        write(Authority("newer", PKI))
        issuer = "signing"
        deadline = reactor.seconds() + 20
        while issuer == "signing" and reactor.seconds() < deadline:
            issuer = (await in_thread(try_tls, address, server_name="a.example", data=get())).server.get_issuer().CN
        self.assertEqual(issuer, "newer")
        self.assertEqual((await in_thread(visit, address, self.clients))[1][:12], b"HTTP/1.1 200")

    async def test_read_before_start(self) -> None:
        """What changes between reading the configuration and its start is noticed."""
        first, second = issue(), issue(not_after=datetime.now(UTC) + timedelta(days=90))
        self.write(first)
        upstream = start_upstream(self)
        path = self.directory / "edgegw.yaml"
        path.write_text(CONFIGURATION.format(port=upstream.port))
        loaded = read(str(path), self.counters)
        self.write(second)
        service = self.start(lambda: loaded, initial=loaded)
        await until(lambda: self.expiry(service) == second.certificate.not_valid_after_utc.timestamp())


class HandshakeTests(TestCase):
    """A handshake that is under way while the certificate is swapped."""

    async def test_goes_on(self) -> None:
        """It ends with the certificate that it began with; sessions made before are not resumed, and that is all."""
        first, second = issue(), issue()
        env, source = FakeEnvironment(), Source(first)
        use = CertificateSourceUse(Kind(), source, env)
        listener = https_listener([first])
        assert listener.tls is not None
        shown = tuple(evolve(one, source=use) for one in listener.tls.certificates)
        listener = evolve(listener, tls=evolve(listener.tls, certificates=shown))
        running = await start_gateway(self, gateway([listener], start_upstream(self)))
        session = (await in_thread(try_tls, running.address(), data=get("/"))).session
        swapped = Event()
        slow = in_thread(hesitant, running.address(), swapped)
        await until(lambda: running.counts().handshakes_in_progress)
        source.give = pair(second)
        env.changed()
        await until(lambda: env.messages)
        swapped.set()
        self.assertEqual(await slow, first.certificate.serial_number)
        for kept in (None, session):
            outcome = await in_thread(try_tls, running.address(), data=get("/"), session=kept)
            self.assertTrue(outcome.reply.startswith(b"HTTP/1.1 200"), outcome)
            self.assertEqual(outcome.server.get_serial_number(), second.certificate.serial_number)


def hesitant(address: tuple[str, int], go_on: Event) -> int:
    """Begin a handshake, and end it when it is time to; gives the server's serial number."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out, server_hostname="a.example")
    with socket.create_connection(address, 20) as plain:
        for _ in range(10):
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(out.read())
                into.write(plain.recv(65_536))
                go_on.wait(20)
        der = tls.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number
