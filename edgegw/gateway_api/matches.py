"""What requests a rule takes: matches of HTTPRoutes and GRPCRoutes in the native language."""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from edgegw.config.document_matches import MATCHES
from edgegw.gateway_api.findings import RuleError
from edgegw.gateway_api.native_nodes import faults_of, said

__all__ = ["grpc_matches", "http_matches"]

_ANYTHING: Final = {"path": {"type": "PathPrefix", "value": "/"}}
_ANY_SEGMENT: Final = "[^/]+"
_EMPTY: Final[Mapping[str, Any]] = {}


def http_matches(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the matches of a rule of an HTTPRoute.

    :raises RuleError: one of them is not supported.
    """
    return _checked([_http_match(match) for match in rule.get("matches") or (_EMPTY,)])


def grpc_matches(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the matches of a rule of a GRPCRoute, whose methods are paths (gRPC over HTTP/2, "Requests").

    :raises RuleError: one of them is not supported.
    """
    return _checked([_grpc_match(match) for match in rule.get("matches") or (_EMPTY,)])


def _checked(matches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    faults = faults_of(MATCHES, matches)
    if faults:
        raise RuleError("matches: " + "; ".join(map(said, faults)))
    return matches


def _http_match(match: Mapping[str, Any]) -> dict[str, Any]:
    path = match.get("path") or {}
    written: dict[str, Any] = {
        "path": {"type": path.get("type") or "PathPrefix", "value": path.get("value") or "/"},
        **_values("headers", match.get("headers")),
        **_values("query_params", match.get("queryParams")),
    }
    if match.get("method"):
        written["method"] = match["method"]
    return written


def _values(key: str, entries: list[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Give conditions on headers or parameters; of several for one name the first alone counts."""
    first: dict[str, dict[str, Any]] = {}
    for entry in entries or ():
        name = entry["name"].lower() if key == "headers" else entry["name"]
        written = {"name": name, "type": entry.get("type") or "Exact", "value": entry["value"]}
        first.setdefault(name, written)
    return {key: list(first.values())} if first else {}


def _grpc_match(match: Mapping[str, Any]) -> dict[str, Any]:
    return {**_grpc_path(match.get("method") or {}), **_values("headers", match.get("headers"))}


def _grpc_path(method: Mapping[str, Any]) -> dict[str, Any]:
    service, name, kind = method.get("service"), method.get("method"), method.get("type") or "Exact"
    if not service and not name:
        return _ANYTHING
    if kind == "RegularExpression":
        segments = (f"(?:{one})" if one else _ANY_SEGMENT for one in (service, name))
        return _expression(*segments)
    if kind != "Exact":
        raise RuleError(f"matches: method: the type {kind} is not supported")
    if service and name:
        return {"path": {"type": "Exact", "value": f"/{service}/{name}"}}
    if service:
        return {"path": {"type": "PathPrefix", "value": f"/{service}"}}
    return _expression(_ANY_SEGMENT, re.escape(name or ""))


def _expression(service: str, name: str) -> dict[str, Any]:
    return {"path": {"type": "RegularExpression", "value": f"/{service}/{name}"}}
