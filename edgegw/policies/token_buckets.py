"""Token buckets in bounded memory, from which nobody gets more than a bucket gives by making it be forgotten.

A bucket is one number: the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371).  A
full bucket says nothing and is forgotten when its place is wanted.  When none of them is full, a client that has no
bucket yet shares one with others.  A bucket that is made anew begins as empty as the shared one is that its client
may have used, so that changing from one to the other gains nothing either.
"""
from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from math import inf
from typing import Final

__all__ = ["SHARED", "TokenBuckets"]

#: Buckets for clients that have none of their own.
SHARED: Final = 1024
#: Buckets that are looked at for being full at each token.  A token puts off when one bucket is full, and makes one
#: bucket at most: so looking keeps up with both, and never takes long.
_LOOKS: Final = 2


class TokenBuckets:
    """Buckets by key.

    :param rate: tokens that come in a second.
    :param burst: tokens that a bucket holds.
    :param most: buckets of clients' own.
    :param count_shared: told of each token that was asked of a shared bucket.
    """

    def __init__(self, rate: float, burst: int, most: int, count_shared: Callable[[int], None]) -> None:
        self._interval = 1.0 / rate
        # How far ahead of the present a bucket may be full and still have a token.
        self._ahead = (burst - 1) / rate
        self._most = most
        self._count_shared = count_shared
        self._full_at: dict[bytes, float] = {}
        # Each key of the above once, with when it was to be full as it was last looked at.
        self._queue: list[tuple[float, bytes]] = []
        self._shared = [-inf] * SHARED

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: bytes, coarse: bytes, now: float) -> float:
        """Take a token: 0, or the seconds until there is one.

        :param key: whose bucket it is.
        :param coarse: who shares a bucket with whom.
        :param now: seconds; never goes back.
        """
        self._forget(now)
        full_at = self._full_at.get(key)
        if full_at is not None:
            wait, self._full_at[key] = self._taken(full_at, now)
            return wait
        place = hash(coarse) % SHARED
        wait, full_at = self._taken(self._shared[place], now)
        if len(self._full_at) >= self._most:
            self._count_shared(1)
            self._shared[place] = full_at
        elif wait <= 0:
            self._full_at[key] = full_at
            heappush(self._queue, (full_at, key))
        return wait

    def _taken(self, full_at: float, now: float) -> tuple[float, float]:
        """Give how long to wait for a token, and when the bucket is full after one was taken, if there was one."""
        wait = full_at - now - self._ahead
        if wait > 0:
            return wait, full_at
        return 0.0, max(full_at, now) + self._interval

    def _forget(self, now: float) -> None:
        """Forget a bucket or two that are full."""
        queue = self._queue
        for _ in range(_LOOKS):
            if not queue or queue[0][0] > now:
                return
            key = queue[0][1]
            full_at = self._full_at[key]
            if full_at <= now:
                heappop(queue)
                del self._full_at[key]
            else:
                heapreplace(queue, (full_at, key))
