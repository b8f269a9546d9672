"""TLS to upstreams: who is believed, who is not, and what an operator is told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from edgegw.model import (
    Endpoint,
    ProxyProtocol,
    SubjectAltName,
    SubjectAltNameType,
    TLSVersion,
    Upstream,
    UpstreamVerification,
)
from edgegw.tls.openssl import set_groups
from edgegw.upstream import tls as upstream_tls

from .gateway import (
    CLIENT,
    SERVER,
    Authority,
    Issued,
    UpstreamTalk,
    answer,
    gateway,
    http_listener,
    server_certificate,
    start_gateway,
    start_upstream,
    until,
)
from .raw_client import Client, Response, connect
from .tls_peers import TLS1_2, TLS1_3
from .tls_upstreams import (
    TLSUpstream,
    secured,
    server_context,
    start_nginx,
    start_s_server,
    start_tls_upstream,
)

reactor: Any = global_reactor
NAME = "app.internal"
GET = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"
FULL, CHAIN_ONLY, NONE = UpstreamVerification.FULL, UpstreamVerification.CHAIN_ONLY, UpstreamVerification.NONE


def dns(name: str) -> SubjectAltName:
    return SubjectAltName(SubjectAltNameType.DNS, name)


def uri(name: str) -> SubjectAltName:
    return SubjectAltName(SubjectAltNameType.URI, name)


class TLSTestCase(TestCase):
    """A plain listener before an upstream that speaks TLS."""

    def setUp(self) -> None:
        self.running: Any = None
        self.pki = Authority("upstreams")
        self.clients = Authority("clients")
        self.logged: list[str] = []

    def issue(self, **options: Any) -> Issued:
        return self.pki.issue("app", **{"dns": [NAME], "usages": SERVER, **options})

    async def begin(self, upstream: Upstream) -> None:
        """Serve a gateway before an upstream, and end the one that served before."""
        if self.running is not None:
            await self.running.stop()
        self.running = await start_gateway(self, gateway([http_listener()], upstream))
        self.metrics = self.running.metrics.upstream(upstream.name)

    async def connect(self) -> Client:
        return await connect(self, self.running.address())

    async def get(self) -> Response:
        """Send a request on a connection of its own."""
        client = await self.connect()
        client.send(GET)
        return await client.response()

    def log(self) -> list[str]:
        """Give the warnings of upstreams from now on."""
        lines: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_namespace", "").startswith("edgegw.proxy"):
                lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return lines

    def failures(self) -> dict[str, int]:
        """Give the connections that failed, by the word."""
        return {word: number for word, number in self.metrics.connect_failures.items() if number}


class VerificationTests(TLSTestCase):
    """Which upstreams are believed."""

    async def visit(self, issued: Issued, *trust: Authority | Issued, **settings: Any) -> tuple[int, dict[str, int]]:
        """Give the status of one request, and the failures that were counted."""
        settings.setdefault("hostname", NAME)
        upstream = start_tls_upstream(self, server_context(issued))
        await self.begin(secured(upstream.model, *trust, **settings))
        self.upstream = upstream
        return (await self.get()).status, self.failures()

    async def test_good(self) -> None:
        """A certificate of the CA for the name; TLS 1.3, ALPN and SNI as they should be."""
        self.assertEqual(await self.visit(self.issue(), self.pki), (200, {}))
        connection = self.upstream.connection()
        self.assertEqual(connection.get_servername(), NAME.encode())
        self.assertEqual(connection.get_protocol_version_name(), "TLSv1.3")
        self.assertEqual(self.metrics.tls, {("TLSv1.3", False): 1})

    async def test_intermediate(self) -> None:
        """A chain over an intermediate that the upstream sends."""
        below = Authority("intermediate", issuer=self.pki)
        issued = below.issue("app", dns=[NAME], usages=SERVER)
        self.assertEqual(await self.visit(issued, self.pki), (200, {}))

    async def test_pinned(self) -> None:
        """The upstream's own certificate can be what is trusted."""
        issued = self.issue()
        self.assertEqual(await self.visit(issued, issued), (200, {}))

    async def test_wildcard(self) -> None:
        """A wildcard covers one label."""
        issued = self.issue(dns=["*.internal", "*.svc.internal"])
        self.assertEqual(await self.visit(issued, self.pki, hostname="a.svc.internal"), (200, {}))
        for name in ("a.b.svc.internal", "svc.internal", "a.internal"):
            self.assertEqual(await self.visit(issued, self.pki, hostname=name), (503, {"name_mismatch": 1}), name)

    async def test_wrong_name(self) -> None:
        """Another's certificate of the same CA is refused, and the log says whose it is."""
        self.assertEqual(
            await self.visit(self.issue(dns=["other.internal"]), self.pki), (503, {"name_mismatch": 1})
        )
        self.assertEqual(self.upstream.requests, [])

    async def test_no_name(self) -> None:
        """The subject's common name is none."""
        issued = self.pki.issue(NAME, usages=SERVER)
        self.assertEqual(await self.visit(issued, self.pki), (503, {"name_mismatch": 1}))

    async def test_address(self) -> None:
        """An IP address can be what is verified; it is never asked for."""
        self.assertEqual(
            await self.visit(self.issue(ips=["127.0.0.1"]), self.pki, hostname="127.0.0.1"), (200, {})
        )
        self.assertIsNone(self.upstream.connection().get_servername())
        self.assertEqual(
            await self.visit(self.issue(dns=["127.0.0.1"]), self.pki, hostname="127.0.0.1"),
            (503, {"name_mismatch": 1}),
        )

    async def test_unknown_ca(self) -> None:
        """A certificate of another CA is refused, whatever it is for."""
        stranger = Authority("stranger").issue("app", dns=[NAME], usages=SERVER)
        for verify in (FULL, CHAIN_ONLY):
            self.assertEqual(await self.visit(stranger, self.pki, verify=verify), (503, {"unknown_ca": 1}))

    async def test_dates(self) -> None:
        """A certificate is good while it is valid."""
        expired = self.pki.issue_expired("app", dns=[NAME], usages=SERVER)
        self.assertEqual(await self.visit(expired, self.pki), (503, {"certificate_expired": 1}))
        future = self.pki.issue_future("app", dns=[NAME], usages=SERVER)
        self.assertEqual(await self.visit(future, self.pki), (503, {"certificate_not_yet_valid": 1}))

    async def test_purpose(self) -> None:
        """A client's certificate makes no upstream."""
        self.assertEqual(await self.visit(self.issue(usages=CLIENT), self.pki), (503, {"certificate_purpose": 1}))

    async def test_chain_only(self) -> None:
        """``chain_only`` takes any certificate of the CA."""
        self.assertEqual(await self.visit(self.issue(dns=["x.example"]), self.pki, verify=CHAIN_ONLY), (200, {}))

    async def test_none(self) -> None:
        """``none`` takes whatever is shown."""
        for issued in (Authority("x").issue("x"), self.pki.issue_expired("app")):
            self.assertEqual(await self.visit(issued, verify=NONE), (200, {}))

    async def test_subject_alt_names(self) -> None:
        """One of them in the certificate is enough, and the host name is only asked for then."""
        spiffe = "spiffe://example.org/app"
        issued = self.issue(dns=["x.internal", "*.y.internal"], uris=[spiffe])
        for wanted in ([uri(spiffe)], [dns("x.internal")], [dns("a.y.internal")], [dns("*.y.internal")],
                       [dns("z.internal"), uri(spiffe)]):
            self.assertEqual(await self.visit(issued, self.pki, subject_alt_names=tuple(wanted)), (200, {}))
            self.assertEqual(self.upstream.connection().get_servername(), NAME.encode())
        for wanted in ([uri(spiffe + "2")], [uri("x.internal")], [dns("y.internal")],
                       [dns("*.internal")]):
            self.assertEqual(
                await self.visit(issued, self.pki, subject_alt_names=tuple(wanted)), (503, {"name_mismatch": 1})
            )

    async def test_names_do_not_replace_the_chain(self) -> None:
        """A stranger's certificate with the right URI is still a stranger's."""
        issued = Authority("x").issue("x", uris=["spiffe://example.org/app"], usages=SERVER)
        got = await self.visit(issued, self.pki, subject_alt_names=(uri("spiffe://example.org/app"),))
        self.assertEqual(got, (503, {"unknown_ca": 1}))

    async def test_sni(self) -> None:
        """Another name can be asked for than is verified."""
        self.assertEqual(await self.visit(self.issue(), self.pki, sni="front.example"), (200, {}))
        self.assertEqual(self.upstream.connection().get_servername(), b"front.example")

    async def test_name_of_the_endpoint(self) -> None:
        """Without a host name the endpoint's is asked for and verified."""
        upstream = start_tls_upstream(self, server_context(self.issue(dns=["localhost"])))
        model = evolve(upstream.model, endpoints=(Endpoint("localhost", upstream.port),))
        await self.begin(secured(model, self.pki))
        self.assertEqual((await self.get()).status, 200)
        self.assertEqual(upstream.connection().get_servername(), b"localhost")

    async def test_versions(self) -> None:
        """Only versions between the lowest and the highest are spoken."""
        upstream = start_tls_upstream(self, server_context(self.issue(), version=TLS1_2))
        await self.begin(secured(upstream.model, self.pki, hostname=NAME))
        self.assertEqual((await self.get()).status, 200)
        self.assertEqual(self.metrics.tls, {("TLSv1.2", False): 1})
        await self.begin(secured(upstream.model, self.pki, hostname=NAME, min_version=TLSVersion.TLS1_3))
        self.assertEqual((await self.get()).status, 503)
        self.assertEqual(sum(self.failures().values()), 1)

    async def test_one_round_trip(self) -> None:
        """An upstream that knows no hybrid group needs no second ClientHello."""
        context = server_context(self.issue())
        set_groups(context, ("X25519",))
        steps: list[bytes] = []
        context.set_info_callback(lambda connection, where, result: steps.append(connection.get_state_string()))
        upstream = start_tls_upstream(self, context)
        await self.begin(secured(upstream.model, self.pki, hostname=NAME))
        self.assertEqual((await self.get()).status, 200)
        self.assertEqual(str(upstream.connection().get_group_name()).upper(), "X25519")
        self.assertEqual(len([step for step in steps if b"client hello" in step]), 1)

    async def test_the_other_endpoint(self) -> None:
        """An endpoint that is not who it should be is passed over for one that is."""
        bad = start_tls_upstream(self, server_context(self.issue(dns=["x.example"])))
        good = start_tls_upstream(self, server_context(self.issue()))
        endpoints = (Endpoint("127.0.0.1", bad.port), Endpoint("127.0.0.1", good.port))
        await self.begin(secured(Upstream("upstream", endpoints), self.pki, hostname=NAME))
        for _ in range(3):
            self.assertEqual((await self.get()).status, 200)
        self.assertEqual(bad.requests, [])
        self.assertEqual(len(good.requests), 3)


