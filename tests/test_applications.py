"""``resource`` and ``wsgi``: applications of others behind the gateway, with real requests."""
from __future__ import annotations

import ast
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from edgegw.api import Accept, Size, policy
from edgegw.applications import resource, wsgi
from edgegw.applications.environ import environ_of
from edgegw.applications.resource import ResourceBackend
from edgegw.applications.wsgi import WSGIBackend
from edgegw.identity import CertificateStatus, ConnectionInfo, Identity, certificate
from edgegw.model import XFCC, BackendUse, PolicyUse, Upstream
from edgegw.testing import FakeEnvironment, peer
from tests import web_applications
from tests.backend_requests import BackendRequests
from tests.gateway import (
    SERVER,
    Authority,
    client_context,
    gateway,
    get,
    https_listener,
    in_thread,
    start_gateway,
    talk,
    until,
    validation,
)
from tests.raw_client import read_response
from tests.web_applications import MADE, SEEN

reactor: Any = global_reactor
HERE = "tests.web_applications"


@policy("team")
def team(peer: Any) -> Accept:
    """Say which team everybody is in."""
    return Accept({"team": "blue"})


class ReferenceTests(SynchronousTestCase):
    """What a configuration names."""

    def test_faults(self) -> None:
        """What cannot be run is a fault of the configuration, with the way to it."""
        environment = FakeEnvironment()
        for name, part in (
            ("tests.no_such_module:app", r"tests.no_such_module:app cannot be loaded: .*ModuleNotFoundError"),
            (f"{HERE}:nothing", "cannot be loaded: .*AttributeError"),
            (f"{HERE}:number", f"{HERE}:number is a int"),
        ):
            with self.assertRaisesRegex(ValueError, part):
                ResourceBackend.build(resource.Config(object=name), environment)
            with self.assertRaisesRegex(ValueError, part):
                WSGIBackend.build(wsgi.Config(application=name), environment)
        for name in ("module", "a:b:c", ":x", "a b:c", "a:"):
            self.assertRaisesRegex(ValueError, "is no module:object; write", resource.Config, object=name)


