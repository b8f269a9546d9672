"""Which files manifests are read from, and what is in them."""
from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from edgegw.config.faults import ConfigError, Fault
from edgegw.config.reader import MAX_SIZE, decoded

__all__ = [
    "MAX_FILES",
    "STANDARD_INPUT",
    "Stream",
    "files_below",
    "is_stream",
    "manifest_files",
    "manifest_text",
    "read_stream",
]

#: What stands for standard input.
STANDARD_INPUT: Final = "-"
#: Files in all directories together.
MAX_FILES: Final = 100_000

_SUFFIXES: Final = (".yaml", ".yml", ".json")


@frozen
class Stream:
    """What came out of a pipe: it can be read once only.

    :ivar data: at most one byte more than :data:`edgegw.config.reader.MAX_SIZE`.
    :ivar problem: why it could not be read; empty if it could.
    """

    data: bytes = b""
    problem: str = ""


def is_stream(path: str) -> bool:
    """Whether what a path leads to can be read once only: standard input, and pipes as ``<(COMMAND)`` makes them."""
    if path == STANDARD_INPUT:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def read_stream(path: str) -> Stream:
    """Read a stream, to its end or to where it is too large; waits for whoever writes it."""
    try:
        if path == STANDARD_INPUT:
            # Python has none where the process was started without.
            return Stream(b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_SIZE + 1))
        with open(path, "rb") as file:
            return Stream(file.read(MAX_SIZE + 1))
    except (OSError, ValueError) as error:
        return Stream(problem=_words(error))


def manifest_files(paths: Sequence[str]) -> list[str]:
    """Give the files that paths name, each once, those of a directory in the order of :func:`files_below`.

    :raises ConfigError: a directory cannot be read or has no such file, or there are more than :data:`MAX_FILES`.
    """
    found: dict[str, None] = {}
    faults = []
    for path in paths:
        if path == STANDARD_INPUT or not os.path.isdir(path):
            found[path] = None
            continue
        empty = True
        try:
            for file in files_below(path):
                empty = False
                found[file] = None
                if len(found) > MAX_FILES:
                    raise ConfigError([Fault(path, 1, 1, "", f"there are more than {MAX_FILES} files", "give fewer")])
        except OSError as error:
            where = str(error.filename or path)
            faults.append(Fault(where, 1, 1, "", f"cannot be read: {_words(error)}", "give a readable directory"))
            continue
        if empty:
            remedy = f"give files that end in {', '.join(_SUFFIXES)}"
            faults.append(Fault(path, 1, 1, "", "has no manifests in it", remedy))
    if faults:
        raise ConfigError(faults)
    return list(found)


def files_below(directory: str) -> Iterator[str]:
    """Give the files that a directory stands for, in the order of their names.

    They are those in it and in the directories below, where their names end in ``.yaml``, ``.yml`` or ``.json`` and do
    not begin with ``.``, as names of directories may not either.  Symbolic links are followed, as where Kubernetes
    mounts a ConfigMap, but no directory is gone into twice.

    :raises OSError: a directory cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for where, directories, files in os.walk(directory, onerror=refuse, followlinks=True):
        here = os.stat(where)
        if (here.st_dev, here.st_ino) in seen:
            directories.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                yield os.path.join(where, name)


def manifest_text(path: str, streams: Mapping[str, Stream]) -> str:
    """Read a file.

    :param streams: those that were read already, by their paths.
    :raises ConfigError: it cannot be read, is larger than :data:`edgegw.config.reader.MAX_SIZE` or not UTF-8.
    """
    stream = streams.get(path)
    if stream is None:
        stream = _read_file(path)
    if stream.problem:
        raise ConfigError([Fault(path, 1, 1, "", f"cannot be read: {stream.problem}", "give a readable file")])
    return decoded(stream.data, path)


def _read_file(path: str) -> Stream:
    try:
        # Opening a pipe would wait for its writer.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return Stream(problem="it is no regular file")
            return Stream(file.read(MAX_SIZE + 1))
    except (OSError, ValueError) as error:
        return Stream(problem=_words(error))


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
