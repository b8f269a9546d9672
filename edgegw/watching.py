"""Files and directories of a configuration, looked at until something in them changes.

A timer looks about once a second; looking happens on the reactor's thread pool, so that a slow disk holds up no
connection.  A change is told once two looks in a row have found the same: whoever copies many files has finished then.
What is followed is what the configuration would read: directories with everything below them, but for names that begin
with a dot or end with ``~``.  The ``..data`` symbolic link that Kubernetes turns over is seen by what its files
lead to.
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

__all__ = ["Watch", "look"]

#: Seconds between two looks.
INTERVAL: Final = 1.0
#: More files than any configuration has: what is beyond them is not looked at.
_MOST_FILES: Final = 100_000

_log = Logger(namespace="edgegw.watching")

#: Path, device, inode, size, time of the content.
Seen = tuple[tuple[str, int, int, int, int], ...]


def look(paths: Sequence[str]) -> Seen:
    """Say what is there now; what cannot be looked at is left out."""
    found: list[tuple[str, int, int, int, int]] = []
    for path in paths:
        if os.path.isdir(path):
            for directory, inner, names in os.walk(path, followlinks=True):
                inner[:] = sorted(name for name in inner if not name.startswith("."))
                for name in sorted(names):
                    if not name.startswith(".") and not name.endswith("~"):
                        _add(os.path.join(directory, name), found)
                if len(found) > _MOST_FILES:
                    break
        else:
            _add(path, found)
    return tuple(found)


def _add(path: str, found: list[tuple[str, int, int, int, int]]) -> None:
    try:
        seen = os.stat(path)
    except OSError:
        return
    found.append((path, seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns))


class Watch(Service):
    """Calls when files change.

    :param reactor: provides ``IReactorTime`` and ``IReactorThreads``.
    :param paths: files and directories, absolute.
    :param changed: called after a change; what it gives is waited for before the next look.
    """

    def __init__(
        self, reactor: Any, paths: Sequence[str], changed: Callable[[], Deferred[Any]], interval: float = INTERVAL
    ) -> None:
        self._reactor = reactor
        self._paths = tuple(paths)
        self._changed = changed
        self._interval = interval
        self._timer: IDelayedCall | None = None
        self._known: Seen | None = None
        self._pending: Seen | None = None

    def startService(self) -> None:
        """Begin to look; what is there now counts as known."""
        if self.running:
            return
        super().startService()
        self._known = look(self._paths)
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
        looking = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), look, self._paths)
        looking.addCallback(self._compare)
        looking.addErrback(lambda failure: _log.failure("while the configuration's files were looked at", failure))
        looking.addBoth(lambda _: self._wait())

    def _compare(self, seen: Seen) -> Deferred[Any] | None:
        if not self.running or seen == self._known:
            self._pending = None
            return None
        if seen != self._pending:
            self._pending = seen
            return None
        self._known, self._pending = seen, None
        _log.info("The configuration's files have changed")
        return self._changed()
