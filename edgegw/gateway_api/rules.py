"""Rules of HTTPRoutes and GRPCRoutes in the native language."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from edgegw.config.certificates import CertificateFiles
from edgegw.config.document_routes import RULE
from edgegw.config.document_terms import NAME
from edgegw.config.faults import Report, Severity
from edgegw.config.filters import FilterTranslation
from edgegw.config.shapes import Section
from edgegw.gateway_api.backends import Backend, Backends
from edgegw.gateway_api.durations import duration, seconds_of
from edgegw.gateway_api.external_auth import external_auth
from edgegw.gateway_api.filters import FilterResult, translate_filters
from edgegw.gateway_api.findings import RouteFindings, RuleError
from edgegw.gateway_api.listener_state import GatewayState
from edgegw.gateway_api.matches import grpc_matches, http_matches
from edgegw.gateway_api.native_nodes import faults_of, node_of, said
from edgegw.gateway_api.objects import Object
from edgegw.gateway_api.sessions import session_persistence
from edgegw.gateway_api.upstreams import Upstreams
from edgegw.model.filters import Retry

__all__ = ["RuleTranslation"]

_LONGEST_PAUSE: Final = 3600.0
_MOST_ATTEMPTS: Final = 100
#: What requests get whose rule cannot be had: never what another rule would give them.
_FAILURE: Final = {"fixed_response": {"status": 500}}


@define(eq=False)
class RuleTranslation:
    """Makes the rules of one route.

    :ivar gateway: whose certificate backends are shown; ``None`` shows none.
    :ivar injected: lower-case names of headers that tell upstreams who calls.
    :ivar used: backends that were found.
    """

    route: Object
    findings: RouteFindings
    gateway: GatewayState | None
    injected: AbstractSet[str]
    _backends: Backends
    _upstreams: Upstreams
    used: list[Backend] = field(factory=list)

    def rules(self) -> list[dict[str, Any]]:
        """Give them; matches that cannot be had are left out, and with them rules that have no others."""
        written = []
        names: set[str] = set()
        rejected = self.findings.rejected
        for number, rule in enumerate(self.route.spec.get("rules") or ({},)):
            native = self._rule(number, rule)
            if native is None:
                continue
            if rejected:
                # Whatever it is that is wrong, other routes are not to answer what this one would have.
                written.append({"matches": native["matches"], **_FAILURE})
                continue
            name = rule.get("name")
            # A number is what rules without a name are called by.
            if name and name not in names and not name.isdigit() and not faults_of(NAME, name):
                names.add(name)
                native = {"name": name, **native}
            written.append(native)
        return written

    def _rule(self, number: int, rule: Mapping[str, Any]) -> dict[str, Any] | None:
        matches: list[dict[str, Any]] | None = None
        read = grpc_matches if self.route.kind == "GRPCRoute" else http_matches
        try:
            matches = read(rule)
            native = {"matches": matches, **self._treatment(f"rules[{number}].", rule)}
            self._check(native)
        except RuleError as error:
            self.findings.drop(number, error)
            if matches is None:
                matches = []
                for one in rule.get("matches") or ():
                    with suppress(RuleError):
                        matches += read({**rule, "matches": [one]})
            return {"matches": matches, **_FAILURE} if matches else None
        return native

    def _treatment(self, place: str, rule: Mapping[str, Any]) -> dict[str, Any]:
        filters = self._filters(rule, place, of_rule=True)
        native = dict(filters.native)
        timeouts = rule.get("timeouts") or {}
        native.update(_timeouts(timeouts))
        native.update(_retry(rule.get("retry"), seconds_of(timeouts.get("request") or "0s")))
        refs = rule.get("backendRefs") or ()
        if "redirect" not in native:
            native["backends"] = self._shares(place, rule, refs)
        if filters.broken:
            return dict(_FAILURE)
        return native

    def _filters(self, owner: Mapping[str, Any], place: str, of_rule: bool) -> FilterResult:
        def find_mirror(ref: Mapping[str, Any], where: str) -> str | None:
            backend = self._find(ref, where)
            return None if backend is None else self._upstreams.http(self.route, backend, self.gateway)

        def find_auth(auth: Mapping[str, Any], where: str) -> dict[str, Any] | None:
            backend = self._find(auth.get("backendRef") or {"name": ""}, f"{where}.backendRef")
            return external_auth(auth, where, backend, self._upstreams, self.findings)

        asks = find_auth if of_rule else None
        return translate_filters(owner.get("filters"), place, self.findings, find_mirror, asks)

    # --- backends ---------------------------------------------------------------------------

    def _find(self, ref: Mapping[str, Any], place: str) -> Backend | None:
        backend = self._backends.find(self.route, ref, place, self.findings)
        if backend is not None:
            self.used.append(backend)
        return backend

    @property
    def _failing(self) -> str:
        """What stands for a backend that cannot be had; to clients of gRPC it is UNAVAILABLE (GRPCRouteRule)."""
        of_grpc = self.route.kind == "GRPCRoute"
        return self._upstreams.closing(self.route) if of_grpc else self._upstreams.failing(self.route)

    def _shares(
        self, place: str, rule: Mapping[str, Any], refs: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        session = session_persistence(rule.get("sessionPersistence"), f"{place}sessionPersistence", self.findings)
        found: list[tuple[Backend | None, int, dict[str, Any]]] = []
        for number, ref in enumerate(refs):
            here = f"{place}backendRefs[{number}]"
            backend = self._find(ref, here)
            filters = self._filters(ref, f"{here}.", of_rule=False)
            weight = ref.get("weight", 1)
            # What is done with the requests of a backend that is not there is to fail.
            there = backend is not None and not filters.broken
            found.append((backend, weight, filters.native) if there else (None, weight, {}))
        if session is not None:
            together = self._together(place, found, session)
            if together is not None:
                return together
        shares = []
        for backend, weight, filters_of_it in found:
            upstream = self._failing
            if backend is not None:
                upstream = self._upstreams.http(self.route, backend, self.gateway, session)
            shares.append(_share(upstream, weight, filters_of_it))
        return shares

    def _together(
        self, place: str, found: list[tuple[Backend | None, int, dict[str, Any]]], session: Mapping[str, Any]
    ) -> list[dict[str, Any]] | None:
        """Make one upstream of several backends: a client that came to one by its weight is to stay with it."""
        there = [(backend, weight) for backend, weight, _ in found if backend is not None and weight]
        if len(there) < 2:
            return None
        name = None
        if not any(filters for _, _, filters in found):
            label = f"{self.route.namespace}/{self.route.name}/{place.rstrip('.').replace('[', '-').replace(']', '')}"
            name = self._upstreams.http_together(self.route, label, there, self.gateway, session)
        if name is None:
            self.findings.warn(
                f"{place}sessionPersistence: clients stay with an endpoint of a backend, but may come to another of "
                "the rule's backends, which differ in more than their endpoints, or have none"
            )
            return None
        missing = sum(weight for backend, weight, _ in found if backend is None)
        shares = [_share(name, sum(weight for _, weight in there), {})]
        return [*shares, _share(self._failing, missing, {})] if missing else shares

    # --- whether it is good -----------------------------------------------------------------

    def _check(self, native: dict[str, Any]) -> None:
        """Let the native language judge a rule.

        :raises RuleError: it does not take it.
        """
        report = Report("")
        section = RULE.read(node_of(native), report)
        if isinstance(section, Section):
            names = {share["upstream"] for share in (*native.get("backends", ()), *native.get("mirrors", ()))}
            names.update(one["upstream"] for share in native.get("backends", ()) for one in share.get("mirrors", ()))
            files = CertificateFiles(Path("/"), datetime.now(UTC))
            judge = FilterTranslation(Path("/"), files, self.injected, names, report)
            matches = native["matches"]
            has_prefix = len(matches) == 1 and matches[0]["path"]["type"] == "PathPrefix"
            judge.rule(section, has_prefix)
            for item in section.items("backends"):
                judge.backend(item.value, has_prefix)
        faults = [found for found in report.findings if found.severity is Severity.FAULT]
        if faults:
            raise RuleError("; ".join(map(said, faults)))


def _share(upstream: str, weight: int, filters: Mapping[str, Any]) -> dict[str, Any]:
    return {"upstream": upstream, **({} if weight == 1 else {"weight": weight}), **filters}


def _timeouts(timeouts: Mapping[str, Any]) -> dict[str, Any]:
    written = {
        native: duration(seconds_of(timeouts[key]))
        for key, native in (("request", "request"), ("backendRequest", "backend_request"))
        if timeouts.get(key) is not None
    }
    return {"timeouts": written} if written else {}


def _retry(retry: Mapping[str, Any] | None, within: float) -> dict[str, Any]:
    """Give ``retry``.

    :param within: seconds that a request may take with all its tries; 0 for no limit.
    """
    if retry is None:
        return {}
    attempts = retry.get("attempts")
    if attempts is not None and attempts < 1:
        return {}
    written: dict[str, Any] = {}
    if retry.get("codes"):
        written["codes"] = list(dict.fromkeys(retry["codes"]))
    if attempts is not None:
        written["attempts"] = attempts = min(attempts, _MOST_ATTEMPTS)
    pause, most = Retry().backoff, Retry().max_backoff
    if retry.get("backoff") is not None:
        pause = min(max(seconds_of(retry["backoff"]), 0.001), _LONGEST_PAUSE)
        written["backoff"] = duration(pause)
    if within:
        # Pauses that grow must not take from the last tries the time that they are meant to have.
        most = min(most, within / 2 / (attempts or Retry().attempts))
    most = round(max(most, pause), 3)
    if most != Retry().max_backoff or "backoff" in written:
        written["max_backoff"] = duration(most)
    return {"retry": written}