class LogTests(TLSTestCase):
    """What an operator reads."""

    async def test_reasons(self) -> None:
        """The log says exactly what was wrong."""
        good, demanding = server_context(self.issue()), server_context(self.issue(), self.clients.certificate)
        expired = server_context(self.pki.issue_expired("app", dns=[NAME], usages=SERVER))
        plain = start_upstream(self, b"no TLS here")
        plain.on_data = lambda talk, data: talk.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        for context, settings, expected in (
            (good, {"hostname": "x.example"}, f"name_mismatch: wanted x.example; it is for dns:{NAME}"),
            (expired, {}, "certificate_expired: certificate has expired"),
            (good, {"trust": Authority("x")}, "unknown_ca: "),
            (demanding, {}, "alert: "),
            (None, {}, "not_tls: "),
        ):
            lines = self.log()
            upstream = plain if context is None else start_tls_upstream(self, context)
            trust = settings.pop("trust", self.pki)  # type: ignore[attr-defined]
            await self.begin(secured(upstream.model, trust, **{"hostname": NAME, **settings}))  # type: ignore[dict-item]
            await self.get()
            where = f"upstream upstream: cannot connect to 127.0.0.1:{upstream.port}: "
            self.assertEqual([line[: len(where) + len(expected)] for line in lines], [where + expected])

    async def test_hostile_names(self) -> None:
        """Names of a certificate that are long or odd do no harm to the log."""
        issued = self.issue(dns=[f"{number}.{'x' * 50}.example" for number in range(100)], uris=["x:\x1b[31m"])
        lines = self.log()
        upstream = start_tls_upstream(self, server_context(issued))
        await self.begin(secured(upstream.model, self.pki, hostname=NAME))
        self.assertEqual((await self.get()).status, 503)
        self.assertLess(len(lines[0]), 500)
        self.assertTrue(lines[0].isprintable())


