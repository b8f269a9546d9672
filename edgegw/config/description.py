"""What a gateway would do, in words for ``edgegw check``."""
from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from edgegw.config.scalars import format_duration
from edgegw.model import (
    XFCC,
    BackendRef,
    BalancingPolicy,
    ClientCertificateField,
    ClientRequirement,
    ClientValidation,
    FieldHeaders,
    Gateway,
    HeaderInjection,
    HeaderMatch,
    IdentityMatch,
    InjectorUse,
    Listener,
    PEMHeader,
    PolicyAny,
    PolicyNot,
    PolicyRule,
    PolicyUse,
    PortSettings,
    Protocol,
    QueryParamMatch,
    Route,
    RouteMatch,
    RouteRule,
    TCPRoute,
    TLSMode,
    TLSRoute,
    TLSSettings,
    Upstream,
    UpstreamTLS,
    UpstreamVerification,
    ValidationMode,
    ValueMatchType,
)

__all__ = ["describe", "describe_policies", "describe_rule", "describe_validation"]


def describe(gateway: Gateway, now: datetime) -> str:
    """Give what would run, a line for each thing, ending with a newline.

    :param now: aware; what expires is counted from it.
    """
    return "\n".join(_lines(gateway, now)) + "\n"


def _lines(gateway: Gateway, now: datetime) -> Iterator[str]:
    yield f"listeners: {len(gateway.listeners)}"
    for listener in gateway.listeners:
        yield from _listener(listener, now)
    if gateway.sni_routers:
        yield f"SNI routers: {len(gateway.sni_routers)}"
    for router in gateway.sni_routers:
        where = ", ".join(map(_binding, router.bindings))
        yield f"  {router.name}: {router.kind.name} on {where}, within {format_duration(router.timeout)} if it waits"
    for port in gateway.ports:
        yield from _port(port)
    yield f"routes: {len(gateway.routes)}"
    for route in gateway.routes:
        yield from _route(route)
    for title, routes in (("TLS routes", gateway.tls_routes), ("TCP routes", gateway.tcp_routes)):
        if routes:
            yield f"{title}: {len(routes)}"
        yield from map(_tunnels, routes)
    yield f"upstreams: {len(gateway.upstreams)}"
    for upstream in gateway.upstreams:
        yield f"  {upstream.name}: {_upstream(upstream)}"
        yield from _connections(upstream, now)
    if gateway.admin is None:
        yield "admin: disabled"
    else:
        yield f"admin: http://{_authority(gateway.admin.address, gateway.admin.port)}"
    yield f"logging: {gateway.logging.format}, {gateway.logging.level}"
    yield f"drain timeout: {format_duration(gateway.drain_timeout)}"


def _port(port: PortSettings) -> Iterator[str]:
    where = ", ".join(map(_binding, port.bindings))
    if port.unmatched_name is not None:
        yield f"names that no listener takes on {where}: {port.unmatched_name.value}"
    if port.plaintext_listener is not None:
        yield f"connections without TLS on {where}: {port.plaintext_listener}"
    headers = port.proxy_protocol
    if headers is not None:
        trusted = ", ".join([*map(str, headers.trusted), *(["whoever connects"] if headers.unix else [])])
        within = format_duration(headers.timeout)
        yield f"PROXY protocol on {where}: {headers.mode.value}, from {trusted}, within {within}"


def _upstream(upstream: Upstream) -> str:
    """Say where requests go, and what about that is not as it is without saying."""
    if upstream.backend is not None:
        return f"backend {upstream.backend.kind.name}"
    several = len({(one.weight, one.priority) for one in upstream.endpoints}) > 1
    told = [", ".join(
        f"{one} (weight {one.weight}, priority {one.priority})" if several else str(one) for one in upstream.endpoints
    )]
    policy = upstream.balancing.policy
    if policy is not BalancingPolicy.ROUND_ROBIN:
        keys = [f"{key.source.value} {key.name}".rstrip() for key in upstream.balancing.hash_on]
        told.append(policy.value + (f" of {' or '.join(keys)}" if keys else ""))
    if upstream.session_persistence is not None:
        told.append(f"sessions by {upstream.session_persistence.type.value.lower()}")
    check = upstream.health_check
    if check is not None:
        asked = "TCP" if check.path is None else f"{check.method} {check.path}"
        told.append(f"health check {asked} every {format_duration(check.interval)}")
    if upstream.outlier_detection is not None:
        told.append("outlier detection")
    return "; ".join(told)


