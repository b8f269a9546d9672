"""How plugins ask services: real connections to a service that answers as it is told."""
from __future__ import annotations

import gzip
from typing import Any, ClassVar

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from edgegw.http_client import HTTPClient, trust_of
from edgegw.interfaces import HTTPAnswer, HTTPUnavailable, IHTTPClient
from edgegw.testing.certificates import Authority
from tests.http_service import Asked, Service, reply, start_service, until

SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)


class ClientTestCase(TestCase):
    """Has clients that are closed when a test has ended."""

    def client(self, authority: Authority | None = None, concurrency: int = 4) -> HTTPClient:
        """Make a client."""
        client = HTTPClient(reactor, None if authority is None else trust_of(authority.pem), concurrency)
        self.addCleanup(client.close)
        return client

    def ask(self, client: HTTPClient, *arguments: Any, **options: Any) -> Deferred[HTTPAnswer]:
        """Send a request and do not wait for it."""
        return Deferred.fromCoroutine(client.request(*arguments, **options))

    async def unavailable(self, client: HTTPClient, *arguments: Any, **options: Any) -> str:
        """Send a request that gets no answer; gives what is said of it."""
        try:
            answer = await client.request(*arguments, **options)
        except HTTPUnavailable as error:
            return str(error)
        raise AssertionError(f"answered {answer.status} {answer.body[:100]!r}")