class HandshakeTests(TLSTestCase):
    """Upstreams that do not get through a handshake."""

    async def test_plain_http(self) -> None:
        """An upstream without TLS gets no request in the clear."""
        upstream = start_upstream(self)
        received: list[bytes] = []

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            received.append(data)
            talk.transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        upstream.on_data = on_data
        await self.begin(secured(upstream.model, self.pki, hostname=NAME))
        self.assertEqual((await self.get()).status, 503)
        self.assertEqual(self.failures(), {"not_tls": 1})
        self.assertNotIn(b"GET", b"".join(received))

    async def test_stall(self) -> None:
        """An upstream that says nothing is waited for as long as a connection may take."""
        upstream = start_upstream(self, connect_timeout=0.3)
        upstream.on_data = lambda talk, data: None
        await self.begin(secured(upstream.model, self.pki, hostname=NAME))
        self.assertEqual((await self.get()).status, 503)
        self.assertEqual(self.failures(), {"timeout": 1})
        await upstream.talks[0].lost
        self.assertEqual(self.metrics.connections, 0)

    async def test_closes(self) -> None:
        """An upstream that hangs up in the handshake, in order or not."""
        for cut in ("loseConnection", "abortConnection"):
            upstream = start_upstream(self)
            upstream.on_data = lambda talk, data, cut=cut: getattr(talk.transport, cut)()  # type: ignore[misc]
            await self.begin(secured(upstream.model, self.pki, hostname=NAME))
            self.assertEqual((await self.get()).status, 503)
            self.assertEqual(self.failures(), {"tls_closed": 1})

    async def test_garbage(self) -> None:
        """Anything at all may come in place of a ServerHello."""
        for garbage in (b"\x16\x03\x03\x00\x02\x02\x00", b"\x15\x03\x03\x00\x02\x02\x28", b"\0" * 100_000):
            upstream = start_upstream(self)
            upstream.on_data = lambda talk, data, garbage=garbage: talk.transport.write(garbage)  # type: ignore[misc]
            await self.begin(evolve(secured(upstream.model, self.pki, hostname=NAME), connect_timeout=0.5))
            self.assertEqual((await self.get()).status, 503)
            self.assertEqual(sum(self.failures().values()), 1, self.failures())

    async def test_client_gone(self) -> None:
        """A client that leaves during the handshake leaves nothing behind."""
        upstream = start_tls_upstream(self, server_context(self.issue()))
        await self.begin(secured(upstream.model, self.pki, hostname=NAME))
        for _ in range(5):
            client = await self.connect()
            client.send(GET)
            client.transport.abortConnection()
        await self.running.idle()
        await until(lambda: self.metrics.connections == self.metrics.idle)


