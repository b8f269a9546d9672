"""The upstreams of the native document: one for each backend and way in which it is spoken with."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from math import gcd, lcm
from typing import Any, Final

from edgegw.gateway_api.backend_tls import BackendTLS
from edgegw.gateway_api.backends import AppProtocol, Backend
from edgegw.gateway_api.listener_state import GatewayState
from edgegw.gateway_api.objects import Object

__all__ = ["CLOSING", "Upstreams"]

#: The name of the upstream that takes no connection.
CLOSING: Final = "unresolved/closed"
_FAILURE: Final = {"backend": {"respond": {"status": 500}}}
#: The greatest weight of an endpoint.
_HEAVIEST: Final = 1000


class Upstreams:
    """Collects upstreams, each once.

    :ivar native: as the document has them, by name.
    :ivar owners: on whose behalf each is there.
    """

    def __init__(self, policies: BackendTLS) -> None:
        self._policies = policies
        self.native: dict[str, dict[str, Any]] = {}
        self.owners: dict[str, Object] = {}

    def is_secured(self, backend: Backend) -> bool:
        """Whether a policy wants TLS with a backend."""
        return self._policies.validation(backend) is not None

    def http(
        self,
        route: Object,
        backend: Backend,
        gateway: GatewayState | None,
        session: Mapping[str, Any] | None = None,
    ) -> str:
        """Give the upstream of a backend for requests.

        :param gateway: whose certificate the backend is shown; ``None`` shows none.
        :param session: ``session_persistence`` of the native language.
        """
        name, settings = self._settings(route, backend, gateway)
        if session is not None and "backend" not in settings:
            name = f"{name}/{_digest(session)}"
            settings["session_persistence"] = _named(session, name)
        return self._add(route, name, settings)

    def http_together(
        self,
        route: Object,
        label: str,
        backends: Sequence[tuple[Backend, int]],
        gateway: GatewayState | None,
        session: Mapping[str, Any],
    ) -> str | None:
        """Give one upstream for several backends with weights, for sessions to stay with one of their endpoints.

        ``None`` where the backends are not spoken with in one way.
        """
        all_settings = [self._settings(route, backend, gateway)[1] for backend, _ in backends]
        endpoints = [settings.pop("endpoints", ()) for settings in all_settings]
        first = all_settings[0]
        if any(settings != first or not some for settings, some in zip(all_settings, endpoints, strict=True)):
            return None
        shares = _shares([(len(some), weight) for some, (_, weight) in zip(endpoints, backends, strict=True)])
        weights: dict[str, int] = {}
        for some, share in zip(endpoints, shares, strict=True):
            for endpoint in some:
                weights[endpoint] = min(weights.get(endpoint, 0) + share, _HEAVIEST)
        written = [{"address": endpoint, "weight": weight} for endpoint, weight in weights.items()]
        return self._add(route, label, {"endpoints": written, **first, "session_persistence": _named(session, label)})

    def tunnel(self, route: Object, backend: Backend, gateway: GatewayState | None, terminated: bool) -> str:
        """Give the upstream of a backend for connections.

        :param terminated: whether TLS ends at the gateway, or there is none: only then policies hold.
        """
        if not terminated:
            return self._add(route, backend.label, {"endpoints": list(backend.endpoints)})
        name, settings = self._settings(route, backend, gateway, False)
        return self.closing(route) if "backend" in settings else self._add(route, name, settings)

    def failing(self, route: Object) -> str:
        """Give an upstream that answers every request with 500."""
        return self._add(route, "unresolved/500", _FAILURE)

    def closing(self, route: Object) -> str:
        """Give an upstream that takes no connection, so that requests get 503."""
        return self._add(route, CLOSING, {"endpoints": []})

    def _settings(
        self, route: Object, backend: Backend, gateway: GatewayState | None, of_requests: bool = True
    ) -> tuple[str, dict[str, Any]]:
        """Give a name and settings."""
        name = backend.label
        settings: dict[str, Any] = {"endpoints": list(backend.endpoints)}
        version = "2" if route.kind == "GRPCRoute" or backend.protocol is AppProtocol.HTTP2 else "1.1"
        validation = self._policies.validation(backend)
        if validation is not None:
            if validation.tls is None or any(one.startswith("unix:") for one in backend.endpoints):
                # Never without TLS, and never without knowing with whom.
                return f"{name}/unverifiable", dict(_FAILURE)
            settings["tls"] = dict(validation.tls)
            if gateway is not None and gateway.client_certificate is not None:
                settings["tls"]["client_certificate"] = dict(gateway.client_certificate)
                name = f"{name}/{gateway.gateway.namespace}/{gateway.gateway.name}"
            if validation.http_version is not None and version == "1.1":
                version = validation.http_version
        if of_requests and version != "1.1":
            name = f"{name}/http2" if version == "2" else f"{name}/{version}"
            settings["http_version"] = version
        return name, settings

    def _add(self, route: Object, name: str, settings: dict[str, Any]) -> str:
        given = {"name": name, **settings}
        known = self.native.get(name)
        if known is not None and known != given:
            return self._add(route, f"{name}/{_digest(settings)}", settings)
        self.native[name] = given
        self.owners.setdefault(name, route)
        return name


def _named(session: Mapping[str, Any], upstream: str) -> dict[str, Any]:
    """Let no two upstreams overwrite each other's sessions, unless their names are given."""
    return {"session_name": f"edgegw-session-{_digest({'of': upstream})}", **session}


def _digest(settings: Mapping[str, Any]) -> str:
    """Tell settings from others, briefly and the same in every run."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode("utf-8")).hexdigest()[:8]


def _shares(parts: Sequence[tuple[int, int]]) -> list[int]:
    """Give weights of endpoints for backends with so many of them and a weight of its own each."""
    most = lcm(*(count for count, _ in parts))
    shares = [weight * most // count for count, weight in parts]
    common = gcd(*shares) or 1
    shares = [share // common for share in shares]
    heaviest = max(shares, default=1)
    if heaviest > _HEAVIEST:
        shares = [max(round(share * _HEAVIEST / heaviest), 1) for share in shares]
    return shares
