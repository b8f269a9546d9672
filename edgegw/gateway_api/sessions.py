"""How clients stay with an endpoint: ``sessionPersistence`` of the Gateway API (GEP-1619) in the native language."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgegw.config.document_balancing import SESSION_PERSISTENCE
from edgegw.gateway_api.durations import duration, seconds_of
from edgegw.gateway_api.findings import RouteFindings, RuleError
from edgegw.gateway_api.native_nodes import faults_of, said

__all__ = ["session_persistence"]

_YEAR: Final = 365 * 24 * 3600.0


def session_persistence(
    persistence: Mapping[str, Any] | None, place: str, findings: RouteFindings
) -> dict[str, Any] | None:
    """Give an upstream's ``session_persistence``; ``None`` without any.

    :raises RuleError: it is not supported as it is.
    """
    if persistence is None:
        return None
    kind = persistence.get("type") or "Cookie"
    written: dict[str, Any] = {"type": kind}
    if persistence.get("sessionName"):
        written["session_name"] = persistence["sessionName"]
    if persistence.get("absoluteTimeout"):
        written["absolute_timeout"] = duration(seconds_of(persistence["absoluteTimeout"]), _YEAR)
    if persistence.get("idleTimeout"):
        findings.warn(f"{place}.idleTimeout: is not looked at; give absoluteTimeout")
    cookie = persistence.get("cookieConfig") or {}
    if kind == "Cookie":
        if cookie.get("lifetimeType"):
            written["lifetime"] = cookie["lifetimeType"]
        if cookie.get("path"):
            written["path"] = cookie["path"]
    faults = faults_of(SESSION_PERSISTENCE, written)
    if faults:
        raise RuleError("; ".join(f"{place}: {said(fault)}" for fault in faults))
    return written