class ClientCertificateTests(TLSTestCase):
    """The gateway's own certificate."""

    async def visit(self, shown: Issued | None, version: int) -> tuple[int, dict[str, int]]:
        upstream = start_tls_upstream(
            self, server_context(self.issue(), self.clients.certificate, version=version), answer(b"secret")
        )
        certificate = None if shown is None else server_certificate(shown)
        await self.begin(secured(upstream.model, self.pki, hostname=NAME, client_certificate=certificate))
        self.upstream = upstream
        return (await self.get()).status, self.failures()

    async def test_good(self) -> None:
        """It is shown, with its chain."""
        below = Authority("intermediate", issuer=self.clients)
        for version in (TLS1_2, TLS1_3):
            for key in ("EC", "RSA", "Ed25519"):
                got = await self.visit(below.issue("gateway", key=key), version)
                self.assertEqual(got, (200, {}))
                peer = self.upstream.connection().get_peer_certificate()
                assert peer is not None
                self.assertEqual(peer.get_subject().CN, "gateway")

    async def test_none(self) -> None:
        """Without one an upstream that demands it refuses, which is a failure to connect in every version."""
        for version in (TLS1_2, TLS1_3):
            self.assertEqual(await self.visit(None, version), (503, {"alert": 1}))

    async def test_of_another_ca(self) -> None:
        """A certificate that the upstream does not trust."""
        for version in (TLS1_2, TLS1_3):
            self.assertEqual(await self.visit(Authority("x").issue("gateway"), version), (503, {"alert": 1}))

    async def test_expired(self) -> None:
        """A certificate that has expired."""
        for version in (TLS1_2, TLS1_3):
            self.assertEqual(await self.visit(self.clients.issue_expired("gateway"), version), (503, {"alert": 1}))

    async def test_a_body_under_way(self) -> None:
        """A request whose body has begun to be sent is not sent elsewhere."""
        upstream = start_tls_upstream(self, server_context(self.issue(), self.clients.certificate, version=TLS1_3))
        await self.begin(secured(upstream.model, self.pki, hostname=NAME))
        client = await self.connect()
        client.send(b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 10\r\n\r\nhalf")
        self.assertEqual((await client.response()).status, 503)
        self.assertEqual(self.failures(), {"alert": 1})

    async def test_a_large_body(self) -> None:
        """The alert is found also where the upstream's end is noticed in the middle of writing."""
        upstream = start_tls_upstream(self, server_context(self.issue(), self.clients.certificate, version=TLS1_3))
        await self.begin(secured(upstream.model, self.pki, hostname=NAME))
        for number in range(1, 6):
            client = await self.connect()
            client.send(b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 8_000_000)
            self.assertEqual((await client.response()).status, 503)
            self.assertEqual(self.failures(), {"alert": number})

    async def test_not_shared(self) -> None:
        """Upstreams at one address with other settings share no connection and no session."""
        upstream = start_tls_upstream(self, server_context(self.issue()))
        one = secured(evolve(upstream.model, name="one"), self.pki, hostname=NAME)
        two = secured(evolve(upstream.model, name="two"), verify=NONE)
        await self.begin(one)
        await self.get()
        await self.begin(two)
        await self.get()
        self.assertEqual(len(upstream.talks), 2)
        self.assertEqual(self.metrics.tls, {("TLSv1.3", False): 1})


class SessionTests(TLSTestCase):
    """Sessions that are resumed, and those that must not be."""

    async def visits(self, number: int = 3, **settings: Any) -> TLSUpstream:
        """Have the upstream close after every answer."""
        version = settings.pop("version", TLS1_3)
        options = settings.pop("options", 0)
        upstream = start_tls_upstream(
            self,
            server_context(self.issue(), version=version, options=options),
            answer(b"ok", headers=b"connection: close\r\n"),
        )
        await self.begin(secured(upstream.model, self.pki, **{"hostname": NAME, **settings}))
        for _ in range(number):
            self.assertEqual((await self.get()).status, 200)
        return upstream

    async def test_resumed(self) -> None:
        """From the second connection on, by ticket or by session id."""
        for version, name in ((TLS1_2, "TLSv1.2"), (TLS1_3, "TLSv1.3")):
            for options in (0, SSL.OP_NO_TICKET):
                await self.visits(4, version=version, options=options)
                self.assertEqual(self.metrics.tls.get((name, False)), 1, (name, options))
                self.assertEqual(self.metrics.tls.get((name, True)), 3, (name, options))

    async def test_switched_off(self) -> None:
        """Nothing is resumed where that is not wanted."""
        await self.visits(session_resumption=False)
        self.assertEqual(self.metrics.tls, {("TLSv1.3", False): 3})

    async def test_cut_connections(self) -> None:
        """A connection that is cut does not spoil its session."""
        upstream = await self.visits(1)
        upstream.script = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"
        client = await self.connect()
        client.send(GET)
        await client.heard(b"hello")
        upstream.talks[-1].transport.abortConnection()
        await client.closed()
        upstream.script = lambda request: None
        client = await self.connect()
        client.send(GET)
        await upstream.request(3)
        client.transport.abortConnection()
        await until(lambda: self.metrics.connections == 0)
        upstream.script = answer(b"ok")
        self.assertEqual((await self.get()).status, 200)
        self.assertEqual(self.metrics.tls, {("TLSv1.3", False): 1, ("TLSv1.3", True): 3})

    async def test_not_past_the_certificate(self) -> None:
        """A session is not resumed once a certificate of its chain has expired: it would never be verified again."""
        now = [0.0]
        real = upstream_tls.EndpointTLS

        def with_clock(*arguments: Any) -> Any:
            return real(*arguments, clock=lambda: now[0])

        from edgegw.upstream import pool

        self.patch(pool, "EndpointTLS", with_clock)
        now[0] = datetime.now(UTC).timestamp()
        await self.visits(2)
        self.assertEqual(self.metrics.tls, {("TLSv1.3", False): 1, ("TLSv1.3", True): 1})
        now[0] += timedelta(days=31).total_seconds()
        await self.get()
        self.assertEqual(self.metrics.tls, {("TLSv1.3", False): 2, ("TLSv1.3", True): 1})

    async def test_a_session_that_is_not_liked(self) -> None:
        """An upstream that hangs up on a resumed session is met without one."""
        upstream = await self.visits(2)
        upstream.on_data = lambda talk, data: talk.transport.transport.loseConnection()
        self.assertEqual((await self.get()).status, 502)
        upstream.on_data = None
        before = dict(self.metrics.tls)
        await self.get()
        self.assertEqual(self.metrics.tls["TLSv1.3", False], before["TLSv1.3", False] + 1)

    async def test_system_certificates_at_a_reload(self) -> None:
        """A CA that the platform has taken out is not trusted from the next reload on."""
        upstream = start_tls_upstream(self, server_context(self.issue()))
        file = Path(self.mktemp()).absolute()
        file.write_bytes(Authority("another").pem + self.pki.pem)
        model = secured(upstream.model, verify=FULL, system_trust=str(file), hostname=NAME)
        await self.begin(model)
        self.assertEqual((await self.get()).status, 200)
        file.write_bytes(Authority("another").pem)
        self.running.reload(gateway(self.running.generation.gateway.listeners, model))
        self.assertEqual((await self.get()).status, 503)
        self.assertEqual(self.failures(), {"unknown_ca": 1})

    async def test_a_reload_forgets(self) -> None:
        """A new configuration verifies anew."""
        upstream = await self.visits(2)
        stranger = Authority("x")
        self.running.reload(gateway(
            self.running.generation.gateway.listeners, secured(upstream.model, stranger, hostname=NAME)
        ))
        self.assertEqual((await self.get()).status, 503)
        self.assertEqual(self.failures(), {"unknown_ca": 1})


class OpenSSLTests(TLSTestCase):
    """``openssl s_server``, which is another OpenSSL than the gateway's."""

    async def visit(self, *arguments: str, shown: Issued | None = None, **settings: Any) -> Response:
        self.server, model = await start_s_server(self, self.issue(), *arguments)
        certificate = None if shown is None else server_certificate(shown)
        await self.begin(secured(model, self.pki, hostname=NAME, client_certificate=certificate, **settings))
        client = await self.connect()
        client.send(GET)
        return await client.response()

    def trust_file(self) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(self.clients.pem)
        return str(path)

    async def test_mutual(self) -> None:
        """Both sides show a certificate, in both versions, and the session is resumed."""
        for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            response = await self.visit(
                "-Verify", "3", "-CAfile", self.trust_file(), "-verify_return_error", "-www", version,
                shown=self.clients.issue("gateway"),
            )
            self.assertEqual(response.status, 200)
            self.assertIn(b"CN = gateway" if b"CN = gateway" in response.body else b"CN=gateway", response.body)
            await self.get()
            self.assertEqual(self.metrics.tls, {(name, False): 1, (name, True): 1})

    async def test_demanded(self) -> None:
        """No certificate, and one of another CA."""
        for shown in (None, Authority("x").issue("gateway"), self.clients.issue_expired("gateway")):
            for version in ("-tls1_2", "-tls1_3"):
                response = await self.visit(
                    "-Verify", "3", "-CAfile", self.trust_file(), "-verify_return_error", "-www", version, shown=shown
                )
                self.assertEqual((response.status, self.failures()), (503, {"alert": 1}))

    async def test_name(self) -> None:
        """The name that is asked for arrives: of another one it wants to hear nothing."""
        for sni, expected in ((None, (200, {})), ("x.example", (503, {"alert": 1}))):
            arguments = ("-www", "-servername", NAME, "-servername_fatal", "-cert2", *self.second())
            response = await self.visit(*arguments, sni=sni)
            self.assertEqual((response.status, self.failures()), expected)

    def second(self) -> tuple[str, ...]:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        certificate, key = self.issue().write(folder, "second")
        return certificate, "-key2", key

    async def test_wrong(self) -> None:
        """It is told with the alert that belongs to it why it is not believed."""
        stranger = Authority("x")
        server, model = await start_s_server(self, self.issue())
        await self.begin(secured(model, stranger, hostname=NAME))
        self.assertEqual((await self.get()).status, 503)
        await server.printed(b"alert unknown ca")
        await self.begin(secured(model, self.pki, hostname="x.internal"))
        self.assertEqual((await self.get()).status, 503)
        await server.printed(b"alert bad certificate")


class NginxTests(TLSTestCase):
    """nginx, which must believe the gateway, and be believed."""

    async def start_nginx(self, extra: str = "") -> Upstream:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        certificate, key = self.issue().write(folder, "server")
        ca, _ = self.clients.write(folder, "clients")
        (port,), _ = await start_nginx(self, f"""
            server {{
                listen 127.0.0.1:{{0}} ssl;
                ssl_certificate {certificate};
                ssl_certificate_key {key};
                ssl_client_certificate {ca};
                ssl_verify_client optional;
                ssl_verify_depth 3;
                ssl_protocols TLSv1.2 TLSv1.3;
                client_max_body_size 100m;
                {extra}
                location / {{
                    return 200 "$ssl_client_verify|$ssl_client_s_dn|$ssl_server_name|$ssl_session_reused|$ssl_protocol";
                }}
            }}""")
        return Upstream("upstream", (Endpoint("127.0.0.1", port),))

    async def told(self, shown: Issued | None, **settings: Any) -> list[str]:
        """Give what nginx knows of the gateway."""
        certificate = None if shown is None else server_certificate(shown)
        await self.begin(secured(self.model, self.pki, hostname=NAME, client_certificate=certificate, **settings))
        return await self.ask()

    async def ask(self) -> list[str]:
        response = await self.get()
        self.assertEqual(response.status, 200)
        return response.body.decode().split("|")

    async def test_mutual(self) -> None:
        """The gateway's certificate counts, and sessions are resumed."""
        self.model = await self.start_nginx("keepalive_timeout 0; ssl_session_cache shared:x:1m;")
        below = Authority("intermediate", issuer=self.clients)
        for version in (TLSVersion.TLS1_2, TLSVersion.TLS1_3):
            got = await self.told(below.issue("gateway"), max_version=version)
            self.assertEqual(got, ["SUCCESS", "CN=gateway", NAME, ".", f"TLSv{version.value}"])
            self.assertEqual((await self.ask())[3], "r")

    async def test_kept_alive(self) -> None:
        """A connection is kept and used again."""
        self.model = await self.start_nginx()
        await self.told(self.clients.issue("gateway"))
        for _ in range(3):
            self.assertEqual((await self.ask())[0], "SUCCESS")
        self.assertEqual(self.metrics.connects, 1)

    async def test_not_believed(self) -> None:
        """Without a certificate none is shown; of one that is not good nginx says so in HTTP, which is its answer."""
        self.model = await self.start_nginx()
        self.assertEqual((await self.told(None))[0], "NONE")
        shown = server_certificate(self.clients.issue_expired("gateway"))
        await self.begin(secured(self.model, self.pki, hostname=NAME, client_certificate=shown))
        self.assertEqual((await self.get()).status, 400)
        self.assertEqual(self.failures(), {})

    async def test_proxy_protocol(self) -> None:
        """Its ``proxy_protocol`` listener understands both headers, before TLS and without."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        certificate, key = self.issue().write(folder, "server")
        say = 'return 200 "$proxy_protocol_addr|$proxy_protocol_port|$proxy_protocol_server_port";'
        ports, _ = await start_nginx(self, f"""
            server {{
                listen 127.0.0.1:{{0}} proxy_protocol ssl;
                ssl_certificate {certificate};
                ssl_certificate_key {key};
                location / {{ {say} }}
            }}
            server {{
                listen 127.0.0.1:{{1}} proxy_protocol;
                location / {{ {say} }}
            }}""", 2)
        for port, over_tls in zip(ports, (True, False), strict=True):
            for version in ProxyProtocol:
                model = Upstream("upstream", (Endpoint("127.0.0.1", port),), proxy_protocol=version)
                await self.begin(secured(model, self.pki, hostname=NAME) if over_tls else model)
                client = await self.connect()
                own = client.transport.getHost()
                gateway_port = self.running.address()[1]
                for _ in range(2):
                    client.send(GET)
                    response = await client.response()
                    self.assertEqual(response.body.decode(), f"127.0.0.1|{own.port}|{gateway_port}")
