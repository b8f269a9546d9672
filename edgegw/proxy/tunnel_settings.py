"""What all tunnels to one upstream have in common."""
from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final

from edgegw.deadlines import Deadlines
from edgegw.observe.metrics import ListenerMetrics
from edgegw.observe.tunnel_counters import TunnelMetrics
from edgegw.upstream.upstream import UpstreamPool

__all__ = ["MAX_HELD", "TotalTime", "TunnelSettings"]

#: Bytes of a client's that are taken before the upstream can have them; more waits in its socket.
MAX_HELD: Final = 65_536


class TunnelSettings:
    """Where tunnels lead to, and how long they may take.

    :ivar upstream: its ``connect_timeout`` holds for each endpoint.
    :ivar metrics: counts the bytes, as they are on the wire.
    :ivar idle_timeout: seconds without a byte that either end sends or takes; the upstream's unless another is given.
    :ivar max_duration: seconds from the beginning after which a tunnel is ended, whatever goes through it; ``None``
        for no such bound.
    """

    __slots__ = ("deadlines", "idle_timeout", "max_duration", "metrics", "reactor", "upstream")

    def __init__(
        self,
        upstream: UpstreamPool,
        metrics: ListenerMetrics | TunnelMetrics,
        deadlines: Deadlines,
        reactor: Any,
        idle_timeout: float | None = None,
        max_duration: float | None = None,
    ) -> None:
        self.upstream = upstream
        self.metrics = metrics
        self.deadlines = deadlines
        self.reactor = reactor
        self.idle_timeout = upstream.model.idle_timeout if idle_timeout is None else idle_timeout
        self.max_duration = max_duration

    def total_time(self, is_over: Callable[[], None]) -> TotalTime | None:
        """Begin to count a tunnel's time, where that is bounded.

        :param is_over: called once, unless the time is stopped before.
        """
        return None if self.max_duration is None else TotalTime(is_over, self.deadlines, self.max_duration)


class TotalTime:
    """The time that one tunnel may take in all.

    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    deadline = inf
    watched_until = inf

    def __init__(self, is_over: Callable[[], None], deadlines: Deadlines, seconds: float) -> None:
        self._is_over: Callable[[], None] | None = is_over
        self._deadlines = deadlines
        deadlines.watch(self, monotonic() + seconds)

    def deadline_passed(self) -> None:
        """See ``Deadlines``."""
        is_over, self._is_over = self._is_over, None
        if is_over is not None:
            is_over()

    def stop(self) -> None:
        """The tunnel has ended."""
        self._is_over = None
        self._deadlines.forget(self)
