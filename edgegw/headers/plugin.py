"""A plugin as a header injector: whatever it does, nothing goes to an upstream but headers of its own.

An exception of any kind, something that must be awaited, a name that is not the plugin's, a value that is none:
the request is answered with 500.  Clients can send such requests as fast as they like, so a plugin's
traceback is logged once in a while, and the others are counted.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.identity import ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.model import InjectorUse

from .value import ValueTooLargeError, header_value

__all__ = ["InjectorFailed", "PluginInjector"]

#: Header lines that one call may give.
_MOST_LINES: Final = 100
#: Seconds between two tracebacks of one injector.
_QUIET: Final = 10.0
#: Characters of an error's text in a refusal.
_MOST_TEXT: Final = 200

_log = Logger(namespace="edgegw.headers")


def _not_counted(kind: str, operation: str) -> None:
    """Count nothing."""


class InjectorFailed(Exception):
    """A plugin gave no headers that can be sent; the text names it and says why, in one line."""


@implementer(IHeaderInjector)
class PluginInjector:
    """Asks a plugin.

    :ivar count_error: called with the name of the kind and ``"inject"`` at each failure; whoever counts sets it.
    :raises ValueError: from the constructor, if the plugin's object is no header injector; the text names its kind.
    """

    def __init__(self, use: InjectorUse) -> None:
        injector, environment = use.injector, use.environment
        self.name: str = use.kind.name
        try:
            self.owned = _names(injector.owned)
            self.owned_responses = _names(getattr(injector, "owned_responses", ()))
            self.needs_chain = bool(getattr(injector, "needs_chain", False))
            self.per_request = bool(getattr(injector, "per_request", False))
            self._inject = injector.inject
        except Exception as error:
            raise ValueError(f"the header injector {self.name} is none: {_told(error)}") from error
        if not self.owned:
            raise ValueError(f"the header injector {self.name} does not say which headers it sets")
        self._log: Any = _log if environment is None else environment.log
        self._seconds: Callable[[], float] = time.monotonic if environment is None else environment.seconds
        self.count_error: Callable[[str, str], None] = _not_counted
        self._quiet_until = float("-inf")
        self._untold = 0

    def __repr__(self) -> str:
        return f"<header injector {self.name}>"

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Give the plugin's headers.

        :raises InjectorFailed: it gave none that can be sent.
        :raises ValueTooLargeError: see :class:`edgegw.headers.value.ValueTooLargeError`.
        """
        own = {name: tuple(received[name]) for name in self.owned if name in received} if received else {}
        try:
            return self._checked(self._inject(connection, own))
        except ValueTooLargeError:
            raise
        except BaseException as error:
            self._failed(error)
            raise InjectorFailed(f"the header injector {self.name} failed: {_told(error)}") from None

    def _checked(self, given: Any) -> list[tuple[bytes, bytes]]:
        if hasattr(given, "__await__"):
            getattr(given, "close", bool)()
            raise TypeError("gave something to await, and headers are not waited for")
        lines = []
        for name, value in islice(given, _MOST_LINES + 1):
            if name not in self.owned:
                raise ValueError(f"gave {name!r}, which is none of its headers")
            lines.append((name, header_value(name, value)))
        if len(lines) > _MOST_LINES:
            raise ValueError(f"gave more than {_MOST_LINES} headers")
        return lines

    def _failed(self, error: BaseException) -> None:
        self.count_error(self.name, "inject")
        now = self._seconds()
        if now < self._quiet_until:
            self._untold += 1
            return
        self._quiet_until = now + _QUIET
        untold, self._untold = self._untold, 0
        self._log.failure(
            "the header injector {injector} failed, so a request was answered with 500; {untold} more since it was "
            "last told of",
            Failure(error),
            injector=self.name,
            untold=untold,
        )


def _names(names: Any) -> frozenset[bytes]:
    if isinstance(names, (str, bytes)) or not all(type(name) is bytes for name in names):
        raise TypeError(f"{names!r} where names of headers as bytes should be")
    return frozenset(names)


def _told(error: BaseException) -> str:
    """Give an error in one line; its text may have come from a client."""
    try:
        text = str(error)[:_MOST_TEXT]
    except Exception:
        text = "and its text cannot be had"
    line = f"{type(error).__name__}: {text}"
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
