"""Clients' idle connections, handed from one configuration to the one that replaces it.

A change of routes, upstreams or of somebody else's listener is nothing that a client has to do with.  A connection goes
on where its listener is in the new configuration just as it was: what the client was judged by is the same then, and
everything else is asked anew with each request.  What a policy judges by may have changed without a word of the
configuration having changed: with one the listener is another one, as it is with other plugins, unless the policy says
by its attribute ``judges_by`` that nothing but this decides: names and hashes that the configuration itself has.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from attrs import evolve

from edgegw.model import Listener, PolicyNot, PolicyRule, PolicyUse
from edgegw.proxy.connection import HTTPConnection
from edgegw.proxy.http2 import HTTP2Connection
from edgegw.tls.listener import TLSListener
from edgegw.tls.profile import PlainListener, PortProfile
from edgegw.tls.transport import TLSServer

__all__ = ["hand_over"]


def hand_over(before: PortProfile, after: PortProfile, find: Callable[[TLSServer], Any]) -> None:
    """Have the idle connections of a port go on with its new profile, as far as their listeners are the same.

    :param after: has the port already.
    :param find: gives the listener that would have a connection now.
    """
    if after.held is not before.held or after.secure is not before.secure:
        return
    if after.fingerprints and not before.fingerprints:
        # Nobody has looked at them while there was something to see.
        return
    same: dict[tuple[int, int], bool] = {}
    for transport in tuple(before.transports):
        protocol = transport.protocol
        # Those of routed connections, and tunnels, have more to do with the configuration that they began with.
        if type(protocol) not in (HTTPConnection, HTTP2Connection) or not protocol.is_idle:
            continue
        secure = isinstance(transport, TLSServer)
        old: Any = transport.judge if isinstance(transport, TLSServer) else before.first
        new: Any = find(transport) if isinstance(transport, TLSServer) else after.first
        kind = TLSListener if secure else PlainListener
        if old is new or not isinstance(old, kind) or not isinstance(new, kind):
            continue
        listeners = id(old), id(new)
        if listeners not in same:
            same[listeners] = new.site is not None and _knows(old, new) and _facts(old.model) == _facts(new.model)
        if not same[listeners]:
            continue
        before.deadlines.forget(transport)
        before.transports.discard(transport)
        after.transports.add(transport)
        transport.owner = after
        if isinstance(transport, TLSServer):
            transport.judge = cast(TLSListener, new)
        protocol.move(new.site)


def _knows(old: TLSListener | PlainListener, new: TLSListener | PlainListener) -> bool:
    """Whether what the new configuration's rules ask about clients was kept by the old one, which had other rules."""
    if not isinstance(old, TLSListener) or not isinstance(new, TLSListener):
        return True
    return old.verification.keeps_verified or not new.verification.keeps_verified


def _facts(listener: Listener) -> tuple[Any, ...]:
    """Give what makes a listener the same as another one: itself without its policies, and what those judge by."""
    own, tls = listener.policies, listener.tls
    validation = None if tls is None else tls.client_validation
    asked = None if validation is None else validation.policies
    if tls is not None and validation is not None:
        tls = evolve(tls, client_validation=evolve(validation, policies=None))
    return evolve(listener, tls=tls, policies=None), _judged_by(own), _judged_by(asked)


def _judged_by(rules: Iterable[PolicyRule] | None) -> Any:
    return None if rules is None else [_judged_by_rule(rule) for rule in rules]


def _judged_by_rule(rule: PolicyRule) -> Any:
    if isinstance(rule, PolicyUse):
        judges_by = getattr(rule.policy, "judges_by", None)
        return rule if judges_by is None else (rule.kind, judges_by)
    return type(rule), _judged_by([rule.member] if isinstance(rule, PolicyNot) else rule.members)
