"""A service that decides about requests: ``ExternalAuth`` of the Gateway API (GEP-1494) in the native language."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgegw.gateway_api.backends import Backend
from edgegw.gateway_api.findings import RouteFindings, RuleError
from edgegw.gateway_api.upstreams import Upstreams

__all__ = ["external_auth"]


def external_auth(
    auth: Mapping[str, Any], place: str, backend: Backend | None, upstreams: Upstreams, findings: RouteFindings
) -> dict[str, Any] | None:
    """Give ``external_auth`` of a rule; ``None`` where nobody can be asked.

    :param backend: whom to ask; ``None`` where the reference leads nowhere.
    :raises RuleError: it is not supported as it is.
    """
    if auth.get("protocol") != "HTTP":
        raise RuleError(f"{place}.protocol: {auth.get('protocol')} is not supported; use HTTP")
    if (auth.get("forwardBody") or {}).get("maxSize"):
        raise RuleError(f"{place}.forwardBody: is not supported; leave it out")
    if backend is None or not backend.endpoints:
        return None
    if upstreams.is_secured(backend):
        raise RuleError(f"{place}.backendRef: {backend} has a BackendTLSPolicy, which is not supported here")
    places = [one for one in backend.endpoints if not one.startswith(("unix:", "srv:"))]
    if not places:
        raise RuleError(f"{place}.backendRef: {backend} has no endpoint that can be asked")
    http = auth.get("http") or {}
    # The path is a prefix of what the client asks for (HTTPExternalAuthFilter, "path").
    written: dict[str, Any] = {"url": f"http://{places[0]}{http.get('path') or '/'}", "append_path": True}
    # Always told (HTTPExternalAuthFilter): who asks, beside what is asked for.
    told = dict.fromkeys(["authorization", *(name.lower() for name in http.get("allowedHeaders") or ())])
    told.pop("host", None)
    written["request_headers"] = list(told)
    if http.get("allowedResponseHeaders"):
        written["upstream_headers"] = list(dict.fromkeys(name.lower() for name in http["allowedResponseHeaders"]))
    else:
        # Clients could send what the service happens not to, in its name.
        findings.warn(f"{place}.http.allowedResponseHeaders: is empty; backends get those headers only that it names")
    return written
