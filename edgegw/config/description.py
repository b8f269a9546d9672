"""What a gateway would do, in words for ``edgegw check``."""
from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from edgegw.config.scalars import format_duration
from edgegw.model import (
    XFCC,
    ClientCertificateField,
    ClientValidation,
    FieldHeaders,
    Gateway,
    HeaderInjection,
    Listener,
    PEMHeader,
    Route,
    TLSSettings,
    ValidationMode,
)

__all__ = ["describe"]


def describe(gateway: Gateway, now: datetime) -> str:
    """Give what would run, a line for each thing, ending with a newline.

    :param now: aware; what expires is counted from it.
    """
    return "\n".join(_lines(gateway, now)) + "\n"


def _lines(gateway: Gateway, now: datetime) -> Iterator[str]:
    yield f"listeners: {len(gateway.listeners)}"
    for listener in gateway.listeners:
        yield from _listener(listener, now)
    yield f"routes: {len(gateway.routes)}"
    for route in gateway.routes:
        yield from _route(route)
    yield f"upstreams: {len(gateway.upstreams)}"
    for upstream in gateway.upstreams:
        yield f"  {upstream.name}: {', '.join(map(str, upstream.endpoints))}"
    if gateway.admin is None:
        yield "admin: disabled"
    else:
        yield f"admin: http://{_authority(gateway.admin.address, gateway.admin.port)}"
    yield f"logging: {gateway.logging.format}, {gateway.logging.level}"
    yield f"drain timeout: {format_duration(gateway.drain_timeout)}"


def _authority(address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port or '(chosen by the system)'}"


def _listener(listener: Listener, now: datetime) -> Iterator[str]:
    address = listener.address
    if address is not None and address.startswith("unix:"):
        where = address
    else:
        where = _authority("*" if address is None else address, listener.port)
    yield f"  {listener.name}: {listener.protocol.value} on {where} for {listener.hostname or 'every name'}"
    if listener.tls is not None:
        yield from _tls(listener.tls, now)
    told = ", ".join(map(_injector, listener.header_injection))
    yield f"    tells upstreams the caller in: {told or 'nothing'}"


def _tls(tls: TLSSettings, now: datetime) -> Iterator[str]:
    versions = dict.fromkeys((tls.min_version.value, tls.max_version.value))
    yield f"    TLS {' to '.join(versions)}"
    for certificate in tls.certificates:
        names = ", ".join((*certificate.dns_names, *certificate.uris)) or "no names"
        expiry = _expiry(certificate.not_after, now)
        yield f"    certificate {certificate.name} ({certificate.key_type}) for {names}, {expiry}"
    yield f"    client certificates: {_validation(tls.client_validation)}"
    if tls.client_validation is not None:
        for anchor in tls.client_validation.trust_anchors:
            yield f"      trust anchor {anchor.name}, {_expiry(anchor.not_after, now)}"


def _expiry(not_after: datetime, now: datetime) -> str:
    left = not_after - now
    if left < timedelta():
        return f"EXPIRED on {not_after:%Y-%m-%d}"
    return f"expires on {not_after:%Y-%m-%d} (in {left.days} {'day' if left.days == 1 else 'days'})"


def _validation(validation: ClientValidation | None) -> str:
    if validation is None:
        return "not asked for"
    if not validation.trust_anchors:
        return f"{validation.mode.value}, NO TRUST ANCHOR: every connection is refused"
    if validation.mode is ValidationMode.ALLOW_INSECURE_FALLBACK:
        return f"{validation.mode.value}: asked for, and everyone comes in"
    needed = "required" if validation.required else "asked for; clients without one come in"
    return f"{validation.mode.value}: {needed}, depth {validation.max_depth}"


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


def _route(route: Route) -> Iterator[str]:
    names = ", ".join(route.hostnames) or "every name"
    on = f" on {', '.join(route.listeners)}" if route.listeners else ""
    yield f"  {route.name}: {names}{on}"
    for rule in route.rules:
        paths = ", ".join(f"{match.path.type.value} {match.path.value}" for match in rule.matches)
        backends = ", ".join(
            backend.upstream if len(rule.backends) == 1 else f"{backend.upstream} (weight {backend.weight})"
            for backend in rule.backends
        )
        yield f"    {paths} → {backends or 'no backend: 500'}"
