"""Policies that look at no request: in turn, the least busy of two, at random."""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from heapq import heapify, heapreplace
from itertools import accumulate
from random import random
from typing import Generic

from edgegw.balancing.members import M, Request

__all__ = ["AtRandom", "LeastRequest", "RoundRobin"]


class RoundRobin(Generic[M]):
    """Each in its turn, by weight, and spread as evenly as the weights allow.

    With different weights the next one is the one whose next turn is earliest, where a member of weight *w* has a
    turn every 1/*w* (earliest deadline first, as in Envoy): a pick costs O(log n).

    :param begin: turns that were had before, so that a list that is made anew does not begin with the same one.
    """

    def __init__(self, members: Sequence[M], begin: int = 0) -> None:
        self._members = members
        self._next = begin % len(members) if members else 0
        self._turns: list[tuple[float, int]] = []
        if len({member.share for member in members}) > 1:
            self._turns = [(1.0 / member.share, place) for place, member in enumerate(members)]
            heapify(self._turns)

    def pick(self, request: Request, tried: Collection[M]) -> M | None:
        """See :class:`~edgegw.balancing.members.Policy`."""
        members = self._members
        if tried:
            return self._other(tried)
        if self._turns:
            when, place = self._turns[0]
            heapreplace(self._turns, (when + 1.0 / members[place].share, place))
            return members[place]
        if not members:
            return None
        member = members[self._next]
        self._next = (self._next + 1) % len(members)
        return member

    def _other(self, tried: Collection[M]) -> M | None:
        """Give the one whose turn is next of those that are left; whoever asked had a turn already."""
        members = self._members
        if self._turns:
            places = [place for _, place in sorted(self._turns)]
        else:
            places = [(self._next + step) % len(members) for step in range(len(members))]
        return next((members[place] for place in places if members[place] not in tried), None)


class AtRandom(Generic[M]):
    """Any of them, by weight.

    :param draw: gives numbers from 0 to less than 1.
    """

    def __init__(self, members: Sequence[M], draw: Callable[[], float] = random) -> None:
        self._members = members
        self._draw = draw
        self._sums = list(accumulate(member.share for member in members))

    def pick(self, request: Request, tried: Collection[M]) -> M | None:
        """See :class:`~edgegw.balancing.members.Policy`."""
        if not tried:
            return self.draw()
        return AtRandom([member for member in self._members if member not in tried], self._draw).draw()

    def draw(self) -> M | None:
        """Give one; ``None`` where there is none."""
        if not self._sums:
            return None
        place = bisect_right(self._sums, self._draw() * self._sums[-1])
        return self._members[min(place, len(self._members) - 1)]


class LeastRequest(Generic[M]):
    """The one of two drawn at random that has less to do for its weight (the power of two choices).

    :param draw: as of :class:`AtRandom`.
    """

    def __init__(self, members: Sequence[M], draw: Callable[[], float] = random) -> None:
        self._members = members
        self._draw = draw
        self._any = AtRandom(members, draw)

    def pick(self, request: Request, tried: Collection[M]) -> M | None:
        """See :class:`~edgegw.balancing.members.Policy`."""
        if tried:
            left = [member for member in self._members if member not in tried]
            return LeastRequest(left, self._draw).pick(request, ())
        members = self._members
        if len(members) == 2:
            # Drawing would often enough give the same one twice.
            first, second = members if self._draw() < 0.5 else (members[1], members[0])
        else:
            one, other = self._any.draw(), self._any.draw()
            if one is None or other is None:
                return None
            first, second = one, other
        return second if second.in_flight / second.share < first.in_flight / first.share else first
