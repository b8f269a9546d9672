"""Happy Eyeballs (RFC 8305): where a name has addresses of both families, a slow connection gets a rival."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from edgegw.upstream.connection import UpstreamConnection

__all__ = ["Race"]

#: Seconds before the rival starts (RFC 8305 §5, "Connection Attempt Delay").
DELAY: Final = 0.25


class Race:
    """A connection that is being opened, to one address and, where that takes long or fails, to another.

    :param pool: of the first address; its ``open_one`` opens a connection.
    :param rival: of the other one; it starts late where it has no room for a connection, nor one that is kept.
    :param failed: called once both have failed.
    :param outrun: called with the rival where that has carried the day.
    :param client: whom the connection is for, where it begins with that.
    """

    def __init__(
        self,
        reactor: Any,
        pool: Any,
        rival: Any,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[str, str], None],
        outrun: Callable[[Any], None],
        client: Any = None,
    ) -> None:
        self._first = pool
        self._outrun = outrun
        self._client = client
        self._rival = rival
        self._connected = connected
        self._failed = failed
        self._running: dict[Any, Any] = {}
        self._over = False
        self._timer: Any = reactor.callLater(DELAY, self._time_is_up)
        self._start(pool)

    def _start(self, pool: Any) -> None:
        self._running[pool] = None
        opening = pool.open_one(
            lambda connection: self._won(pool, connection), lambda *why: self._lost(pool, *why), self._client
        )
        if pool in self._running:
            self._running[pool] = opening

    def _time_is_up(self) -> None:
        # Where there may be no more connections the rival has to wait until the first has failed.
        if self._rival is not None and (self._rival.idle or self._rival.has_room()):
            self._start_rival()

    def _start_rival(self) -> None:
        rival, self._rival = self._rival, None
        self._stop_timer()
        if rival is None:
            return
        kept = rival.take()
        if kept is None:
            self._start(rival)
        else:
            self._running[rival] = None
            self._won(rival, kept)

    def _won(self, pool: Any, connection: UpstreamConnection) -> None:
        del self._running[pool]
        self._end()
        if pool is not self._first:
            self._outrun(pool)
        self._connected(connection)

    def _lost(self, pool: Any, word: str, text: str) -> None:
        del self._running[pool]
        if self._rival is not None:
            self._start_rival()
        elif not self._running and not self._over:
            self._end()
            self._failed(word, text)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._end()

    def _end(self) -> None:
        self._over = True
        self._rival = None
        self._stop_timer()
        running, self._running = self._running, {}
        for opening in running.values():
            if opening is not None:
                opening.cancel()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
