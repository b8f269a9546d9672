"""Keeping the addresses of names up to date."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import uniform
from typing import Any, Final, Protocol

from attrs import evolve
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.model import Endpoint, EndpointKind, Upstream
from edgegw.observe.endpoints import FoundAddress
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.upstream.dns import Lookup, LookupFailed, sorted_addresses
from edgegw.upstream.pool import EndpointPool

__all__ = ["Resolving", "is_name"]

#: Addresses, and SRV records, that one answer may have.
_MOST: Final = 128
#: Seconds before the next try after a failure; twice as long after each.
_FIRST_RETRY: Final = 1.0
#: What the wait before a look-up is shortened by at most.
_JITTER: Final = 0.1

_log = Logger("edgegw.upstream")


def is_name(endpoint: Endpoint) -> bool:
    """Whether an endpoint of a configuration has to be looked up."""
    if endpoint.kind is EndpointKind.HOST:
        return not (isIPAddress(endpoint.host) or isIPv6Address(endpoint.host))
    return endpoint.kind is EndpointKind.SRV


class Resolved(Protocol):
    """Whose names are looked up."""

    model: Upstream
    metrics: UpstreamMetrics

    @property
    def origins(self) -> Mapping[Endpoint, Sequence[EndpointPool]]:
        """What was found for each endpoint of the configuration."""

    def use_addresses(self, origin: Endpoint, found: Sequence[FoundAddress]) -> None:
        """Take over what a name stands for."""


class Resolving:
    """Looks the names of an upstream up again and again, from :meth:`start` to :meth:`stop`."""

    def __init__(self, reactor: Any, upstream: Resolved) -> None:
        self._reactor = reactor
        self._upstream = upstream
        self._lookup = Lookup(reactor, upstream.model.resolution.servers)
        self._timers: dict[Endpoint, Any] = {}
        self._failures: dict[Endpoint, int] = {}
        self._stopped = False

    def start(self) -> None:
        """Begin."""
        for origin in self._upstream.origins:
            if is_name(origin):
                self._look_up(origin)

    def stop(self) -> None:
        """Look nothing up any more."""
        self._stopped = True
        timers, self._timers = self._timers, {}
        for timer in timers.values():
            timer.cancel()
        self._lookup.stop()

    def _look_up(self, origin: Endpoint) -> None:
        self._timers.pop(origin, None)
        looked_up = Deferred.fromCoroutine(self._found(origin))
        looked_up.addCallback(self._use, origin)
        looked_up.addErrback(self._failed, origin)
        looked_up.addErrback(lambda failure: _log.failure("after a look-up", failure))

    def _again(self, origin: Endpoint, seconds: float) -> None:
        bounds = self._upstream.model.resolution
        wait = min(max(seconds, bounds.min_interval), bounds.max_interval) * uniform(1 - _JITTER, 1)
        self._timers[origin] = self._reactor.callLater(wait, self._look_up, origin)

    async def _found(self, origin: Endpoint) -> tuple[list[FoundAddress], float]:
        """Give what an endpoint of the configuration stands for, and the seconds that it does.

        :raises LookupFailed: nobody knows.
        """
        if origin.kind is EndpointKind.HOST:
            return await self._addresses(origin, origin)
        found: list[FoundAddress] = []
        services = (await self._lookup.services(origin.host))[:_MOST]
        ttls = [service.ttl for service in services]
        problem = ""
        for service in services:
            target = Endpoint(
                service.target, service.port, max(1, service.weight), origin.priority + service.priority
            )
            try:
                addresses, ttl = await self._addresses(origin, target)
            except LookupFailed as error:
                problem = f"{service.target}: {error}"
                continue
            found += addresses
            ttls.append(ttl)
        if problem and not found:
            raise LookupFailed(problem)
        return self._distinct(origin, found)[:_MOST], 0.0 if problem else min(ttls, default=0.0)

    def _distinct(self, origin: Endpoint, found: Sequence[FoundAddress]) -> list[FoundAddress]:
        """Give each address once, by the name that it has had, if it still has that."""
        known = {str(pool.endpoint): pool.name for pool in self._upstream.origins[origin]}
        distinct: dict[str, FoundAddress] = {}
        for one in found:
            address = str(one.endpoint)
            before = distinct.setdefault(address, one)
            if before.name != one.name == known.get(address):
                distinct[address] = one
        return list(distinct.values())

    async def _addresses(self, origin: Endpoint, target: Endpoint) -> tuple[list[FoundAddress], float]:
        if isIPAddress(target.host) or isIPv6Address(target.host):
            return [FoundAddress(target, target.host)], float("inf")
        answer = await self._lookup.addresses(target.host)
        addresses = set(answer.addresses)
        for pool in self._upstream.origins[origin]:
            # What nobody has said anything of is as it was.
            family = 6 if ":" in pool.endpoint.host else 4
            if family in answer.unknown and pool.name == target.host and pool.endpoint.host != target.host:
                addresses.add(pool.endpoint.host)
        made = [evolve(target, host=address, kind=EndpointKind.HOST) for address in sorted_addresses(addresses)]
        return [FoundAddress(address, target.host) for address in made[:_MOST]], answer.ttl

    def _use(self, result: tuple[list[FoundAddress], float], origin: Endpoint) -> None:
        found, ttl = result
        if self._stopped:
            return
        upstream = self._upstream
        upstream.metrics.resolutions["success"] += 1
        if self._failures.pop(origin, None):
            _log.info("upstream {upstream}: {name} is found again", upstream=upstream.model.name, name=str(origin))
        upstream.metrics.state.resolved[origin] = tuple(found)
        upstream.use_addresses(origin, found)
        self._again(origin, ttl)

    def _failed(self, failure: Failure, origin: Endpoint) -> None:
        if self._stopped or failure.check(CancelledError):
            return
        upstream = self._upstream
        upstream.metrics.resolutions["failure"] += 1
        failures = self._failures[origin] = self._failures.get(origin, 0) + 1
        known = upstream.metrics.state.resolved.get(origin)
        if failures == 1:
            _log.warn(
                "upstream {upstream}: {name} cannot be looked up: {problem}; {known}",
                upstream=upstream.model.name, name=str(origin), problem=failure.getErrorMessage(),
                known="requests go to its last addresses" if known else "it has no endpoint until it can be",
            )
        if failure.check(LookupFailed) is None:
            _log.failure("while {name} was looked up", failure, name=str(origin))
        if known is None:
            # Not even the first time: there is nothing that a request could be sent to.
            upstream.use_addresses(origin, ())
        self._again(origin, _FIRST_RETRY * 2 ** min(failures - 1, 16))
