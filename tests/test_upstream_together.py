"""What upstreams are given at the same time: TLS and health checks, limits and reloads, two families and limits."""
from __future__ import annotations

from attrs import evolve

from edgegw.model import ActiveHealthCheck, Upstream

from .gateway import until
from .test_upstream_tls import NAME, TLSTestCase
from .tls_peers import TLS1_2, TLS1_3
from .tls_upstreams import secured, server_context, start_tls_upstream

CHECK = ActiveHealthCheck(interval=0.1, timeout=5.0, unhealthy_threshold=1, healthy_threshold=1)


class CheckedTLSTests(TLSTestCase):
    """Health checks by TLS."""

    async def last_check(self, upstream: Upstream) -> str:
        """Serve it, and give what the first check says."""
        await self.begin(upstream)
        states = self.metrics.state.endpoints
        await until(lambda: all(one.last_check for one in states.values()))
        (state,) = states.values()
        return state.last_check

    async def test_good(self) -> None:
        """Both kinds of checks are good where the certificate is."""
        upstream = start_tls_upstream(self, server_context(self.issue()))
        model = secured(upstream.model, self.pki, hostname=NAME)
        for check in (CHECK, evolve(CHECK, path=None)):
            self.assertEqual(await self.last_check(evolve(model, health_check=check)), "ok")

    async def test_not_believed(self) -> None:
        """Whose certificate is not good fails both kinds of checks, and gets no request."""
        upstream = start_tls_upstream(self, server_context(self.issue()))
        model = secured(upstream.model, self.pki, hostname="other.internal")
        for check in (CHECK, evolve(CHECK, path=None)):
            self.assertEqual(await self.last_check(evolve(model, health_check=check)), "name_mismatch")
            self.assertEqual((await self.get()).status, 503)
        self.assertEqual(upstream.requests, [])

    async def test_refused(self) -> None:
        """An upstream that wants a certificate which the gateway has not fails the check that asks for something."""
        for version in (TLS1_2, TLS1_3):
            context = server_context(self.issue(), self.clients.certificate, version=version)
            upstream = start_tls_upstream(self, context)
            model = secured(upstream.model, self.pki, hostname=NAME)
            self.assertEqual(await self.last_check(evolve(model, health_check=CHECK)), "alert")
