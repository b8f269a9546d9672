"""Which endpoint gets a request: shares by weight, few keys that move, priorities that fail over."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.balancing.balancer import Balancer
from edgegw.balancing.keys import key_reader
from edgegw.balancing.priorities import Level, shares
from edgegw.balancing.ring import HashRing
from edgegw.balancing.sessions import Sessions
from edgegw.identity import CertificateStatus, ConnectionInfo, Identity, certificate
from edgegw.model import (
    Balancing,
    BalancingPolicy,
    CookieLifetime,
    HashKey,
    HashSource,
    SameSite,
    SessionPersistence,
    SessionType,
)
from edgegw.testing import CLIENT, Authority

ROUND_ROBIN = Balancing(BalancingPolicy.ROUND_ROBIN)
LEAST_REQUEST = Balancing(BalancingPolicy.LEAST_REQUEST)
RANDOM = Balancing(BalancingPolicy.RANDOM)
BY_USER = Balancing(BalancingPolicy.CONSISTENT_HASH, (HashKey(HashSource.HEADER, "x-user"),))


@define(eq=False)
class Endpoint:
    """An endpoint as balancing sees it."""

    name: str
    weight: int = 1
    priority: int = 0
    in_flight: int = 0
    up: bool = True
    share: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.share = float(self.weight)

    @property
    def identity(self) -> bytes:
        """See ``Member``."""
        return self.name.encode()


@define
class Request:
    """Who asks."""

    header_lines: bytes = b"\r\n"
    info: ConnectionInfo = field(factory=lambda: ConnectionInfo("edge", Identity(), "192.0.2.1"))


def user(number: int) -> Request:
    """Give the request of a user."""
    return Request(b"accept: */*\r\nX-User: %d\r\n\r\n" % number)


def balancer(balancing: Balancing, endpoints: Sequence[Endpoint], panic: float = 0.0) -> Balancer[Endpoint]:
    """Give a balancer whose draws are the same every time."""
    return Balancer(balancing, endpoints, lambda endpoint: endpoint.up, panic, Random(1).random)


def picks(chooser: Balancer[Endpoint], requests: Sequence[Request]) -> Counter[str]:
    """Count which endpoint gets how many requests."""
    found = [chooser.pick(request) for request in requests]
    return Counter("none" if one is None else one.name for one in found)


WEIGHTS = st.lists(st.integers(1, 20), min_size=1, max_size=8)


class BalancingTestCase(SynchronousTestCase):
    """Judges shares."""

    def assert_near(self, got: float, expected: float, delta: float) -> None:
        """Compare a share with what it should be."""
        self.assertLess(abs(got - expected), delta)


class PolicyTests(BalancingTestCase):
    """Shares among the endpoints of one priority."""

    def test_in_turn(self) -> None:
        """Endpoints of one weight have their turns in the order of the configuration."""
        chooser = balancer(ROUND_ROBIN, [Endpoint(name) for name in "abc"])
        got = [chooser.pick(Request()) for _ in range(7)]
        self.assertEqual("".join(one.name for one in got if one is not None), "abcabca")

    @given(WEIGHTS)
    @settings(deadline=None, max_examples=60)
    def test_in_turn_by_weight(self, weights: list[int]) -> None:
        """At no time has an endpoint had far more or fewer turns than its weight says."""
        endpoints = [Endpoint(str(place), weight) for place, weight in enumerate(weights)]
        chooser = balancer(ROUND_ROBIN, endpoints)
        total = sum(weights)
        got: Counter[str] = Counter()
        for number in range(1, 3 * total + 1):
            picked = chooser.pick(Request())
            assert picked is not None
            got[picked.name] += 1
            for place, weight in enumerate(weights):
                self.assertLessEqual(abs(got[str(place)] - number * weight / total), 1 + len(weights) / 2)

    def test_a_heavy_one_does_not_have_its_turns_in_a_row(self) -> None:
        """Turns are spread: five of six are not five at a time and then the other."""
        chooser = balancer(ROUND_ROBIN, [Endpoint("a", 2), Endpoint("b", 1), Endpoint("c", 1)])
        got = "".join(one.name for one in (chooser.pick(Request()) for _ in range(400)) if one is not None)
        self.assertNotIn("aaa", got)

    def test_random(self) -> None:
        """Shares at random are by weight."""
        got = picks(balancer(RANDOM, [Endpoint("a", 3), Endpoint("b", 1)]), [Request()] * 4000)
        self.assert_near(got["a"] / 4000, 0.75, 0.03)

    def test_least_request(self) -> None:
        """A busy endpoint gets nothing beside an idle one; among equals everyone has a share, by weight."""
        busy, idle = Endpoint("busy", in_flight=5), Endpoint("idle")
        self.assertEqual(picks(balancer(LEAST_REQUEST, [busy, idle]), [Request()] * 50), {"idle": 50})
        got = picks(balancer(LEAST_REQUEST, [Endpoint(name) for name in "abcd"]), [Request()] * 4000)
        for name in "abcd":
            self.assert_near(got[name] / 4000, 0.25, 0.04)

    def test_least_request_by_weight(self) -> None:
        """Under load an endpoint of three times the weight has three times the requests to answer."""
        endpoints = [Endpoint("a", 3), Endpoint("b", 1), Endpoint("c", 1)]
        chooser = balancer(LEAST_REQUEST, endpoints)
        for _ in range(500):
            picked = chooser.pick(Request())
            assert picked is not None
            picked.in_flight += 1
        self.assert_near(endpoints[0].in_flight / 500, 0.6, 0.05)

    @given(st.sampled_from([ROUND_ROBIN, LEAST_REQUEST, RANDOM, BY_USER]), WEIGHTS, st.data())
    @settings(deadline=None, max_examples=60)
    def test_trying_others(self, balancing: Balancing, weights: list[int], data: Any) -> None:
        """A request that asks again and again gets every endpoint that is up once, of any priority, and no other."""
        endpoints = [
            Endpoint(str(place), weight, data.draw(st.integers(0, 2)), up=data.draw(st.booleans()))
            for place, weight in enumerate(weights)
        ]
        chooser = balancer(balancing, endpoints)
        tried: list[Endpoint] = []
        while (found := chooser.pick(user(1), tried)) is not None:
            self.assertNotIn(found, tried)
            tried.append(found)
        self.assertEqual({one.name for one in tried}, {one.name for one in endpoints if one.up})


class RingTests(BalancingTestCase):
    """Consistent hashing."""

    def owners(self, endpoints: Sequence[Endpoint], keys: int = 3000) -> list[str]:
        """Give the endpoint of each key."""
        ring = HashRing(endpoints, key_reader(BY_USER.hash_on), lambda endpoint: endpoint.up)
        found = [ring.owner(b"%d" % key) for key in range(keys)]
        return ["" if one is None else one.name for one in found]

    def test_shares(self) -> None:
        """Keys are shared out by weight."""
        got = Counter(self.owners([Endpoint("a", 1), Endpoint("b", 1), Endpoint("c", 2)]))
        self.assert_near(got["c"] / 3000, 0.5, 0.06)
        self.assert_near(got["a"] / 3000, 0.25, 0.06)

    @given(st.integers(2, 9), st.data())
    @settings(deadline=None, max_examples=15)
    def test_few_keys_move(self, count: int, data: Any) -> None:
        """When an endpoint goes, for good or for now, only its keys move; when one comes, keys move to it alone."""
        endpoints = [Endpoint(f"10.0.0.{number}:80") for number in range(count)]
        gone = data.draw(st.sampled_from(endpoints))
        before = self.owners(endpoints, 600)
        after = self.owners([one for one in endpoints if one is not gone], 600)
        gone.up = False
        self.assertEqual(self.owners(endpoints, 600), after)
        for old, new in zip(before, after, strict=True):
            self.assertTrue(old in (new, gone.name))

    def test_the_same_everywhere(self) -> None:
        """The order of the endpoints does not matter, nor which process asks."""
        endpoints = [Endpoint(f"10.0.0.{number}:80") for number in range(4)]
        self.assertEqual(self.owners(endpoints, 200), self.owners(endpoints[::-1], 200))
        self.assertEqual("".join(one[-4] for one in self.owners(endpoints, 12)), "221213031213")

    def test_without_a_key(self) -> None:
        """Requests without the key go to any endpoint that is up."""
        endpoints = [Endpoint("a"), Endpoint("b"), Endpoint("c", up=False)]
        got = picks(balancer(BY_USER, endpoints), [Request()] * 400)
        self.assertEqual(set(got), {"a", "b"})

    def test_many(self) -> None:
        """However many endpoints there are, each has a share of the ring."""
        endpoints = [Endpoint(f"10.0.{number >> 8}.{number & 255}:80") for number in range(2000)]
        self.assertGreater(len(set(self.owners(endpoints, 20_000))), 1800)


class KeyTests(SynchronousTestCase):
    """What a request's key is read from."""

    def key(self, request: Request, *keys: tuple[HashSource, str]) -> bytes | None:
        """Give a request's key."""
        return key_reader([HashKey(source, name) for source, name in keys])(request)

    def test_headers_and_cookies(self) -> None:
        """By any spelling of the name; a cookie by its exact name; an empty value is none."""
        request = Request(
            b"x-a: b\r\nX-User:  eve \r\nx-none:\r\ncookie: sid2=no; sid=yes\r\nCookie: other=1; sid=no\r\n\r\n"
        )
        self.assertEqual(self.key(request, (HashSource.HEADER, "x-user")), b"eve")
        self.assertEqual(self.key(request, (HashSource.HEADER, "user")), None)
        self.assertEqual(self.key(request, (HashSource.HEADER, "x-none")), None)
        self.assertEqual(self.key(request, (HashSource.COOKIE, "sid")), b"yes")
        self.assertEqual(self.key(request, (HashSource.COOKIE, "other")), b"1")
        self.assertEqual(self.key(request, (HashSource.COOKIE, "SID")), None)
        self.assertEqual(self.key(request, (HashSource.HEADER, "x-no"), (HashSource.HEADER, "x-a")), b"b")

    def test_identity(self) -> None:
        """Facts of a certificate count only where it was verified."""
        issued = Authority().issue("eve", usages=CLIENT)
        known = certificate(issued.der)
        for status, expected in [
            (CertificateStatus.VERIFIED, known.sha256.encode()), (CertificateStatus.UNVERIFIED, None),
        ]:
            request = Request(info=ConnectionInfo("edge", Identity(status, known), "192.0.2.1"))
            self.assertEqual(self.key(request, (HashSource.IDENTITY, "sha256")), expected)
        self.assertEqual(self.key(Request(), (HashSource.IDENTITY, "sha256"), (HashSource.ADDRESS, "")), b"192.0.2.1")

    @given(st.binary(max_size=200))
    @settings(deadline=None)
    def test_anything(self, lines: bytes) -> None:
        """Whatever a client sends, there is a key or there is none."""
        request = Request(b"cookie: " + lines)
        self.key(request, (HashSource.COOKIE, "sid"), (HashSource.HEADER, "cookie"))


