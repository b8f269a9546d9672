"""Leaving endpoints out for a while that fail requests (passive health checks, Envoy's outlier detection)."""
from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from twisted.logger import Logger

from edgegw.model import OutlierDetection
from edgegw.observe.endpoints import EndpointState, UpstreamState

__all__ = ["OutlierDetector"]

_log = Logger("edgegw.upstream")
_5XX, _GATEWAY, _CONNECT = "consecutive_5xx", "consecutive_gateway_errors", "consecutive_connect_failures"
_GATEWAY_ERRORS = frozenset({502, 503, 504})


class OutlierDetector:
    """Judges the endpoints of one upstream.

    :param states: gives what is known of those that there are now.
    """

    def __init__(
        self,
        upstream: str,
        detection: OutlierDetection,
        known: UpstreamState,
        states: Callable[[], list[EndpointState]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._upstream = upstream
        self._detection = detection
        self._known = known
        self._states = states
        self._clock = clock
        self._limits = {
            _5XX: detection.consecutive_5xx,
            _GATEWAY: detection.consecutive_gateway_errors,
            _CONNECT: detection.consecutive_connect_failures,
        }

    def answered(self, state: EndpointState, status: int) -> None:
        """A response has begun."""
        if status < 500:
            if state.errors:
                state.errors.pop(_5XX, None)
                state.errors.pop(_GATEWAY, None)
            return
        self._count(state, _5XX)
        if status in _GATEWAY_ERRORS:
            self._count(state, _GATEWAY)
        else:
            state.errors.pop(_GATEWAY, None)

    def failed(self, state: EndpointState) -> None:
        """There was no response, or not all of it."""
        self._count(state, _5XX)
        self._count(state, _GATEWAY)

    def connected(self, state: EndpointState) -> None:
        """A connection was opened."""
        if state.errors:
            state.errors.pop(_CONNECT, None)

    def connect_failed(self, state: EndpointState) -> None:
        """A connection could not be opened."""
        self._count(state, _CONNECT)

    def _count(self, state: EndpointState, what: str) -> None:
        number = state.errors[what] = state.errors.get(what, 0) + 1
        limit = self._limits[what]
        if limit is not None and number >= limit:
            self._eject(state, what)

    def _eject(self, state: EndpointState, why: str) -> None:
        now = self._clock()
        if state.ejected_until > now:
            return  # what was on its way when it was taken out
        states = self._states()
        usable = sum(one.is_usable(now) for one in states)
        out = sum(one.out_until > now for one in states)
        if (out + 1) * 100 > self._detection.max_ejected * len(states) or usable <= state.is_usable(now):
            return
        detection = self._detection
        if now > state.ejected_until + detection.max_ejection_time:
            state.recent_ejections = 0
        state.recent_ejections += 1
        seconds = min(detection.base_ejection_time * state.recent_ejections, detection.max_ejection_time)
        state.ejected_until = now + seconds
        state.ejections += 1
        state.counts.ejections += 1
        state.errors.clear()
        self._known.version += 1
        _log.warn(
            "upstream {upstream}: {endpoint} is left out for {seconds:g} s: {why}",
            upstream=self._upstream, endpoint=state.address, seconds=seconds, why=why,
        )