def _authority(address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port or '(chosen by the system)'}"


def _binding(binding: tuple[str | None, int]) -> str:
    address, port = binding
    if address is not None and address.startswith("unix:"):
        return address
    return _authority("*" if address is None else address, port)


def _listener(listener: Listener, now: datetime) -> Iterator[str]:
    where = _binding((listener.address, listener.port))
    yield f"  {listener.name}: {listener.protocol.value} on {where} for {listener.hostname or 'every name'}"
    if listener.application_protocols:
        yield f"    only for clients that offer {' or '.join(listener.application_protocols)}"
    if listener.mode is TLSMode.PASSTHROUGH:
        yield "    TLS is passed through"
    if listener.tls is not None:
        yield from _tls(listener.tls, now)
    if listener.policies is not None:
        yield f"    policies: {describe_policies(listener.policies)}"
    if listener.health_check is not None:
        sources = ", ".join(map(str, listener.health_check.sources)) or "nobody"
        yield f"    health check: {listener.health_check.path} for {sources}"
    if listener.protocol in (Protocol.TLS, Protocol.TCP):
        return
    told = ", ".join(map(_injector, listener.header_injection))
    yield f"    tells upstreams the caller in: {told or 'nothing'}"


def _tls(tls: TLSSettings, now: datetime) -> Iterator[str]:
    versions = dict.fromkeys((tls.min_version.value, tls.max_version.value))
    yield f"    TLS {' to '.join(versions)}"
    for certificate in tls.certificates:
        names = ", ".join((*certificate.dns_names, *certificate.uris)) or "no names"
        expiry = _expiry(certificate.not_after, now)
        source = "" if certificate.source is None else f", followed by {certificate.source.kind.name}"
        yield f"    certificate {certificate.name} ({certificate.key_type}) for {names}, {expiry}{source}"
    dynamic = tls.dynamic_certificates
    if dynamic is not None:
        others = "other names" if tls.certificates else "names"
        kept = f"{dynamic.capacity} kept for {format_duration(dynamic.ttl)}"
        yield f"    certificates for {others} by {dynamic.kind.name}, {kept}"
    validation = tls.client_validation
    yield f"    client certificates: {describe_validation(validation)}"
    if validation is not None:
        if validation.policies is not None:
            yield f"      policies: {describe_policies(validation.policies)}"
        for anchor in validation.trust_anchors:
            yield f"      trust anchor {anchor.name}, {_expiry(anchor.not_after, now)}"


def _expiry(not_after: datetime, now: datetime) -> str:
    left = not_after - now
    if left < timedelta():
        return f"EXPIRED on {not_after:%Y-%m-%d}"
    return f"expires on {not_after:%Y-%m-%d} (in {left.days} {'day' if left.days == 1 else 'days'})"


def describe_validation(validation: ClientValidation | None) -> str:
    """Say in a line which clients come in as far as their certificates decide."""
    if validation is None:
        return "not asked for"
    mode = validation.mode.value
    if validation.refuses_everyone:
        return f"{mode}, NO TRUST ANCHOR: every connection is refused"
    fallback = validation.mode is ValidationMode.ALLOW_INSECURE_FALLBACK
    if fallback and validation.envoy_compatible:
        return f"{mode}: asked for, and everyone comes in, as with Envoy"
    if fallback and validation.policies is None:
        return f"{mode}: asked for, and everyone comes in"
    if validation.demands_certificate:
        needed = "required"
    else:
        needed = "asked for; clients without one come in"
        if validation.policies is not None:
            needed += " if the policies that judge them accept"
    if validation.policies_alone:
        return f"{mode}: {needed}; no chain is verified, the policies decide"
    if fallback:
        return f"{mode}: {needed}; whether it is verified or not, the policies decide"
    return f"{mode}: {needed}, depth {validation.max_depth}"


def describe_policies(rules: tuple[PolicyRule, ...]) -> str:
    """Give policies by their names: ``all of: spiffe, any of (a, b), not c``."""
    if not rules:
        return "an empty list, which refuses everyone"
    listed = ", ".join(map(_policy, rules))
    return f"all of: {listed}" if len(rules) > 1 else listed


def _policy(rule: PolicyRule) -> str:
    if isinstance(rule, PolicyUse):
        return str(rule.kind.name)
    if isinstance(rule, PolicyNot):
        return f"not {_policy(rule.member)}"
    word = "any" if isinstance(rule, PolicyAny) else "all"
    return f"{word} of ({', '.join(map(_policy, rule.members))})"


