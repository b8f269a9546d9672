"""``http_check``: what a service is asked, what its answers mean, and what happens when there is none."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.config import ConfigError
from edgegw.environment import Environments
from edgegw.interfaces import HTTPAnswer, HTTPUnavailable
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.policies.http_check import HTTPCheck
from edgegw.testing import (
    Authority,
    FakeEnvironment,
    HTTPRequest,
    Request,
    anonymous_peer,
    build,
    check_plugin,
    examples_of,
    options,
    peer,
    result_of,
    serve,
)
from edgegw.verdict import Accept, Reason, Reject, Verdict
from tests.http_service import Asked, Service, reply, start_service, until

URL = "https://policy.example/check"
CA = Authority("Device CA")
CLIENT = CA.issue(
    "client ü", dns=["client.example"], uris=["spiffe://example.org/client"], emails=["a@example.com"],
    ips=["192.0.2.1"], serial=0x4F8A,
)  # fmt: skip
FACTS = peer(CLIENT)
JSON = {"content-type": "application/json"}


class CheckTestCase(SynchronousTestCase):
    """Has a service that gives one answer."""

    def ask(self, answer: Any, client: Any = FACTS, **document: Any) -> Verdict:
        """Ask about a client; gives the verdict.

        :param answer: what the service answers, or raises.
        """
        def http(request: HTTPRequest) -> HTTPAnswer:
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]

        self.env = FakeEnvironment(http=http)
        verdict: Verdict = result_of(build(HTTPCheck, {"url": URL, **document}, self.env).check(client))
        return verdict

    def question(self, client: Any = FACTS, **document: Any) -> Any:
        """Give what the service is asked, as JSON."""
        self.ask(HTTPAnswer(200, {}, b""), client, **document)
        (self.request,) = self.env.requests
        return json.loads(self.request.body)


class QuestionTests(CheckTestCase):
    """What the service is told."""

    def test_certificate(self) -> None:
        """Of the certificate every fact, and nothing of the connection if answers are to be kept."""
        asked = self.question(facts="certificate")
        certificate = FACTS.certificate
        assert certificate is not None and certificate.not_before is not None and certificate.not_after is not None
        self.assertEqual(asked, {"certificate": {
            "verified": True,
            "sha256": FACTS.sha256,
            "subject": FACTS.subject,
            "issuer": "CN=Device CA",
            "serial": "4f8a",
            "common_name": "client ü",
            "dns_names": ["client.example"],
            "uris": ["spiffe://example.org/client"],
            "emails": ["a@example.com"],
            "ip_addresses": ["192.0.2.1"],
            "spiffe_id": "spiffe://example.org/client",
            "not_before": certificate.not_before.isoformat(),
            "not_after": certificate.not_after.isoformat(),
        }})
        self.assertEqual((self.request.method, self.request.url), ("POST", URL))
        self.assertEqual(self.request.headers["content-type"], "application/json")

    def test_connection(self) -> None:
        """Unless answers are to be kept, the connection as well, and what earlier policies said."""
        client = peer(CLIENT, address="2001:db8::1", server_name="Api.Example", attributes={"team": "a"}, resumed=True)
        asked = self.question(client)
        self.assertEqual(asked["connection"], {
            "listener": "edge", "address": "2001:db8::1", "server_name": "api.example", "tls_version": "TLSv1.3",
            "cipher": "TLS_AES_128_GCM_SHA256", "group": "X25519MLKEM768", "resumed": True,
        })  # fmt: skip
        self.assertEqual((asked["attributes"], asked["request"]), ({"team": "a"}, None))

    def test_request(self) -> None:
        """At a route's rule the request, too."""
        asked = self.question(peer(CLIENT, request=Request("PUT", "/a", "api.example", {"cookie": "secret"})))
        self.assertEqual(asked["request"], {"method": "PUT", "path": "/a", "host": "api.example"})

    def test_unverified(self) -> None:
        """A certificate whose chain is not good is said to be that."""
        self.assertIs(self.question(peer(CLIENT, verified=False))["certificate"]["verified"], False)

    def test_pem(self) -> None:
        """The certificate itself goes along if it is wanted."""
        self.assertEqual(self.question(send_pem=True)["certificate"]["pem"], CLIENT.pem.decode())
        self.assertNotIn("pem", self.question()["certificate"])

    def test_headers_and_bounds(self) -> None:
        """The operator's headers go along, and the time limit and a bound on the answer with each request."""
        self.question(headers={"Authorization": "Bearer x", "Accept": "*/*"}, timeout="500ms")
        self.assertEqual(self.request.headers["authorization"], "Bearer x")
        self.assertEqual((self.request.timeout, self.request.limit), (0.5, 65_536))

    def test_no_certificate(self) -> None:
        """Nobody is asked about a client without a certificate."""
        env = FakeEnvironment()
        policy = build(HTTPCheck, {"url": URL}, env).policy
        self.assertEqual(result_of(policy.check(anonymous_peer())), Reject(Reason.NO_CERTIFICATE))
        self.assertEqual(env.requests, [])


