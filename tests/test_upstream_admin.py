"""What an operator sees of upstreams: the admin site's page, and the metrics."""
from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor

from edgegw.model import (
    Balancing,
    BalancingPolicy,
    Endpoint,
    EndpointKind,
    OutlierDetection,
    Resolution,
    Upstream,
    UpstreamTLS,
    UpstreamVerification,
)
from edgegw.observe.admin import AdminSite

from .gateway import answer, gateway, http_listener, start_gateway, until
from .test_observe_admin import fetch
from .test_upstream_balancing import BalancingCase, nobody
from .test_upstream_health import QUICK

reactor: Any = global_reactor


class PageTests(BalancingCase):
    """``/upstreams``."""

    def site(self) -> None:
        """Serve the page."""
        site = AdminSite(
            reactor, self.running.metrics.registry, lambda: True, upstreams=lambda: self.running.generation.upstreams
        )
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.admin = port.getHost().port

    async def page(self, query: str = "") -> Any:
        """Give the page."""
        got = await fetch(self.admin, "/upstreams" + query)
        self.assertEqual((got.status, got.headers["content-type"]), (200, "application/json"))
        return json.loads(got.body)

    def sample(self, name: str, **labels: str) -> float | None:
        """Give a number that a scrape would find."""
        return self.running.metrics.registry.get_sample_value(name, {"upstream": "app", **labels})

    async def test_states(self) -> None:
        """Each endpoint with its state, what was made of it, and what made it so."""
        good, bad, checked = self.servers(3)
        bad.script = lambda request: answer(b"", b"503 No" if b" / " in request.line else b"200 OK")
        checked.script = lambda request: answer(b"", b"200 OK" if b" / " in request.line else b"500 No")
        await self.serve(
            [evolve(good.model.endpoints[0], weight=2), bad, checked], health_check=evolve(QUICK, path="/h"),
            outlier_detection=OutlierDetection(2, 2),
        )
        await until(lambda: sum(one.failing for one in self.metrics.state.endpoints.values()) == 1)
        await self.bodies(12)
        self.site()
        (upstream,) = (await self.page())["upstreams"]
        endpoints = {one["address"]: one for one in upstream["endpoints"]}
        one, two, three = (endpoints[f"127.0.0.1:{server.port}"] for server in (good, bad, checked))
        self.assertEqual([entry["state"] for entry in (one, two, three)], ["ready", "ejected", "failing"])
        self.assertEqual([entry["used"] for entry in (one, two, three)], [True, False, False])
        self.assertEqual((one["weight"], one["last_check"], one["ejections"]), (2, "ok", 0))
        self.assertEqual((two["picks"], two["ejections"], two["last_check"]), (2, 1, "ok"))
        self.assertTrue(29 < two["ejected_for"] <= 30)
        self.assertEqual((three["picks"], three["last_check"]), (0, "status 500"))
        self.assertEqual((upstream["policy"], upstream["tls_verification"]), ("round_robin", None))
        label = f"127.0.0.1:{bad.port}"
        for state, number in [("ready", 0), ("ejected", 1), ("failing", 0)]:
            self.assertEqual(self.sample("edgegw_upstream_endpoints", endpoint=label, state=state), number)
        self.assertEqual(self.sample("edgegw_upstream_ejections_total", endpoint=label), 1)
        self.assertEqual(self.sample("edgegw_upstream_picks_total", endpoint=label), 2)
        self.assertTrue(self.sample("edgegw_upstream_health_checks_total", result="success"))

    async def test_names(self) -> None:
        """Names that are not found yet are told, and nothing of what is asked for without sense."""
        unfound = Endpoint("_http._tcp.test", 0, kind=EndpointKind.SRV)
        self.running = await start_gateway(self, gateway(
            [http_listener()],
            Upstream(
                "b", (nobody(),), balancing=Balancing(BalancingPolicy.RANDOM),
                tls=UpstreamTLS(verify=UpstreamVerification.NONE),
            ),
            Upstream("a", (unfound,), resolution=Resolution((nobody(),))),
        ))
        self.site()
        got = await self.page()
        self.assertEqual([one["name"] for one in got["upstreams"]], ["a", "b"])
        self.assertEqual(got["next"], None)
        self.assertEqual(got["upstreams"][0]["unresolved"], ["srv:_http._tcp.test"])
        (one,) = (await self.page("?name=b"))["upstreams"]
        self.assertEqual((one["policy"], one["tls_verification"]), ("random", "none"))
        for query, status in [("?name=c", 404), ("?nam=b", 400), ("?name=a&name=b", 400)]:
            self.assertEqual((await fetch(self.admin, "/upstreams" + query)).status, status)

    async def test_very_many(self) -> None:
        """An answer has a bound, and says where to go on."""
        self.running = await start_gateway(self, gateway(
            [http_listener()], *(Upstream(f"u{number:04}", (nobody(),)) for number in range(1100))
        ))
        self.site()
        names, following, pages = [], "", 0
        while following is not None:
            page = await self.page(f"?from={following}" if following else "")
            names += [one["name"] for one in page["upstreams"]]
            following = page["next"]
            pages += 1
        self.assertEqual(names, [f"u{number:04}" for number in range(1100)])
        self.assertEqual(pages, 3)
