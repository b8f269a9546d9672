"""What plugins may use of the gateway: files, services, time and counters, for as long as their configuration runs.

The kinds of a configuration are built beside the one that is in use, at a reload on another thread: until
:meth:`Environments.start` nothing here touches the reactor, and after :meth:`Environments.stop` nothing of it is left
there.  What plugins get wrong in between is logged with their name and place, counted, and never raised.
"""
from __future__ import annotations

import os
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.following import FileFollower, read_regular_file
from edgegw.http_client import HTTPClient, trust_of
from edgegw.interfaces import IEnvironment, IFollowed, IHTTPClient
from edgegw.observe.plugin_counters import PluginCounters, PluginGauge

__all__ = ["Environment", "Environments"]

#: By how much the time between two calls varies, so that gateways do not all ask at once.
_JITTER: Final = 0.1
#: Bytes that a file of CA certificates may have.
_MOST_CA_BYTES: Final = 16_777_216


class _PluginLogger(Logger):
    """Adds to each event where the plugin's object stands in the configuration, as ``place``."""

    def __init__(self, kind: str, place: str) -> None:
        super().__init__(f"edgegw.plugin.{kind}")
        self._place = place

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        kwargs.setdefault("place", self._place)
        super().emit(level, format, **kwargs)


class _Repeated:
    """Calls an async function again and again."""

    def __init__(
        self, reactor: Any, seconds: float, call: Callable[[], Awaitable[None]], failed: Callable[[Failure], None]
    ) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._call = call
        self._failed = failed
        self._timer: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        self._wait(0.0)

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is not None:
            self._running.cancel()

    def _wait(self, seconds: float) -> None:
        self._timer = self._reactor.callLater(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._running = Deferred.fromCoroutine(self._called())
        self._running.addErrback(self._wrong)
        self._running.addBoth(self._ended)

    async def _called(self) -> None:
        await self._call()

    def _wrong(self, failure: Failure) -> None:
        if not (self._stopped and failure.check(CancelledError)):
            self._failed(failure)

    def _ended(self, _: object) -> None:
        self._running = None
        if not self._stopped:
            self._wait(self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER))


