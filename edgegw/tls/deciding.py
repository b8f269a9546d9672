"""Asking policies that wait, for a client that may leave before they have decided."""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from edgegw.peer import Peer
from edgegw.policy_chain import PolicyChain
from edgegw.policy_step import NobodyWaits
from edgegw.verdict import Ruling, Verdict

__all__ = ["decide_later"]


def decide_later(
    policies: PolicyChain, peer: Peer, rulings: list[Ruling], limit: Callable[[Awaitable[Any]], Deferred[Any]]
) -> Deferred[Verdict]:
    """Ask the policies that wait; see :meth:`PolicyChain.check_later`.

    Cancelling the result cancels what the policy that is being asked waits for.  That is no fault of the policy's:
    nothing is counted or logged of it, and the result fails with ``CancelledError`` at once.

    :param limit: as :func:`edgegw.tls.waiting.time_limit` makes it.
    """
    left = False

    def limited(asked: Awaitable[Any]) -> Deferred[Any]:
        waiting = limit(asked).addErrback(ended)
        if left:
            # A policy that went on when it was cancelled, and the next one is asked for nobody.
            waiting.cancel()
        return waiting

    def ended(failure: Failure) -> Any:
        return Failure(NobodyWaits()) if left else failure

    def leave(result: Deferred[Verdict]) -> None:
        nonlocal left
        left = True
        deciding.cancel()

    result: Deferred[Verdict] = Deferred(leave)

    def decided(outcome: Any) -> None:
        if left:
            return
        if isinstance(outcome, Failure):
            result.errback(outcome)
        else:
            result.callback(outcome)

    deciding: Deferred[Verdict] = Deferred.fromCoroutine(policies.check_later(peer, rulings, limited))
    deciding.addBoth(decided)
    return result
