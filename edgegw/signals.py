"""SIGHUP, SIGTERM and SIGINT, for as long as a service runs."""
from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

__all__ = ["Signals"]


class Signals:
    """Takes the signals, and gives them back to whom they belonged.

    :param hang_up: called on the reactor's thread after SIGHUP.
    :param terminate: likewise after SIGTERM and SIGINT, with the signal's number.
    """

    def __init__(self, reactor: Any, hang_up: Callable[[], None], terminate: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._hang_up = hang_up
        self._terminate = terminate
        self._previous: dict[int, Any] = {}

    def take(self) -> None:
        """Take them; a SIGINT that somebody has plans for stays theirs."""
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(number)
            if number == signal.SIGINT and previous not in (
                signal.default_int_handler,
                getattr(self._reactor, "sigInt", None),
            ):
                # A debugger's, or a shell's that ignores it for background jobs.
                continue
            self._previous[number] = signal.SIG_DFL if previous is None else previous
            signal.signal(number, self._on_signal)

    def give_back(self) -> None:
        """Put everything back as it was."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Between any two instructions of the reactor's thread: nothing but a note may be left here.
        self._reactor.callFromThread(self._hang_up if number == signal.SIGHUP else partial(self._terminate, number))
