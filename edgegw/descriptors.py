"""File descriptors: the three that every process is started with, and how many there may be."""
from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["allow_most", "hold_standard", "reader_may_leave"]


def hold_standard() -> None:
    """Open ``/dev/null`` for those of stdin, stdout and stderr that the process was started without.

    Otherwise the next sockets would get their numbers, and what is logged would go to a client.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        # The lowest that is free is given, so that this ends behind the three.
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Print what is printed inside to the end, or until whoever reads it has seen enough, as ``head`` has.

    Then the rest goes nowhere, also what is still buffered, which would complain at the exit of the process.
    """
    try:
        yield
        # Python has none where it was started without.  Nothing is written here where nothing was printed: on a full
        # disk that would fail.
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def allow_most() -> int:
    """Raise the soft limit of open files to the hard one, and give it.

    The soft one is 1024 by custom, for programs that use ``select()``; a gateway holds two for each
    proxied connection.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
