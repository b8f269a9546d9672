"""Files that are read again whenever they change.

One timer looks at all files of a configuration about once a second; looking, reading and making something of the
bytes happen on the reactor's thread pool, so that neither a slow disk nor a list of a million lines holds
up a connection.  A file counts as changed when what its path leads to has another inode, size or time: that
sees an editor's rename, a write in place, and the ``..data`` symbolic link that Kubernetes turns over.

Nothing here is a guard against a writer that is seen half-way: who writes a file in place may have the beginning
of it read, and the rest a second later.  A new file that is renamed over the old one is never seen in part.
"""
from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.interfaces import IFollowed

__all__ = ["FileFollower", "FollowedFile", "read_regular_file"]

#: Seconds between two looks.
INTERVAL: Final = 1.0
#: A file whose times are younger than these nanoseconds when it is read may be written once more without their
#: changing, since file systems' clocks tick coarsely: it is read again at the next look.
_RECENT: Final = 2_000_000_000
#: Times that a file which changes while it is read is begun anew at once.
_ATTEMPTS: Final = 3
_MOST_ERROR: Final = 2000

_log = Logger("edgegw.following")

#: Device, inode, size, time of the content, time of the inode; nanoseconds.
Signature = tuple[int, int, int, int, int]


class _StillChanging(OSError):
    """A file was written while it was read."""


def _signature(found: os.stat_result) -> Signature:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _look(paths: Sequence[str]) -> list[Signature | None]:
    """Give what each path leads to; ``None`` where it leads nowhere."""
    seen: list[Signature | None] = []
    for path in paths:
        try:
            seen.append(_signature(os.stat(path)))
        except OSError:
            seen.append(None)
    return seen


def read_regular_file(path: str, limit: int) -> tuple[Signature, bytes]:
    """Read a file as a whole, and tell which one it was.

    :raises OSError: it cannot be read, is no regular file, or goes on changing meanwhile.
    :raises ValueError: it has more than ``limit`` bytes.
    """
    for _ in range(_ATTEMPTS):
        # Opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            # open() below would refuse a directory, too, and leave the descriptor open.
            os.close(descriptor)
            raise OSError(f"{path} is no regular file")
        with open(descriptor, "rb") as file:
            if before.st_size > limit:
                raise ValueError(f"has {before.st_size} bytes; {limit} are allowed")
            data = file.read(limit + 1)
            after = os.fstat(descriptor)
        if len(data) == after.st_size and _signature(before) == _signature(after):
            return _signature(after), data
    raise _StillChanging(f"{path} is written while it is read")


@frozen(eq=False)
class _Reading:
    """What came of reading a file.

    :ivar signature: of the file that was read; ``None`` if it could not be.
    :ivar digest: SHA-256 of the bytes.
    :ivar same: whether they are those of the value in use.
    :ivar recent: whether they might be written again unseen.
    :ivar error: why there is no value.
    """

    signature: Signature | None = None
    digest: bytes = b""
    value: Any = None
    same: bool = False
    recent: bool = False
    error: Exception | None = None


def _read(path: str, read: Callable[[bytes], Any], limit: int, known: bytes) -> _Reading:
    now = time.time_ns()
    try:
        signature, data = read_regular_file(path, limit)
    except ValueError as error:
        # Too long: it need not be opened again before it has changed.
        return _Reading(_look([path])[0], error=error)
    except Exception as error:
        return _Reading(error=error)
    recent = now - max(signature[3:]) < _RECENT
    digest = sha256(data).digest()
    if digest == known:
        return _Reading(signature, digest, same=True, recent=recent)
    try:
        return _Reading(signature, digest, read(data), recent=recent)
    except Exception as error:
        return _Reading(signature, error=error, recent=recent)


