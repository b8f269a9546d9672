"""What Prometheus is told of connections whose bytes are passed on."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import Metric

from edgegw.observe.families import counter, gauge
from edgegw.observe.tunnel_counters import TunnelMetrics

__all__ = ["bytes_by_listener", "tunnel_families"]

Tunnels = Sequence[tuple[tuple[str, str, str], TunnelMetrics]]


def tunnel_families(tunnels: Tunnels) -> Iterator[Metric]:
    """Give the families of connections, by listener, route and upstream."""
    labels = ("listener", "route", "upstream")
    for attribute, make, name, documentation in (
        ("connections_total", counter, "edgegw_tunnels_total", "Connections passed on."),
        ("connections", gauge, "edgegw_tunnels_open", "Connections passed on that are open."),
        ("bytes_received", counter, "edgegw_tunnel_received_bytes_total", "Bytes that clients sent upstreams."),
        ("bytes_sent", counter, "edgegw_tunnel_sent_bytes_total", "Bytes that upstreams sent clients."),
    ):
        yield make(name, documentation, labels, ((key, getattr(one, attribute)) for key, one in tunnels))


def bytes_by_listener(tunnels: Mapping[tuple[str, str, str], TunnelMetrics]) -> dict[str, tuple[int, int]]:
    """Give what was received and sent on each listener's connections that were passed on."""
    sums: dict[str, tuple[int, int]] = {}
    for (listener, _, _), one in tunnels.items():
        received, sent = sums.get(listener, (0, 0))
        sums[listener] = (received + one.bytes_received, sent + one.bytes_sent)
    return sums
