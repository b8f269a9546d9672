"""The numbers that plugins count: they outlive the configurations whose plugins count them.

A reload builds every plugin's objects anew; a counter that began at 0 each time would tell nobody anything.
So a counter belongs to a kind of plugin and a name, and whoever asks for it again gets the same one.  A gauge
says how something is now: it belongs to one configured object, and is shown while that is in use.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["PluginCounters", "PluginGauge"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: What the exposition format adds to the names of counters.
_TAKEN = ("_total", "_created")


class _PluginCounter:
    __slots__ = ("documentation", "value")

    def __init__(self, documentation: str) -> None:
        self.documentation = documentation
        self.value = 0

    def add(self, number: int) -> None:
        if number < 0:
            raise ValueError("a counter only goes up")
        self.value += number


class PluginGauge:
    """A number that one configured object sets.

    :ivar value: ``None`` until it is set.
    :ivar place: where the object stands in the configuration.
    """

    __slots__ = ("documentation", "family", "place", "value")

    def __init__(self, family: str, documentation: str, place: str) -> None:
        self.family = family
        self.documentation = documentation
        self.place = place
        self.value: float | None = None

    def set(self, number: float) -> None:
        """Set it."""
        self.value = float(number)


class PluginCounters:
    """All counters and gauges of plugins, as plain numbers by kind and name.

    Asking for one may happen on any thread; counting and :meth:`collect` are the reactor's thread's.
    """

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, str, str]] = {}
        self._counters: dict[str, _PluginCounter] = {}
        self._gauges: dict[PluginGauge, None] = {}
        self._errors: dict[tuple[str, str], int] = {}

    def counter(self, kind: str, name: str, documentation: str) -> Callable[[int], None]:
        """Give the function that adds to a counter, a new one or the one that a kind has already.

        :raises ValueError: the name is not ``[a-z][a-z0-9_]*``, ends as a counter's name in the exposition does,
            or is another kind's metric.
        """
        family = self._family("counter", kind, name)
        counter = self._counters.get(family)
        if counter is None:
            counter = self._counters[family] = _PluginCounter(documentation)
        counter.documentation = documentation
        return counter.add

    def gauge(self, kind: str, name: str, documentation: str, place: str) -> PluginGauge:
        """Make a gauge, which is shown between :meth:`show` and :meth:`hide`.

        :raises ValueError: as :meth:`counter`.
        """
        return PluginGauge(self._family("gauge", kind, name), documentation, place)

    def show(self, gauge: PluginGauge) -> None:
        """Show a gauge.  Of several with one name and place, the one that was shown last is."""
        self._gauges[gauge] = None

    def hide(self, gauge: PluginGauge) -> None:
        """Show a gauge no more."""
        self._gauges.pop(gauge, None)

    def count_error(self, kind: str, operation: str) -> None:
        """Count an error of a plugin outside the decisions that the gateway asks it for.

        :param operation: ``read``, ``call``, ``change``, ``load``, ``inject``, ``route``, ``answer`` or ``close``.
        """
        key = (kind, operation)
        self._errors[key] = self._errors.get(key, 0) + 1

    def errors(self, kind: str, operation: str) -> int:
        """Give how many of them there were."""
        return self._errors.get((kind, operation), 0)

    def collect(self) -> Iterator[Metric]:
        """Give everything as ``prometheus_client`` takes it.

        ``edgegw_plugin_<kind>_<name>_total``, ``edgegw_plugin_<kind>_<name>{place}`` for gauges, and
        ``edgegw_plugin_errors_total{kind,operation}``.
        """
        errors = CounterMetricFamily(
            "edgegw_plugin_errors_total",
            "Files that a plugin could not use, calls of it that failed, and changes that could not be told.",
            labels=("kind", "operation"),
        )
        for key, number in sorted(self._errors.items()):
            errors.add_metric(key, number)
        yield errors
        for family, counter in sorted(self._counters.items()):
            yield CounterMetricFamily(family, counter.documentation, value=counter.value)
        gauges: dict[str, dict[str, PluginGauge]] = {}
        for gauge in self._gauges:
            if gauge.value is not None:
                gauges.setdefault(gauge.family, {})[gauge.place] = gauge
        for family, by_place in sorted(gauges.items()):
            shown = GaugeMetricFamily(family, next(iter(by_place.values())).documentation, labels=("place",))
            for place, gauge in sorted(by_place.items()):
                if gauge.value is not None:
                    shown.add_metric((place,), gauge.value)
            yield shown

    def _family(self, type: str, kind: str, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a metric's name: lower-case letters, digits and _")
        if name.endswith(_TAKEN):
            raise ValueError(f"{name!r} ends in what counters get by themselves: {' or '.join(_TAKEN)}")
        family = f"edgegw_plugin_{kind}_{name}"
        owner = self._owners.setdefault(family, (type, kind, name))
        if owner != (type, kind, name):
            raise ValueError(f"{family} is the {owner[0]} {owner[2]!r} of {owner[1]} already: choose another name")
        return family
