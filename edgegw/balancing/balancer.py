"""The seam between an upstream and what balances it: members and what is known of them in, one for a request out."""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from random import random
from typing import Generic

from edgegw.balancing.keys import key_reader
from edgegw.balancing.members import M, Policy, Request
from edgegw.balancing.policies import AtRandom, LeastRequest, RoundRobin
from edgegw.balancing.priorities import Level, shares
from edgegw.balancing.ring import HashRing, hash_of
from edgegw.model import Balancing, BalancingPolicy

__all__ = ["Balancer"]


class _Priority(Generic[M]):
    """The members of one priority.

    :ivar part: of the requests, from 0 to 1.
    """

    def __init__(self, members: list[M]) -> None:
        self.members = members
        self.usable: frozenset[M] = frozenset()
        self.policy: Policy[M] | None = None
        self.part = 0.0


class Balancer(Generic[M]):
    """Chooses among the members of an upstream.

    It is made anew when members come or go, and told by :meth:`refresh` when something else about them changes: a
    pick costs nothing for what was decided by then.

    :param is_usable: whether requests may be sent to a member now.
    :param panic_threshold: see :func:`~edgegw.balancing.priorities.shares`.
    :param draw: gives numbers from 0 to less than 1.
    """

    def __init__(
        self,
        balancing: Balancing,
        members: Sequence[M],
        is_usable: Callable[[M], bool],
        panic_threshold: float = 0.0,
        draw: Callable[[], float] = random,
    ) -> None:
        self._policy = balancing.policy
        self._is_usable = is_usable
        self._panic_threshold = panic_threshold
        self._draw = draw
        self._picks = 0
        self._key = key_reader(balancing.hash_on) if balancing.policy is BalancingPolicy.CONSISTENT_HASH else None
        self._priorities = [
            _Priority([member for member in members if member.priority == priority])
            for priority in sorted({member.priority for member in members})
        ]
        if self._key is not None:
            for one in self._priorities:
                one.policy = HashRing(one.members, self._key, _usable_of(one), draw)
        self._only: _Priority[M] | None = None
        self.refresh()

    def refresh(self) -> None:
        """Look again which members may be used, and at their shares."""
        levels = []
        for one in self._priorities:
            one.usable = frozenset(member for member in one.members if self._is_usable(member))
            levels.append(Level(sum(m.weight for m in one.usable), sum(m.weight for m in one.members)))
        for one, share in zip(self._priorities, shares(levels, self._panic_threshold), strict=True):
            one.part = share.part
            if share.panics:
                one.usable = frozenset(one.members)
            if self._key is None:
                one.policy = self._make_policy([member for member in one.members if member in one.usable])
        takers = [one for one in self._priorities if one.part]
        self._only = takers[0] if len(takers) == 1 else None

    def _make_policy(self, members: list[M]) -> Policy[M]:
        if self._policy is BalancingPolicy.LEAST_REQUEST:
            return LeastRequest(members, self._draw)
        if self._policy is BalancingPolicy.RANDOM:
            return AtRandom(members, self._draw)
        return RoundRobin(members, self._picks)

    def may_use(self, member: M) -> bool:
        """Whether a member is among those that requests are sent to."""
        return any(member in one.usable for one in self._priorities if one.part)

    def pick(self, request: Request, tried: Collection[M] = ()) -> M | None:
        """Give the member for a request.

        :param tried: those that the request has come to nothing with; they are not given again.
        :returns: ``None`` where there is none that may be used.
        """
        self._picks += 1
        only = self._only
        if only is not None and not tried:
            assert only.policy is not None
            return only.policy.pick(request, tried)
        for one in self._in_order(request):
            assert one.policy is not None
            member = one.policy.pick(request, tried)
            if member is not None:
                return member
        return None

    def _in_order(self, request: Request) -> Iterator[_Priority[M]]:
        """Give the priority whose turn it is, and then the others, the first one first."""
        key = self._key(request) if self._key is not None else None
        # What depends on a key alone stays where it is.
        at = self._draw() if key is None else hash_of(b"priority " + key) / 2**64
        first = None
        for one in self._priorities:
            if at < one.part:
                first = one
                yield one
                break
            at -= one.part
        for one in self._priorities:
            if one is not first and one.usable:
                yield one


def _usable_of(priority: _Priority[M]) -> Callable[[M], bool]:
    """Ask whether a member of a priority may be used now."""
    return lambda member: member in priority.usable