class AnswerTests(ClientTestCase):
    """What goes out and what comes back."""

    async def test_question_and_answer(self) -> None:
        """Method, path, headers and body arrive, and status, headers and body come back."""
        service = start_service(self, reply(b"no", "403 Forbidden", X_Reason="old", x_reason="new"))
        client = self.client()
        verifyObject(IHTTPClient, client)
        url = f"{service.url}check?a=b#c"
        got = await client.request("POST", url, headers={"Authorization": "Bearer x"}, body=b"{}")
        self.assertEqual((got.status, got.body, got.headers["x-reason"]), (403, b"no", "new"))
        (asked,) = service.requests
        self.assertEqual((asked.line, asked.body), ("POST /check?a=b HTTP/1.1", b"{}"))
        self.assertEqual(asked.headers["authorization"], "Bearer x")
        self.assertEqual(asked.headers["host"], f"127.0.0.1:{service.port}")
        self.assertEqual(asked.headers["content-length"], "2")

    async def test_nothing_that_was_not_asked_for(self) -> None:
        """Neither cookies nor compression nor a proxy from the environment get into it."""
        self.patch(__import__("os"), "environ", {"http_proxy": "http://127.0.0.1:1/", "HTTP_PROXY": "http://127.0.0.1:1/"})
        service = start_service(self, reply(b"", set_cookie="a=b; path=/"))
        client = self.client()
        for _ in range(2):
            await client.request("GET", service.url)
        for asked in service.requests:
            self.assertNotIn("cookie", asked.headers)
            self.assertEqual(asked.headers["accept-encoding"], "identity")

    async def test_broken_cookie(self) -> None:
        """A cookie that is no ASCII harms nothing, and the connection serves on."""
        service = start_service(self, reply(b"yes", set_cookie="a=\xff\xfe"))
        client = self.client()
        for _ in range(2):
            self.assertEqual((await client.request("GET", service.url)).body, b"yes")
        self.assertEqual(len(service.talks), 1)

    async def test_redirects_are_answers(self) -> None:
        """A redirect is handed to who asked, and not followed."""
        elsewhere = start_service(self)
        service = start_service(self, reply(b"", "302 Found", location=elsewhere.url))
        got = await self.client().request("GET", service.url)
        self.assertEqual((got.status, got.headers["location"], elsewhere.requests), (302, elsewhere.url, []))

    async def test_connections_are_kept(self) -> None:
        """The next request goes on the connection of the one before."""
        service = start_service(self, reply(b"yes"))
        client = self.client()
        for _ in range(3):
            await client.request("POST", service.url, body=b"x")
        self.assertEqual(len(service.talks), 1)

    async def test_body_without_length(self) -> None:
        """A body that ends with the connection is whole (RFC 9112 §6.3)."""
        def close(asked: Asked) -> None:
            asked.talk.transport.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
            asked.talk.transport.loseConnection()

        got = await self.client().request("GET", start_service(self, close).url)
        self.assertEqual(got.body, b"hello")

    async def test_chunks_and_head(self) -> None:
        """Chunked bodies are put together, and HEAD has none whatever its length says."""
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        service = start_service(self, head + b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")
        client = self.client()
        self.assertEqual((await client.request("GET", service.url)).body, b"abcd")
        service.script = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"
        self.assertEqual((await client.request("HEAD", service.url)).body, b"")

    async def test_interim_answers(self) -> None:
        """A 1xx before the answer is not the answer."""
        service = start_service(self, b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply(b"yes"))
        self.assertEqual((await self.client().request("GET", service.url)).body, b"yes")


class BoundTests(ClientTestCase):
    """No service can make the gateway hold or wait for more than it was asked to."""

    async def refused(self, script: Any, **options: Any) -> str:
        """Have a service answer with what is too much; the connection must be closed for it."""
        service = start_service(self, script)
        said = await self.unavailable(self.client(), "GET", service.url, limit=1000, timeout=60, **options)
        await until(lambda: all(talk.lost is not None for talk in service.talks))
        return said

    async def test_length_too_large(self) -> None:
        """A body that is announced as too long is not read."""
        said = await self.refused(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\nabc")
        self.assertIn("the answer has 1001 bytes, more than 1000", said)

    async def test_exactly_as_long_as_allowed(self) -> None:
        """The limit itself is allowed."""
        service = start_service(self, reply(b"x" * 1000))
        self.assertEqual(len((await self.client().request("GET", service.url, limit=1000)).body), 1000)

    async def test_endless_chunks(self) -> None:
        """A body that says nothing of its length is cut off at the limit."""
        said = await self.refused(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"64\r\n" + b"x" * 100 + b"\r\n"
            + b"3e8\r\n" + b"x" * 1000 + b"\r\n"
        )
        self.assertIn("the answer has more than 1000 bytes", said)

    async def test_endless_header(self) -> None:
        """Header lines without end are cut off."""
        said = await self.refused(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000)
        self.assertIn("the answer is too long", said)

    async def test_endless_interim_answers(self) -> None:
        """So are interim answers."""
        said = await self.refused(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000)
        self.assertIn("the answer is too long", said)

    async def test_long_answers_on_a_kept_connection(self) -> None:
        """What is allowed is counted for each request, not for the connection's life."""
        service = start_service(self, reply(b"x" * 60_000))
        client = self.client()
        for _ in range(5):
            await client.request("GET", service.url, limit=60_000)
        self.assertEqual(len(service.talks), 1)

    async def test_compressed(self) -> None:
        """A compressed answer, which was not asked for, is none: it could be a bomb."""
        bomb = gzip.compress(b"\0" * 100_000)
        said = await self.refused(reply(bomb, content_encoding="gzip"))
        self.assertIn("content encoding", said)

    async def test_silence(self) -> None:
        """A service that takes the request and says nothing is given up."""
        service = start_service(self, lambda asked: None)
        said = await self.unavailable(self.client(), "GET", service.url, timeout=0.05)
        self.assertIn("no answer within 0.05 s", said)
        await until(lambda: all(talk.lost is not None for talk in service.talks))

    async def test_dripping_body(self) -> None:
        """The time limit is for the whole answer, not for its beginning."""
        service = start_service(self, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        said = await self.unavailable(self.client(), "GET", service.url, timeout=0.2)
        self.assertIn("no answer within 0.2 s", said)
        await until(lambda: all(talk.lost is not None for talk in service.talks))

    async def test_concurrency(self) -> None:
        """No more requests than allowed are on their way; the others wait, and their time limit runs."""
        service = start_service(self, lambda asked: None)
        client = self.client(concurrency=2)
        asked = [self.ask(client, "GET", service.url, timeout=60) for _ in range(5)]
        await service.request(2)
        said = await self.unavailable(client, "GET", service.url, timeout=0.05)
        self.assertIn("no turn, behind 2 other requests, within 0.05 s", said)
        self.assertEqual(len(service.requests), 2)
        service.script = reply(b"yes")
        for one in list(service.requests):
            one.talk.transport.write(reply(b"yes"))
        self.assertEqual([(await one).body for one in asked], [b"yes"] * 5)
        self.assertEqual(len(service.talks), 2)


class FailureTests(ClientTestCase):
    """What is said when there is no answer."""

    async def test_refused(self) -> None:
        """A closed port is named, and the query is not: it may have a secret in it."""
        service = start_service(self)
        await service.stop()
        said = await self.unavailable(self.client(), "GET", f"{service.url}path?token=secret")
        self.assertIn(f"GET http://127.0.0.1:{service.port}/path: ", said)
        self.assertIn("refused", said)
        self.assertNotIn("secret", said)

    async def test_unknown_name(self) -> None:
        """A name that leads nowhere is said to be that."""
        said = await self.unavailable(self.client(), "GET", "http://nothing.invalid/", timeout=60)
        self.assertIn("cannot be resolved", said)

    async def test_closed_without_an_answer(self) -> None:
        """A service that hangs up is said to have done so."""
        service = start_service(self, lambda asked: asked.talk.transport.loseConnection())
        said = await self.unavailable(self.client(), "POST", service.url, body=b"x")
        self.assertIn("closed before the answer was complete", said)
        self.assertEqual(len(service.requests), 1)

    async def test_cut_short(self) -> None:
        """Half a body is no answer."""
        def half(asked: Asked) -> None:
            asked.talk.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
            asked.talk.transport.loseConnection()

        said = await self.unavailable(self.client(), "GET", start_service(self, half).url)
        self.assertIn("closed before the answer was complete", said)

    async def test_no_http(self) -> None:
        """What is no HTTP is no answer, whatever it is."""
        for garbage in (
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"\xff" * 100_000,
        ):
            service = start_service(self, garbage)
            self.assertTrue(await self.unavailable(self.client(), "GET", service.url, timeout=1))

    async def test_what_is_not_sent(self) -> None:
        """URLs of other sorts, passwords in them and broken headers are refused before anything happens."""
        client = self.client()
        for url in ("ftp://a.example/", "file:///etc/passwd", "/path", "", "http://", "http:///x", "http://a.example:0/",
                    "http://a.example:99999/", "http://a b/", "http://a\r\nHost: b/", "http://é.example/", "http://[::1/"):
            self.assertIn("is no http or https URL", await self.unavailable(client, "GET", url))
        said = await self.unavailable(client, "GET", "http://user:secret@a.example/")
        self.assertIn("user information", said)
        self.assertNotIn("secret", said)
        for method, headers in (("GE T", {}), ("GET", {"a b": "c"}), ("GET", {"a": "b\r\nc: d"}), ("GET", {"": "x"})):
            said = await self.unavailable(client, method, "http://a.example/", headers=headers)
            self.assertIn("cannot be sent", said)


class KeptConnectionTests(ClientTestCase):
    """A kept connection may be closed by the service at any time."""

    async def stale(self, method: str, **options: Any) -> tuple[Service, Any]:
        """Ask twice; the service closes the connection when the second request comes in on it."""
        def once(asked: Asked) -> bytes | None:
            if len(service.talks) == 1 and len(service.requests) == 2:
                asked.talk.transport.abortConnection()
                return None
            return reply(b"yes")

        service = start_service(self, once)
        client = self.client()
        await client.request("GET", service.url)
        try:
            return service, (await client.request(method, service.url, **options)).body
        except HTTPUnavailable as error:
            return service, str(error)

    async def test_idempotent_methods(self) -> None:
        """A GET is sent again on a new connection."""
        service, got = await self.stale("GET")
        self.assertEqual((got, len(service.talks)), (b"yes", 2))

    async def test_post(self) -> None:
        """A POST is not: the service may have done what it asks for."""
        service, got = await self.stale("POST", body=b"x")
        self.assertIn("closed without an answer", got)
        self.assertEqual(len(service.talks), 1)

    async def test_post_with_a_key(self) -> None:
        """A POST with an Idempotency-Key is, body and all."""
        service, got = await self.stale("POST", body=b"x", headers={"Idempotency-Key": "1"})
        self.assertEqual((got, len(service.talks)), (b"yes", 2))
        self.assertEqual([asked.body for asked in service.requests], [b"", b"x", b"x"])

    async def test_only_once(self) -> None:
        """A service that closes again has no answer."""
        def never(asked: Asked) -> bytes | None:
            if len(service.requests) == 1:
                return reply(b"yes")
            asked.talk.transport.abortConnection()
            return None

        service = start_service(self, never)
        client = self.client()
        await client.request("GET", service.url)
        self.assertIn("closed", await self.unavailable(client, "GET", service.url))
        self.assertEqual(len(service.requests), 3)


class SharingTests(ClientTestCase):
    """Equal requests with one Idempotency-Key are one request."""

    KEY: ClassVar = {"Idempotency-Key": "one"}

    async def test_one_request(self) -> None:
        """All who ask at the same time get the answer of one request, and the next one asks anew."""
        service = start_service(self, lambda asked: None)
        client = self.client()
        asked = [self.ask(client, "POST", service.url, headers=self.KEY, body=b"x") for _ in range(10)]
        (await service.request()).talk.transport.write(reply(b"yes"))
        self.assertEqual([(await one).body for one in asked], [b"yes"] * 10)
        service.script = reply(b"new")
        self.assertEqual((await client.request("POST", service.url, headers=self.KEY, body=b"x")).body, b"new")
        self.assertEqual(len(service.requests), 2)

    async def test_what_differs_is_sent(self) -> None:
        """Another body, another key or no key is another request."""
        service = start_service(self, lambda asked: None)
        client = self.client(concurrency=10)
        for options in ({"headers": self.KEY, "body": b"x"}, {"headers": self.KEY, "body": b"y"},
                        {"headers": {"Idempotency-Key": "two"}, "body": b"x"}, {"body": b"x"}, {"body": b"x"}):
            self.ask(client, "POST", service.url, **options).addErrback(lambda failure: failure.trap(HTTPUnavailable))
        await service.request(5)

    async def test_who_leaves_leaves_alone(self) -> None:
        """One who no longer wants the answer takes it from nobody else; the last one takes the connection along."""
        service = start_service(self, lambda asked: None)
        client = self.client()
        first, second = (self.ask(client, "POST", service.url, headers=self.KEY, body=b"x") for _ in range(2))
        asked = await service.request()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        asked.talk.transport.write(reply(b"yes"))
        self.assertEqual((await second).body, b"yes")
        third, fourth = (self.ask(client, "POST", service.url, headers=self.KEY, body=b"x") for _ in range(2))
        asked = await service.request(2)
        third.cancel()
        fourth.cancel()
        self.failureResultOf(third, CancelledError)
        self.failureResultOf(fourth, CancelledError)
        await until(lambda: asked.talk.lost is not None)

    async def test_each_has_its_own_time_limit(self) -> None:
        """Who joins late with a short limit gives up alone."""
        service = start_service(self, lambda asked: None)
        client = self.client()
        first = self.ask(client, "POST", service.url, headers=self.KEY, body=b"x", timeout=60)
        asked = await service.request()
        said = await self.unavailable(client, "POST", service.url, headers=self.KEY, body=b"x", timeout=0.02)
        self.assertIn("within 0.02 s", said)
        asked.talk.transport.write(reply(b"yes"))
        self.assertEqual((await first).body, b"yes")

    async def test_failure_is_shared(self) -> None:
        """All of them are told why there is none."""
        service = start_service(self, lambda asked: asked.talk.transport.loseConnection())
        client = self.client()
        asked = [self.ask(client, "POST", service.url, headers=self.KEY, body=b"x") for _ in range(3)]
        for one in asked:
            with self.assertRaises(HTTPUnavailable):
                await one


class EndTests(ClientTestCase):
    """Requests that are given up, and clients that are closed."""

    async def test_cancelled(self) -> None:
        """A request that is cancelled closes its connection and gives its place to the next one."""
        service = start_service(self, lambda asked: None)
        client = self.client(concurrency=1)
        first = self.ask(client, "GET", service.url)
        await service.request()
        second = self.ask(client, "GET", service.url)
        service.script = reply(b"yes")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual((await second).body, b"yes")
        await until(lambda: service.talks[0].lost is not None)

    async def test_cancelled_while_waiting(self) -> None:
        """One that has not had its turn is forgotten."""
        service = start_service(self, lambda asked: None)
        client = self.client(concurrency=1)
        first = self.ask(client, "GET", service.url)
        asked = await service.request()
        second = self.ask(client, "GET", service.url)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        asked.talk.transport.write(reply(b"yes"))
        await first
        self.assertEqual(len(service.requests), 1)

    async def test_cancelled_in_the_body(self) -> None:
        """One that is half-way through its answer hangs up."""
        service = start_service(self, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        asked = self.ask(self.client(), "GET", service.url)
        await service.request()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        await until(lambda: all(talk.lost is not None for talk in service.talks))

    async def test_closed(self) -> None:
        """Closing ends what is on its way and what waits, and refuses what comes later."""
        service = start_service(self, lambda asked: None)
        client = self.client(concurrency=1)
        asked = [self.ask(client, "GET", service.url) for _ in range(3)]
        await service.request()
        client.close()
        for one in asked:
            self.failureResultOf(one, HTTPUnavailable)
        said = await self.unavailable(client, "GET", service.url)
        self.assertIn("no longer in use", said)
        await until(lambda: all(talk.lost is not None for talk in service.talks))
        client.close()

    async def test_closed_with_kept_connections(self) -> None:
        """Kept connections are closed with it."""
        service = start_service(self, reply(b"yes"))
        client = self.client()
        await client.request("GET", service.url)
        client.close()
        await until(lambda: all(talk.lost is not None for talk in service.talks))


class TLSTests(ClientTestCase):
    """Services behind TLS."""

    def setUp(self) -> None:
        self.authority = Authority()

    def start(self, **names: Any) -> Service:
        """Start a service whose certificate has these names."""
        return start_service(self, reply(b"yes"), self.authority.issue("service", usages=SERVER, **names))

    async def test_trusted(self) -> None:
        """A service with a certificate of the given CA is asked, by address and by name, on one connection each."""
        service = self.start(dns=["localhost"], ips=["127.0.0.1"])
        client = self.client(self.authority)
        for url in (service.url, service.url.replace("127.0.0.1", "localhost")):
            for _ in range(2):
                self.assertEqual((await client.request("GET", url)).body, b"yes")
        self.assertEqual(len(service.talks), 2)

    async def test_another_authority(self) -> None:
        """A certificate of any other CA is refused, and nothing is sent."""
        service = self.start(ips=["127.0.0.1"])
        for authority in (Authority(), None):
            said = await self.unavailable(self.client(authority), "GET", service.url)
            self.assertIn("TLS: certificate verify failed", said)
        self.assertEqual(service.requests, [])

    async def test_another_name(self) -> None:
        """A certificate of another host is refused, and nothing is sent."""
        service = self.start(dns=["other.example"], ips=["127.0.0.2"])
        client = self.client(self.authority)
        for url in (service.url, service.url.replace("127.0.0.1", "localhost")):
            self.assertIn("not for this host", await self.unavailable(client, "GET", url))
        self.assertEqual(service.requests, [])

    async def test_no_tls(self) -> None:
        """A service that does not speak TLS is not asked in clear."""
        service = start_service(self, reply(b"yes"))
        service.greeting = b"220 ready\r\n"
        said = await self.unavailable(self.client(self.authority), "GET", service.url.replace("http:", "https:"))
        self.assertIn("TLS", said)
        self.assertEqual(service.requests, [])

    def test_no_certificates(self) -> None:
        """A file without certificates is a fault when it is read."""
        for pem in (b"", b"hello", self.authority.pem[:200]):
            with self.assertRaises(ValueError):
                trust_of(pem)

    def test_several(self) -> None:
        """All the certificates of a file are taken, with text between them."""
        trust_of(b"# ours\n" + self.authority.pem + b"\n# theirs\n" + Authority().pem)
