"""What Prometheus is told of clients' HTTP/2 connections."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric

from edgegw.observe.counters import ListenerMetrics
from edgegw.observe.families import counter

__all__ = ["http2_families"]


def http2_families(listeners: Sequence[tuple[str, ListenerMetrics]]) -> Iterator[Metric]:
    """Give the families of some listeners, by their names."""
    yield counter("edgegw_http2_connections_ended_total", "HTTP/2 connections ended because of what the client did.",
                  ("listener", "reason"),
                  (((name, str(reason)), n) for name, m in listeners for reason, n in sorted(m.http2_endings.items())))
    yield counter("edgegw_http2_streams_reset_total", "HTTP/2 streams that were reset.", ("listener", "by", "code"),
                  (((name, by, code), n) for name, m in listeners for (by, code), n in sorted(m.http2_resets.items())))
