"""``rate_limit``: who may connect how often, and that nobody gets more by tricks."""
from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.config import ConfigError
from edgegw.policies.rate_limit import RateLimit, parse_rate
from edgegw.policies.token_buckets import SHARED, TokenBuckets
from edgegw.testing import (
    Authority,
    FakeEnvironment,
    anonymous_peer,
    build,
    check_plugin,
    examples_of,
    options,
    peer,
    serve,
)
from edgegw.verdict import Accept, Reason, Reject

CA = Authority()
CLIENT = CA.issue("client", dns=["client.example"])
OTHER = CA.issue("other", dns=["other.example"])


def nothing(number: int) -> None:
    """Count nothing."""


class LimitTestCase(SynchronousTestCase):
    """Has time under its control."""

    def setUp(self) -> None:
        self.env = FakeEnvironment()

    def limit(self, **document: Any) -> Any:
        """Build a limit of two at once and one more each second, unless told otherwise."""
        return build(RateLimit, {"per": "address", "rate": "1/s", "burst": 2, **document}, self.env)

    def come_in(self, limit: Any, *clients: Any) -> list[bool]:
        """Let clients connect one after the other; gives who came in."""
        return [type(limit.check(client)) is Accept for client in clients]


class AddressTests(LimitTestCase):
    """Connections are counted by address."""

    def test_burst_and_rate(self) -> None:
        """As many as the burst come in at once, then one for each second that has passed."""
        limit, client = self.limit(), peer(CLIENT)
        self.assertEqual(self.come_in(limit, *[client] * 4), [True, True, False, False])
        self.env.advance(1.0)
        self.assertEqual(self.come_in(limit, *[client] * 2), [True, False])
        self.env.advance(60)
        self.assertEqual(self.come_in(limit, *[client] * 3), [True, True, False])

    def test_refusal(self) -> None:
        """Who is refused is named with what is allowed and when to come again; a refused try costs nothing."""
        limit, client = self.limit(rate="1/10s", burst=1), peer(CLIENT, address="192.0.2.9")
        self.come_in(limit, client)
        self.env.advance(4)
        for _ in range(3):
            refused = limit.check(client)
            self.assertEqual(
                refused,
                Reject(Reason.RATE_LIMITED, "192.0.2.9 connects more often than 1/10s and 1 at once; next in 6 s"),
            )
        self.env.advance(6)
        self.assertEqual(self.come_in(limit, client), [True])

    def test_addresses_are_separate(self) -> None:
        """One address that has used its share does not cost another one anything."""
        limit = self.limit(burst=1)
        clients = [peer(CLIENT, address=address) for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "unix:")]
        self.assertEqual(self.come_in(limit, *clients, *clients), [True] * 4 + [False] * 4)

    def test_certificates_do_not_matter(self) -> None:
        """Other certificates from one address, or none, count together."""
        limit = self.limit(burst=1)
        self.assertEqual(self.come_in(limit, peer(CLIENT), peer(OTHER), anonymous_peer()), [True, False, False])

    def test_networks(self) -> None:
        """All addresses of an IPv6 /64 are one client, unless a prefix says otherwise; so are those of an IPv4 one."""
        near, far, other = (peer(CLIENT, address=f"2001:db8::{part}") for part in ("1", "ffff:0:0:2", "1:0:0:0:1"))
        self.assertEqual(self.come_in(self.limit(burst=1), near, far, other), [True, False, True])
        self.assertEqual(self.come_in(self.limit(burst=1, ipv6_prefix=128), near, far, other), [True] * 3)
        self.assertEqual(self.come_in(self.limit(burst=1, ipv6_prefix=48), near, far, other), [True, False, False])
        clients = [peer(CLIENT, address=address) for address in ("192.0.2.1", "192.0.2.254", "192.0.3.1")]
        self.assertEqual(self.come_in(self.limit(burst=1), *clients), [True] * 3)
        self.assertEqual(self.come_in(self.limit(burst=1, ipv4_prefix=24), *clients), [True, False, True])
        limit = self.limit(burst=1)
        self.come_in(limit, near)
        self.assertIn("2001:db8::1 (its /64) connects", limit.check(near).detail)

    def test_mapped_addresses(self) -> None:
        """An IPv4 client on an IPv6 socket is the IPv4 client."""
        plain, mapped = (peer(CLIENT, address=address) for address in ("192.0.2.1", "::ffff:192.0.2.1"))
        other = peer(CLIENT, address="::ffff:192.0.2.2")
        self.assertEqual(self.come_in(self.limit(burst=1), plain, mapped, other), [True, False, True])

    def test_scoped_address(self) -> None:
        """The interface of a link-local address is no part of it."""
        one, two = (peer(CLIENT, address=address) for address in ("fe80::1%eth0", "fe80::1%eth1"))
        self.assertEqual(self.come_in(self.limit(burst=1), one, two), [True, False])


