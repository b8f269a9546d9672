"""What cases may say: a field that is none of these would be passed over, so whoever runs cases is told of it."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["unknown_fields"]

_Fields = Mapping[str, Any]
#: Anything may stand in it, or it says nothing that could be tried.
_ANY: _Fields = {"*": None}
_OBJECT = dict.fromkeys(("kind", "namespace", "name", "names", "key", "apiVersion"))
_CONDITIONS = dict.fromkeys(("type", "status", "reason"))
_MIRRORS = dict.fromkeys(("name", "backend", "namespace", "percent"))
_EXPECT: _Fields = {
    **dict.fromkeys(("outcome", "status", "answered_by", "backend", "namespace", "backend_is_tls", "backend_sni")),
    "backend_request": {
        **dict.fromkeys(("method", "path", "host", "proto", "absent_headers", "sni")), "headers": _ANY,
        "client_certificate": _OBJECT,
    },
    "response": {
        **dict.fromkeys(("absent_headers", "ignore_whitespace")), "headers": _ANY, "headers_one_of": _ANY,
    },
    "redirect": dict.fromkeys(("scheme", "host", "port_any_of", "path", "query")),
    "mirrored_to": _MIRRORS, "frames": _ANY, "messages": _ANY, "note": None, "notes": None,
}  # fmt: skip
_REQUEST: _Fields = {
    **dict.fromkeys(("name", "port", "transport", "note", "notes")),
    "gateway": _OBJECT,
    "tls": {
        **dict.fromkeys(("server_name", "client_certificate_must_be_requested")), "trust": _OBJECT,
        "client_certificate": _OBJECT,
    },
    "request": {
        **dict.fromkeys(("method", "path", "host", "body", "follow_redirects", "add_request_id_query_param")),
        "headers": _ANY, "backend_sets_response_headers": _ANY, "frames": _ANY, "messages": _ANY,
    },
    "expect": _EXPECT,
}  # fmt: skip
_STATUS: _Fields = {
    **dict.fromkeys(
        ("has_address", "listeners_exact", "no_accepted_parents", "zero_attached_routes",
         "observed_generation_current", "gateways_accepted_and_programmed", "pods_ready", "note", "notes")
    ),
    "object": _OBJECT, "conditions": _CONDITIONS, "all_listeners_conditions": _CONDITIONS,
    "parent": {**_OBJECT, "section_names": None}, "ancestor": {**_OBJECT, "section_names": None},
    "listeners": {"name": None, "supported_kinds": _ANY, "attached_routes": None, "conditions": _CONDITIONS},
    "addresses_exact": _ANY,
}  # fmt: skip
_DISTRIBUTION: _Fields = {
    **dict.fromkeys(("kind", "total_requests", "concurrency", "tolerance_absolute", "max_attempts", "rule", "header",
                     "percent", "name", "note", "notes")),
    "base_request": _REQUEST, "weights": _ANY, "mirrors": _ANY, "mirrored_to": _ANY, "mirror": _ANY,
}  # fmt: skip
_CASE: _Fields = {
    **dict.fromkeys(("schema", "test", "description", "source", "level", "provisional", "parallel_safe")),
    "features": _ANY, "profiles": _ANY, "release_v1_6_1": _ANY, "skip_if_features_supported": _ANY,
    "manifests": None, "notes": None,
    "extra_backends": {
        **dict.fromkeys(("namespace", "name", "replicas", "mode", "tls", "client_ca", "client_auth", "from",
                         "why_one", "used_by_these_cases")),
        "ports": _ANY,
    },
    "steps": {
        **dict.fromkeys(("name", "note", "notes")),
        "mutate": {
            **dict.fromkeys(("action", "address_family", "skip_when_no_address_of_family", "note", "notes")),
            "object": _OBJECT, "json_patch": _ANY, "body": _ANY, "from_pods_of_deployment": _OBJECT,
        },
        "status": _STATUS, "requests": _REQUEST, "distribution": _DISTRIBUTION,
    },
}  # fmt: skip


def unknown_fields(case: Mapping[str, Any]) -> Iterator[str]:
    """Give the paths of what a case says and nothing here knows."""
    yield from _unknown(case, _CASE, "")


def _unknown(value: Any, known: _Fields | None, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unknown(inner, known, f"{path}[{index}]")
    elif isinstance(value, Mapping) and known is not _ANY:
        for name, inner in value.items():
            where = f"{path}.{name}" if path else str(name)
            if known is None or name not in known:
                yield where
            else:
                yield from _unknown(inner, known[name], where)
