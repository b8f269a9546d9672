"""Real upstream processes are killed, stopped and restarted under a load of real requests.

Only requests that a dead process was answering are lost, and of those none that may be sent again.
"""
from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from edgegw.model import (
    NO_FILTERS,
    ActiveHealthCheck,
    BackendRef,
    Endpoint,
    Filters,
    OutlierDetection,
    Retry,
    Route,
    RouteRule,
    Timeouts,
    Upstream,
)

from .gateway import gateway, http_listener, in_thread, start_gateway, until
from .raw_client import Client, connect, read_response
from .upstream_process import UpstreamProcess

reactor: Any = global_reactor
GET = b"GET /%b HTTP/1.1\r\nhost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\nhello"
#: Clients that send GET, and that send POST.
READERS, WRITERS = 8, 4


def _heard(client: Client) -> bool:
    return client.reason is not None or read_response(client.received) is not None


class Load:
    """Clients that ask again and again, each when it has its answer.

    :ivar reads: what became of GET requests, by status; so ``writes`` of POST.
    :ivar reconnects: how often a client found its connection closed when it had nothing to wait for.
    :ivar by: the names of the processes that answered since somebody emptied it.
    """

    def __init__(self, case: TestCase, address: tuple[str, int]) -> None:
        self.case = case
        self.address = address
        self.reads: Counter[int] = Counter()
        self.writes: Counter[int] = Counter()
        self.by: Counter[bytes] = Counter()
        self.reconnects = 0
        self._stopped = False
        self._clients: Deferred[Any] | None = None

    async def start(self) -> None:
        """Let all clients begin."""
        self._clients = gatherResults([
            Deferred.fromCoroutine(
                self._ask(GET % b"", self.reads) if number < READERS else self._ask(POST, self.writes)
            )
            for number in range(READERS + WRITERS)
        ], consumeErrors=True)

    async def _ask(self, request: bytes, counts: Counter[int]) -> None:
        client = await connect(self.case, self.address)
        while not self._stopped:
            client.send(request)
            await until(partial(_heard, client))
            if client.reason is not None and not client.received:
                # Closed while it was idle, as a reload does: a client asks again on a new connection.
                self.reconnects += 1
                client = await connect(self.case, self.address)
                continue
            response = await client.response()
            counts[response.status] += 1
            self.by[response.body] += 1

    async def stop(self) -> None:
        """Let each client have its last answer."""
        self._stopped = True
        assert self._clients is not None
        await self._clients

    async def goes_on(self, *names: bytes) -> None:
        """Wait until each of some processes has answered a good many requests more, and nobody else any."""
        self.by.clear()
        await until(lambda: all(self.by[name] > 15 for name in names))

    @property
    def lost_reads(self) -> int:
        """GET requests that got another answer than 200."""
        return self.reads.total() - self.reads[200]

    @property
    def lost_writes(self) -> int:
        """POST requests that did."""
        return self.writes.total() - self.writes[200]


