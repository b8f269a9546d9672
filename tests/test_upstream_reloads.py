"""What is left of upstreams after many configurations: nothing."""
from __future__ import annotations

import gc
import weakref
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor

from edgegw.model import (
    XFCC,
    ActiveHealthCheck,
    Endpoint,
    EndpointKind,
    OutlierDetection,
    SessionPersistence,
    Upstream,
    UpstreamLimits,
    UpstreamTLS,
    UpstreamVerification,
)
from edgegw.proxy.generation import GenerationError

from .gateway import gateway, http_listener, open_files, start_gateway, until
from .raw_client import connect
from .test_upstream_balancing import nobody
from .test_upstream_names import NamesCase

reactor: Any = global_reactor


class ReloadTests(NamesCase):
    """Fifty reloads, each of which changes what there is."""

    def upstream(self, number: int, port: int) -> Upstream:
        """Give an upstream with everything that has to be stopped."""
        return Upstream(
            "app",
            (
                Endpoint(f"app{number}.test", port),
                Endpoint(f"_http._tcp.n{number}.test", 0, kind=EndpointKind.SRV),
                Endpoint(f"127.0.{number}.9", port, priority=1),
            ),
            resolution=self.resolution,
            health_check=ActiveHealthCheck(interval=0.05, unhealthy_threshold=100),
            outlier_detection=OutlierDetection(),
            session_persistence=SessionPersistence(),
            limits=UpstreamLimits(max_connections=4),
            slow_start=10.0,
        )

    async def test_one_that_cannot_be_built(self) -> None:
        """A configuration that fails leaves nothing of its endpoints behind, whatever it fails at."""
        self.running = await start_gateway(self, gateway([http_listener()], self.upstream(0, 9)))
        state = self.running.metrics.upstream("app").state
        injected = evolve(http_listener(), header_injection=(XFCC(), XFCC()))
        with self.assertRaises(GenerationError):
            self.running.reload(gateway([injected], self.upstream(1, 9)))
        tls = UpstreamTLS(tls12_ciphers=("nonsense",), verify=UpstreamVerification.NONE)
        two = gateway([http_listener()], self.upstream(1, 9))
        with self.assertRaises(GenerationError):
            self.running.reload(evolve(two, upstreams=(*two.upstreams, Upstream("b", (nobody(),), tls=tls))))
        self.assertEqual({one.origin for one in state.endpoints.values()} & {"app1.test:9", "127.0.1.9:9"}, set())
        self.assertEqual({one.users for one in state.endpoints.values()}, {1})

    async def test_nothing_is_left(self) -> None:
        """Neither timers, nor sockets, nor what was known of endpoints that no configuration has."""
        port = self.servers_at("127.0.0.1")
        for number in range(51):
            self.zone.use(f"app{number}.test", "127.0.0.1")
        self.running = await start_gateway(self, gateway([http_listener()], self.upstream(0, port)))
        metrics = self.metrics = self.running.metrics.upstream("app")
        client = await connect(self, self.running.address())
        await self.ask(client)
        timers, files = len(reactor.getDelayedCalls()), open_files()
        old = weakref.WeakSet(self.running.generations)
        for number in range(1, 51):
            self.running.reload(gateway([http_listener()], self.upstream(number, port)))
            client = await connect(self, self.running.address())
            self.assertEqual((await self.ask(client)).status, 200)
            before = self.running.generations.pop(0)
            await before.when_idle()
            before.stop()
        del before
        self.running.generation.replace(())
        await until(lambda: metrics.connections <= 2)
        await until(lambda: len(reactor.getDelayedCalls()) <= timers + 3 and open_files() <= files + 6)
        self.assertTrue(all("50" in one.origin for one in metrics.state.endpoints.values()), metrics.state.endpoints)
        self.assertLessEqual(set(metrics.state.counts), {str(one) for one in self.upstream(50, port).endpoints})
        self.assertLessEqual(set(metrics.state.resolved), set(self.upstream(50, port).endpoints))
        gc.collect()
        self.assertLessEqual(len(old), 1)
