"""Which files manifests are read from, and what is in them."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

from edgegw.config.faults import ConfigError, Fault
from edgegw.config.reader import MAX_SIZE, decoded, file_text

__all__ = ["MAX_FILES", "STANDARD_INPUT", "manifest_files", "manifest_text"]

#: What stands for standard input.
STANDARD_INPUT: Final = "-"
#: Files in all directories together.
MAX_FILES: Final = 100_000

_SUFFIXES: Final = (".yaml", ".yml", ".json")


def manifest_files(paths: Sequence[str]) -> list[str]:
    """Give the files that paths name, each once, those of a directory in the order of their names.

    A directory stands for what lies in it and in the directories below, if its name ends in ``.yaml``, ``.yml`` or
    ``.json`` and neither begins with ``.`` nor ends with ``~``.

    :raises ConfigError: a path names nothing, a directory cannot be read or has no such file, or there are more than
        :data:`MAX_FILES`.
    """
    found: dict[str, None] = {}
    faults = []
    for path in paths:
        if path == STANDARD_INPUT or not os.path.isdir(path):
            found[path] = None
            continue
        try:
            inside = list(_inside(path))
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            faults.append(Fault(error.filename or path, 1, 1, "", problem, "give a readable directory"))
            continue
        if not inside:
            remedy = f"give files that end in {', '.join(_SUFFIXES)}"
            faults.append(Fault(path, 1, 1, "", "has no manifests in it", remedy))
        found.update(dict.fromkeys(inside))
        if len(found) > MAX_FILES:
            faults.append(Fault(path, 1, 1, "", f"there are more than {MAX_FILES} files", "give fewer"))
            break
    if faults:
        raise ConfigError(faults)
    return list(found)


def _inside(directory: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    count = 0
    for where, directories, files in os.walk(directory, onerror=refuse):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                yield os.path.join(where, name)
                count += 1
        if count > MAX_FILES:
            return


def manifest_text(path: str, standard_input: BinaryIO | None = None) -> str:
    """Read a file, or standard input where its path is ``-``.

    :param standard_input: the process's own if not given.
    :raises ConfigError: it cannot be read, is larger than :data:`edgegw.config.reader.MAX_SIZE` or not UTF-8.
    """
    if path != STANDARD_INPUT:
        return file_text(path)
    try:
        data = (standard_input or sys.stdin.buffer).read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        raise ConfigError([Fault(path, 1, 1, "", f"cannot be read: {error}", "give files")]) from error
    return decoded(data, path)
