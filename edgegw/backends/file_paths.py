"""From the path of a request to a file below a directory, and to nothing outside of it."""
from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from io import FileIO
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from attrs import frozen

__all__ = ["Directory", "NotThere", "OpenFile", "location_of", "open_below", "segments_of"]

#: Bytes of a path; Linux has no longer ones.
_LONGEST: Final = 4095


class NotThere(Exception):
    """There is nothing at a path that may be sent."""


@frozen
class OpenFile:
    """A regular file that is open for reading.

    :ivar name: of the file, for its type.
    """

    file: FileIO
    status: os.stat_result
    name: str


@frozen
class Directory:
    """A directory that was asked for.

    :ivar path: where it is; its real path.
    """

    path: str


def segments_of(path: str, hidden: bool = False) -> tuple[bytes, ...]:
    """Give the names that a path has between its slashes; the last one is empty where it ends with one.

    :param path: percent-encoded, beginning with ``/``.
    :param hidden: whether names that begin with a dot are taken.
    :raises NotThere: a name is empty, ``.`` or ``..``, has a slash or a NUL in it, or is hidden.
    """
    if not path.startswith("/") or len(path) > 3 * _LONGEST:
        raise NotThere
    names = tuple(unquote_to_bytes(part) for part in path[1:].split("/"))
    for number, name in enumerate(names):
        if not name and number != len(names) - 1:
            raise NotThere
        if name in (b".", b"..") or b"/" in name or b"\0" in name or (name.startswith(b".") and not hidden):
            raise NotThere
    return names


def location_of(names: Sequence[bytes]) -> str:
    """Give the path that such names make, encoded anew."""
    return "/" + "/".join(quote(name, safe="") for name in names)


def open_below(
    root: str, names: Sequence[bytes], index: Sequence[str], outside: bool = False
) -> OpenFile | Directory:
    """Open what names lead to; blocks.

    What was opened is asked where it really is, so that no link and no change of the tree in between leads out.

    :param index: files that stand for a directory, the first that is there.
    :param outside: whether links may lead out of the directory.
    :raises NotThere: nothing is there, it is no regular file or directory, lies outside or may not be read.
    """
    try:
        top = os.path.realpath(root)
        path = os.path.join(os.fsencode(top), *names)
        wants_directory = not names[-1]
        descriptor = _opened(path, top, outside)
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            os.close(descriptor)
            return _index(path, top, index, outside) if wants_directory else Directory(os.fsdecode(path))
        if wants_directory:
            os.close(descriptor)
            raise NotThere
        return _regular(descriptor, found, os.fsdecode(names[-1]))
    except (OSError, ValueError) as error:
        raise NotThere from error


def _index(path: bytes, top: str, index: Sequence[str], outside: bool) -> OpenFile | Directory:
    for name in index:
        try:
            descriptor = _opened(os.path.join(path, os.fsencode(name)), top, outside)
        except (OSError, NotThere):
            continue
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            return _regular(descriptor, found, name)
        os.close(descriptor)
    return Directory(os.fsdecode(path))


def _opened(path: bytes, top: str, outside: bool) -> int:
    """Open something for reading.

    :raises OSError: it cannot be opened.
    :raises NotThere: it lies outside.
    """
    # A pipe must not make anybody wait, and a terminal not become ours.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not outside:
        try:
            real = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            os.close(descriptor)
            raise
        if real != top and not real.startswith(top.rstrip("/") + "/"):
            os.close(descriptor)
            raise NotThere
    return descriptor


def _regular(descriptor: int, found: os.stat_result, name: str) -> OpenFile:
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise NotThere
    return OpenFile(FileIO(descriptor, "rb"), found, name)
