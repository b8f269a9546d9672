"""Endpoints that fail and come back: health checks, what requests tell, slow starts, and what a reload knows of it."""
from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from edgegw.model import ActiveHealthCheck, OutlierDetection, SessionPersistence
from edgegw.observe.endpoints import UpstreamState
from edgegw.upstream.outliers import OutlierDetector

from .gateway import RecordedRequest, answer, start_upstream, until
from .test_upstream_balancing import BalancingCase, nobody

QUICK = ActiveHealthCheck(interval=0.05, timeout=0.4, unhealthy_threshold=2, healthy_threshold=2)


class CheckTests(BalancingCase):
    """Health checks."""

    def states(self) -> list[str]:
        """Give each endpoint's state."""
        return [state.word(0.0) for state in self.metrics.state.endpoints.values()]

    async def test_down_and_up(self) -> None:
        """An endpoint whose checks fail gets no request until they are good again."""
        first, second = self.servers(2)
        await self.serve([first, second], health_check=QUICK)
        self.assertEqual(await self.bodies(6), {b"0": 3, b"1": 3})
        first.script = answer(b"0", b"500 Out of order")
        await until(lambda: self.states() == ["failing", "ready"])
        self.assertEqual(await self.bodies(6), {b"1": 6})
        first.script = answer(b"0")
        await until(lambda: self.states() == ["ready", "ready"])
        self.assertEqual(await self.bodies(6), {b"0": 3, b"1": 3})

    async def test_what_is_asked(self) -> None:
        """A check is a request of its own on a connection of its own."""
        (server,) = self.servers(1)
        check = evolve(QUICK, path="/healthz?x=1", host="app.internal", method="HEAD", statuses=((403, 404),))
        server.script = b"HTTP/1.1 403 No\r\ncontent-length: 5\r\n\r\n"
        await self.serve([server], health_check=check)
        request = await server.request(3)
        self.assertEqual(request.line, b"HEAD /healthz?x=1 HTTP/1.1")
        self.assertEqual((request.all(b"host"), request.all(b"connection")), ([b"app.internal"], [b"close"]))
        self.assertEqual(self.states(), ["ready"])
        self.assertEqual(self.metrics.connects, 0)
        server.script = answer()
        await until(lambda: self.states() == ["failing"])

    async def test_nobody_there(self) -> None:
        """Where no endpoint is healthy requests get 503 without a try."""
        await self.serve([nobody(), nobody()], health_check=QUICK)
        await until(lambda: self.states() == ["failing", "failing"])
        failures = sum(self.metrics.connect_failures.values())
        client = await self.connect()
        self.assertEqual((await self.ask(client)).status, 503)
        self.assertEqual((await self.ask(client)).status, 503)
        self.assertEqual(sum(self.metrics.connect_failures.values()), failures)
        self.assertEqual(self.metrics.limited["no_endpoint"], 2)

    async def test_panic(self) -> None:
        """With a threshold all endpoints are used rather than none."""
        servers = self.servers(2)
        for server in servers:
            server.script = lambda request: answer(b"ok", b"200 OK" if b" / " in request.line else b"500 No")
        await self.serve(servers, health_check=evolve(QUICK, path="/h"), panic_threshold=50)
        await until(lambda: self.states() == ["failing", "failing"])
        self.assertEqual(await self.bodies(4), {b"ok": 4})

    async def test_failing_over(self) -> None:
        """As endpoints of the first priority fail, the second takes what they cannot."""
        first, second, spare = self.servers(3)
        await self.serve([first, second, evolve(spare.model.endpoints[0], priority=1)], health_check=QUICK)
        self.assertEqual(set(await self.bodies(6)), {b"0", b"1"})
        first.script = answer(b"0", b"503 No")
        await until(lambda: self.states()[0] == "failing")
        got = await self.bodies(100)
        self.assertEqual(set(got), {b"1", b"2"})
        self.assertGreater(got[b"1"], got[b"2"])
        second.script = answer(b"1", b"503 No")
        await until(lambda: self.states()[1] == "failing")
        self.assertEqual(await self.bodies(6), {b"2": 6})

    async def test_stalling(self) -> None:
        """Who takes the connection and says nothing is down; a TCP check does not mind."""
        for check, state in [(QUICK, "failing"), (evolve(QUICK, path=None), "ready")]:
            silent = start_upstream(self, lambda request: None)
            await self.serve([silent], health_check=check)
            await until(lambda: sum(self.metrics.checks.values()) >= 4)
            self.assertEqual(self.states(), [state])
            await self.running.stop()

    async def test_nonsense(self) -> None:
        """Whatever answers, it is a bad check at most."""
        (server,) = self.servers(1)
        server.script = b"\x15\x03\x01\x00\x02\x02\x16 what\r\n\r\n"
        await self.serve([server], health_check=QUICK)
        await until(lambda: self.states() == ["failing"])

        def flood(request: RecordedRequest) -> bytes:
            return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65_536 + b"\r\n"

        server.script = flood
        await until(lambda: self.states() == ["ready"])

    async def test_reload(self) -> None:
        """What is known of an endpoint holds for the next configuration, which goes on checking; the old one stops."""
        first, second = self.servers(2)
        first.script = answer(b"0", b"503 No")
        check = evolve(QUICK, interval=0.2)
        await self.serve([first, second], health_check=check)
        await until(lambda: self.states() == ["failing", "ready"])
        self.running.reload(self.running.generation.gateway)
        self.assertEqual(self.states(), ["failing", "ready"])
        self.assertEqual(await self.bodies(4), {b"1": 4})
        first.script = answer(b"0")
        await until(lambda: self.states() == ["ready", "ready"])
        self.running.reload(evolve(
            self.running.generation.gateway,
            upstreams=(evolve(self.running.generation.gateway.upstreams[0], health_check=None),),
        ))
        checks = sum(self.metrics.checks.values())
        self.assertEqual(await self.bodies(4), {b"0": 2, b"1": 2})
        await until(lambda: not any(one.reason is None for one in first.talks if not one.received.count(b"GET / ")))
        self.assertLessEqual(sum(self.metrics.checks.values()), checks + 2)

    async def test_endpoints_that_are_gone_are_forgotten(self) -> None:
        """What no configuration has is not remembered."""
        servers = self.servers(2)
        await self.serve(servers, health_check=QUICK)
        model = self.running.generation.gateway
        (upstream,) = model.upstreams
        self.running.reload(evolve(model, upstreams=(evolve(upstream, endpoints=upstream.endpoints[:1]),)))
        self.assertEqual(list(self.metrics.state.endpoints), [f"127.0.0.1:{servers[0].port}"])


