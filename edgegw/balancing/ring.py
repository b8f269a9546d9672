"""Consistent hashing: requests with one key go to one endpoint, and few keys move when endpoints come and go.

Each member has points on a ring, in proportion to its weight, that depend on nothing but its identity.  A key belongs
to the member whose point comes next.  So a member that leaves gives its keys to the others and moves no other key, and
one that comes takes only those that it keeps.
"""
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from random import random
from typing import Final, Generic

from edgegw.balancing.members import M, Request
from edgegw.balancing.policies import AtRandom

__all__ = ["HashRing", "hash_of"]

#: Points of a member of average weight: shares are within some 5 % of the weights.
POINTS: Final = 512
#: Points of all members together; a ring of more takes too long to make.
MOST_POINTS: Final = 65_536
_PER_DIGEST: Final = 8


def hash_of(key: bytes) -> int:
    """Give a key's place on the ring, from 0 to 2**64 - 1, the same in every process."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")


class HashRing(Generic[M]):
    """A ring of all members, those that cannot be used now among them: it does not change when they come back.

    :param key: gives a request's key; ``None`` where it has none: then any member will do.
    :param usable: whether a member can be used now.
    """

    def __init__(
        self,
        members: Sequence[M],
        key: Callable[[Request], bytes | None],
        usable: Callable[[M], bool],
        draw: Callable[[], float] = random,
    ) -> None:
        self._members = members
        self._key = key
        self._usable = usable
        self._draw = draw
        points: dict[int, int] = {}
        average = sum(member.weight for member in members) / len(members) if members else 1.0
        most = min(POINTS, MOST_POINTS // len(members)) if members else 0
        for place, member in enumerate(members):
            for number in range(max(1, round(most * member.weight / average / _PER_DIGEST))):
                digest = blake2b(b"%d %b" % (number, member.identity), digest_size=64).digest()
                for begin in range(0, 64, 64 // _PER_DIGEST):
                    points.setdefault(int.from_bytes(digest[begin : begin + 8], "big"), place)
        self._places = sorted(points)
        self._owners = [members[points[place]] for place in self._places]

    def pick(self, request: Request, tried: Collection[M]) -> M | None:
        """See :class:`~edgegw.balancing.members.Policy`."""
        key = self._key(request)
        if key is None:
            usable = [member for member in self._members if self._usable(member)]
            return AtRandom(usable, self._draw).pick(request, tried)
        return self.owner(key, tried)

    def owner(self, key: bytes, tried: Collection[M] = ()) -> M | None:
        """Give the member that a key belongs to, or the next that can be used."""
        owners = self._owners
        count = len(owners)
        begin = bisect_left(self._places, hash_of(key))
        passed: set[int] = set()
        for step in range(count):
            member = owners[(begin + step) % count]
            if id(member) in passed:
                continue
            if self._usable(member) and member not in tried:
                return member
            passed.add(id(member))
            if len(passed) == len(self._members):
                return None
        return None
