"""What an upstream is burdened with at most: connections, requests that wait, requests at all, retries; their ages."""
from __future__ import annotations

from time import monotonic
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.model import RetryBudget, Upstream, UpstreamLimits
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.upstream.retries import RetryAllowance

from .gateway import (
    RecordedRequest,
    ScriptedUpstream,
    answer,
    gateway,
    http_listener,
    start_gateway,
    start_upstream,
    until,
)
from .raw_client import Client, connect

GET = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"


class LimitTests(TestCase):
    """A plain listener before one upstream that holds its answers back."""

    async def start(self, servers: int = 1, **options: Any) -> list[RecordedRequest]:
        """Start; gives the requests that came."""
        self.held: list[RecordedRequest] = []
        self.upstreams = [start_upstream(self, lambda request: self.held.append(request)) for _ in range(servers)]
        timeout = options.pop("connect_timeout", 5.0)
        model = Upstream(
            "app", tuple(one.model.endpoints[0] for one in self.upstreams), limits=UpstreamLimits(**options),
            connect_timeout=timeout,
        )
        self.running = await start_gateway(self, gateway([http_listener()], model))
        self.metrics = self.running.metrics.upstream("app")
        return self.held

    async def clients(self, number: int) -> list[Client]:
        """Connect clients, each of which sends a request."""
        made = [await connect(self, self.running.address()) for _ in range(number)]
        for client in made:
            client.send(GET)
        return made

    def respond(self, number: int, body: bytes = b"ok") -> None:
        """Answer the next requests."""
        for _ in range(number):
            self.held.pop(0).talk.transport.write(answer(body))

    def talks(self) -> int:
        """Count the connections that the upstream has seen."""
        return sum(len(one.talks) for one in self.upstreams)

    async def test_connections(self) -> None:
        """Requests beyond the connections wait for one, in their order, and get it."""
        await self.start(max_connections=2)
        clients = await self.clients(6)
        await until(lambda: len(self.held) == 2 and self.metrics.waiting == 4)
        for _ in range(3):
            self.respond(2)
            await until(lambda: len(self.held) == 2 or not self.metrics.waiting)
        for client in clients:
            self.assertEqual((await client.response()).status, 200)
        self.assertEqual((self.talks(), self.metrics.waiting), (2, 0))

    async def test_pending(self) -> None:
        """Where too many wait the next one gets 503 at once, and the connection goes on."""
        await self.start(max_connections=1, max_pending=2)
        clients = await self.clients(3)
        await until(lambda: self.metrics.waiting == 2 and self.held)
        (late,) = await self.clients(1)
        self.assertEqual((await late.response()).status, 503)
        self.assertEqual(self.metrics.limited["max_pending"], 1)
        for _ in range(3):
            await until(lambda: self.held)
            self.respond(1)
        for client in clients:
            self.assertEqual((await client.response()).status, 200)
        late.send(GET)
        await until(lambda: self.held)
        self.respond(1)
        self.assertEqual((await late.response()).status, 200)

    async def test_requests(self) -> None:
        """Where too many are not answered the next one gets 503 at once."""
        await self.start(max_requests=2)
        clients = await self.clients(2)
        await until(lambda: len(self.held) == 2)
        (late,) = await self.clients(1)
        self.assertEqual((await late.response()).status, 503)
        self.respond(2)
        for client in clients:
            self.assertEqual((await client.response()).status, 200)
        late.send(GET)
        await until(lambda: self.held)
        self.respond(1)
        self.assertEqual((await late.response()).status, 200)
        self.assertEqual(self.metrics.limited["max_requests"], 1)

    async def test_waiting_too_long(self) -> None:
        """503 when no connection comes free in the time for one."""
        await self.start(max_connections=1, connect_timeout=0.3)
        first, second = await self.clients(2)
        self.assertEqual((await second.response()).status, 503)
        await until(lambda: self.held)
        self.respond(1)
        self.assertEqual((await first.response()).status, 200)
        self.assertEqual(self.metrics.waiting, 0)

    async def test_waiting_once(self) -> None:
        """The time to wait is the same however many endpoints there are."""
        await self.start(4, max_connections=1, connect_timeout=1.0)
        first, second = await self.clients(2)
        began = monotonic()
        self.assertEqual((await second.response()).status, 503)
        self.assertLess(monotonic() - began, 2.5)
        self.assertEqual(self.metrics.limited["max_pending"], 1)
        await until(lambda: self.held)
        self.respond(1)
        self.assertEqual((await first.response()).status, 200)

    async def test_who_leaves_waits_no_longer(self) -> None:
        """A client that is gone is not waited for; its place is the next one's."""
        await self.start(max_connections=1)
        clients = await self.clients(3)
        await until(lambda: self.metrics.waiting == 2 and self.held)
        clients[1].transport.abortConnection()
        await until(lambda: self.metrics.waiting == 1 and self.held)
        self.respond(1)
        await until(lambda: self.held)
        self.respond(1)
        self.assertEqual((await clients[2].response()).status, 200)

    async def test_a_connection_that_ends_makes_room(self) -> None:
        """When a connection ends in the middle of a response, who waits gets a new one."""
        await self.start(max_connections=1)
        first, second = await self.clients(2)
        await until(lambda: self.metrics.waiting == 1 and self.held)
        self.held.pop(0).talk.transport.abortConnection()
        self.assertEqual((await first.response()).status, 502)
        await until(lambda: self.held)
        self.respond(1)
        self.assertEqual((await second.response()).status, 200)
        self.assertEqual(self.talks(), 2)

    async def test_two_endpoints(self) -> None:
        """Connections to one endpoint give way to requests that are for the other."""
        await self.start(2, max_connections=1)
        for upstream in self.upstreams:
            upstream.script = answer(b"ok")
        clients = await self.clients(12)
        for client in clients:
            self.assertEqual((await client.response()).status, 200)
        self.assertEqual([len(one.requests) for one in self.upstreams], [6, 6])
        self.assertLessEqual(self.metrics.connections, 1)

    async def test_unused_connections_give_way(self) -> None:
        """Connections to one endpoint that nobody uses do not keep a request waiting that is for the other."""
        await self.start(2, max_connections=2)
        first = [await connect(self, self.running.address()) for _ in range(2)]
        for upstream in self.upstreams:
            upstream.script = answer(b"ok")
        self.upstreams[1].script = answer(b"ok", headers=b"connection: close\r\n")
        for _ in range(6):
            for client in first:
                client.send(GET)
            for client in first:
                self.assertEqual((await client.response()).status, 200)
        self.assertEqual([len(one.requests) for one in self.upstreams], [6, 6])

    async def test_both_to_one(self) -> None:
        """Two unused connections to one endpoint: one of them is closed for the other endpoint's request."""
        await self.start(2, max_connections=2)
        await self.clients(1)
        await until(lambda: self.held)
        self.respond(1)
        pool = self.running.generation._sites.upstreams["app"]
        pools = list(pool.endpoints)
        pool.endpoints[1].state.failing = True
        self.metrics.state.version += 1
        clients = await self.clients(2)
        await until(lambda: len(self.held) == 2)
        self.respond(2)
        for client in clients:
            self.assertEqual((await client.response()).status, 200)
        self.assertEqual([one.idle for one in pools], [2, 0])
        pools[0].state.failing, pools[1].state.failing = True, False
        self.metrics.state.version += 1
        (client,) = await self.clients(1)
        await until(lambda: self.held)
        self.respond(1)
        self.assertEqual((await client.response()).status, 200)
        self.assertEqual([one.connections for one in pools], [1, 1])

    async def test_load(self) -> None:
        """Under more load than connections everything is answered, with never more connections than allowed."""
        await self.start(2, max_connections=3)
        most = 0

        def script(request: RecordedRequest) -> bytes:
            nonlocal most
            most = max(most, self.metrics.connections)
            return answer(b"ok")

        for upstream in self.upstreams:
            upstream.script = script

        async def client() -> None:
            one = await connect(self, self.running.address())
            for _ in range(20):
                one.send(GET)
                self.assertEqual((await one.response()).status, 200)

        await gatherResults([Deferred.fromCoroutine(client()) for _ in range(20)])
        self.assertEqual(sum(len(one.requests) for one in self.upstreams), 400)
        self.assertLessEqual(most, 3)

    async def test_reload_while_requests_wait(self) -> None:
        """Requests that wait when a new configuration takes over are answered."""
        await self.start(max_connections=1)
        clients = await self.clients(3)
        await until(lambda: self.metrics.waiting == 2 and self.held)
        self.running.reload(self.running.generation.gateway)
        for _ in range(3):
            await until(lambda: self.held)
            self.respond(1)
        for client in clients:
            self.assertEqual((await client.response()).status, 200)

    async def test_new_requests_wait_for_those_before_a_reload(self) -> None:
        """A connection of the replaced configuration that ends makes room for requests of the new one."""
        await self.start(max_connections=1)
        (first,) = await self.clients(1)
        await until(lambda: self.held)
        self.running.reload(self.running.generation.gateway)
        (second,) = await self.clients(1)
        await until(lambda: self.metrics.waiting == 1)
        self.respond(1)
        self.assertEqual((await first.response()).status, 200)
        await until(lambda: self.held or second.received)
        self.respond(1)
        self.assertEqual((await second.response()).status, 200)

    async def test_requests_before_a_reload_wait_for_new_ones(self) -> None:
        """A connection that the new configuration keeps gives way to requests that the replaced one has begun."""
        await self.start(max_connections=1)
        first, waiting = await self.clients(2)
        await until(lambda: self.metrics.waiting == 1 and self.held)
        # They wait behind the one that comes after the reload.
        (old,) = self.metrics.state.lines
        line, old._line = old._line, type(old._line)()
        self.running.reload(self.running.generation.gateway)
        (second,) = await self.clients(1)
        await until(lambda: self.metrics.waiting == 2)
        self.respond(1)
        self.assertEqual((await first.response()).status, 200)
        await until(lambda: self.held)
        old._line = line
        self.respond(1)
        self.assertEqual((await second.response()).status, 200)
        await until(lambda: self.held or waiting.received)
        self.respond(1)
        self.assertEqual((await waiting.response()).status, 200)


