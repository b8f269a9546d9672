"""Decisions that somebody waits for until he leaves."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["AwaitedDecision"]

T = TypeVar("T")


class AwaitedDecision(Generic[T]):
    """One decision, and what is done with it.

    What a cancelled coroutine leaves behind is there until the garbage collector comes, with all that it was called
    from and that it would have called.  Whoever leaves is not among it: he is forgotten here, and the decision is
    cancelled in the reactor's next turn.

    :param then: called with the decision; must not raise.
    """

    __slots__ = ("_decision", "_reactor", "_then")

    def __init__(self, reactor: IReactorTime, then: Callable[[T], None]) -> None:
        self._reactor = reactor
        self._then: Callable[[T], None] | None = then
        self._decision: Deferred[T] | None = None

    def wait(self, decision: Deferred[T]) -> None:
        """Wait for it; it may be there already.

        :param decision: does not fail but when it is cancelled here.
        """
        self._decision = decision
        decision.addCallbacks(self._decided, self._cancelled)

    def _decided(self, decision: T) -> None:
        then, self._then, self._decision = self._then, None, None
        if then is not None:
            then(decision)

    def _cancelled(self, failure: object) -> None:
        """Nobody wants to know."""

    def leave(self) -> None:
        """Wait no longer."""
        decision: Any
        decision, self._then, self._decision = self._decision, None, None
        if decision is not None:
            self._reactor.callLater(0, decision.cancel)