@implementer(IEnvironment)
class Environment:
    """What one configured object may use; made by :meth:`Environments.make`.

    :ivar on_change: called when earlier answers of the object no longer hold; ``None`` if nobody wants to know.
    """

    def __init__(self, owner: Environments, kind: str, place: str) -> None:
        self.directory: str = owner.directory
        self.log: Any = _PluginLogger(kind, place)
        self.on_change: Callable[[], None] | None = None
        self._owner = owner
        self._kind = kind
        self._place = place

    def holds(self, built: object) -> None:
        """Note what was built with it: its ``close``, if it has one, is called when the configuration is out of use."""
        close = getattr(built, "close", None)
        if callable(close):
            self._owner.closing.append(partial(self._close, close))

    def _close(self, close: Callable[[], object]) -> None:
        try:
            close()
        except Exception:
            self._went_wrong("close", "{place}: it could not be closed", Failure())

    def seconds(self) -> float:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        return self._owner.seconds()

    def changed(self) -> None:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        if self.on_change is None or self._owner.stopped:
            return
        try:
            self.on_change()
        except Exception:
            self._went_wrong("change", "{place}: a change could not be told", Failure())

    def follow(self, path: str, read: Callable[[bytes], Any], limit: int = 268_435_456) -> IFollowed:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        absolute = os.path.join(self.directory, path)
        followed: IFollowed = self._owner.files.follow(absolute, read, limit, self.changed, self._unreadable)
        return followed

    def every(self, seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        """See :class:`~edgegw.interfaces.IEnvironment`.

        :raises ValueError: ``seconds`` is not positive.
        """
        if not seconds > 0:
            raise ValueError(f"{seconds} seconds cannot lie between two calls")
        failed = partial(self._went_wrong, "call", "{place}: a repeated call failed")
        self._owner.repeat(seconds, call, failed)

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        return await self._owner.in_thread(function, *arguments)

    def http(self, ca_certificates: str | None = None, concurrency: int = 16) -> IHTTPClient:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        trust = None
        if ca_certificates is not None:
            path = os.path.join(self.directory, ca_certificates)
            try:
                trust = trust_of(read_regular_file(path, _MOST_CA_BYTES)[1])
            except ValueError as error:
                raise ValueError(f"{path} has no CA certificates in it: {error}") from error
        return self._owner.client(trust, concurrency)

    def counter(self, name: str, documentation: str) -> Callable[[int], None]:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        return self._owner.counters.counter(self._kind, name, documentation)

    def gauge(self, name: str, documentation: str) -> Callable[[float], None]:
        """Give a function that sets a number of the object's own.

        :raises ValueError: as for :meth:`counter`.
        """
        gauge = self._owner.counters.gauge(self._kind, name, documentation, self._place)
        self._owner.show(gauge)
        return gauge.set

    def _unreadable(self, problem: str, failure: Failure | None) -> None:
        if failure is None:
            self._owner.counters.count_error(self._kind, "read")
            self.log.error("{place}: the last good one stays in use: {problem}", problem=problem)
        else:
            self._went_wrong("read", "{place}: the last good one stays in use: {problem}", failure, problem=problem)

    def _went_wrong(self, operation: str, text: str, failure: Failure, **fields: object) -> None:
        self._owner.counters.count_error(self._kind, operation)
        self.log.failure(text, failure, LogLevel.error, **fields)


class Environments:
    """Everything that the plugins of one configuration use.

    :param reactor: provides ``IReactorTime``, ``IReactorThreads`` and what ``Agent`` needs.
    :param directory: the configuration's.
    :param counters: lives on when the configuration is replaced.
    :param seconds: the time for measuring.
    :ivar stopped: whether the configuration is out of use.
    """

    def __init__(
        self,
        reactor: Any,
        directory: str,
        counters: PluginCounters,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = os.path.abspath(directory)
        self.counters = counters
        self.seconds = seconds
        self.files = FileFollower(reactor)
        self.stopped = False
        self._reactor = reactor
        self._started = False
        self._repeated: list[_Repeated] = []
        self._clients: list[HTTPClient] = []
        self._gauges: list[PluginGauge] = []
        #: Called once, when the configuration is out of use.
        self.closing: list[Callable[[], None]] = []

    def make(self, kind: str, where: str) -> Environment:
        """Make what one object is built with; may be called on any thread.

        :param kind: the name of the plugin's kind.
        :param where: the object's place in the configuration: ``listeners[0].tls.client_validation.policies[1]``.
        """
        return Environment(self, kind, where)

    def start(self) -> None:
        """Follow the files, and make the repeated calls; on the reactor's thread, once."""
        if self._started or self.stopped:
            return
        self._started = True
        self.files.start()
        for gauge in self._gauges:
            self.counters.show(gauge)
        for repeated in self._repeated:
            repeated.start()

    def stop(self) -> None:
        """End everything; what comes in later is dropped.  May be called again."""
        if self.stopped:
            return
        self.stopped = True
        self.files.stop()
        for repeated in self._repeated:
            repeated.stop()
        for client in self._clients:
            client.close()
        for gauge in self._gauges:
            self.counters.hide(gauge)
        closing, self.closing = self.closing, []
        for close in closing:
            close()

    # --- for Environment --------------------------------------------------------------------

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run something on the reactor's thread pool."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    def repeat(self, seconds: float, call: Callable[[], Awaitable[None]], failed: Callable[[Failure], None]) -> None:
        """Have an async function called from :meth:`start` on."""
        if self.stopped:
            return
        repeated = _Repeated(self._reactor, seconds, call, failed)
        self._repeated.append(repeated)
        if self._started:
            repeated.start()

    def client(self, trust: Any, concurrency: int) -> HTTPClient:
        """Make a client that is closed by :meth:`stop`."""
        client = HTTPClient(self._reactor, trust, concurrency)
        self._clients.append(client)
        if self.stopped:
            client.close()
        return client

    def show(self, gauge: PluginGauge) -> None:
        """Show a gauge from :meth:`start` to :meth:`stop`."""
        self._gauges.append(gauge)
        if self._started and not self.stopped:
            self.counters.show(gauge)
