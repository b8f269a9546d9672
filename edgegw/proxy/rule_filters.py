"""The filters of one rule, ready for the data path."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from edgegw.filters.content_coding import CompressionRules
from edgegw.filters.cors import CORSRules
from edgegw.filters.header_changes import Field, HeaderChange, field
from edgegw.model import Filters, FixedResponse, Mirror, PathMatchType, Redirect, Rewrite, RouteRule
from edgegw.observe.metrics import RequestMetrics
from edgegw.proxy.external_auth import AuthService
from edgegw.proxy.mirroring import MirrorTarget
from edgegw.proxy.rate_limiting import RateLimiter
from edgegw.proxy.retrying import Tries
from edgegw.proxy.site import Backend

__all__ = ["Fixed", "RuleFilters", "Treatment"]


@frozen
class Fixed:
    """A fixed response, written."""

    status: int
    fields: list[Field]
    body: bytes

    @classmethod
    def of(cls, response: FixedResponse) -> Fixed:
        """Write one."""
        fields = [field(name.encode("ascii"), value.encode("latin-1")) for name, value in response.headers]
        if response.body and not any(name == b"content-type" for name, _, _ in fields):
            fields.append(field(b"content-type", b"text/plain; charset=utf-8"))
        return cls(response.status, fields, response.body)


@frozen
class Treatment:
    """What is done with the requests for one backend: the rule's filters and the backend's in one."""

    redirect: Redirect | None
    rewrite: Rewrite | None
    request: HeaderChange | None
    response: HeaderChange | None
    cors: CORSRules | None
    mirrors: tuple[MirrorTarget, ...]

    @classmethod
    def of(cls, rule: Filters, backend: Filters, mirrors: tuple[MirrorTarget, ...]) -> Treatment:
        """Put them together; see :class:`edgegw.model.Filters` for how."""
        cors = backend.cors or rule.cors
        return cls(
            backend.redirect or rule.redirect,
            backend.rewrite or rule.rewrite,
            _change(rule.request_headers, backend.request_headers),
            _change(rule.response_headers, backend.response_headers),
            None if cors is None else CORSRules(cors),
            mirrors,
        )


def _change(*modifiers: Any) -> HeaderChange | None:
    given = [one for one in modifiers if one is not None]
    return HeaderChange(*given) if given else None


class RuleFilters:
    """Everything that is done with a rule's requests beside passing them on.

    :ivar own: counts the requests that are answered here.
    :ivar prefix: that the rule matches, where it matches one.
    :ivar auth: decides about each of them; ``None`` lets all pass.
    :ivar compression: of its responses; ``None`` for none.
    :ivar limiter: how many requests it takes; ``None`` for any number.
    :ivar limit: bytes of a request's body; ``None`` for the listener's.
    :ivar seconds: that a request may take; 0 for no limit.
    :ivar tries: ``None`` where a request is sent as without filters.
    """

    __slots__ = (
        "_of_rule", "_treatments", "auth", "compression", "fixed", "limit", "limiter", "own", "prefix", "reactor",
        "seconds", "tries",
    )

    def __init__(
        self,
        reactor: Any,
        rule: RouteRule,
        backends: Mapping[Backend, Filters],
        own: RequestMetrics,
        limiter: RateLimiter | None,
        auth: AuthService | None,
        mirror: Callable[[Mirror], MirrorTarget],
    ) -> None:
        """
        :param backends: with their own filters.
        :param mirror: makes a mirror ready.
        """
        filters = rule.filters
        self.reactor = reactor
        self.own = own
        self.limiter = limiter
        self.auth = auth
        self.compression = None if filters.compression is None else CompressionRules(filters.compression)
        self.prefix = _prefix(rule)
        self.fixed = None if filters.fixed_response is None else Fixed.of(filters.fixed_response)
        self.limit = filters.max_body
        timeouts = filters.timeouts
        self.seconds = 0.0 if timeouts is None else timeouts.request
        self.tries: Tries | None = None
        if timeouts is not None or filters.retry is not None:
            seconds = 0.0 if timeouts is None else timeouts.backend_request
            self.tries = Tries(reactor, filters.retry, seconds, timeouts is not None)
        mirrors = tuple(map(mirror, filters.mirrors))
        self._of_rule = Treatment.of(filters, Filters(), mirrors)
        self._treatments = {
            backend: Treatment.of(filters, of_backend, (*mirrors, *map(mirror, of_backend.mirrors)))
            for backend, of_backend in backends.items()
        }

    def treatment(self, backend: Backend | None) -> Treatment:
        """Give what is done with requests for a backend, or where there is none."""
        return self._of_rule if backend is None else self._treatments[backend]


def _prefix(rule: RouteRule) -> str | None:
    """Give the prefix that a rule matches; ``None`` where there is not exactly one."""
    if len(rule.matches) != 1 or rule.matches[0].path.type is not PathMatchType.PATH_PREFIX:
        return None
    return rule.matches[0].path.value
