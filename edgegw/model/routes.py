"""Which requests go where, and what is done with them on the way (Gateway API ``HTTPRoute``)."""
from __future__ import annotations

from attrs import frozen

from edgegw.model.filters import NO_FILTERS, Filters
from edgegw.model.matches import RouteMatch
from edgegw.model.policies import POLICY_TIMEOUT, ClientRequirement, PolicyRule

__all__ = ["BackendRef", "Route", "RouteRule"]


@frozen
class BackendRef:
    """A share of a rule's requests for one upstream.

    :ivar filters: what is done with them, beside the rule's own.
    """

    upstream: str
    weight: int = 1
    filters: Filters = NO_FILTERS


@frozen
class RouteRule:
    """Requests that meet any of ``matches`` go to ``backends``; with no backend they get 500.

    :ivar client: what the client's certificate must be; otherwise 403.
    :ivar policies: that the connection's identity must pass; otherwise 403.
    :ivar policy_timeout: seconds that a policy which waits has for its answer.
    :ivar explain_to_client: name the reason code in the 403.
    :ivar name: tells it from the route's other rules, in place of its number.
    :ivar filters: what is done with its requests and their responses.
    :ivar upgrades: see :class:`edgegw.model.HTTPSettings`, as for ``upgrade_idle_timeout``; ``None`` for what the
        listener says.
    """

    matches: tuple[RouteMatch, ...] = (RouteMatch(),)
    backends: tuple[BackendRef, ...] = ()
    client: ClientRequirement = ClientRequirement.NONE
    policies: tuple[PolicyRule, ...] | None = None
    policy_timeout: float = POLICY_TIMEOUT
    explain_to_client: bool = False
    name: str | None = None
    filters: Filters = NO_FILTERS
    upgrades: tuple[str, ...] | None = None
    upgrade_idle_timeout: float | None = None


@frozen
class Route:
    """Rules for some names.

    :ivar hostnames: exact or ``*.`` and a suffix, canonical; empty takes every name of its listeners.
    :ivar listeners: names of listeners that it is attached to; empty attaches it to all.
    """

    name: str
    hostnames: tuple[str, ...] = ()
    rules: tuple[RouteRule, ...] = ()
    listeners: tuple[str, ...] = ()
