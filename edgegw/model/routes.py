"""Which requests go where, and what is done with them on the way (Gateway API ``HTTPRoute``)."""
from __future__ import annotations

from enum import Enum

from attrs import Factory, frozen

from edgegw.model.filters import NO_FILTERS, Filters
from edgegw.model.policies import POLICY_TIMEOUT, ClientRequirement, PolicyRule

__all__ = ["BackendRef", "PathMatch", "PathMatchType", "Route", "RouteMatch", "RouteRule"]


class PathMatchType(Enum):
    """How a path is compared (Gateway API ``PathMatchType``)."""

    EXACT = "Exact"
    PATH_PREFIX = "PathPrefix"


@frozen
class PathMatch:
    """A condition on the request's path; a prefix matches by whole elements (``/v2`` is not ``/v2x``)."""

    type: PathMatchType = PathMatchType.PATH_PREFIX
    value: str = "/"


@frozen
class RouteMatch:
    """What a request must be for a rule to apply: all of the conditions."""

    path: PathMatch = Factory(PathMatch)


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
    :ivar filters: what is done with its requests and their responses.
    """

    matches: tuple[RouteMatch, ...] = (RouteMatch(),)
    backends: tuple[BackendRef, ...] = ()
    client: ClientRequirement = ClientRequirement.NONE
    policies: tuple[PolicyRule, ...] | None = None
    policy_timeout: float = POLICY_TIMEOUT
    explain_to_client: bool = False
    filters: Filters = NO_FILTERS


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
