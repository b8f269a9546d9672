"""What is known of an upstream's endpoints.  It outlives reloads, as the counters do, by name and address.

So an endpoint that was found to be down stays out when a new configuration takes over, and two configurations of which
one is drained know the same.  It is bounded by what is configured and by what names resolve to: whatever no
configuration has any more is forgotten.
"""
from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any, Final, Protocol
from weakref import WeakSet

from attrs import frozen

from edgegw.model import Endpoint

__all__ = ["EJECTED", "FAILING", "READY", "STATES", "EndpointState", "FoundAddress", "OriginCounts", "UpstreamState"]

READY: Final = "ready"
#: Its health checks fail.
FAILING: Final = "failing"
#: It has failed requests, or was outrun.
EJECTED: Final = "ejected"
STATES: Final = (READY, FAILING, EJECTED)


@frozen
class FoundAddress:
    """An address that a name has.

    :ivar endpoint: the address.
    :ivar name: a host name of it, for Host and for TLS.
    """

    endpoint: Endpoint
    name: str


class OriginCounts:
    """What is counted of an endpoint as it is configured, whatever its addresses are.

    :ivar picks: requests that one of them was chosen for among several.
    :ivar ejections: how often one of them was left out.
    """

    __slots__ = ("ejections", "picks")

    def __init__(self) -> None:
        self.picks = 0
        self.ejections = 0


class EndpointState:
    """One address of an upstream.

    Moments are by :func:`time.monotonic`.

    :ivar address: as it is configured or was found.
    :ivar origin: the endpoint as it is configured, which may be a name of several addresses.
    :ivar counts: of that endpoint.
    :ivar users: pools of one configuration or another that have it.
    :ivar picks: requests that it was chosen for among several.
    :ivar failing: whether health checks have found it down.
    :ivar checks_passed: in a row; so ``checks_failed``.
    :ivar last_check: how the last one went; empty before the first.
    :ivar ejected_until: when it may be used again; 0 where it may be used.
    :ivar outrun_until: until when an address of the other family is used in its place that was faster to connect to.
    :ivar ejections: how often it was taken out.
    :ivar recent_ejections: how often lately, which makes the next one longer.
    :ivar errors: failures in a row by what the outlier detection counts.
    :ivar usable_since: when it was new, or healthy again; ``-inf`` before anybody looked.
    """

    __slots__ = (
        "address", "checks_failed", "checks_passed", "counts", "ejected_until", "ejections", "errors", "failing",
        "last_check", "origin", "outrun_until", "picks", "recent_ejections", "usable_since", "users",
    )

    def __init__(self, address: str, origin: str, counts: OriginCounts, usable_since: float = -inf) -> None:
        self.address = address
        self.counts = counts
        self.origin = origin
        self.users = 0
        self.picks = 0
        self.failing = False
        self.checks_passed = 0
        self.checks_failed = 0
        self.last_check = ""
        self.ejected_until = 0.0
        self.outrun_until = 0.0
        self.ejections = 0
        self.recent_ejections = 0
        self.errors: dict[str, int] = {}
        self.usable_since = usable_since

    def works(self, now: float) -> bool:
        """Whether nothing speaks against it, except that another one may be faster."""
        return not self.failing and self.ejected_until <= now

    def is_usable(self, now: float) -> bool:
        """Whether requests are sent to it."""
        return not self.failing and self.out_until <= now

    @property
    def out_until(self) -> float:
        """When it may be used again, after it has failed or was outrun."""
        return max(self.ejected_until, self.outrun_until)

    def pick(self) -> None:
        """A request goes there."""
        self.picks += 1
        self.counts.picks += 1

    def word(self, now: float) -> str:
        """Give its state, one of :data:`STATES`."""
        return FAILING if self.failing else EJECTED if self.out_until > now else READY


class Line(Protocol):
    """Where requests wait for a connection; see :class:`edgegw.upstream.waiting.WaitingLine`."""

    def look(self) -> None:
        """There may be room for another connection."""

    def make_room(self) -> bool:
        """Close a connection that nobody uses, if there is one; whether there is or will be room."""

    def take_over(self, pool: Any, connection: Any) -> bool:
        """Take a connection that is needed no longer, if anybody waits."""

    def offer(self, pool: Any, connection: Any) -> bool:
        """Take a place on a connection, if anybody waits for its endpoint."""

    @property
    def is_waited_in(self) -> bool:
        """Whether anybody waits."""


class UpstreamState:
    """The endpoints of one upstream.

    :ivar endpoints: by address.
    :ivar lines: of every configuration whose connections count against a limit: they all count together.
    :ivar counts: by the endpoint as it is configured, for as long as a configuration has it.
    :ivar resolved: what the last answer for a name was, for as long as a configuration has it.
    :ivar origins: how many configurations have an endpoint.
    :ivar version: is another one whenever something has changed that balancing depends on.
    """

    __slots__ = ("counts", "endpoints", "lines", "origins", "resolved", "version")

    def __init__(self) -> None:
        self.lines: WeakSet[Line] = WeakSet()
        self.endpoints: dict[str, EndpointState] = {}
        self.counts: dict[str, OriginCounts] = {}
        self.resolved: dict[Endpoint, tuple[FoundAddress, ...]] = {}
        self.origins: dict[Endpoint, int] = {}
        self.version = 0

    def use(self, origins: Iterable[Endpoint]) -> None:
        """A configuration has these endpoints, until :meth:`leave`."""
        for origin in origins:
            self.origins[origin] = self.origins.get(origin, 0) + 1

    def leave(self, origins: Iterable[Endpoint]) -> None:
        """A configuration is not used any more: forget what no other one has."""
        for origin in origins:
            self.origins[origin] -= 1
            if not self.origins[origin]:
                del self.origins[origin]
                self.resolved.pop(origin, None)
        left = {str(origin) for origin in self.origins}
        self.counts = {origin: counts for origin, counts in self.counts.items() if origin in left}

    def take(self, address: str, origin: str, usable_since: float = -inf) -> EndpointState:
        """Give what is known of an address, to be given back by :meth:`release`.

        :param usable_since: where nothing is known yet.
        """
        state = self.endpoints.get(address)
        if state is None:
            state = self.endpoints[address] = EndpointState(
                address, origin, self.counts.setdefault(origin, OriginCounts()), usable_since
            )
        state.users += 1
        return state

    def release(self, address: str) -> None:
        """One pool less has it."""
        state = self.endpoints.get(address)
        if state is not None:
            state.users -= 1
            if state.users <= 0:
                del self.endpoints[address]
