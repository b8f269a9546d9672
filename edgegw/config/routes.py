"""Routes, from the native document."""
from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Final

from edgegw.config.document_routes import BACKEND, RULE
from edgegw.config.faults import Report
from edgegw.config.filters import FilterTranslation, check_upstream_name
from edgegw.config.matches import translate_matches
from edgegw.config.nodes import Sequence
from edgegw.config.policies import PluginTranslation
from edgegw.config.shapes import Item, Section, did_you_mean
from edgegw.model import BackendRef, ClientRequirement, Listener, PathMatchType, Route, RouteRule
from edgegw.names import covers

__all__ = ["translate_route"]

_EVERYTHING: Final = RouteRule().matches
# What most rules and backends of large configurations consist of.
_WHAT_AND_WHERE: Final = frozenset({"matches", "backends"})
_UPSTREAM_ONLY: Final = frozenset({"upstream"})


def translate_route(
    section: Section,
    listeners: Mapping[str, Listener],
    hostnames: AbstractSet[str | None],
    upstreams: AbstractSet[str],
    injected: AbstractSet[str],
    plugins: PluginTranslation,
    filters: FilterTranslation,
    report: Report,
) -> Route:
    """Make a route, and find the listeners and upstreams that it names.

    :param listeners: by name.
    :param hostnames: of all listeners.
    :param upstreams: the names of all.
    :param injected: the headers that any listener's injectors set.
    :param filters: makes what is done with requests and responses.
    """
    attached = []
    for item in section.items("listeners"):
        if item.value in listeners:
            attached.append(listeners[item.value])
        else:
            report.fault(item.node, f"there is no listener {item.value}", did_you_mean(item.value, list(listeners)))
    route = Route(
        name=section.get("name", ""),
        hostnames=tuple(item.value for item in section.items("hostnames")),
        listeners=tuple(item.value for item in section.items("listeners")),
        rules=tuple(
            _rule(item.value, upstreams, injected, plugins, filters, report) for item in section.items("rules")
        ),
    )
    if "listeners" in section:
        hostnames = {listener.hostname for listener in attached}
    _check_hostnames(section, hostnames, report)
    _check_rule_names(section, report)
    return route


def _rule(
    section: Section,
    upstreams: AbstractSet[str],
    injected: AbstractSet[str],
    plugins: PluginTranslation,
    filters: FilterTranslation,
    report: Report,
) -> RouteRule:
    matches = translate_matches(section.items("matches"), injected, report) if "matches" in section else _EVERYTHING
    has_prefix = len(matches) == 1 and matches[0].path.type is PathMatchType.PATH_PREFIX
    backends = tuple([_backend(item, upstreams, filters, has_prefix, report) for item in section.items("backends")])
    if not backends:
        given = section.node.values.get("backends")
        if isinstance(given, Sequence) and not given.items:
            report.warn(given, "is an empty list: requests get 500", "give one or more")
    elif not backends[0].weight and not any(backend.weight for backend in backends):
        report.warn(section.at("backends"), "every weight is 0: requests get 500", "give one a weight of 1 or more")
    if section.values.keys() <= _WHAT_AND_WHERE:
        return RouteRule(matches, backends)
    policies = plugins.policies(section.get("policies"))
    needed = ClientRequirement.NONE if policies is None else ClientRequirement.VERIFIED
    return RouteRule(
        matches,
        backends,
        section.get("client", needed),
        policies,
        filters=filters.rule(section, has_prefix),
        **RULE.given(section),
    )


def _check_rule_names(section: Section, report: Report) -> None:
    first: dict[str, Section] = {}
    for item in section.items("rules"):
        rule: Section = item.value
        name = rule.get("name")
        if name is None:
            continue
        if name.isdigit():
            report.fault(rule.at("name"), "looks like a rule's number", "use a name with a letter in it")
        elif first.setdefault(name, rule) is not rule:
            line = first[name].at("name").line
            report.fault(rule.at("name"), f"the name {name} is given to another rule in line {line}", "rename one")


def _backend(
    item: Item[Section], upstreams: AbstractSet[str], filters: FilterTranslation, has_prefix: bool, report: Report
) -> BackendRef:
    section = item.value
    check_upstream_name(section, upstreams, report)
    if section.values.keys() == _UPSTREAM_ONLY:
        return _whole_backend(section.values["upstream"])
    return BackendRef(
        section.get("upstream", ""), filters=filters.backend(section, has_prefix), **BACKEND.given(section)
    )


@lru_cache(maxsize=1024)
def _whole_backend(upstream: str) -> BackendRef:
    """Make a backend with nothing but a name; many rules often have the same few."""
    return BackendRef(upstream)


def _check_hostnames(section: Section, names: AbstractSet[str | None], report: Report) -> None:
    """Warn of names that no listener of a route takes: no request would ever match."""
    if None in names or not names:
        return
    for item in section.items("hostnames"):
        if not any(_meet(item.value, name) for name in names if name is not None):
            report.warn(
                item.node,
                f"no listener of the route takes {item.value}: it never matches",
                f"use a name under {', '.join(sorted(filter(None, names))[:3])}",
            )


def _meet(one: str, other: str) -> bool:
    """Whether some name is under both of two host names."""
    return one == other or covers(one, other) or covers(other, one)