class ChaosTests(TestCase):
    """Three processes behind one upstream."""

    async def start(self, filters: Filters = NO_FILTERS) -> None:
        """Start everything, and the load; ``filters`` are those of the rule."""
        self.processes = [UpstreamProcess(name) for name in ("a", "b", "c")]
        for process in self.processes:
            self.addCleanup(process.kill)
        await gatherResults([in_thread(process.start) for process in self.processes])
        model = Upstream(
            "app", tuple(Endpoint("127.0.0.1", process.port) for process in self.processes),
            response_timeout=3.0,
            health_check=ActiveHealthCheck(interval=0.1, timeout=0.5, unhealthy_threshold=2, healthy_threshold=2),
            outlier_detection=OutlierDetection(base_ejection_time=0.2, max_ejected=67),
        )
        rule = RouteRule(backends=(BackendRef("app"),), filters=filters)
        self.running = await start_gateway(
            self, gateway([http_listener()], model, routes=[Route("all", rules=(rule,))])
        )
        self.metrics = self.running.metrics.upstream("app")
        await self.use_connections()
        self.load = Load(self, self.running.address())
        await self.load.start()
        await self.load.goes_on(b"a", b"b", b"c")

    async def use_connections(self) -> None:
        """Have more connections to each process than the load needs, all of which have carried a request.

        A request is sent again only where a connection that was used before was closed without an answer.
        """
        for _ in range(2):
            clients = [await connect(self, self.running.address()) for _ in range(3 * (READERS + WRITERS + 2))]
            for client in clients:
                client.send(GET % b"slow")
            for client in clients:
                self.assertEqual((await client.response()).status, 200)
                client.transport.abortConnection()

    def states(self) -> list[str]:
        """Give each process's state."""
        now = reactor.seconds()
        return [state.word(now) for state in self.metrics.state.endpoints.values()]

    async def test_killed(self) -> None:
        """Processes that are killed lose what cannot be sent again, at most once for each client; then all is well."""
        await self.start()
        for round_number, process in enumerate(self.processes, 1):
            others = [one.name.encode() for one in self.processes if one is not process]
            process.kill()
            # What it had answered by then arrives still.
            await self.load.goes_on(*others)
            await self.load.goes_on(*others)
            self.assertNotIn(process.name.encode(), self.load.by)
            await in_thread(process.start)
            await until(lambda: self.states() == ["ready"] * 3)
            await self.load.goes_on(b"a", b"b", b"c")
            await self.use_connections()
            self.assertEqual(self.load.lost_reads, 0)
            self.assertLessEqual(self.load.lost_writes, round_number * WRITERS)
        await self.load.stop()
        self.assertEqual(set(self.load.reads), {200})
        self.assertLessEqual(set(self.load.writes), {200, 502})

    async def test_two_of_three_are_down(self) -> None:
        """Nothing is lost while most of the endpoints refuse connections."""
        await self.start()
        for process in self.processes[:2]:
            process.kill()
        await self.load.goes_on(b"c")
        await until(lambda: self.states()[:2] == ["failing"] * 2)
        lost = self.load.lost_writes
        failures = sum(self.metrics.connect_failures.values())
        await self.load.goes_on(b"c")
        self.assertEqual((self.load.lost_reads, self.load.lost_writes), (0, lost))
        # Nobody tries those that are known to be down.
        self.assertEqual(sum(self.metrics.connect_failures.values()), failures)
        await self.load.stop()

    async def test_stopped(self) -> None:
        """A process that hangs holds up each client once at most; it gets no more until it works again."""
        await self.start()
        process = self.processes[1]
        process.pause()
        await until(lambda: self.states()[1] == "failing")
        await self.load.goes_on(b"a", b"c")
        await until(lambda: self.load.lost_reads + self.load.lost_writes > 0)
        await deferLater(reactor, 0.3)
        lost = self.load.lost_reads + self.load.lost_writes
        self.assertLessEqual(lost, READERS + WRITERS)
        await self.load.goes_on(b"a", b"c")
        process.go_on()
        await self.load.goes_on(b"a", b"b", b"c")
        await self.load.stop()
        self.assertLessEqual(self.load.lost_reads + self.load.lost_writes, READERS + WRITERS)
        self.assertLessEqual(set(self.load.reads + self.load.writes), {200, 504})

    async def test_flapping(self) -> None:
        """A process that comes and goes costs no more than what it was answering each time."""
        await self.start()
        process = self.processes[0]
        kills = 4
        for _ in range(kills):
            process.kill()
            await in_thread(process.start)
            await deferLater(reactor, 0.15)
        await self.load.goes_on(b"b", b"c")
        await until(lambda: self.states() == ["ready"] * 3)
        await self.load.goes_on(b"a", b"b", b"c")
        await self.load.stop()
        self.assertLessEqual(self.load.lost_writes, kills * WRITERS)
        # Those of the first time could be sent again; the others may have been the first on their connections.
        self.assertLessEqual(self.load.lost_reads, (kills - 1) * READERS)
        self.assertLessEqual(set(self.load.reads + self.load.writes), {200, 502})
        (requests,) = (one for key, one in self.running.metrics.routes.items() if key[2])
        self.assertEqual(requests.in_progress, 0)

    async def test_flapping_with_retries(self) -> None:
        """Nothing that may be sent again is lost where the rule says that it is, on whatever connection it was."""
        await self.start(Filters(retry=Retry(attempts=3, backoff=0.01)))
        process = self.processes[0]
        kills = 6
        for _ in range(kills):
            process.kill()
            await in_thread(process.start)
            # Until it is used again, so that each kill hits requests.
            await self.load.goes_on(b"a", b"b", b"c")
        await self.load.stop()
        self.assertEqual(set(self.load.reads), {200})
        self.assertGreater(self.load.reads[200], kills * READERS)
        self.assertLessEqual(self.load.lost_writes, kills * WRITERS)
        self.assertLessEqual(set(self.load.writes), {200, 502})
        self.assertGreater(self.metrics.retries, 0)

    async def test_stopped_with_retries(self) -> None:
        """So where a process hangs: another one answers when the time of the first try is over."""
        await self.start(Filters(retry=Retry(attempts=3, backoff=0.01), timeouts=Timeouts(0.0, 2.0)))
        process = self.processes[1]
        process.pause()
        await until(lambda: self.states()[1] == "failing")
        await until(lambda: self.load.lost_writes > 0 or self.metrics.retries > 0)
        await self.load.goes_on(b"a", b"c")
        process.go_on()
        await self.load.goes_on(b"a", b"b", b"c")
        await self.load.stop()
        self.assertEqual(set(self.load.reads), {200})
        self.assertLessEqual(self.load.lost_writes, WRITERS)
        self.assertLessEqual(set(self.load.writes), {200, 504})

    async def test_reload_under_load(self) -> None:
        """Reloads lose nothing, and what is known of a process that is down is known at once."""
        await self.start()
        self.processes[2].kill()
        await until(lambda: self.states()[2] == "failing")
        lost = self.load.lost_writes
        failures = sum(self.metrics.connect_failures.values())
        for _ in range(5):
            self.running.reload(self.running.generation.gateway)
            await self.load.goes_on(b"a", b"b")
        self.assertEqual((self.load.lost_reads, self.load.lost_writes), (0, lost))
        self.assertEqual(sum(self.metrics.connect_failures.values()), failures)
        self.assertLessEqual(self.load.reconnects, 5 * (READERS + WRITERS))
        await self.load.stop()