class AnswerTests(CheckTestCase):
    """What answers mean."""

    def test_accepted(self) -> None:
        """200 lets the client in, whatever text is with it."""
        for headers, body in (({}, b""), ({}, b"OK"), ({"content-type": "text/html"}, b"{"), (JSON, b""), (JSON, b"{}"),
                              (JSON, b'{"attributes": null, "x": 1}'), (JSON, b'{"attributes": {}}')):
            self.assertEqual(self.ask(HTTPAnswer(200, headers, body)), Accept())

    def test_attributes(self) -> None:
        """Attributes of a JSON answer become the client's."""
        body = json.dumps({"attributes": {"team": "payments", "cost.center": "Größe 7"}}).encode()
        for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON", "application/x+json"):
            got = self.ask(HTTPAnswer(200, {"content-type": kind}, body))
            self.assertEqual(got, Accept({"team": "payments", "cost.center": "Größe 7"}))

    def test_unusable_attributes(self) -> None:
        """An answer whose attributes cannot be used is none, as what was to be known is not."""
        for body in (
            b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 60_000, b"9" * 60_000,
            b'{"attributes": []}', b'{"attributes": {"a": 1}}', b'{"attributes": {"a": null}}',
            b'{"attributes": {"a": {"b": "c"}}}', b'{"attributes": {"a b": "c"}}', b'{"attributes": {"": "c"}}',
            b'{"attributes": {"a": "b\\u0000"}}', b'{"attributes": {"a": "b\\r\\nc: d"}}',
            b'{"attributes": {"a": "\\ud800"}}', json.dumps({"attributes": {"a": "x" * 257}}).encode(),
            json.dumps({"attributes": {f"x{number}": "" for number in range(17)}}).encode(),
        ):
            got = self.ask(HTTPAnswer(200, JSON, body))
            assert isinstance(got, Reject)
            self.assertEqual(got.code, Reason.CHECK_UNAVAILABLE, body[:50])
            self.assertTrue(got.detail.startswith("policy.example answered 200 with "))

    def test_refused(self) -> None:
        """403 refuses the client with the service's words."""
        for headers, body, detail in (
            (JSON, b'{"reason": "stolen"}', "policy.example refused: stolen"),
            ({"content-type": "text/plain; charset=utf-8"}, b" sto\n len \n", "policy.example refused: sto len"),
            (JSON, b'{"reason": 1}', "policy.example refused"),
            (JSON, b"{", "policy.example refused"),
            (JSON, b"[]", "policy.example refused"),
            ({"content-type": "text/html"}, b"<html>", "policy.example refused"),
            ({}, b"stolen", "policy.example refused"),
            (JSON, b'{"reason": "a\\u001b[31mb\\u0000"}', "policy.example refused: a\\1B[31mb\\00"),
        ):
            self.assertEqual(self.ask(HTTPAnswer(403, headers, body)), Reject(Reason.CHECK_REFUSED, detail))

    def test_long_reason(self) -> None:
        """The service's words are cut off after some hundred characters."""
        for headers, body in (({"content-type": "text/plain"}, "ü".encode() * 30_000),
                              (JSON, json.dumps({"reason": "ü" * 30_000}).encode())):
            got = self.ask(HTTPAnswer(403, headers, body))
            assert isinstance(got, Reject)
            self.assertLess(len(got.detail), 2000)
            self.assertTrue(got.detail.isascii())

    def test_everything_else(self) -> None:
        """Any other status refuses the client because nothing is known."""
        for status in (201, 204, 301, 302, 400, 401, 404, 429, 500, 503):
            got = self.ask(HTTPAnswer(status, JSON, b'{"reason": "x"}'))
            self.assertEqual(got, Reject(Reason.CHECK_UNAVAILABLE, f"policy.example answered with the status {status}"))

    def test_no_answer(self) -> None:
        """So does a service that does not answer."""
        got = self.ask(HTTPUnavailable("POST https://policy.example/check: no answer within 2 s"))
        self.assertEqual(
            got, Reject(Reason.CHECK_UNAVAILABLE, "POST https://policy.example/check: no answer within 2 s")
        )

    @given(st.sampled_from([200, 403]), st.sampled_from(["application/json", "text/plain", ""]), st.binary(max_size=80))
    def test_whatever_comes(self, status: int, kind: str, body: bytes) -> None:
        """No answer makes it fail, and every detail is short printable ASCII."""
        got = self.ask(HTTPAnswer(status, {"content-type": kind}, body))
        if isinstance(got, Reject):
            self.assertTrue(got.detail.isascii() and got.detail.isprintable())


