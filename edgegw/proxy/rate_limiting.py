"""How many requests a rule takes."""
from __future__ import annotations

from ipaddress import ip_address
from math import ceil
from time import monotonic

from edgegw.identity import ConnectionInfo
from edgegw.model import RateLimit, RateLimitKey
from edgegw.policies.client_keys import ClientKeys, unmapped
from edgegw.policies.token_buckets import TokenBuckets

__all__ = ["RateLimiter"]


class RateLimiter:
    """The buckets of one rule, on whichever listeners it is.

    :ivar shared: requests that were judged by a bucket of several clients, as there were too many of them.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._per = limit.per
        self._buckets = TokenBuckets(
            limit.requests / limit.seconds, limit.burst, limit.max_entries, self._count_shared
        )
        self._keys = ClientKeys()
        self._name = limit.per.value.encode("ascii")
        self._policy = b"%d;w=%d" % (limit.requests, ceil(limit.seconds))
        self.shared = 0

    def _count_shared(self, number: int) -> None:
        self.shared += number

    def take(self, info: ConnectionInfo) -> float:
        """Take a token for a request: 0, or the seconds until there is one."""
        key, coarse = self._key(info)
        return self._buckets.take(key, coarse, monotonic())

    def _key(self, info: ConnectionInfo) -> tuple[bytes, bytes]:
        if self._per is RateLimitKey.RULE:
            return b"", b""
        verified = info.identity.verified
        if self._per is RateLimitKey.IDENTITY and verified is not None:
            key = self._keys.identity(verified)
            return key, key
        # Who is not verified can be whoever he likes: his address counts.
        return self._keys.address(None if info.peer.startswith("unix:") else unmapped(ip_address(info.peer)))

    def lines(self, wait: float) -> bytes:
        """Give the header lines for who has to wait (draft-ietf-httpapi-ratelimit-headers-10, RFC 9110 §10.2.3)."""
        seconds = max(ceil(wait), 1)
        name = self._name
        return (
            b'retry-after: %d\r\nratelimit-policy: "%b";q=%b\r\nratelimit: "%b";r=0;t=%d\r\n'
            % (seconds, name, self._policy, name, seconds)
        )
