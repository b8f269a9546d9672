"""What a request must be for a route's rule to apply (Gateway API ``HTTPRouteMatch``)."""
from __future__ import annotations

from enum import Enum

from attrs import Factory, frozen

__all__ = [
    "HeaderMatch",
    "IdentityMatch",
    "PathMatch",
    "PathMatchType",
    "QueryParamMatch",
    "RouteMatch",
    "ValueMatchType",
]


class PathMatchType(Enum):
    """How a path is compared (Gateway API ``PathMatchType``)."""

    EXACT = "Exact"
    PATH_PREFIX = "PathPrefix"
    REGULAR_EXPRESSION = "RegularExpression"


class ValueMatchType(Enum):
    """How a value is compared (Gateway API ``HeaderMatchType``), or that there must be one."""

    EXACT = "Exact"
    REGULAR_EXPRESSION = "RegularExpression"
    PRESENT = "Present"


@frozen
class PathMatch:
    """A condition on the request's path.

    A prefix matches by whole elements (``/v2`` is not ``/v2x``); a regular expression is RE2's and matches the whole
    path.
    """

    type: PathMatchType = PathMatchType.PATH_PREFIX
    value: str = "/"


@frozen
class HeaderMatch:
    """A condition on one header: one of its lines must meet it.

    :ivar name: lower-case.
    :ivar value: of a regular expression (RE2) the whole value; ``None`` exactly for ``PRESENT``.
    """

    name: str
    value: str | None = None
    type: ValueMatchType = ValueMatchType.EXACT


@frozen
class QueryParamMatch:
    """A condition on one parameter of the query, the first of its name.

    :ivar name: decoded, as ``value`` is.
    :ivar value: of a regular expression (RE2) the whole value; ``None`` exactly for ``PRESENT``.
    """

    name: str
    value: str | None = None
    type: ValueMatchType = ValueMatchType.EXACT


@frozen
class IdentityMatch:
    """A condition on who the client is.

    :ivar fact: one of :data:`edgegw.identity.FACTS`, or ``attribute:`` and the name of an attribute that policies
        give.  Facts of a certificate, and attributes, are those of a verified one.
    :ivar value: of a regular expression (RE2) the whole value; ``None`` exactly for ``PRESENT``.
    """

    fact: str
    value: str | None = None
    type: ValueMatchType = ValueMatchType.EXACT


@frozen
class RouteMatch:
    """What a request must be for a rule to apply: all of the conditions.

    :ivar method: as it is sent; ``None`` for any.
    """

    path: PathMatch = Factory(PathMatch)
    method: str | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query_params: tuple[QueryParamMatch, ...] = ()
    identity: tuple[IdentityMatch, ...] = ()
