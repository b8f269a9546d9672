"""CRLs in files and directories, followed as they change."""
from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import Final

from attrs import evolve, frozen

from edgegw.api import IEnvironment, IFollowed
from edgegw.policies.details import shown
from edgegw.policies.revocation_list import RevocationList, read_lists

__all__ = ["ListFiles"]

#: Seconds between two looks into a directory.
_INTERVAL: Final = 2.0
#: A file younger than these nanoseconds may be written again without its times changing.
_RECENT: Final = 2_000_000_000
#: Files of one directory that are read.
_MOST_FILES: Final = 10_000

Lists = tuple[RevocationList, ...]


@frozen(eq=False)
class _Entry:
    """One file of a directory.

    :ivar signature: what tells whether it has changed.
    :ivar digest: SHA-256 of the bytes that ``lists`` were made of.
    :ivar error: why the file as it is now cannot be used; the lists are then those of before.
    :ivar recent: whether it might have been written again unseen.
    """

    signature: tuple[int, ...]
    digest: bytes = b""
    lists: Lists = ()
    error: str = ""
    recent: bool = False


_ABSENT: Final = _Entry(())


def _look(path: str, known: Mapping[str, _Entry], limit: int, strict: bool) -> dict[str, _Entry]:
    """Give what is in a directory now, reading only what has changed; may run on any thread.

    Names with a dot at their beginning are passed over, Kubernetes' ``..data`` among them.

    :raises OSError: the directory cannot be read, or has more than 10,000 files.
    """
    found: dict[str, _Entry] = {}
    with os.scandir(path) as entries:
        names = sorted([entry.name for entry in entries if not entry.name.startswith(".")])
    if len(names) > _MOST_FILES:
        # To leave some out in silence would let in who is on their lists, with on_missing: accept.
        raise OSError(f"it has {len(names)} files; {_MOST_FILES} are read")
    for name in names:
        entry = _read_entry(os.path.join(path, name), known.get(name, _ABSENT), limit, strict)
        if entry is not None:
            found[name] = entry
    return found


def _read_entry(path: str, known: _Entry, limit: int, strict: bool) -> _Entry | None:
    """Give one file, ``None`` for what is no file."""
    before = time.time_ns()
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):
            return None
        signature = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        if signature == known.signature and not known.recent:
            return known
        if facts.st_size > limit:
            return evolve(known, signature=signature, error=f"it has {facts.st_size} bytes; {limit} are allowed")
        with open(path, "rb") as file:
            data = file.read(limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        # No signature: it is tried again at the next look.
        return evolve(known, signature=(), error=error.strerror or str(error))
    recent = before - max(signature[2:]) < _RECENT
    digest = sha256(data).digest()
    if digest == known.digest:
        return _Entry(signature, digest, known.lists, "", recent)
    try:
        return _Entry(signature, digest, read_lists(data, strict), "", recent)
    except ValueError as error:
        return evolve(known, signature=signature, error=str(error), recent=recent)


class _Directory:
    """The CRLs of one directory."""

    def __init__(self, path: str, limit: int, strict: bool, env: IEnvironment, failed: Callable[[int], None]) -> None:
        self.path = path
        self._look = partial(_look, path, limit=limit, strict=strict)
        self._env = env
        self._failed = failed
        self._entries: dict[str, _Entry] = {}
        self._error = ""
        self.lists: tuple[Lists, ...] = ()
        self._take(self._look({}))
        if not self.lists:
            env.log.warn("there is no CRL in {path} yet", path=path)
        env.every(_INTERVAL, self._refresh)

    async def _refresh(self) -> None:
        try:
            found = await self._env.in_thread(self._look, self._entries)
        except OSError as error:
            problem = error.strerror or str(error)
            if problem != self._error:
                self._error = problem
                self._failed(1)
                self._env.log.error("the CRLs of {path} stay in use: {problem}", path=self.path, problem=problem)
            return
        self._error = ""
        if self._take(found):
            self._env.changed()

    def _take(self, found: dict[str, _Entry]) -> bool:
        """Put what was found into use; whether lists have come, gone or changed."""
        for name, entry in found.items():
            if entry.error and entry.error != self._entries.get(name, _ABSENT).error:
                self._failed(1)
                self._env.log.warn(
                    "{file} is not used as it is: {problem}", file=os.path.join(self.path, name), problem=entry.error
                )
        for name in self._entries.keys() - found.keys():
            self._env.log.info("{file} is gone, and its CRLs with it", file=os.path.join(self.path, name))
        self._entries = found
        lists = tuple([entry.lists for entry in found.values() if entry.lists])
        # The same file gives the same tuple.
        if len(lists) == len(self.lists) and all(map(_is, lists, self.lists)):
            return False
        self.lists = lists
        return True


def _is(one: object, other: object) -> bool:
    return one is other


class ListFiles:
    """The CRLs of files and directories.

    :param limit: bytes that a file may have.
    :param strict: as for :func:`edgegw.policies.revocation_list.read_lists`.
    :raises ValueError: a file cannot be read, or has no CRL in it or one that cannot be used; a directory cannot be
        read.  A directory's files that cannot be used are logged.
    """

    def __init__(
        self, files: tuple[str, ...], directories: tuple[str, ...], limit: int, strict: bool, env: IEnvironment
    ) -> None:
        failed = env.counter("unusable_files", "Files of CRL directories that could not be used.")
        self._files = [_followed(path, limit, strict, env) for path in files]
        self._directories = [_opened(path, limit, strict, env, failed) for path in directories]

    def lists(self) -> Iterator[Lists]:
        """Give the CRLs of each file; the same object as long as it does not change."""
        for followed in self._files:
            yield followed.value
        for directory in self._directories:
            yield from directory.lists


def _followed(path: str, limit: int, strict: bool, env: IEnvironment) -> IFollowed:
    try:
        return env.follow(path, partial(read_lists, strict=strict), limit)
    except OSError as error:
        raise ValueError(f"{shown(path)} cannot be read: {error.strerror or error}") from None


def _opened(
    path: str, limit: int, strict: bool, env: IEnvironment, failed: Callable[[int], None]
) -> _Directory:
    try:
        return _Directory(os.path.join(env.directory, path), limit, strict, env, failed)
    except OSError as error:
        raise ValueError(f"{shown(path)} is no directory that can be read: {error.strerror or error}") from None