class RequestTests(BalancingCase):
    """What becomes of requests tells of the endpoints."""

    async def test_5xx(self) -> None:
        """An endpoint that answers 5xx again and again is left out for a while, then longer."""
        first, second = self.servers(2)
        first.script = answer(b"0", b"500 Out of order")
        detection = OutlierDetection(consecutive_5xx=3, base_ejection_time=0.3)
        await self.serve([first, second], outlier_detection=detection)
        self.assertEqual(await self.bodies(6), {b"0": 3, b"1": 3})
        self.assertEqual(await self.bodies(6), {b"1": 6})
        (state, _) = self.metrics.state.endpoints.values()
        client = await self.connect()
        # Once the time is over it is tried again, and still fails.
        for ejections in (2, 3):
            while state.ejections < ejections:
                await self.ask(client)
        self.assertEqual((state.recent_ejections, state.ejections), (3, 3))

    async def test_gateway_errors_alone(self) -> None:
        """500 can be what an application says; 503 is what stands for it."""
        first, second = self.servers(2)
        detection = OutlierDetection(consecutive_5xx=None, consecutive_gateway_errors=2)
        await self.serve([first, second], outlier_detection=detection)
        first.script = answer(b"0", b"500 Out of order")
        self.assertEqual(await self.bodies(8), {b"0": 4, b"1": 4})
        first.script = answer(b"0", b"503 Busy")
        self.assertEqual((await self.bodies(8))[b"0"], 2)

    async def test_good_ones_between(self) -> None:
        """Only failures in a row count."""
        first, second = self.servers(2)
        replies = [answer(b"0"), answer(b"0", b"502 No")]
        first.script = lambda request: replies[len(first.requests) % 2]
        await self.serve([first, second], outlier_detection=OutlierDetection(1000, 2))
        self.assertEqual(await self.bodies(20), {b"0": 10, b"1": 10})

    async def test_no_connection(self) -> None:
        """Who cannot be connected to is not tried at every request."""
        (alive,) = self.servers(1)
        await self.serve([nobody(), alive], outlier_detection=OutlierDetection(consecutive_connect_failures=2))
        self.assertEqual(await self.bodies(20), {b"0": 20})
        self.assertEqual(self.metrics.connect_failures["refused"], 2)

    async def test_no_answer(self) -> None:
        """No response in time, and a broken one, are failures."""
        first, second = self.servers(2)
        first.script = lambda request: None
        await self.serve([first, second], outlier_detection=OutlierDetection(2), response_timeout=0.3)
        client = await self.connect()
        statuses = Counter([(await self.ask(client)).status for _ in range(8)])
        self.assertEqual(statuses, {504: 2, 200: 6})

    async def test_the_last_one_stays(self) -> None:
        """However bad it is, an endpoint is not left out where it is the last, nor beyond the share."""
        servers = self.servers(3)
        for server in servers:
            server.script = answer(b"no", b"503 No")
        await self.serve(servers, outlier_detection=OutlierDetection(1, 1, max_ejected=67))
        await self.bodies(20)
        now = 0.0
        out = [state for state in self.metrics.state.endpoints.values() if not state.is_usable(now)]
        self.assertEqual(len(out), 2)

    async def test_reload(self) -> None:
        """Who is left out stays so."""
        first, second = self.servers(2)
        first.script = answer(b"0", b"503 No")
        await self.serve([first, second], outlier_detection=OutlierDetection(1, 1))
        await self.bodies(2)
        first.script = answer(b"0")
        self.running.reload(self.running.generation.gateway)
        self.assertEqual(await self.bodies(4), {b"1": 4})

    async def test_sessions(self) -> None:
        """A session leaves an endpoint that is left out."""
        servers = self.servers(2)
        await self.serve(servers, outlier_detection=OutlierDetection(1, 1), session_persistence=SessionPersistence())
        client = await self.connect()
        first = await self.ask(client)
        cookie = b"cookie: " + first.all("set-cookie")[0].partition(";")[0].encode()
        servers[int(first.body)].script = answer(b"", b"503 No")
        self.assertEqual((await self.ask(client, cookie)).status, 503)
        second = await self.ask(client, cookie)
        self.assertEqual((second.status, len(second.all("set-cookie"))), (200, 1))
        self.assertNotEqual(second.body, first.body)


