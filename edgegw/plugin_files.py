"""Files that hold code: who may change them, and what went wrong when they were run."""
from __future__ import annotations

import os
import stat
import traceback
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Final

__all__ = ["UnsafePath", "changed_file", "check_safe", "traceback_line"]

#: What each module's file had in it when it was first asked about, by the module's name.
_digests: dict[str, tuple[ModuleType, bytes]] = {}
#: Steps of a traceback that are told in one line.
_STEPS: Final = 4


class UnsafePath(ValueError):
    """Somebody else could change the code."""


def check_safe(path: Path) -> None:
    """Make sure that nobody but root and this process's own user and group can change what is at a path.

    The directories above it are judged as well: who can write there can put another in its place.

    :raises UnsafePath: somebody else can.
    :raises OSError: it cannot be looked at.
    """
    resolved = path.resolve(strict=True)
    _check_one(resolved, os.stat(resolved), False)
    for parent in resolved.parents:
        _check_one(parent, os.stat(parent), True)


def _check_one(path: Path, found: os.stat_result, above: bool) -> None:
    if above and found.st_mode & stat.S_ISVTX:
        # As /tmp: only its owner can rename or remove what is in it.
        return
    if found.st_mode & stat.S_IWOTH:
        raise UnsafePath(f"{path} may be written by everyone, and what is in it would be run; chmod o-w it")
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
        raise UnsafePath(f"{path} may be written by another group, and what is in it would be run; chmod g-w it")
    if found.st_uid not in (0, os.geteuid()):
        raise UnsafePath(f"{path} belongs to another user, and what is in it would be run; chown it to root")


def changed_file(module: ModuleType) -> str | None:
    """Give the path of a module's file if there is something else in it than the code that runs; ``None`` if not.

    It is asked about a module as soon as that was imported, which is when it learns what the file has in it.
    """
    path = getattr(module, "__file__", None)
    try:
        digest = sha256(Path(path).read_bytes()).digest() if isinstance(path, str) else b""
    except OSError:
        # It is gone, or never was a file of its own: then the code stays what it is without anybody's surprise.
        return None
    loaded = _digests.get(module.__name__)
    if loaded is None or loaded[0] is not module:
        loaded = _digests[module.__name__] = (module, digest)
    return None if loaded[1] == digest else path


def traceback_line(error: BaseException) -> tuple[str, str]:
    """Give what was raised in one line, with the last steps to it, and the whole traceback.

    Steps inside the import machinery are left out.
    """
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not frame.filename.endswith(("edgegw/registry.py",))
    ]
    steps = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[-_STEPS:]]
    if isinstance(error, SyntaxError) and error.filename:
        steps.append(f"{error.filename}:{error.lineno}")
    what = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
    line = " > ".join([*steps, what]).replace("\n", " ")
    return line, "".join(traceback.format_exception(error))
