"""Results of coroutines without a reactor."""
from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred

__all__ = ["result_of"]


def result_of(awaitable: Any) -> Any:
    """Run a coroutine to its end, or take a ``Deferred``'s result.

    What it raises comes out as it is.

    :raises AssertionError: it waits for something that only the reactor could bring.
    """
    deferred = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(_as_coroutine(awaitable))
    results: list[Any] = []
    errors: list[Any] = []
    deferred.addCallbacks(results.append, errors.append)
    if errors:
        errors[0].raiseException()
    if not results:
        deferred.addErrback(lambda failure: None)
        deferred.cancel()
        raise AssertionError(
            "it waits, and there is no reactor here to end that: answer at once what it waits for, or await it in "
            "a test of twisted.trial"
        )
    return results[0]


def _as_coroutine(awaitable: Any) -> Coroutine[Any, Any, Any]:
    async def wait() -> Any:
        return await awaitable

    return wait()
