"""What is left of upstreams after many configurations: nothing."""
from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet import reactor as global_reactor

from edgegw.model import (
    ActiveHealthCheck,
    Endpoint,
    EndpointKind,
    OutlierDetection,
    SessionPersistence,
    Upstream,
    UpstreamLimits,
)

from .gateway import gateway, http_listener, open_files, start_gateway, until
from .raw_client import connect
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
