"""Which listeners' clients have their fingerprints taken, because something asks for them.

To take them costs a look at the ClientHello before OpenSSL reads it, so nobody pays who has no use for them.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from edgegw.model import FieldHeaders, Gateway, HashSource, Listener, PolicyNot, PolicyRule, PolicyUse, Route
from edgegw.proxy.policing import policies_of

__all__ = ["needs_fingerprints"]

_FACTS: Final = frozenset({"ja3", "ja4"})
_IN_TEMPLATES: Final = tuple(f"{{{fact}}}" for fact in _FACTS)


def needs_fingerprints(gateway: Gateway, listener: Listener) -> bool:
    """Whether something of a listener reads the JA3 or the JA4 of its clients.

    That is its own setting, a policy that needs them, a header's template, a route's match or a hash key that names
    them.  SNI routers are not among it: they take what they ask for themselves.

    :param listener: one of the gateway's, from :func:`edgegw.proxy.policing.with_its_policies`.
    """
    if listener.tls is None:
        return False
    if listener.tls.fingerprints or _asked_by(policies_of(listener) or ()):
        return True
    if any(_named_in(one.headers) for one in listener.header_injection if isinstance(one, FieldHeaders)):
        return True
    hashed = {
        upstream.name
        for upstream in gateway.upstreams
        if any(key.source is HashSource.IDENTITY and key.name in _FACTS for key in upstream.balancing.hash_on)
    }
    routes = (route for route in gateway.routes if not route.listeners or listener.name in route.listeners)
    return any(_read_by(route, hashed) for route in routes)


def _read_by(route: Route, hashed: set[str]) -> bool:
    for rule in route.rules:
        if _asked_by(rule.policies or ()):
            return True
        if any(one.fact in _FACTS for match in rule.matches for one in match.identity):
            return True
        filters = (rule.filters, *(backend.filters for backend in rule.backends))
        if any(one.external_auth is not None and _named_in(one.external_auth.facts) for one in filters):
            return True
        if any(backend.upstream in hashed for backend in rule.backends):
            return True
    return False


def _asked_by(rules: Iterable[PolicyRule]) -> bool:
    return any(
        getattr(use.policy, "needs_fingerprints", getattr(use.kind, "needs_fingerprints", False))
        for use in _uses(rules)
    )


def _uses(rules: Iterable[PolicyRule]) -> Iterator[PolicyUse]:
    for rule in rules:
        if isinstance(rule, PolicyUse):
            yield rule
        else:
            yield from _uses((rule.member,) if isinstance(rule, PolicyNot) else rule.members)


def _named_in(headers: Iterable[tuple[str, str]]) -> bool:
    return any(fact in template for _, template in headers for fact in _IN_TEMPLATES)
