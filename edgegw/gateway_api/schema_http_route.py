"""HTTPRoute (gateway.networking.k8s.io/v1), with the rules that its CustomResourceDefinition has."""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from edgegw.config.faults import shown
from edgegw.config.nodes import Node
from edgegw.gateway_api.schema import REQUIRED, Faults, ListOf, Prop, Struct, at, pairs
from edgegw.gateway_api.schema_core import SUBDOMAIN_NAME, kind_fields
from edgegw.gateway_api.schema_filters import HTTP_FILTERS, HTTP_METHODS, PATH_CHARACTERS
from edgegw.gateway_api.schema_parents import PARENT_FIELDS, WEIGHTED_BACKEND, distinct_rule_names, few_matches
from edgegw.gateway_api.schema_sessions import SESSION_PERSISTENCE
from edgegw.gateway_api.schema_terms import (
    DURATION,
    HEADER_MATCHES,
    HEADER_NAME,
    HOSTNAME,
    SECTION_NAME,
    seconds,
)
from edgegw.gateway_api.schema_values import Integer, Text, Words

__all__ = ["HTTP_ROUTE"]

# --- matches ------------------------------------------------------------------------------------

_PATH: Final = re.compile(PATH_CHARACTERS)
_FORBIDDEN: Final = ("//", "/./", "/../", "%2f", "%2F", "#")


def _path_value(value: Any, node: Any, report: Faults) -> None:
    path = value.get("value")
    if path is None or value.get("type") not in ("Exact", "PathPrefix"):
        return
    place = at(node, "value")
    if not path.startswith("/"):
        report.fault(place, f"{shown(path)} does not begin with /", f"write {shown('/' + path)}")
        return
    for part in _FORBIDDEN:
        if part in path:
            report.fault(place, f"has {part} in it", "write the path as a client would send it, without it")
            return
    for end in ("/.", "/.."):
        if path.endswith(end):
            report.fault(place, f"ends with {end}", "write the path without it")
            return
    if not _PATH.fullmatch(path):
        report.fault(place, f"{shown(path)} is no path", "write other characters as % and two hexadecimal digits")


_DEFAULT_PATH: Final = {"type": "PathPrefix", "value": "/"}
_PATH_MATCH: Final = Struct(
    {
        "type": Prop(Words(("Exact", "PathPrefix", "RegularExpression")), "PathPrefix"),
        "value": Prop(Text("a path", None, 0, 1024), "/"),
    },
    (_path_value,),
)
_MATCH: Final = Struct({
    "path": Prop(_PATH_MATCH, _DEFAULT_PATH),
    "headers": Prop(HEADER_MATCHES),
    "queryParams": Prop(
        ListOf(
            Struct({
                "type": Prop(Words(("Exact", "RegularExpression")), "Exact"),
                "name": Prop(Text("a parameter's name", HEADER_NAME.pattern, 1, 256), REQUIRED),
                "value": Prop(Text("text", None, 1, 1024), REQUIRED),
            }),
            0,
            16,
            keys=("name",),
        )
    ),
    "method": Prop(Words(HTTP_METHODS)),
})

# --- rules --------------------------------------------------------------------------------------


def _shorter_backend_timeout(value: Any, node: Any, report: Faults) -> None:
    request, backend = value.get("request"), value.get("backendRequest")
    if request is None or backend is None or not seconds(request):
        return
    if seconds(backend) > seconds(request):
        report.fault(
            at(node, "backendRequest"), f"is longer than the request timeout {request}", f"write {request} or less"
        )


def _filters(value: Any, node: Any) -> Iterator[tuple[Any, Node]]:
    """Give the filters of a rule and of its backends."""
    yield from pairs(value.get("filters"), node.values.get("filters"))
    for backend, place in pairs(value.get("backendRefs"), node.values.get("backendRefs")):
        yield from pairs(backend.get("filters"), at(place, "filters"))


def _redirect_or_backends(value: Any, node: Any, report: Faults) -> None:
    if not value.get("backendRefs"):
        return
    for element, place in pairs(value.get("filters"), node.values.get("filters")):
        if element.get("type") == "RequestRedirect":
            report.fault(place, "RequestRedirect does not go with backendRefs", "keep one of the two")


def _prefix_to_replace(value: Any, node: Any, report: Faults) -> None:
    matches = value.get("matches")
    if matches is None or (
        len(matches) == 1 and isinstance(matches[0], dict) and matches[0].get("path", {}).get("type") == "PathPrefix"
    ):
        return
    for element, place in _filters(value, node):
        for key in ("requestRedirect", "urlRewrite"):
            if element.get(key, {}).get("path", {}).get("type") == "ReplacePrefixMatch":
                report.fault(
                    at(place, key, "path", "type"),
                    "ReplacePrefixMatch needs exactly one match in its rule, of type PathPrefix",
                    "make a rule for each path prefix, or write type: ReplaceFullPath",
                )


_DEFAULT_MATCHES: Final = [{"path": _DEFAULT_PATH}]
_RULE: Final = Struct(
    {
        "name": Prop(SECTION_NAME),
        "matches": Prop(ListOf(_MATCH, 0, 64), _DEFAULT_MATCHES),
        "filters": Prop(HTTP_FILTERS),
        "backendRefs": Prop(
            ListOf(Struct({**WEIGHTED_BACKEND.fields, "filters": Prop(HTTP_FILTERS)}, WEIGHTED_BACKEND.rules), 0, 16)
        ),
        "timeouts": Prop(
            Struct({"request": Prop(DURATION), "backendRequest": Prop(DURATION)}, (_shorter_backend_timeout,))
        ),
        "retry": Prop(
            Struct({
                "codes": Prop(ListOf(Integer(400, 599), distinct=True)),
                "attempts": Prop(Integer(0)),
                "backoff": Prop(DURATION),
            })
        ),
        "sessionPersistence": Prop(SESSION_PERSISTENCE),
    },
    (_redirect_or_backends, _prefix_to_replace),
)

HTTP_ROUTE: Final = kind_fields(
    SUBDOMAIN_NAME,
    spec=Prop(
        Struct({
            **PARENT_FIELDS,
            "hostnames": Prop(ListOf(HOSTNAME, 0, 16)),
            "rules": Prop(
                ListOf(_RULE, 1, 16, rules=(distinct_rule_names, few_matches)), [{"matches": _DEFAULT_MATCHES}]
            ),
        }),
        REQUIRED,
    ),
)
