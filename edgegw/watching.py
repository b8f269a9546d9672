"""Files and directories of a configuration, looked at until something in them changes.

A timer looks about once a second; looking happens on the reactor's thread pool, so that a slow disk holds up no
connection.  A change is told once two looks in a row have found the same: whoever copies many files has finished then.
What is followed is what the configuration reads, see :func:`edgegw.gateway_api.manifest_files.files_below`.  The
``..data`` symbolic link that Kubernetes turns over is seen by what its files lead to.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from edgegw.gateway_api.manifest_files import MAX_FILES, files_below

__all__ = ["Watch", "Watched", "look"]

#: Seconds between two looks.
INTERVAL: Final = 1.0

_log = Logger(namespace="edgegw.watching")

#: Path, device, inode, size, time of the content, time of the inode, which tells of permissions.
Seen = tuple[tuple[str, int, int, int, int, int], ...]


def look(paths: Sequence[str]) -> Seen:
    """Say what is there now; what cannot be looked at is left out."""
    found: list[tuple[str, int, int, int, int, int]] = []
    for path in paths:
        if not os.path.isdir(path):
            _add(path, found)
            continue
        try:
            for file in files_below(path):
                _add(file, found)
                if len(found) > MAX_FILES:
                    break
        except OSError as error:
            # That it cannot be read is something that may change, also where no file comes or goes by it.
            found.append((str(error.filename), error.errno or 0, 0, 0, 0, 0))
    return tuple(found)


def _add(path: str, found: list[tuple[str, int, int, int, int, int]]) -> None:
    try:
        seen = os.stat(path)
    except OSError:
        return
    found.append((path, seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))


class Watched:
    """Files and directories of a configuration, and what they were like when it was read last.

    :param paths: absolute.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        self.known: Seen = ()

    def note(self) -> None:
        """Remember what is there; to be called before it is read, so that no change is missed."""
        self.known = look(self.paths)


class Watch(Service):
    """Calls when files are no longer as they were read.

    :param reactor: provides ``IReactorTime`` and ``IReactorThreads``.
    :param changed: called after a change, to have them read again; what it gives is waited for before the next look.
    """

    def __init__(
        self, reactor: Any, watched: Watched, changed: Callable[[], Deferred[Any]], interval: float | None = None
    ) -> None:
        self._reactor = reactor
        self._watched = watched
        self._changed = changed
        self._interval = INTERVAL if interval is None else interval
        self._timer: IDelayedCall | None = None
        self._pending: Seen | None = None

    def startService(self) -> None:
        """Begin to look."""
        if not self.running:
            super().startService()
            self._wait()

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        if self.running:
            self._timer = self._reactor.callLater(self._interval, self._look)

    def _look(self) -> None:
        self._timer = None
        looking = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), look, self._watched.paths)
        looking.addCallback(self._compare)
        looking.addErrback(lambda failure: _log.failure("while the configuration's files were looked at", failure))
        looking.addBoth(lambda _: self._wait())

    def _compare(self, seen: Seen) -> Deferred[Any] | None:
        if not self.running or seen == self._watched.known:
            self._pending = None
            return None
        if seen != self._pending:
            self._pending = seen
            return None
        self._pending = None
        _log.info("The configuration's files have changed")
        return self._changed()