class IdentityTests(LimitTestCase):
    """Connections are counted by identity."""

    def test_wherever_it_comes_from(self) -> None:
        """One certificate counts once, from however many addresses."""
        limit = self.limit(per="identity", burst=1)
        clients = [peer(CLIENT, address=f"192.0.2.{number}") for number in range(3)]
        self.assertEqual(self.come_in(limit, *clients, peer(OTHER)), [True, False, False, True])
        self.assertIn("the identity CN=client connects", limit.check(clients[0]).detail)

    def test_renewed(self) -> None:
        """A new certificate with the same names is the same client."""
        limit = self.limit(per="identity", burst=1)
        renewed = CA.issue("client", dns=["client.example"])
        self.assertEqual(self.come_in(limit, peer(CLIENT), peer(renewed)), [True, False])

    def test_another_issuer(self) -> None:
        """The same names from another CA are another client."""
        limit = self.limit(per="identity", burst=1)
        same = Authority("another CA").issue("client", dns=["client.example"])
        self.assertEqual(self.come_in(limit, peer(CLIENT), peer(same)), [True, True])

    def test_every_name_counts(self) -> None:
        """Certificates that differ in one alternative name are different clients."""
        limit = self.limit(per="identity", burst=1)
        clients = [
            peer(CA.issue("x", **names))
            for names in ({}, {"dns": ["x"]}, {"uris": ["x:x"]}, {"emails": ["x@x"]}, {"ips": ["192.0.2.1"]})
        ]
        self.assertEqual(self.come_in(limit, *clients, *clients), [True] * 5 + [False] * 5)

    def test_nameless(self) -> None:
        """Certificates without any name are told apart by their hash."""
        limit = self.limit(per="identity", burst=1)
        one, two = peer(CA.issue(None)), peer(CA.issue(None))
        self.assertEqual(self.come_in(limit, one, two, one), [True, True, False])
        self.assertIn(one.sha256, limit.check(one).detail)

    def test_unverified(self) -> None:
        """Who has no verified certificate could have a new one each time, and is counted by address."""
        limit = self.limit(per="identity", burst=1)
        clients = [peer(Authority().issue(f"x{number}"), verified=False) for number in range(2)]
        self.assertEqual(self.come_in(limit, *clients, anonymous_peer()), [True, False, False])
        self.assertEqual(self.come_in(limit, peer(CLIENT)), [True])


class ListenerTests(LimitTestCase):
    """Connections are counted together."""

    def test_everyone(self) -> None:
        """All clients of the listener share one bucket."""
        limit = self.limit(per="listener")
        clients = [peer(CLIENT), peer(OTHER, address="2001:db8::1"), anonymous_peer(address="192.0.2.9")]
        self.assertEqual(self.come_in(limit, *clients), [True, True, False])
        self.assertIn("everyone on edge connects", limit.check(clients[0]).detail)