class AgeTests(TestCase):
    """How long connections are used."""

    async def start(self, upstream: ScriptedUpstream, **limits: Any) -> Client:
        """Start, and connect a client."""
        model = Upstream("app", upstream.model.endpoints, limits=UpstreamLimits(**limits))
        self.running = await start_gateway(self, gateway([http_listener()], model))
        return await connect(self, self.running.address())

    async def test_requests_per_connection(self) -> None:
        """After so many requests a connection is closed, and the next request has a new one."""
        upstream = start_upstream(self, answer(b"ok"))
        client = await self.start(upstream, max_requests_per_connection=3)
        for _ in range(9):
            client.send(GET)
            self.assertEqual((await client.response()).status, 200)
        self.assertEqual([one.received.count(b"GET") for one in upstream.talks], [3, 3, 3])
        await until(lambda: all(one.reason is not None for one in upstream.talks))

    async def test_age(self) -> None:
        """A connection that is old enough is closed, idle or when its response is complete, and not before."""
        upstream = start_upstream(self, answer(b"ok"))
        client = await self.start(upstream, max_connection_age=0.4)
        client.send(GET)
        await client.response()
        await upstream.talks[0].lost
        upstream.script = lambda request: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"
        client.send(GET)
        await until(lambda: len(upstream.requests) == 2)
        await until(lambda: self.old(1.0))
        self.assertIs(upstream.talks[1].reason, None)
        upstream.talks[1].transport.write(b"k")
        self.assertEqual((await client.response()).body, b"ok")
        await upstream.talks[1].lost

    def old(self, seconds: float) -> bool:
        """Whether so much time has passed since this was asked first."""
        from twisted.internet import reactor as clock

        now: float = clock.seconds()  # type: ignore[attr-defined]  # the reactor's module is its stand-in
        self.since = getattr(self, "since", now)
        return now - self.since > seconds


