"""How a tunnel comes to an endpoint of its upstream: to the one that it is given, or the next that can be reached."""
from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from twisted.logger import Logger

from edgegw.proxy.tunnel_settings import TotalTime, TunnelSettings
from edgegw.upstream.pool import EndpointPool, Opening
from edgegw.upstream.waiting import NO_ROOM

__all__ = ["ReachesUpstream"]

_log = Logger(namespace="edgegw.tunnel")


class ReachesUpstream:
    """Mixed into tunnels: tries endpoints until one is connected to."""

    #: There is no request whose header could be looked at.
    header_lines = b""
    _settings: TunnelSettings
    _dialling: Opening | None = None
    _tried: Collection[EndpointPool] = ()
    _total: TotalTime | None = None

    def reach_upstream(self) -> None:
        """Begin."""
        settings = self._settings
        endpoint = settings.upstream.next_endpoint(self)  # type: ignore[arg-type]  # a tunnel has what it looks at
        if endpoint is None:
            _log.warn("upstream {upstream}: there is no endpoint", upstream=settings.upstream.model.name)
            self.unreachable()
            return
        if settings.max_duration is not None:
            self._total = settings.total_time(self.time_is_up)
        self._connect(endpoint)

    def _connect(self, endpoint: EndpointPool) -> None:
        line = endpoint.line
        if line is None or line.has_room():
            self._dialling = self.dial(endpoint)
        else:
            self._dialling = line.wait(_Turn(self.dial, endpoint), _never, partial(self.connect_failed, endpoint))

    def connect_failed(self, endpoint: EndpointPool, word: str, text: str) -> None:
        """An endpoint cannot be reached: try the next one, or give up.

        Never called from within :meth:`dial`.

        :param word: see :meth:`edgegw.upstream.pool.EndpointPool.connect`.
        """
        self._dialling = None
        upstream = self._settings.upstream
        _log.warn(
            "upstream {upstream}: cannot connect to {endpoint}: {word}: {text}",
            upstream=upstream.model.name, endpoint=str(endpoint.endpoint), word=word, text=text,
        )
        self._tried = {*self._tried, endpoint}
        following = None
        if word != NO_ROOM:
            following = upstream.another_endpoint(self, self._tried)  # type: ignore[arg-type]  # as in reach_upstream
        if following is None:
            self.unreachable()
        else:
            self._connect(following)

    def reach_no_more(self) -> None:
        """The tunnel is at its end."""
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        total, self._total = self._total, None
        if total is not None:
            total.stop()

    # --- what a tunnel does -------------------------------------------------------------------

    def dial(self, endpoint: EndpointPool) -> Opening | None:
        """Open a connection to an endpoint; ``None`` where it is open already."""
        raise NotImplementedError

    def unreachable(self) -> None:
        """Close: there is no endpoint that can be reached."""
        raise NotImplementedError

    def time_is_up(self) -> None:
        """Close: it has lasted as long as it may."""
        raise NotImplementedError


class _Turn:
    """What a tunnel waits for in its upstream's line: no connection that was there before is of any use to it."""

    def __init__(self, dial: Callable[[EndpointPool], Any], endpoint: EndpointPool) -> None:
        self._dial = dial
        self._endpoint = endpoint

    def open(self, connected: object, failed: object, client: object) -> Any:
        """There is room now."""
        return self._dial(self._endpoint)


def _never(connection: object) -> None:
    """Take a connection that nobody gives."""