class SharedQuestionTests(CheckTestCase):
    """Equal questions at the same time."""

    def setUp(self) -> None:
        self.answers: list[Deferred[HTTPAnswer]] = []
        self.env = FakeEnvironment(http=self.wait)

    def wait(self, request: HTTPRequest) -> Deferred[HTTPAnswer]:
        """Let the test answer."""
        self.answers.append(Deferred())
        return self.answers[-1]

    def ask_all(self, policy: Any, *clients: Any) -> list[Deferred[Verdict]]:
        """Ask about several clients without waiting."""
        return [Deferred.fromCoroutine(policy.check(client)) for client in clients]

    def keys(self) -> list[str]:
        """Give the keys that requests went out with."""
        return [request.headers["idempotency-key"] for request in self.env.requests]

    def test_kept_answers(self) -> None:
        """Where answers are kept, questions about one certificate at one time have one key, and later ones another."""
        policy = build(HTTPCheck, {"url": URL, "facts": "certificate", "cache": "1m"}, self.env)
        asked = self.ask_all(policy, FACTS, peer(CLIENT, address="192.0.2.99"), peer(common_name="other"))
        first, second, other = self.keys()
        self.assertEqual(first, second)
        self.assertNotEqual(first, other)
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        asked += self.ask_all(policy, FACTS)
        self.assertEqual(self.keys()[-1], first)
        for answer in self.answers[1:]:
            answer.callback(HTTPAnswer(200, {}, b""))
        for one in asked[1:]:
            self.assertEqual(self.successResultOf(one), Accept())
        self.assertEqual(policy.policy._asked, {})
        self.ask_all(policy, FACTS)
        self.assertNotEqual(self.keys()[-1], first)

    def test_answers_that_are_not_kept(self) -> None:
        """Where they are not, every question has its own."""
        policy = build(HTTPCheck, {"url": URL}, self.env)
        self.ask_all(policy, FACTS, FACTS)
        self.assertEqual(len(set(self.keys())), 2)


class OptionTests(SynchronousTestCase):
    """What may be written."""

    def test_faults(self) -> None:
        """Options that could not work, or would say too much, are faults."""
        for document in (
            {"url": "policy.example"}, {"url": "ftp://policy.example/"}, {"url": "https://"}, {"url": "http://a:0/"},
            {"url": "http://a:x/"}, {"url": "https://u:p@policy.example/"}, {"url": "https://a b/"},
            {"url": "https://é.example/"}, {"timeout": "0s"}, {"timeout": "2m"}, {"cache": "1m"},
            {"cache": "1m", "facts": "connection"}, {"facts": "all"}, {"concurrency": 0},
            {"headers": {"Host": "x"}}, {"headers": {"Content-Length": "1"}}, {"headers": {"a b": "c"}},
            {"headers": {"": "c"}}, {"headers": {"Idempotency-Key": "x"}}, {"headers": {"x": "é"}},
        ):
            self.assertRaises(ConfigError, options, HTTPCheck, {"url": URL, **document})

    def test_secrets(self) -> None:
        """What is wrong with a header is said without its value."""
        problem = self.assertRaises(ConfigError, options, HTTPCheck, {"url": URL, "headers": {"X-Token": "sécret"}})
        self.assertNotIn("cret", str(problem))

    def test_missing_file(self) -> None:
        """A file of CA certificates that is not there is a fault when the configuration is read."""
        self.assertRaises(OSError, build, HTTPCheck, {"url": URL, "ca_certificates": "/nowhere/ca.pem"})

    def test_contract(self) -> None:
        """It keeps to what plugins promise, whoever comes, and its example is a configuration."""
        for status in (200, 403, 500):
            env = FakeEnvironment(http=lambda request, status=status: HTTPAnswer(status, JSON, b'{"reason": "x"}'))
            for document in ({}, {"facts": "certificate", "cache": "1m", "send_pem": True}):
                check_plugin(HTTPCheck, {"url": URL, **document}, env=env)
        self.assertEqual(len(list(examples_of(HTTPCheck))), 1)


