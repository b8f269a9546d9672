"""Requests that wait for a connection, because an upstream may have no more of them."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final

from edgegw.deadlines import Deadlines
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.upstream.connection import UpstreamConnection

__all__ = ["NO_ROOM", "Waiting", "WaitingLine"]

#: The word for a request that has waited for too long.  No endpoint is to blame: waiting for another one is no remedy.
NO_ROOM: Final = "no_room"

#: Those of the longest waiting that are looked at for one that waits for a certain endpoint.
_LOOKED_AT: Final = 64


class Waiting:
    """One request; it gets a connection to its endpoint that others no longer need, or one of its own.

    :ivar pool: the endpoint; ``None`` once it waits no longer.
    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    deadline = inf
    watched_until = inf

    def __init__(
        self,
        line: WaitingLine,
        pool: Any,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[str, str], None],
        client: Any,
    ) -> None:
        self.pool: Any = pool
        self._client = client
        self._line = line
        self._connected = connected
        self._failed = failed
        self._opening: Any = None

    def give(self, connection: UpstreamConnection) -> None:
        """Send the request on a connection that came free, if it is still open and wanted."""
        if not connection.open or connection.transport.disconnecting:
            if not connection.open:
                connection.abandon()
            if self.pool is not None:
                self._line.enter(self, first=True)
        elif self.pool is None:
            connection.pool.put_back(connection)
        else:
            self._end()
            connection.pool.metrics.reused += 1
            self._connected(connection)

    def connect(self) -> None:
        """Open a connection for it: there is room now."""
        pool = self.pool
        self._end()
        self._opening = pool.open(self._connected, self._failed, self._client)

    def deadline_passed(self) -> None:
        """See ``Deadlines``: none came free in time."""
        if self.pool is not None:
            self._end()
            self._line.timed_out()
            self._failed(NO_ROOM, "no connection came free in time")

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._opening is not None:
            self._opening.cancel()
        elif self.pool is not None:
            self._end()

    def _end(self) -> None:
        self.pool = None
        self._line.left(self)


class WaitingLine:
    """Those that wait for an upstream, the longest waiting first.

    The connections of a configuration that is being replaced count too: whoever of them waits, hears of all.

    :param has_room: whether another connection may be opened.
    :param make_room: closes a connection that nobody uses, if there is one; says whether there is or will be room.
    :param timeout: seconds that each waits.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        metrics: UpstreamMetrics,
        has_room: Callable[[], bool],
        make_room: Callable[[], bool],
        timeout: float,
    ) -> None:
        self._reactor = reactor
        self._deadlines = deadlines
        self._metrics = metrics
        self.has_room = has_room
        self.make_room = make_room
        self._timeout = timeout
        self._line: deque[Waiting] = deque()
        self._looking = False
        metrics.state.lines.add(self)

    def wait(
        self,
        pool: Any,
        connected: Callable[[UpstreamConnection], None],
        failed: Callable[[str, str], None],
        client: Any = None,
    ) -> Waiting:
        """Let a request wait.

        :param client: whom the connection is for, where it begins with that.
        """
        waiting = Waiting(self, pool, connected, failed, client)
        self._metrics.waiting += 1
        self._deadlines.watch(waiting, monotonic() + self._timeout)
        self.enter(waiting)
        # Unused connections to other endpoints must not keep it waiting.
        if not self.make_room():
            any(line.make_room() for line in self._metrics.state.lines if line is not self)
        return waiting

    def enter(self, waiting: Waiting, first: bool = False) -> None:
        """Take a place, the last one or the first."""
        if first:
            self._line.appendleft(waiting)
        else:
            self._line.append(waiting)
        self.look()

    def left(self, waiting: Waiting) -> None:
        """One waits no longer."""
        self._metrics.waiting -= 1
        self._deadlines.forget(waiting)
        if len(self._line) > 32 and self._metrics.waiting < len(self._line) // 2:
            self._line = deque(one for one in self._line if one.pool is not None)

    def timed_out(self) -> None:
        """One has waited in vain."""
        self._metrics.limited["max_pending"] += 1

    def take_over(self, pool: Any, connection: UpstreamConnection) -> bool:
        """Give a connection that is needed no longer to whoever waits for it; whether it was taken.

        It is given in the reactor's next turn, since whoever had it is not done with it.  A connection to another
        endpoint than those that are waited for is closed to make room.
        """
        line = self._line
        while line and line[0].pool is None:
            line.popleft()
        if not line:
            return False
        for place, waiting in enumerate(line):
            if waiting.pool is pool:
                del line[place]
                self._reactor.callLater(0, waiting.give, connection)
                return True
            if place == _LOOKED_AT:
                break
        connection.close()
        return True

    def offer(self, pool: Any, connection: Any) -> bool:
        """Give a place on a connection that others use too to who has waited for it longest; whether it was taken."""
        for place, waiting in enumerate(self._line):
            if waiting.pool is pool:
                del self._line[place]
                self._reactor.callLater(0, waiting.give, connection)
                return True
            if place == _LOOKED_AT:
                break
        return False

    @property
    def is_waited_in(self) -> bool:
        """Whether anybody waits."""
        return any(waiting.pool is not None for waiting in self._line)

    def look(self) -> None:
        """Something may have changed: open connections where there is room, in the reactor's next turn."""
        if self._line and not self._looking:
            self._looking = True
            self._reactor.callLater(0, self._open)

    def _open(self) -> None:
        self._looking = False
        while self._line and self.has_room():
            waiting = self._line.popleft()
            if waiting.pool is not None:
                waiting.connect()
