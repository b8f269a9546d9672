"""Prometheus' families, each from its rows."""
from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["Rows", "counter", "gauge"]

#: Label values, and the number.
Rows = Iterable[tuple[tuple[str, ...], float]]


def counter(name: str, documentation: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    """Make a counter."""
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def gauge(name: str, documentation: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    """Make a gauge."""
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family