class ResourceTests(BackendRequests):
    """A twisted.web resource."""

    async def serve(self, name: str = "with_reactor", max_body: int = 1 << 30, **options: Any) -> Any:
        """Serve an object of the test's applications; gives the resource that was made last."""
        MADE.clear()
        config = resource.Config(object=f"{HERE}:{name}", max_body_size=Size(max_body))
        await self.start(ResourceBackend, config, **options)

    @property
    def root(self) -> Any:
        """The resource that was made for the first request."""
        (made,) = MADE
        return made

    async def test_what_it_is_told(self) -> None:
        """It sees the request as it was sent, and headers as upstreams get them."""
        await self.serve()
        found = await self.ask(
            "POST /echo/a%20b/../c?x=1&x=2", "content-type: application/x-www-form-urlencoded",
            'x-forwarded-client-cert: Subject="CN=admin"', body=b"y=3",
        )  # fmt: skip
        told = {name: found.all(name)[0] for name in (
            "x-method", "x-uri", "x-post", "x-client", "x-secure", "x-host", "x-xfcc", "x-subject",
        )}  # fmt: skip
        self.assertEqual(told, {
            "x-method": "POST", "x-uri": "/echo/a%20b/../c?x=1&x=2", "x-post": "a b/../c", "x-client": "127.0.0.1",
            "x-secure": "False", "x-host": "a.example", "x-xfcc": "", "x-subject": "",
        })  # fmt: skip
        arguments = dict(ast.literal_eval(found.all("x-arguments")[0]))
        self.assertEqual(arguments, {b"x": [b"1", b"2"], b"y": [b"3"]})
        self.assertEqual(found.body, b"y=3")
        self.assertIs(self.root.reactor, reactor)

    async def test_made_once(self) -> None:
        """Objects, classes, functions and methods all make one, once."""
        for name in ("echo", "Echo", "klein.resource"):
            await self.serve(name)
            for body in (b"1", b"2"):
                self.assertEqual((await self.ask("POST /", body=body)).body, body)
            await self.running.stop()
        await self.serve()
        for _ in range(2):
            self.assertEqual((await self.ask("GET /nothing")).status, 204)
        self.assertEqual(len(MADE), 1)

    async def test_no_resource(self) -> None:
        """What makes something else is a 502."""
        await self.serve("no_resource")
        self.assertEqual((await self.ask()).status, 502)
        self.assertEqual(self.failures(), {"bad_response": 1})

    async def test_identity(self) -> None:
        """Behind client certificates it knows who is calling, and what policies have said; nobody can claim it."""
        pki = Authority()
        environment = FakeEnvironment()
        built = ResourceBackend.build(resource.Config(object=f"{HERE}:echo"), environment)
        upstream = Upstream("plugin", (), backend=BackendUse(ResourceBackend, built, environment))
        use = PolicyUse(team, team.build(None, environment), environment)
        listener = https_listener(
            [pki.issue("a.example", dns=["a.example"], usages=SERVER)], validation(pki, policies=(use,)),
            header_injection=(XFCC(),),
        )
        running = await start_gateway(self, gateway([listener], upstream))
        client = client_context(pki, pki.issue("billing"))
        got = await in_thread(
            talk, running.address(), get("/", "a.example", 'x-forwarded-client-cert: Subject="CN=admin"'), client,
            "a.example",
        )
        found = read_response(got)
        assert found is not None
        self.assertEqual((found[0].all("x-subject"), found[0].all("x-secure")), (["CN=billing"], ["True"]))
        self.assertEqual(found[0].all("x-team"), ["blue"])
        self.assertIn('Subject="CN=billing"', found[0].all("x-xfcc")[0])
        self.assertNotIn("admin", found[0].all("x-xfcc")[0])

    async def test_bodies(self) -> None:
        """Bodies of both framings come whole; one that is too long is a 413 before all of it was sent."""
        await self.serve(max_body=300_000)
        large = bytes(range(256)) * 1000
        self.assertEqual((await self.ask("PUT /echo", body=large)).body, large)
        client = await self.client()
        chunked = b"PUT /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        client.send(chunked + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        self.assertEqual((await client.response()).body, b"abcde")
        client.send(b"PUT /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 300001\r\n\r\n")
        self.assertEqual((await client.response()).status, 413)
        client = await self.client()
        client.send(chunked + b"493E1\r\n" + bytes(300_001))
        self.assertEqual((await client.response()).status, 413)

    async def test_broken_forms(self) -> None:
        """A form that cannot be read is the client's fault."""
        await self.serve("echo")
        form = "content-type: multipart/form-data; boundary=x"
        statuses = set()
        for body in (b"--x\r\nnonsense", b"--x\r\ncontent-disposition: form-data; name=\xff\r\n\r\n", b"\x00" * 100):
            statuses.add((await self.ask("POST /", form, body=body)).status)
        statuses.add((await self.ask("POST /", "content-type: multipart/form-data; \xff\xfe", body=b"x")).status)
        self.assertEqual(statuses, {200, 400})
        self.assertEqual((await self.ask("POST /", body=b"fine")).body, b"fine")

    async def test_responses(self) -> None:
        """Whatever a resource can answer arrives as it should."""
        await self.serve()
        found = await self.ask("GET /length")
        self.assertEqual((found.body, found.all("content-length")), (b"1234567890", ["10"]))
        self.assertEqual((await self.ask("GET /pull")).body, bytes(20 * 65_536))
        self.assertEqual((await self.ask("GET /wrong")).status, 502)
        self.assertEqual((await self.ask("GET /close")).status, 502)
        unchanged = await self.ask("GET /not-modified")
        self.assertEqual((unchanged.status, unchanged.all("etag"), unchanged.body), (304, ['"x"'], b""))
        head = await self.ask("HEAD /echo")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual((await self.ask("POST /x")).status, 405)

    async def test_sessions(self) -> None:
        """Sessions work, and their timers end with the configuration."""
        await self.serve()
        first = await self.ask("GET /session")
        cookie = first.all("set-cookie")[0].partition(";")[0]
        again = await self.ask("GET /session", f"cookie: {cookie}")
        self.assertEqual((first.body, again.body), (b"1", b"2"))

    async def test_exceptions(self) -> None:
        """An exception is a 500 that says nothing of the inside."""
        await self.serve()
        found = await self.ask("GET /fails")
        self.assertEqual(found.status, 500)
        self.assertNotIn(b"on purpose", found.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_a_slow_reader(self) -> None:
        """A push producer is paused while the client is behind, and stopped when it leaves."""
        await self.serve()
        client = await self.client()
        client.transport.pauseProducing()
        client.send(b"GET /push HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: MADE and self.root.producer is not None and self.root.producer.pauses)
        producer = self.root.producer
        await until(lambda: not producer.running)
        self.assertLess(producer.written, 32 << 20)
        client.transport.resumeProducing()
        seen = client.total
        await until(lambda: client.total > seen + (1 << 22))
        client.transport.pauseProducing()
        self.assertLess(producer.written - client.total, 32 << 20)
        client.transport.abortConnection()
        await self.assertFailure(self.root.finished, ConnectionLost)
        self.assertTrue(producer.stopped)
        await self.quiet()

    async def test_a_client_that_leaves(self) -> None:
        """Whether the response has begun or not, the resource is told; what it then still says is dropped."""
        await self.serve()
        for path in (b"open", b"begun"):
            client = await self.client()
            client.send(b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
            await until(lambda: MADE and self.root.finished is not None)
            finished, self.root.finished = self.root.finished, None
            if path == b"begun":
                await client.heard(b"begun")
            client.transport.abortConnection()
            await self.assertFailure(finished, ConnectionLost)
            self.root.request.write(b"late")
            self.assertRaises(RuntimeError, self.root.request.finish)
            await self.quiet()

    async def test_a_client_that_leaves_in_its_body(self) -> None:
        """A body that never ends is let go with its client, and the resource is not asked."""
        await self.serve()
        client = await self.client()
        client.send(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\n" + bytes(500_000))
        await until(lambda: any(one.request_bytes > 400_000 for one in self.running.metrics.routes.values()))
        client.transport.abortConnection()
        await self.quiet()

    async def test_no_answer(self) -> None:
        """A resource that never answers is a 504, and told so."""
        await self.serve(response_timeout=0.3)
        self.assertEqual((await self.ask("GET /open")).status, 504)
        await self.assertFailure(self.root.finished, ConnectionLost)

    async def test_pipelining(self) -> None:
        """Requests of one connection are answered in their order."""
        await self.serve("echo")
        client = await self.client()
        client.send(b"".join(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n%d" % number for number in range(9)
        ))
        self.assertEqual([(await client.response()).body for _ in range(9)], [b"%d" % one for one in range(9)])


class EnvironTests(SynchronousTestCase):
    """What WSGI applications are told of clients."""

    def test_verified(self) -> None:
        """A verified certificate is told by the names of mod_ssl, in characters that PEP 3333 has."""
        client = peer(common_name="jürgen €", dns=["a.example", "b.example"], uris=["spiffe://x/y"])
        info = client.connection._replace(tls_version="TLSv1.3", cipher="TLS_AES_128_GCM_SHA256", server_name="edge")
        told = environ_of(info)
        self.assertEqual(told["SSL_CLIENT_VERIFY"], "SUCCESS")
        self.assertEqual((told["SSL_CLIENT_SAN_DNS_0"], told["SSL_CLIENT_SAN_DNS_1"]), ("a.example", "b.example"))
        self.assertEqual((told["SSL_CLIENT_SAN_URI_0"], told["SSL_TLS_SNI"]), ("spiffe://x/y", "edge"))
        self.assertEqual((told["SSL_PROTOCOL"], told["HTTPS"]), ("TLSv1.3", "on"))
        self.assertRegex(str(told["SSL_CLIENT_V_END"]), r"^[A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d \d{4} GMT$")
        self.assertTrue(str(told["SSL_CLIENT_CERT"]).startswith("-----BEGIN CERTIFICATE-----"))
        self.assertIs(told.pop("edgegw.connection"), info)
        for value in told.values():
            str(value).encode("latin-1")

    def test_not_verified(self) -> None:
        """A certificate that was not verified is nobody's, and without TLS there is nothing to tell."""
        issued = Authority().issue("stranger")
        leaf = certificate(issued.der)
        info = ConnectionInfo("x", Identity(CertificateStatus.UNVERIFIED, leaf), "::1", tls_version="TLSv1.3")
        self.assertEqual({name for name in environ_of(info) if name.startswith("SSL_CLIENT")}, {"SSL_CLIENT_VERIFY"})
        self.assertEqual(environ_of(info)["SSL_CLIENT_VERIFY"], "FAILED")
        anonymous = info._replace(identity=Identity())
        self.assertEqual(environ_of(anonymous)["SSL_CLIENT_VERIFY"], "NONE")
        self.assertEqual(set(environ_of(ConnectionInfo("x", Identity(), "::1"))), {"edgegw.connection"})


class WSGITests(BackendRequests):
    """A WSGI application."""

    def setUp(self) -> None:
        SEEN.clear()
        web_applications.GO.clear()
        self.addCleanup(web_applications.GO.set)

    async def serve(self, threads: int = 2, max_waiting: int = 100, max_body: int = 1 << 30, **options: Any) -> None:
        """Serve the test's application."""
        config = wsgi.Config(
            application=f"{HERE}:wsgi", threads=threads, max_waiting=max_waiting, max_body_size=Size(max_body)
        )
        await self.start(WSGIBackend, config, **options)

    async def test_requests(self) -> None:
        """It sees the request in its environment, and answers from another thread."""
        await self.serve()
        found = await self.ask("PUT /a%20b/c?x=1", "proxy: http://evil", "x-ssl-client-verify: SUCCESS", body=b"body")
        self.assertEqual((found.status, found.body), (200, b"PUT body"))
        self.assertEqual((found.all("content-type"), found.all("server")), (["text/plain"], found.all("server")))
        environ = SEEN["environ"]
        self.assertEqual((environ["PATH_INFO"], environ["QUERY_STRING"], environ["SCRIPT_NAME"]), ("/a b/c", "x=1", ""))
        self.assertEqual((environ["REMOTE_ADDR"], environ["CONTENT_LENGTH"]), ("127.0.0.1", "4"))
        self.assertEqual((environ["wsgi.url_scheme"], environ["HTTP_HOST"]), ("http", "a.example"))
        self.assertFalse({"HTTP_PROXY", "SSL_CLIENT_VERIFY", "HTTP_X_SSL_CLIENT_VERIFY"} & set(environ))
        self.assertIsNot(SEEN["thread"], reactor.threadpool)
        self.assertEqual((await self.ask("GET /writes")).body, b"one two three")

    async def test_uploads(self) -> None:
        """A large body is read from a file, and one that is too large is refused."""
        await self.serve(max_body=8 << 20)
        self.assertEqual((await self.ask("POST /size", body=bytes(7 << 20))).body, b"%d" % (7 << 20))
        form = "content-type: multipart/form-data; boundary=x"
        self.assertEqual((await self.ask("POST /size", form, body=bytes(1000))).body, b"1000")
        client = await self.client()
        client.send(b"POST /size HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000\r\n\r\n")
        self.assertEqual((await client.response()).status, 413)

    async def test_exceptions(self) -> None:
        """Before the response an exception is a 500, in it a cut connection."""
        await self.serve()
        found = await self.ask("GET /fails")
        self.assertEqual(found.status, 500)
        client = await self.client()
        client.send(b"GET /breaks HTTP/1.1\r\nhost: a\r\n\r\n")
        got = await client.closed()
        self.assertNotIn(b"0\r\n\r\n", got)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        await until(lambda: not self.built.in_progress)

    async def test_a_slow_reader(self) -> None:
        """A response is iterated no faster than the client reads, and closed when it leaves."""
        await self.serve()
        client = await self.client()
        client.transport.pauseProducing()
        client.send(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: "endless" in SEEN and SEEN["endless"].yielded > 1 << 20)
        endless = SEEN["endless"]
        # The other thread goes on answering.
        for _ in range(3):
            self.assertEqual((await self.ask("POST /", body=b"x")).body, b"POST x")
        self.assertLess(endless.yielded, 64 << 20)
        client.transport.resumeProducing()
        await until(lambda: client.total > 8 << 20)
        client.transport.abortConnection()
        await until(lambda: endless.closed and not self.built.in_progress)

    async def test_busy(self) -> None:
        """So many run, so many wait, and the rest is told to come again."""
        await self.serve(threads=2, max_waiting=1)
        clients = [await self.client() for _ in range(3)]
        for client in clients:
            client.send(b"GET /waits HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: self.built.in_progress == 3 and SEEN.get("waiting") == 2)
        refused = await self.ask()
        self.assertEqual((refused.status, refused.all("retry-after")), (503, ["1"]))
        # One that waits and whose client leaves is never run.
        clients.pop().transport.abortConnection()
        await until(lambda: sum(one.in_progress for one in self.running.metrics.routes.values()) == 2)
        web_applications.GO.set()
        self.assertEqual([(await client.response()).status for client in clients], [200, 200])
        await until(lambda: not self.built.in_progress)
        self.assertEqual(SEEN["waiting"], 2)
        self.assertEqual((await self.ask()).status, 200)

    async def test_no_answer(self) -> None:
        """An application that takes too long is a 504; its thread is counted until it is back."""
        await self.serve(response_timeout=0.3)
        self.assertEqual((await self.ask("GET /waits")).status, 504)
        self.assertEqual(self.built.in_progress, 1)
        web_applications.GO.set()
        await until(lambda: not self.built.in_progress)

    async def test_close_does_not_wait(self) -> None:
        """A configuration ends although a thread of it does not."""
        await self.serve()
        client = await self.client()
        client.send(b"GET /waits HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: SEEN.get("waiting") == 1)
        self.built.close()
        client.transport.abortConnection()
        await self.quiet()
        web_applications.GO.set()
        await until(lambda: not self.built.in_progress)