@implementer(IFollowed)
class FollowedFile:
    """One file, followed.

    :ivar value: see :class:`~edgegw.interfaces.IFollowed`, as for ``error``.
    """

    def __init__(
        self,
        path: str,
        read: Callable[[bytes], Any],
        limit: int,
        changed: Callable[[], None],
        failed: Callable[[str, Failure | None], None],
    ) -> None:
        """:raises Exception: see :meth:`FileFollower.follow`."""
        self.path = path
        self.error = ""
        self._read = read
        self._limit = limit
        self._changed = changed
        self._failed = failed
        first = _read(path, read, limit, b"")
        if isinstance(first.error, ValueError):
            raise ValueError(f"{path}: {first.error}") from first.error
        if first.error is not None:
            raise first.error
        self.value: Any = first.value
        self._digest = first.digest
        self._signature = first.signature
        self._unsettled = first.recent
        self._reading = False

    def due(self, seen: Signature | None) -> bool:
        """Whether it must be read, given what its path leads to now."""
        return not self._reading and (self._unsettled or seen != self._signature)

    def begin(self) -> _Reading:
        """Read it; called on another thread, while nobody else reads it."""
        return _read(self.path, self._read, self._limit, self._digest)

    def started(self) -> None:
        """It is going to be read."""
        self._reading = True

    def finish(self, reading: _Reading) -> None:
        """Take what was read into use."""
        self._reading = False
        self._unsettled = reading.recent and reading.signature != self._signature
        known, self._signature = self._signature, reading.signature
        if reading.error is not None:
            self._complain(reading.error, reading.signature != known)
        elif reading.same:
            if self.error:
                _log.info("{path} can be used again", path=self.path)
            self.error = ""
        else:
            self.value, self._digest, self.error = reading.value, reading.digest, ""
            _log.info("{path} has changed and is in use", path=self.path)
            self._changed()

    def _complain(self, error: Exception, news: bool) -> None:
        text = _told(self.path, error)
        # A file that stays missing is looked for every second, and missed once.
        if news or text != self.error:
            self.error = text
            self._failed(text, None if isinstance(error, (OSError, ValueError)) else Failure(error))


def _told(path: str, error: Exception) -> str:
    if isinstance(error, OSError):
        said = f"{path}: {error.strerror}" if error.strerror else str(error)
    elif isinstance(error, ValueError):
        said = f"{path}: {error}"
    else:
        said = f"{path}: {type(error).__name__}: {error}"
    return said[:_MOST_ERROR]


class FileFollower:
    """Follows the files of one configuration.

    :param reactor: provides ``IReactorTime`` and ``IReactorThreads``.
    """

    def __init__(self, reactor: Any, interval: float = INTERVAL) -> None:
        self._reactor = reactor
        self._interval = interval
        self._files: list[FollowedFile] = []
        self._timer: IDelayedCall | None = None
        self._running = False
        self._stopped = False

    def follow(
        self,
        path: str,
        read: Callable[[bytes], Any],
        limit: int,
        changed: Callable[[], None],
        failed: Callable[[str, Failure | None], None],
    ) -> FollowedFile:
        """Read a file now, on whatever thread this is, and follow it from :meth:`start` on.

        :param changed: called when there is a new value.
        :param failed: called with what is wrong with the file as it is now, and a traceback if ``read`` raised
            something other than ``OSError`` and ``ValueError``.
        :raises OSError: it cannot be read.
        :raises ValueError: it is longer than ``limit`` bytes, or ``read`` raised it, as anything else may be raised.
        """
        followed = FollowedFile(path, read, limit, changed, failed)
        if not self._stopped:
            self._files.append(followed)
        return followed

    def start(self) -> None:
        """Begin to look."""
        if not self._running and not self._stopped:
            self._running = True
            self._wait()

    def stop(self) -> None:
        """Look no more; what is being read is dropped when it comes."""
        self._stopped = True
        self._files.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        if not self._stopped:
            self._timer = self._reactor.callLater(self._interval, self._look)

    def _look(self) -> None:
        self._timer = None
        files = tuple(self._files)
        if not files:
            self._wait()
            return
        looking = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), _look, [followed.path for followed in files]
        )
        looking.addCallback(self._compare, files)
        looking.addErrback(lambda failure: _log.failure("while files were looked at", failure))
        looking.addBoth(lambda _: self._wait())

    def _compare(self, seen: list[Signature | None], files: tuple[FollowedFile, ...]) -> None:
        if self._stopped:
            return
        for followed, signature in zip(files, seen, strict=True):
            if followed.due(signature):
                followed.started()
                reading = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), followed.begin)
                # Whatever else may come out of a thread, a SystemExit of a plugin's for example.
                reading.addErrback(lambda failure: _Reading(error=RuntimeError(repr(failure.value))))
                reading.addCallback(self._finish, followed)
                reading.addErrback(lambda failure: _log.failure("while a file was taken into use", failure))

    def _finish(self, reading: _Reading, followed: FollowedFile) -> None:
        if not self._stopped:
            followed.finish(reading)
