"""Waiting for policies, no longer than they may take."""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from edgegw.policy_step import TooLate

__all__ = ["time_limit"]


def time_limit(reactor: Any, seconds: float) -> Callable[[Awaitable[Any]], Deferred[Any]]:
    """Give a function that waits for something, ``seconds`` at most, for :meth:`PolicyChain.check_later`.

    What takes longer is cancelled, and no longer waited for whether it heeds that or not: the result fails with
    :class:`~edgegw.policy_chain.TooLate`.  Cancelling the result cancels what is waited for.
    """

    def wait(awaited: Awaitable[Any]) -> Deferred[Any]:
        # It may be a Deferred, a coroutine or a generator; anything else fails here, which refuses.
        task: Deferred[Any] = awaited if isinstance(awaited, Deferred) else ensureDeferred(awaited)  # type: ignore[arg-type]
        timer: Any = None

        def leave(_: Deferred[Any]) -> None:
            # What is waited for may go on all the same, and nobody will want to know how long.
            if timer is not None and timer.active():
                timer.cancel()
            task.cancel()

        result: Deferred[Any] = Deferred(leave)

        def done(outcome: Any) -> None:
            if timer is not None and timer.active():
                timer.cancel()
            if result.called:
                return
            if isinstance(outcome, Failure):
                result.errback(outcome)
            else:
                result.callback(outcome)

        def expire() -> None:
            result.errback(TooLate(f"no answer within {seconds:g} s"))
            task.cancel()

        if not task.called:
            timer = reactor.callLater(seconds, expire)
        task.addBoth(done)
        return result

    return wait