class PriorityTests(BalancingTestCase):
    """Who takes over as endpoints fail."""

    def parts(self, *levels: tuple[float, float], panic: float = 0.0) -> list[tuple[float, bool]]:
        """Give the parts in percent, and who panics."""
        found = shares([Level(usable, weight) for usable, weight in levels], panic)
        return [(round(share.part * 100), share.panics) for share in found]

    def test_failing_over(self) -> None:
        """Envoy's examples: the first priority keeps 1.4 times what is left of it."""
        self.assertEqual(self.parts((100, 100), (100, 100)), [(100, False), (0, False)])
        self.assertEqual(self.parts((72, 100), (72, 100)), [(100, False), (0, False)])
        self.assertEqual(self.parts((71, 100), (71, 100)), [(99, False), (1, False)])
        self.assertEqual(self.parts((50, 100), (50, 100)), [(70, False), (30, False)])
        self.assertEqual(self.parts((25, 100), (100, 100)), [(35, False), (65, False)])
        self.assertEqual(self.parts((0, 100), (50, 100)), [(0, False), (100, False)])
        self.assertEqual(self.parts((25, 100), (25, 100)), [(50, False), (50, False)])
        self.assertEqual(self.parts((0, 10), (0, 10)), [(0, False), (0, False)])

    def test_panic(self) -> None:
        """Below the threshold all endpoints of a priority are used, unless others can take its requests."""
        self.assertEqual(self.parts((1, 10), (10, 10), panic=0.5), [(14, False), (86, False)])
        self.assertEqual(self.parts((1, 10), panic=0.5), [(100, True)])
        self.assertEqual(self.parts((0, 10), (0, 10), panic=0.5), [(100, True), (0, True)])

    @given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=5), st.floats(0, 1))
    def test_all_of_it(self, levels: list[tuple[int, int]], panic: float) -> None:
        """The parts are all of the requests, or none where nothing can be used."""
        cut = [(min(usable, weight), weight) for usable, weight in levels]
        total = sum(share.part for share in shares([Level(*one) for one in cut], panic))
        usable = any(one for one, _ in cut) or (cut and panic > 0)
        self.assertAlmostEqual(total, 1.0 if usable else 0.0)

    def test_balanced(self) -> None:
        """Requests follow the parts, and come back with the endpoints."""
        first, second, spare = Endpoint("a"), Endpoint("b"), Endpoint("spare", priority=7)
        chooser = balancer(ROUND_ROBIN, [spare, first, second])
        self.assertEqual(picks(chooser, [Request()] * 100), {"a": 50, "b": 50})
        second.up = False
        chooser.refresh()
        got = picks(chooser, [Request()] * 2000)
        self.assertEqual(set(got), {"a", "spare"})
        self.assert_near(got["a"] / 2000, 0.7, 0.04)
        first.up = False
        chooser.refresh()
        self.assertEqual(picks(chooser, [Request()] * 100), {"spare": 100})
        spare.up = False
        chooser.refresh()
        self.assertEqual(picks(chooser, [Request()] * 3), {"none": 3})
        first.up = second.up = True
        chooser.refresh()
        self.assertEqual(picks(chooser, [Request()] * 100), {"a": 50, "b": 50})

    def test_hashed_requests_stay(self) -> None:
        """A key whose priority has changed goes to one endpoint still."""
        endpoints = [*(Endpoint(name) for name in "ab"), *(Endpoint(name, priority=1) for name in "cd")]
        endpoints[0].up = False
        chooser = balancer(BY_USER, endpoints)
        for number in range(200):
            self.assertEqual(len(picks(chooser, [user(number)] * 5)), 1)
        self.assertEqual(set(picks(chooser, [user(number) for number in range(200)])), {"b", "c", "d"})

    def test_nobody(self) -> None:
        """Without endpoints there is nothing to give."""
        for balancing in (ROUND_ROBIN, LEAST_REQUEST, RANDOM, BY_USER):
            self.assertEqual(picks(balancer(balancing, []), [user(1)]), {"none": 1})