class HandshakeTests(TestCase):
    """Real handshakes, and a real service."""

    def setUp(self) -> None:
        self.environments = Environments(reactor, self.mktemp(), PluginCounters())
        self.addCleanup(self.environments.stop)
        self.env = self.environments.make("http_check", "policies[0]")
        self.environments.start()

    def decide(self, asked: Asked) -> bytes:
        """Answer as the common name in the question says."""
        name = json.loads(asked.body)["certificate"]["common_name"]
        if name == "good":
            return reply(b'{"attributes": {"team": "payments"}}', content_type="application/json")
        if name == "bad":
            return reply(b'{"reason": "stolen"}', "403 Forbidden", content_type="application/json")
        return reply(b"", "500 Oops")

    async def serve(self, service: Service, *names: str, **document: Any) -> list[Any]:
        """Let clients shake hands, one after the other; gives what came of it."""
        policy = (HTTPCheck, {"url": service.url, **document})
        async with serve([policy], trust=[CA], env=self.env) as edge:
            return [await edge.handshake(CA.issue(name)) for name in names]

    async def test_decisions(self) -> None:
        """The service's answer is the gateway's, with its attributes and its words."""
        service = start_service(self, self.decide)
        good, bad, odd = await self.serve(service, "good", "bad", "odd")
        self.assertEqual((good.accepted, good.attributes), (True, {"team": "payments"}))
        self.assertEqual((bad.accepted, bad.code), (False, Reason.CHECK_REFUSED))
        self.assertIn("stolen", bad.detail)
        self.assertEqual((odd.accepted, odd.code), (False, Reason.CHECK_UNAVAILABLE))
        self.assertEqual(len(service.talks), 1)

    async def test_service_down(self) -> None:
        """A service that is not there lets nobody in."""
        service = start_service(self, self.decide)
        await service.stop()
        (outcome,) = await self.serve(service, "good")
        self.assertEqual((outcome.accepted, outcome.code), (False, Reason.CHECK_UNAVAILABLE))
        self.assertIn("refused", outcome.detail)

    async def test_service_slow(self) -> None:
        """Nor does one that does not answer in time."""
        service = start_service(self, lambda asked: None)
        (outcome,) = await self.serve(service, "good", timeout="20ms")
        self.assertEqual((outcome.accepted, outcome.code), (False, Reason.CHECK_UNAVAILABLE))
        self.assertIn("within 0.02 s", outcome.detail)

    async def test_kept(self) -> None:
        """An answer that is kept is asked for once, for all connections with the certificate."""
        service = start_service(self, self.decide)
        client = CA.issue("good")
        policy = (HTTPCheck, {"url": service.url, "facts": "certificate", "cache": "1m"})
        async with serve([policy], trust=[CA], env=self.env) as edge:
            for _ in range(3):
                self.assertTrue((await edge.handshake(client)).accepted)
        self.assertEqual(len(service.requests), 1)

    async def test_unavailable_is_not_kept(self) -> None:
        """That the service could not be asked is not kept: the next connection asks it again."""
        service = start_service(self, reply(b"", "500 Oops"))
        client = CA.issue("good")
        policy = (HTTPCheck, {"url": service.url, "facts": "certificate", "cache": "1m"})
        async with serve([policy], trust=[CA], env=self.env) as edge:
            self.assertEqual((await edge.handshake(client)).code, Reason.CHECK_UNAVAILABLE)
            service.script = self.decide
            self.assertTrue((await edge.handshake(client)).accepted)

    async def test_tls(self) -> None:
        """A service behind TLS is asked if its certificate ends in the file of CA certificates."""
        issued = CA.issue("service", ips=["127.0.0.1"], usages=[ExtendedKeyUsageOID.SERVER_AUTH])
        service = start_service(self, self.decide, issued)
        path = Path(self.mktemp()).absolute()
        path.write_bytes(CA.pem)
        (outcome,) = await self.serve(service, "good", ca_certificates=str(path))
        self.assertTrue(outcome.accepted)
        path.write_bytes(Authority().pem)
        (outcome,) = await self.serve(service, "good", ca_certificates=str(path))
        self.assertEqual(outcome.code, Reason.CHECK_UNAVAILABLE)

    async def test_one_request_for_many(self) -> None:
        """Clients with one certificate that come at the same time are asked about once."""
        service = start_service(self, lambda asked: None)
        policy = build(HTTPCheck, {"url": service.url, "facts": "certificate", "cache": "1m"}, self.env)
        asked = [Deferred.fromCoroutine(policy.check(FACTS)) for _ in range(20)]
        (await service.request()).talk.transport.write(reply(b"", "403 Forbidden"))
        for one in asked:
            self.assertIsInstance(await one, Reject)
        self.assertEqual(len(service.requests), 1)

    async def test_client_that_leaves(self) -> None:
        """A client that leaves while the service is asked ends the request."""
        service = start_service(self, lambda asked: None)
        policy = build(HTTPCheck, {"url": service.url}, self.env)
        asked = Deferred.fromCoroutine(policy.check(FACTS))
        talk = (await service.request()).talk
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        await until(lambda: talk.lost is not None)
