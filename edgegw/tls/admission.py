"""How many connections a name may have, and how fast new ones may come."""
from __future__ import annotations

from time import monotonic
from typing import Protocol

from edgegw.model import ConnectionRate
from edgegw.verdict import Reason

__all__ = ["Admission"]


class Counts(Protocol):
    """See :class:`edgegw.observe.tunnel_counters.AdmissionCounts`."""

    connections: int
    full_at: float


class Admission:
    """The limits of a listener or a route.

    :param counts: are kept by whoever lets connections in; a reload is no way to hold more.
    """

    __slots__ = ("_ahead", "_counts", "_interval", "_most")

    def __init__(self, counts: Counts, most: int | None, rate: ConnectionRate | None) -> None:
        self._counts = counts
        self._most = most
        # The generic cell rate algorithm (ITU-T I.371): a bucket is the time at which it will be full.
        self._interval = 0.0 if rate is None else rate.seconds / rate.connections
        self._ahead = 0.0 if rate is None else (rate.burst - 1) * self._interval

    @property
    def is_full(self) -> bool:
        """Whether there are as many connections as there may be."""
        return self._most is not None and self._counts.connections >= self._most

    def refuse(self) -> Reason | None:
        """Say why a new connection is refused; ``None`` takes a token for it."""
        if self.is_full:
            return Reason.MAX_CONNECTIONS
        counts = self._counts
        if self._interval:
            now = monotonic()
            if counts.full_at - now > self._ahead:
                # What an earlier configuration has let in on a larger bucket is no debt of this one.
                counts.full_at = min(counts.full_at, now + self._ahead + self._interval)
                return Reason.CONNECTION_RATE
            counts.full_at = max(counts.full_at, now) + self._interval
        return None
