"""What an operator is shown of an upstream."""
from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from edgegw.upstream.pool import EndpointPool

if TYPE_CHECKING:
    from edgegw.upstream.upstream import UpstreamPool

__all__ = ["describe_upstream"]


def describe_upstream(upstream: UpstreamPool) -> dict[str, Any]:
    """Give an upstream with every endpoint's state, as JSON has it; times are seconds."""
    metrics = upstream.metrics
    now = monotonic()
    found: dict[str, Any] = {
        "name": upstream.model.name,
        "policy": upstream.model.balancing.policy.value,
        "tls_verification": None if upstream.model.tls is None else upstream.model.tls.verify.value,
        "connections": {
            "open": metrics.connections, "idle": metrics.idle, "opening": metrics.connecting,
        },
        "requests_waiting": metrics.waiting,
        "limited": dict(metrics.limited),
        "endpoints": [_endpoint(endpoint, upstream, now) for endpoint in upstream.endpoints],
    }
    unfound = [str(origin) for origin, pools in upstream.origins.items() if not pools]
    if unfound:
        found["unresolved"] = unfound
    return found


def _endpoint(endpoint: EndpointPool, upstream: UpstreamPool, now: float) -> dict[str, Any]:
    state = endpoint.state
    since = state.usable_since
    return {
        "endpoint": str(endpoint.origin),
        "address": str(endpoint.endpoint),
        "name": endpoint.name,
        "priority": endpoint.priority,
        "weight": endpoint.weight,
        "share": round(endpoint.share, 3),
        "state": state.word(now),
        "used": upstream.uses(endpoint),
        "usable_for": None if since == -inf or not state.is_usable(now) else round(now - since, 3),
        "ejected_for": round(state.out_until - now, 3) if state.out_until > now else None,
        "ejections": state.ejections,
        "failures_in_a_row": dict(state.errors),
        "last_check": state.last_check or None,
        "connections": {"open": endpoint.connections, "idle": endpoint.idle, "opening": endpoint.connecting},
        "in_flight": endpoint.in_flight,
        "picks": state.picks,
    }
