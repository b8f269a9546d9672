"""How much may be sent again: a share of what was sent, so that an upstream in trouble is not given more of it."""
from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from edgegw.model import RetryBudget
from edgegw.observe.metrics import UpstreamMetrics

__all__ = ["RetryAllowance"]


class RetryAllowance:
    """Counts the retries of one upstream against its requests, which its metrics count anyway."""

    def __init__(self, budget: RetryBudget, metrics: UpstreamMetrics, clock: Callable[[], float] = monotonic) -> None:
        self._budget = budget
        self._metrics = metrics
        self._clock = clock
        self._begun = clock()
        self._before = self._sent()
        self._previous = 0.0
        self._retries = 0

    def _sent(self) -> int:
        return self._metrics.connects + self._metrics.reused

    def take(self) -> bool:
        """Whether a retry is within the budget; it is counted if it is.

        An interval that has just begun has the part of the previous one's requests that it has not had time for.
        """
        now = self._clock()
        interval = self._budget.interval
        passed = now - self._begun
        if passed >= interval:
            sent = self._sent()
            self._previous = float(sent - self._before) if passed < 2 * interval else 0.0
            self._before = sent
            self._begun = now
            self._retries = 0
            passed = 0.0
        requests = self._sent() - self._before + self._previous * (1 - passed / interval)
        if self._retries < self._budget.min_retries or (self._retries + 1) * 100 <= requests * self._budget.percent:
            self._retries += 1
            return True
        self._metrics.limited["retry_budget"] += 1
        return False