class BucketTests(SynchronousTestCase):
    """The buckets themselves."""

    def taken(
        self, buckets: TokenBuckets, visits: list[tuple[float, int]], coarse: int
    ) -> dict[int, list[float]]:
        """Let keys ask for tokens, each some time after the one before; gives when each one got some."""
        now = 0.0
        got: dict[int, list[float]] = {}
        for pause, key in visits:
            now += pause
            if buckets.take(b"%d" % key, b"%d" % (key // coarse), now) <= 0:
                got.setdefault(key, []).append(now)
        return got

    VISITS = st.lists(
        st.tuples(st.sampled_from([0.0, 0.0, 0.01, 0.2, 0.5, 1.0, 3.0, 20.0]), st.integers(0, 5)), max_size=80
    )

    @given(VISITS, st.sampled_from([0.1, 1.0, 7.0]), st.integers(1, 4), st.integers(1, 6), st.integers(1, 3))
    @example([(0.0, 0), (0.5, 1), (0.5, 1), (0.0, 1)], 1.0, 1, 1, 1)
    def test_never_more_than_burst_and_rate(
        self, visits: list[tuple[float, int]], rate: float, burst: int, most: int, coarse: int
    ) -> None:
        """Over any time nobody gets more than the burst and what has come in since, however many others there are."""
        got = self.taken(TokenBuckets(rate, burst, most, nothing), visits, coarse)
        for times in got.values():
            for first in range(len(times)):
                for last in range(first, len(times)):
                    allowed = burst + rate * (times[last] - times[first])
                    self.assertLessEqual(last - first + 1, allowed + 1e-6)

    @given(VISITS, st.sampled_from([0.1, 1.0, 7.0]), st.integers(1, 4))
    def test_everyone_gets_that_much(self, visits: list[tuple[float, int]], rate: float, burst: int) -> None:
        """With room for everyone, each gets a token exactly when its own bucket has one."""
        buckets = TokenBuckets(rate, burst, 100, nothing)
        levels: dict[int, tuple[float, float]] = {}
        now = 0.0
        for pause, key in visits:
            now += pause
            level, since = levels.get(key, (float(burst), now))
            level = min(float(burst), level + (now - since) * rate)
            got = buckets.take(b"%d" % key, b"", now) <= 0
            if abs(level - 1) > 1e-6:
                self.assertEqual(got, level >= 1)
            levels[key] = (level - 1 if got else level, now)

    @given(VISITS, st.integers(1, 4))
    def test_memory(self, visits: list[tuple[float, int]], most: int) -> None:
        """There are never more buckets than allowed."""
        buckets = TokenBuckets(1.0, 2, most, nothing)
        now = 0.0
        for pause, key in visits:
            now += pause
            buckets.take(b"%d" % key, b"", now)
            self.assertLessEqual(len(buckets), most)
            self.assertEqual(len(buckets), len(buckets._queue))

    def test_full_buckets_are_forgotten(self) -> None:
        """Clients that have not come for a while take no memory, and make place for others."""
        shared: list[int] = []
        buckets = TokenBuckets(1.0, 2, 1000, shared.append)
        for number in range(1000):
            buckets.take(b"%d" % number, b"", 0.0)
        self.assertEqual(len(buckets), 1000)
        for number in range(1000, 3000):
            buckets.take(b"%d" % number, b"", 100.0 + number)
        self.assertLess(len(buckets), 10)
        self.assertEqual(shared, [])

    def test_busy_clients_keep_their_buckets(self) -> None:
        """Looking for full ones keeps up with clients that come again and again, and takes no bucket from them."""
        buckets = TokenBuckets(1.0, 2, 100, nothing)
        now, refused = 0.0, 0
        for _ in range(50):
            for number in range(50):
                refused += buckets.take(b"%d" % number, b"", now) > 0
            now += 0.5
        self.assertEqual(len(buckets), 50)
        # Two at the beginning, and one every second.
        self.assertEqual(50 * 50 - refused, 50 * (2 + 24))

    def test_crowd(self) -> None:
        """When there are too many, strangers share, each with those near it; who was there before notices nothing."""
        shared: list[int] = []
        buckets = TokenBuckets(1.0, 2, 3, shared.append)
        for key in (b"a", b"b", b"c"):
            buckets.take(key, b"", 0.0)
        near = b"near"
        far = next(name for name in (b"far", b"farther", b"farthest") if hash(name) % SHARED != hash(near) % SHARED)
        self.assertEqual([buckets.take(key, near, 0.0) <= 0 for key in (b"d", b"e", b"f")], [True, True, False])
        self.assertEqual([buckets.take(key, far, 0.0) <= 0 for key in (b"g", b"h")], [True, True])
        self.assertEqual(len(shared), 5)
        self.assertEqual([buckets.take(b"a", b"", 0.0) <= 0 for _ in range(2)], [True, False])

    def test_no_fresh_bucket_by_driving_out_the_old(self) -> None:
        """Whoever has used up a bucket gets no other one by making thousands of others busy."""
        buckets = TokenBuckets(0.001, 5, 50, nothing)
        own = sum(buckets.take(b"own", b"x", 0.0) <= 0 for _ in range(10))
        for number in range(5000):
            buckets.take(b"%d" % number, b"%d" % number, 0.0)
            own += buckets.take(b"own", b"x", 0.0) <= 0
        self.assertEqual(own, 5)


class OptionTests(SynchronousTestCase):
    """What may be written."""

    def test_rates(self) -> None:
        """A rate is a number for a time; anything else is a fault."""
        for text, rate in (("10/s", (10, 1)), ("100/m", (100, 60)), ("5/h", (5, 3600)), ("1/d", (1, 86400)),
                           ("1/30s", (1, 30)), ("3/5m", (3, 300))):
            self.assertEqual(parse_rate(text), rate)
        for text in ("", "10", "10/", "/s", "0/s", "1/0s", "1.5/s", "10/ms", "10 / s", "10/S", "-1/s", "1e3/s",
                     "10/s "):
            self.assertRaises(ValueError, parse_rate, text)
            self.assertRaises(ConfigError, options, RateLimit, {"per": "address", "rate": text})

    def test_burst(self) -> None:
        """Without a burst it is the number in the rate."""
        limit = build(RateLimit, {"per": "address", "rate": "3/h"})
        self.assertEqual([type(limit.check(peer(CLIENT))) is Accept for _ in range(4)], [True, True, True, False])

    def test_shared_is_counted(self) -> None:
        """Connections that were judged by a shared bucket are counted."""
        env = FakeEnvironment()
        limit = build(RateLimit, {"per": "address", "rate": "1/h", "max_entries": 1}, env)
        for number in range(3):
            limit.check(peer(CLIENT, address=f"192.0.2.{number}"))
        self.assertEqual(env.counters, {"shared": 2})

    def test_judged_again(self) -> None:
        """It asks not to be asked about connections that are open already."""
        self.assertIs(build(RateLimit, {"per": "address", "rate": "1/h"}).policy.recheck, False)

    def test_contract(self) -> None:
        """It keeps to what plugins promise, whatever comes, and its examples are configurations."""
        for per in ("identity", "address", "listener"):
            check_plugin(RateLimit, {"per": per, "rate": "1/s"})
            check_plugin(RateLimit, {"per": per, "rate": "1000000/s"})
        self.assertEqual(len(list(examples_of(RateLimit))), 2)


class HandshakeTests(TestCase):
    """In real handshakes."""

    async def test_connections(self) -> None:
        """A client that has no token left does not get through the handshake, resumed or not, and others do."""
        async with serve([(RateLimit, {"per": "identity", "rate": "2/d"})], trust=[CA]) as edge:
            first = await edge.handshake(CLIENT)
            again = await edge.handshake(CLIENT, session=first.session)
            refused = await edge.handshake(CLIENT, session=first.session)
            anew = await edge.handshake(CLIENT)
            other = await edge.handshake(OTHER)
        self.assertEqual([one.accepted for one in (first, again, refused, anew, other)],
                         [True, True, False, False, True])
        self.assertEqual({refused.code, anew.code}, {Reason.RATE_LIMITED})
        self.assertIn("the identity CN=client connects more often than 2/d", anew.detail)

    async def test_requests(self) -> None:
        """At a route's rule it counts requests: the connection goes on, and the request is answered 403."""
        async with serve(rule=[(RateLimit, {"per": "address", "rate": "1/d"})], trust=[CA]) as edge:
            first, second = await edge.handshake(CLIENT), await edge.handshake(CLIENT)
        self.assertEqual((first.status, second.status, second.code), (200, 403, Reason.RATE_LIMITED))