class BudgetTests(SynchronousTestCase):
    """How much is sent again."""

    def start(self, **budget: Any) -> RetryAllowance:
        """Give an allowance whose clock the test moves."""
        self.now = 0.0
        self.metrics = UpstreamMetrics()
        return RetryAllowance(RetryBudget(**budget), self.metrics, lambda: self.now)

    def taken(self, allowance: RetryAllowance, times: int) -> int:
        """Count the retries that are allowed of some."""
        return sum(allowance.take() for _ in range(times))

    def test_percent(self) -> None:
        """A share of the requests of the interval, and a few in any case."""
        allowance = self.start(percent=20, interval=10.0, min_retries=3)
        self.assertEqual(self.taken(allowance, 10), 3)
        self.metrics.reused = 95
        self.metrics.connects = 5
        self.assertEqual(self.taken(allowance, 100), 17)
        self.assertEqual(self.metrics.limited["retry_budget"], 7 + 83)
        self.now = 10.0
        # The interval before counts for as much as this one has not had.
        self.assertEqual(self.taken(allowance, 100), 20)
        self.now = 40.0
        self.assertEqual(self.taken(allowance, 100), 3)

    @given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 50), st.integers(0, 20)), max_size=40))
    @settings(deadline=None)
    def test_never_more(self, steps: list[tuple[float, int, int]]) -> None:
        """Over all time there are no more retries than twice the share and the few of every interval."""
        allowance = self.start(percent=10, interval=1.0, min_retries=2)
        retries = 0
        for seconds, requests, tries in steps:
            self.now += seconds
            self.metrics.reused += requests
            retries += self.taken(allowance, tries)
        self.assertLessEqual(retries, 0.2 * self.metrics.reused + 2 * (self.now + 1))
