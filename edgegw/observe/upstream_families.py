"""What Prometheus is told of upstreams' endpoints, health, names and limits.

Endpoints are labelled as the configuration has them: the addresses of a name are counted together.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from time import monotonic

from prometheus_client.core import Metric

from edgegw.observe.counters import UpstreamMetrics
from edgegw.observe.endpoints import STATES
from edgegw.observe.families import counter, gauge

__all__ = ["endpoint_families"]

Upstreams = Sequence[tuple[str, UpstreamMetrics]]


def endpoint_families(upstreams: Upstreams) -> Iterator[Metric]:
    """Give the families of some upstreams, by their names."""
    yield counter("edgegw_upstream_limited_total", "Requests and retries that an upstream's limits refused.",
                  ("upstream", "reason"),
                  (((name, reason), n) for name, m in upstreams for reason, n in m.limited.items()))
    yield gauge("edgegw_upstream_requests_waiting", "Requests that wait for a connection.", ("upstream",),
                (((name,), m.waiting) for name, m in upstreams))
    yield counter("edgegw_upstream_health_checks_total", "Health checks of endpoints.", ("upstream", "result"),
                  (((name, result), n) for name, m in upstreams for result, n in m.checks.items()))
    yield counter("edgegw_upstream_resolutions_total", "Look-ups of the names of endpoints.", ("upstream", "result"),
                  (((name, result), n) for name, m in upstreams for result, n in m.resolutions.items()))
    labels = ("upstream", "endpoint")
    yield gauge("edgegw_upstream_endpoints", "Addresses of an endpoint by their state.", (*labels, "state"),
                ((key, n) for key, n in _by_state(upstreams)))
    yield counter("edgegw_upstream_picks_total", "Requests that an endpoint was chosen for among several.", labels,
                  (((name, origin), m.state.counts[origin].picks)
                   for name, m in upstreams for origin in sorted(m.state.counts)))
    yield counter("edgegw_upstream_ejections_total", "Times that an address was left out because requests failed.",
                  labels,
                  (((name, origin), m.state.counts[origin].ejections)
                   for name, m in upstreams for origin in sorted(m.state.counts)))


def _by_state(upstreams: Upstreams) -> Iterator[tuple[tuple[str, str, str], int]]:
    now = monotonic()
    for name, metrics in upstreams:
        found = Counter((one.origin, one.word(now)) for one in metrics.state.endpoints.values())
        for origin in sorted({origin for origin, _ in found}):
            for state in STATES:
                yield (name, origin, state), found[origin, state]
