"""Shares by weight: over any stretch as close to the weights as they can be."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

__all__ = ["Shares", "Weighted"]


class Weighted(Protocol):
    """Something with a weight.

    :ivar weight: 0 and more.
    :ivar credit: owned by :class:`Shares`; begins with 0.
    """

    weight: int
    credit: int


W = TypeVar("W", bound=Weighted)


class Shares(Generic[W]):
    """Chooses among some by their weights; one of weight 0 never is."""

    __slots__ = ("_only", "_some", "_total")

    def __init__(self, weighted: Iterable[W]) -> None:
        self._some = [one for one in weighted if one.weight > 0]
        self._only = self._some[0] if len(self._some) == 1 else None
        self._total = sum(one.weight for one in self._some)

    def choose(self) -> W | None:
        """Give the next one; ``None`` where there is none.

        Each earns its weight at every choice and the richest pays for it.
        """
        if self._only is not None:
            return self._only
        chosen: W | None = None
        for one in self._some:
            one.credit += one.weight
            if chosen is None or one.credit > chosen.credit:
                chosen = one
        if chosen is not None:
            chosen.credit -= self._total
        return chosen
