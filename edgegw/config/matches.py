"""Matches of a rule, from the native document."""
from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, Final

from edgegw.config.faults import Report
from edgegw.config.shapes import Item, Section
from edgegw.model import (
    HeaderMatch,
    IdentityMatch,
    PathMatch,
    PathMatchType,
    QueryParamMatch,
    RouteMatch,
    ValueMatchType,
)

__all__ = ["translate_matches"]

_ANY_PATH: Final = PathMatch()
_PATH_ONLY: Final = frozenset({"path"})
#: What the gateway answers by itself, whatever the routes say.
_UNSUPPORTED: Final = frozenset({"CONNECT", "TRACE"})


def translate_matches(
    items: tuple[Item[Section], ...], injected: AbstractSet[str], report: Report
) -> tuple[RouteMatch, ...]:
    """Make the matches of a rule.

    :param injected: lower-case names of the headers in which upstreams are told who calls.
    """
    if len(items) == 1 and items[0].value.values.keys() == _PATH_ONLY:
        path = items[0].value.values["path"].values
        return _path_match(path.get("type", _ANY_PATH.type), path.get("value", _ANY_PATH.value))
    return tuple([_match(item.value, injected, report) for item in items])


@lru_cache(maxsize=1024)
def _path_match(kind: PathMatchType, value: str) -> tuple[RouteMatch, ...]:
    """Make the matches of a rule with nothing but a path; the rules of many hosts are often alike."""
    return (RouteMatch(PathMatch(kind, value)),)


def _match(section: Section, injected: AbstractSet[str], report: Report) -> RouteMatch:
    values = section.values
    path: Section | None = values.get("path")
    path_match = _ANY_PATH if path is None else PathMatch(
        path.values.get("type", _ANY_PATH.type), path.values.get("value", _ANY_PATH.value)
    )
    method = values.get("method")
    if method in _UNSUPPORTED:
        report.warn(section.at("method"), f"never matches: {method} is answered with 405", "remove the match")
    for item in section.items("headers"):
        name = item.value.get("name", "").lower()
        if name in injected:
            report.warn(
                item.value.at("name"),
                f"matches what the client has sent as {name}, which proves nothing, and not what upstreams are told",
                "match by identity",
            )
    return RouteMatch(
        path_match,
        method,
        tuple(
            HeaderMatch(name, *value)
            for name, value in _named(section.items("headers"), "name", report, lower=True)
        ),
        tuple(
            QueryParamMatch(name, *value) for name, value in _named(section.items("query_params"), "name", report)
        ),
        tuple(
            IdentityMatch(one.value.get("fact", ""), *_value(one.value)) for one in section.items("identity")
        ),
    )


def _named(
    items: tuple[Item[Section], ...], key: str, report: Report, lower: bool = False
) -> Iterator[tuple[str, tuple[Any, ValueMatchType]]]:
    """Give names and what their values must be; of one name the first alone (Gateway API, HTTPRouteMatch)."""
    seen = set()
    for item in items:
        section = item.value
        name = section.get(key, "")
        if lower:
            name = name.lower()
        if name in seen and key in section:
            report.warn(
                section.at(key), f"{name} stands in the list already, and only the first one counts", "remove one"
            )
            continue
        seen.add(name)
        yield name, _value(section)


def _value(section: Section) -> tuple[Any, ValueMatchType]:
    return section.get("value"), section.get("type", ValueMatchType.EXACT)