class SlowStartTests(BalancingCase):
    """Endpoints that come back get to their share by and by."""

    async def test_a_small_share_first(self) -> None:
        """Just after it is healthy again an endpoint has a tenth of its share, and all of it in the end."""
        first, second = self.servers(2)
        await self.serve([first, second], health_check=QUICK, slow_start=600.0)
        self.assertEqual(await self.bodies(10), {b"0": 5, b"1": 5})
        states = list(self.metrics.state.endpoints.values())
        first.script = answer(b"0", b"503 No")
        await until(lambda: states[0].failing)
        first.script = answer(b"0")
        await until(lambda: not states[0].failing)
        self.assertEqual(await self.bodies(110), {b"0": 10, b"1": 100})
        states[0].usable_since -= 600
        self.metrics.state.version += 1
        self.assertEqual(await self.bodies(10), {b"0": 5, b"1": 5})


class DetectorTests(SynchronousTestCase):
    """How long an endpoint is left out."""

    def setUp(self) -> None:
        """Two endpoints."""
        self.now = 100.0
        self.known = UpstreamState()
        self.states = [self.known.take(name, name) for name in "ab"]

    def detector(self, **options: Any) -> OutlierDetector:
        """Give one whose clock the test moves."""
        return OutlierDetector("app", OutlierDetection(**options), self.known, lambda: self.states, lambda: self.now)

    def test_times(self) -> None:
        """Longer every time up to the longest, and from the beginning after a good while."""
        detector = self.detector(consecutive_5xx=1, base_ejection_time=10.0, max_ejection_time=25.0)
        state = self.states[0]
        for seconds in (10.0, 20.0, 25.0, 25.0):
            detector.answered(state, 500)
            self.assertEqual(state.ejected_until, self.now + seconds)
            detector.failed(state)
            self.assertEqual(state.ejected_until, self.now + seconds)
            self.now += seconds
        self.now += 26
        detector.answered(state, 599)
        self.assertEqual(state.ejected_until, self.now + 10.0)

    def test_share(self) -> None:
        """Half of three is one."""
        self.states.append(self.known.take("c", "c"))
        detector = self.detector(consecutive_connect_failures=1)
        for state in self.states:
            detector.connect_failed(state)
        self.assertEqual([state.ejected_until > 0 for state in self.states], [True, False, False])

    def test_what_health_checks_have_left(self) -> None:
        """The last one that works is not left out."""
        self.states[0].failing = True
        detector = self.detector(consecutive_connect_failures=1, max_ejected=100)
        detector.connect_failed(self.states[1])
        self.assertEqual(self.states[1].ejected_until, 0)
        detector.connect_failed(self.states[0])
        self.assertGreater(self.states[0].ejected_until, 0)
