"""Pipes through which bytes go from one socket to another without coming into Python.

A pipe is taken for as long as there is something in it, which is as long as the receiving end does not take it: as many
are in use as tunnels stand still, whatever number is open.  Some empty ones are kept for the next to come.
"""
from __future__ import annotations

import fcntl
import os
import sys
from errno import EMFILE, ENFILE
from typing import Final

__all__ = ["CAN_SPLICE", "PIPE_SIZE", "Pipe", "close_pipe", "give_back", "take_pipe"]

#: The ends that are read and written.
Pipe = tuple[int, int]

CAN_SPLICE: Final = hasattr(os, "splice") and sys.platform == "linux"
#: Bytes that a pipe takes, where the system lets an unprivileged process have that much.
PIPE_SIZE: Final = 262_144
#: Empty pipes that are kept.
MOST_FREE: Final = 16

_free: list[Pipe] = []
# Two processes must not share one.
os.register_at_fork(after_in_child=_free.clear)


def take_pipe() -> Pipe | None:
    """Give an empty pipe; ``None`` where there are no descriptors left for one.

    :raises OSError: it cannot be made for another reason.
    """
    if _free:
        return _free.pop()
    try:
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (EMFILE, ENFILE):
            return None
        raise
    try:
        fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        pass  # the system's bound for this user is reached: it is as large as it is
    return pipe


def give_back(pipe: Pipe) -> None:
    """Take back a pipe that is empty."""
    if len(_free) < MOST_FREE:
        _free.append(pipe)
    else:
        close_pipe(pipe)


def close_pipe(pipe: Pipe) -> None:
    """Close a pipe, whatever is in it."""
    os.close(pipe[0])
    os.close(pipe[1])