def _injector(injector: HeaderInjection) -> str:
    match injector:
        case XFCC():
            return f"x-forwarded-client-cert ({injector.mode.value})"
        case ClientCertificateField():
            return "client-cert, client-cert-chain" if injector.chain else "client-cert"
        case PEMHeader():
            return injector.header
        case FieldHeaders():
            return ", ".join(name for name, _ in injector.headers)
        case InjectorUse():
            names = sorted(name.decode("ascii") for name in injector.injector.owned)
            return f"{', '.join(names)} (from {injector.kind.name})"


def _connections(upstream: Upstream, now: datetime) -> Iterator[str]:
    """Say how connections to an upstream begin."""
    if upstream.proxy_protocol is not None:
        yield f"    PROXY protocol {upstream.proxy_protocol.value}: a connection serves one client"
    tls = upstream.tls
    if tls is None:
        return
    match tls.verify:
        case UpstreamVerification.NONE:
            verified = "its certificate is NOT VERIFIED"
        case UpstreamVerification.CHAIN_ONLY:
            verified = f"any certificate of {_trust(tls)}"
        case UpstreamVerification.FULL:
            names = " or ".join(f"{one.type.value} {one.value}" for one in tls.subject_alt_names)
            verified = f"a certificate of {_trust(tls)} for {names or tls.hostname or 'the name of each endpoint'}"
    yield f"    TLS: {verified}"
    if tls.client_certificate is not None:
        shown = tls.client_certificate
        yield f"    client certificate {shown.name}, {_expiry(shown.not_after, now)}"


def _trust(tls: UpstreamTLS) -> str:
    if tls.system_trust is not None:
        return f"the CAs in {tls.system_trust}"
    return ", ".join(dict.fromkeys(anchor.name for anchor in tls.trust_anchors))


def _route(route: Route) -> Iterator[str]:
    names = ", ".join(route.hostnames) or "every name"
    on = f" on {', '.join(route.listeners)}" if route.listeners else ""
    yield f"  {route.name}: {names}{on}"
    for rule in route.rules:
        yield f"    {describe_rule(rule)}"
        if rule.client is not ClientRequirement.NONE:
            wanted = "a verified certificate" if rule.client is ClientRequirement.VERIFIED else "any certificate"
            yield f"      the client needs {wanted}"
        if rule.policies is not None:
            yield f"      policies: {describe_policies(rule.policies)}"


def _tunnels(route: TCPRoute) -> str:
    names = f"{', '.join(route.hostnames) or 'every name'} " if isinstance(route, TLSRoute) else ""
    on = f"on {', '.join(route.listeners)} " if route.listeners else ""
    return f"  {route.name}: {names}{on}→ {_backends(route.backends) or 'nowhere: connections are refused'}"


def _backends(backends: tuple[BackendRef, ...]) -> str:
    return ", ".join(
        one.upstream if len(backends) == 1 else f"{one.upstream} (weight {one.weight})" for one in backends
    )


def describe_rule(rule: RouteRule) -> str:
    """Give the requests that a rule takes and where they go: ``PathPrefix / → app``."""
    requests = ", ".join(map(_match, rule.matches))
    backends = _backends(rule.backends)
    if rule.filters.redirect is not None:
        backends = f"redirect ({rule.filters.redirect.status})"
    elif rule.filters.fixed_response is not None:
        backends = f"fixed response ({rule.filters.fixed_response.status})"
    return f"{requests} → {backends or 'no backend: 500'}"


def _match(match: RouteMatch) -> str:
    """Give what a request must be: ``PathPrefix /api (method GET, header x-version exactly 2)``."""
    conditions = [] if match.method is None else [f"method {match.method}"]
    conditions += [f"header {_condition(one.name, one)}" for one in match.headers]
    conditions += [f"query {_condition(one.name, one)}" for one in match.query_params]
    conditions += [f"identity {_condition(one.fact, one)}" for one in match.identity]
    more = f" ({', '.join(conditions)})" if conditions else ""
    return f"{match.path.type.value} {match.path.value}{more}"


def _condition(name: str, match: HeaderMatch | QueryParamMatch | IdentityMatch) -> str:
    if match.type is ValueMatchType.PRESENT:
        return f"{name} present"
    return f"{name} {'exactly' if match.type is ValueMatchType.EXACT else 'matching'} {match.value}"
