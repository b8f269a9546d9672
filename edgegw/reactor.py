"""Twisted's epoll reactor without the log context of each event.

Twisted wraps every readable and writable event in a logging context, so that what old-style log
messages say can be traced to a connection.  Nothing here logs that way, and the wrapping costs a
tenth of a small request.  ``edgegw run`` installs this reactor; ``twistd --reactor=edgegw edgegw`` does,
and every other reactor works too.
"""
from __future__ import annotations

import errno
from select import EPOLLIN
from typing import Any

from twisted.internet import main
from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger

__all__ = ["EdgeReactor", "install"]

_log = Logger("edgegw.reactor")


class EdgeReactor(EPollReactor):
    """Calls what is ready straight from the poller.

    :ivar turn: counts the turns; what is called in one turn sees one number.
    """

    turn = 0

    def __init__(self) -> None:
        #: Whose sockets were closed in this turn: what was told of them is nothing to others with their numbers.
        self._forgotten: set[int] = set()
        super().__init__()

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events and call what they are for."""
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        self.turn += 1
        selectables = self._selectables
        forgotten = self._forgotten
        forgotten.clear()
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:
                continue  # an event before it in this turn has closed it
            try:
                if event == EPOLLIN:
                    why = selectable.doRead()
                    if why is not None:
                        self._disconnectSelectable(selectable, why, True)
                elif fd not in forgotten:
                    # Bytes that there are not are no harm, but an end would be.
                    self._doReadOrWrite(selectable, fd, event)
            except Exception:
                _log.failure("while {selectable!r} was ready", selectable=selectable)
                self._disconnectSelectable(selectable, main.CONNECTION_LOST, False)

    doIteration = doPoll

    def forget(self, selectable: Any) -> None:
        """Call a transport no more whose socket is closed directly after this.

        The kernel takes a closed socket out of the poller by itself; asking it to is a system call more
        for each connection.
        """
        fd = selectable.fileno()
        self._forgotten.add(fd)
        self._reads.discard(fd)
        self._writes.discard(fd)
        self._selectables.pop(fd, None)

    def hand_over(self, before: Any, after: Any) -> bool:
        """Call another in place of one that reads and has the same descriptor, without a system call.

        :returns: whether that was possible.
        """
        fd = after.fileno()
        if fd not in self._reads or fd in self._writes or self._selectables.get(fd) is not before:
            return False
        self._selectables[fd] = after
        return True


def install() -> EdgeReactor:
    """Make this the process's reactor; before anything imports ``twisted.internet.reactor``.

    :raises ReactorAlreadyInstalledError: something has.
    """
    reactor = EdgeReactor()
    main.installReactor(reactor)
    return reactor