class SessionTests(SynchronousTestCase):
    """Tokens that name an endpoint."""

    def sessions(self, secret: bytes = b"secret", upstream: str = "app", **options: Any) -> Sessions[Endpoint]:
        """Give sessions with the endpoints ``a`` and ``b``."""
        self.now = 1000.0
        self.a, self.b = Endpoint("10.0.0.1:80"), Endpoint("10.0.0.2:80")
        made: Sessions[Endpoint] = Sessions(SessionPersistence(**options), upstream, secret, lambda: self.now)
        made.use_members([self.a, self.b])
        return made

    def cookie(self, token: bytes) -> Request:
        """Give a request with the cookie."""
        return Request(b"cookie: a=b; edgegw-session=%b\r\n\r\n" % token)

    def test_round_trip(self) -> None:
        """A token leads back to its endpoint, and says nothing of its address."""
        for options in ({}, {"absolute_timeout": 60.0}):
            sessions = self.sessions(**options)
            token = sessions.token(self.b)
            self.assertIs(sessions.member(self.cookie(token)), self.b)
            self.assertNotEqual(token, sessions.token(self.a))
            self.assertNotIn(b"10.0", token)
            self.assertIs(sessions.member(Request()), None)

    def test_others_tokens(self) -> None:
        """Tokens of another secret or another upstream name nothing."""
        for options in ({}, {"absolute_timeout": 60.0}):
            token = self.sessions(**options).token(self.a)
            self.assertIs(self.sessions(b"another", **options).member(self.cookie(token)), None)
            self.assertIs(self.sessions(upstream="other", **options).member(self.cookie(token)), None)
            self.assertIsNot(self.sessions(**options).member(self.cookie(token)), None)

    def test_the_end(self) -> None:
        """A session is over when its time is, and nobody can give it more."""
        sessions = self.sessions(absolute_timeout=60.0)
        token = sessions.token(self.a)
        self.now += 59
        self.assertIs(sessions.member(self.cookie(token)), self.a)
        for place in range(len(token)):
            forged = token[:place] + (b"A" if token[place : place + 1] != b"A" else b"B") + token[place + 1 :]
            self.assertIs(sessions.member(self.cookie(forged)), None)
        self.now += 2
        self.assertIs(sessions.member(self.cookie(token)), None)

    @given(st.binary(max_size=100))
    @settings(deadline=None)
    def test_anything(self, token: bytes) -> None:
        """Whatever a client sends is no token."""
        self.assertIs(self.sessions().member(self.cookie(token)), None)
        self.assertIs(self.sessions(absolute_timeout=60.0).member(self.cookie(token)), None)

    def test_an_endpoint_that_is_gone(self) -> None:
        """Its tokens name nothing any more."""
        sessions = self.sessions()
        token = sessions.token(self.a)
        sessions.use_members([self.b])
        self.assertIs(sessions.member(self.cookie(token)), None)

    def test_fields(self) -> None:
        """The cookie is for the browser alone, and for TLS where the client came by it; a header is the token."""
        sessions = self.sessions(path="/app", same_site=SameSite.STRICT)
        token = sessions.token(self.a)
        plain = b"edgegw-session=%b; Path=/app; HttpOnly; SameSite=Strict" % token
        self.assertEqual(sessions.field(self.a, False), (b"set-cookie", plain))
        self.assertEqual(sessions.field(self.a, True), (b"set-cookie", plain + b"; Secure"))
        permanent = self.sessions(absolute_timeout=60.0, lifetime=CookieLifetime.PERMANENT)
        self.assertIn(b"; Max-Age=60", permanent.field(self.a, False)[1])
        header = self.sessions(type=SessionType.HEADER, session_name="X-At")
        self.assertEqual(header.field(self.a, True), (b"x-at", header.token(self.a)))
        self.assertIs(header.member(Request(b"x-at: %b\r\n\r\n" % header.token(self.b))), self.b)
