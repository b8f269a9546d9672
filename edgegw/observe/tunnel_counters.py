"""The numbers that connections without requests count up; :mod:`edgegw.observe.counters` has those of requests."""
from __future__ import annotations

from math import inf

__all__ = ["AdmissionCounts", "TunnelMetrics"]


class AdmissionCounts:
    """What a limit on connections is judged by; it outlives generations of the configuration, as metrics do.

    :ivar connections: open now.
    :ivar full_at: when the bucket of new connections is full again, by :func:`time.monotonic`.
    """

    __slots__ = ("connections", "full_at")

    def __init__(self) -> None:
        self.connections = 0
        self.full_at = -inf


class TunnelMetrics:
    """What happened to the connections of one listener that go by one route to one upstream, as bytes.

    :ivar connections_total: that were let in.
    :ivar connections: open now.
    :ivar bytes_received: from clients.
    :ivar bytes_sent: to clients.
    """

    __slots__ = ("bytes_received", "bytes_sent", "connections", "connections_total")

    def __init__(self) -> None:
        self.connections_total = 0
        self.connections = 0
        self.bytes_received = 0
        self.bytes_sent = 0
