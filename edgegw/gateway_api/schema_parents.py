"""What all routes have: parents, and backends with weights."""
from __future__ import annotations

from typing import Any, Final

from edgegw.gateway_api.objects import GATEWAY_API
from edgegw.gateway_api.schema import INVALID, REQUIRED, Faults, ListOf, Prop, Struct, at, given, pairs
from edgegw.gateway_api.schema_terms import (
    GROUP,
    KIND,
    NAMESPACE,
    OBJECT_NAME,
    PORT,
    SECTION_NAME,
    backend_reference_fields,
)
from edgegw.gateway_api.schema_values import Integer, Words

__all__ = ["PARENT_FIELDS", "WEIGHTED_BACKEND", "distinct_rule_names", "few_matches"]

#: Matches of a route, all rules together.
_MOST_MATCHES: Final = 128


def _parent_rules(value: Any, node: Any, report: Faults) -> None:
    """Judge parents that are the same object: each has to name another listener or port of it."""
    by_object: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}
    for parent, place in pairs(value, node):
        if "name" in parent:
            mark = tuple(parent.get(key) for key in ("group", "kind", "namespace", "name"))
            by_object.setdefault(mark, []).append((parent, place))
    for mark, parents in by_object.items():
        first, first_place = parents[0]
        seen = {_section(first)}
        for parent, place in parents[1:]:
            if [given(place, key) for key in ("sectionName", "port")] != [
                given(first_place, key) for key in ("sectionName", "port")
            ]:
                report.fault(
                    place,
                    f"names {mark[1]} {mark[3]} as {first_place.path.rpartition('.')[2]} does, with other fields",
                    "give sectionName or port in each of them, or in none and keep one",
                )
            elif _section(parent) in seen:
                report.fault(
                    place,
                    f"names {mark[1]} {mark[3]} as another one does",
                    "give sectionName: another listener, or leave it out",
                )
            seen.add(_section(parent))


def _section(parent: Any) -> tuple[Any, Any]:
    return parent.get("sectionName"), parent.get("port")


_PARENT: Final = Struct({
    "group": Prop(GROUP, GATEWAY_API),
    "kind": Prop(KIND, "Gateway"),
    "namespace": Prop(NAMESPACE),
    "name": Prop(OBJECT_NAME, REQUIRED),
    "sectionName": Prop(SECTION_NAME),
    "port": Prop(PORT),
})
#: What stands in every route's ``spec``.
PARENT_FIELDS: Final = {
    "parentRefs": Prop(ListOf(_PARENT, 0, 32, rules=(_parent_rules,))),
    "useDefaultGateways": Prop(Words(("All", "None")), unused="write parentRefs"),
}

_fields, _rules = backend_reference_fields()
#: ``BackendRef``.
WEIGHTED_BACKEND: Final = Struct({**_fields, "weight": Prop(Integer(0, 1_000_000), 1)}, _rules)


def distinct_rule_names(value: Any, node: Any, report: Faults) -> None:
    """Judge the names of a route's rules."""
    seen: set[str] = set()
    for rule, place in pairs(value, node):
        name = rule.get("name")
        if name is not None and name in seen:
            report.fault(at(place, "name"), f"another rule is called {name} too", "call one of them otherwise")
        seen.add(name)


def few_matches(value: Any, node: Any, report: Faults) -> None:
    """Judge how many matches a route's rules have together."""
    count = sum(len(rule.get("matches") or ()) for rule in value if rule is not INVALID)
    if count > _MOST_MATCHES:
        report.fault(node, f"have {count} matches together", f"give {_MOST_MATCHES} or fewer, or make two routes")
