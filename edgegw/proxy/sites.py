"""What each listener serves: the table of its routes with what stands behind every rule, and its header rules."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edgegw.deadlines import Deadlines
from edgegw.headers.request import RequestHeaders
from edgegw.headers.response import ResponseHeaders
from edgegw.interfaces import IHeaderInjector
from edgegw.match.routes import RouteTable
from edgegw.model import (
    NO_FILTERS,
    ClientRequirement,
    ExternalAuth,
    Filters,
    Gateway,
    Listener,
    Mirror,
    Route,
    RouteMatch,
    RouteRule,
    Upstream,
)
from edgegw.model import Protocol as ListenerProtocol
from edgegw.names import intersection
from edgegw.observe.metrics import Metrics
from edgegw.policy_chain import PolicyChain
from edgegw.proxy.access import RuleAccess
from edgegw.proxy.external_auth import AuthService
from edgegw.proxy.mirroring import MirrorTarget
from edgegw.proxy.plugin_backend import PluginUpstream
from edgegw.proxy.policing import chain_of
from edgegw.proxy.rate_limiting import RateLimiter
from edgegw.proxy.rule_filters import RuleFilters
from edgegw.proxy.site import Backend, Site, Target
from edgegw.proxy.upgrade_rules import upgrade_rules
from edgegw.tls.context import ContextError
from edgegw.tls.verification import Clock
from edgegw.upstream.upstream import UpstreamPool

__all__ = ["SiteBuilder", "rule_label"]


class SiteBuilder:
    """Makes the upstreams of a gateway, and the sites of its listeners.

    :param count_error: counts what a backend's plugin gets wrong.
    :param clock: gives the time that policies of rules judge by.
    :ivar upstreams: by name.
    :ivar sites: those that were made.
    :ivar chains: the policies of rules.
    :ivar mirrors: of rules and their backends.
    :ivar keeps_chain: by a listener's name, whether a rule reads the chain that its clients were verified with.
    """

    def __init__(
        self,
        reactor: Any,
        gateway: Gateway,
        metrics: Metrics,
        deadlines: Deadlines,
        count_error: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self._reactor = reactor
        self._gateway = gateway
        self._metrics = metrics
        self._deadlines = deadlines
        self._count_error = count_error
        self._clock = clock
        self._targets: dict[tuple[str, int, int], Target] = {}
        self.mirrors: list[MirrorTarget] = []
        self._auth_services: dict[ExternalAuth, AuthService] = {}
        self._limiters: dict[tuple[str, int], RateLimiter] = {}
        self.sites: list[Site] = []
        self.chains: list[PolicyChain] = []
        self.keeps_chain: dict[str, bool] = {}
        self.upstreams: dict[str, UpstreamPool | PluginUpstream] = {}
        try:
            for upstream in gateway.upstreams:
                self.upstreams[upstream.name] = self._build_upstream(upstream)
        except BaseException:
            self.close_upstreams()
            raise

    def never_index(self, names: frozenset[bytes]) -> None:
        """See :meth:`UpstreamPool.never_index`, for every upstream."""
        for upstream in self.upstreams.values():
            if isinstance(upstream, UpstreamPool):
                upstream.never_index(names)

    def build(
        self, listener: Listener, injectors: tuple[IHeaderInjector, ...], owned: frozenset[bytes]
    ) -> Site:
        """Make the site of a listener.

        :param injectors: of the listener.
        :param owned: the headers that any listener's injectors write.
        """
        scheme = b"https" if listener.protocol is ListenerProtocol.HTTPS else b"http"
        entries = list(self._entries(listener))
        demands = [target.access for _, _, target in entries if target.access is not None]
        # A request that only some clients may make is one that others could try to smuggle past its match.
        restricted = (
            bool(demands)
            or any(match.identity for _, match, _ in entries)
            or any(target.filters is not None and target.filters.auth is not None for _, _, target in entries)
        )
        needs_chain = any(access.needs_chain for access in demands)
        self.keeps_chain[listener.name] = self.keeps_chain.get(listener.name, False) or needs_chain
        secret = frozenset(name for one in injectors for name in one.owned_responses)
        site = Site(
            listener,
            RouteTable(entries),
            RequestHeaders(listener.forwarding, injectors, owned, scheme),
            ResponseHeaders(secret, listener.forwarding.via),
            self._metrics.listener(listener.name),
            self._metrics.requests(listener.name, "", ""),
            self._deadlines,
            restricted,
            any(target.upgrades.names for _, _, target in entries),
        )
        self.sites.append(site)
        return site

    def _build_upstream(self, upstream: Upstream) -> UpstreamPool | PluginUpstream:
        metrics = self._metrics.upstream(upstream.name)
        if upstream.backend is not None:
            return PluginUpstream(self._reactor, upstream, metrics, self._deadlines, self._count_error)
        try:
            return UpstreamPool(self._reactor, upstream, metrics, self._deadlines)
        except ContextError as error:
            raise ContextError(f"upstream {upstream.name}: {error}") from error

    def _entries(self, listener: Listener) -> Iterator[tuple[tuple[str, ...], RouteMatch, Target]]:
        for place, route in enumerate(self._gateway.routes):
            if route.listeners and listener.name not in route.listeners:
                continue
            hostnames = intersection(route.hostnames, listener.hostname)
            if hostnames is None:
                continue
            for number, rule in enumerate(route.rules):
                # One target for a rule, also where a router makes two sites of the listener.
                key = (listener.name, place, number)
                target = self._targets.get(key) or self.build_target(listener, route, number, rule)
                self._targets[key] = target
                for match in rule.matches:
                    yield hostnames, match, target

    def build_target(self, listener: Listener, route: Route, number: int, rule: RouteRule) -> Target:
        """Make what stands behind a rule.

        :param number: of the rule in its route, from 0.
        """
        backends = [
            Backend(
                self.upstreams[ref.upstream],
                ref.weight,
                self._metrics.requests(listener.name, route.name, ref.upstream),
            )
            for ref in rule.backends
        ]
        own = self._metrics.requests(listener.name, "", "")
        filters = self._build_filters(listener, route, number, rule, backends)
        upgrades = upgrade_rules(
            listener.http.upgrades if rule.upgrades is None else rule.upgrades,
            listener.http.upgrade_idle_timeout if rule.upgrade_idle_timeout is None else rule.upgrade_idle_timeout,
        )
        return Target(backends, own, self.build_access(listener, route, number, rule), filters, upgrades)

    def _build_filters(
        self, listener: Listener, route: Route, number: int, rule: RouteRule, backends: list[Backend]
    ) -> RuleFilters | None:
        if _do_nothing(rule.filters) and all(_do_nothing(ref.filters) for ref in rule.backends):
            return None
        own = {backend: ref.filters for backend, ref in zip(backends, rule.backends, strict=True)}
        limit = rule.filters.rate_limit
        limiter = None
        if limit is not None:
            # One for a rule, however many listeners it is on.
            limiter = self._limiters.setdefault((route.name, number), RateLimiter(limit))

        def mirror(model: Mirror) -> MirrorTarget:
            metrics = self._metrics.mirror(listener.name, route.name, model.upstream)
            target = MirrorTarget(model, self.upstreams[model.upstream], metrics)
            self.mirrors.append(target)
            return target

        own_metrics = self._metrics.requests(listener.name, route.name, "")
        return RuleFilters(self._reactor, rule, own, own_metrics, limiter, self._auth(rule), mirror)

    def _auth(self, rule: RouteRule) -> AuthService | None:
        model = rule.filters.external_auth
        if model is None:
            return None
        service = self._auth_services.get(model)
        if service is None:
            service = self._auth_services[model] = AuthService(self._reactor, model)
        return service

    def close(self) -> None:
        """Give up what the requests of rules have set off beside them."""
        for mirror in self.mirrors:
            mirror.close()
        for service in self._auth_services.values():
            service.close()

    def close_upstreams(self) -> None:
        """Close the upstreams' unused connections; nobody begins anything with them any more."""
        for upstream in self.upstreams.values():
            upstream.close()

    def build_access(self, listener: Listener, route: Route, number: int, rule: RouteRule) -> RuleAccess | None:
        """Make what a rule demands of clients; ``None`` where it demands nothing."""
        if rule.client is ClientRequirement.NONE and rule.policies is None:
            return None
        name = rule_label(route, number)
        policies = chain_of(rule.policies, self._metrics, listener.name, f"{name}.")
        if policies is not None:
            self.chains.append(policies)
        return RuleAccess(
            rule.client, policies, rule.policy_timeout, rule.explain_to_client, name,
            self._metrics.requests(listener.name, route.name, ""), self._reactor, self._clock,
        )


def _do_nothing(filters: Filters) -> bool:
    # Comparing takes a while, and hundreds of thousands of rules and backends mostly have the same object.
    return filters is NO_FILTERS or filters == NO_FILTERS


def rule_label(route: Route, number: int) -> str:
    """Give what metrics call a rule: by its name if it has one, else by its number in its route."""
    return f"{route.name}.rules[{route.rules[number].name or number}]"
