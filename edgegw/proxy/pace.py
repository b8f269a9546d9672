"""Making who sends as slow as who receives."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

__all__ = ["Source", "couple"]


@implementer(IPushProducer)
class Source:
    """A push producer made of two functions.

    :param pause: ``None`` where nothing more will come anyway.
    """

    __slots__ = ("_pause", "_resume")

    def __init__(self, pause: Callable[[], None] | None, resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume

    def pauseProducing(self) -> None:
        """Called by the transport when too much is queued."""
        if self._pause is not None:
            self._pause()

    def resumeProducing(self) -> None:
        """Called by the transport when all of it is sent."""
        self._resume()

    def stopProducing(self) -> None:
        """The transport is gone; whoever owns it hears of that from the transport."""


def couple(producer: Any, transport: Any) -> None:
    """Let a transport pause a producer that has already written to it, now if too much is queued."""
    transport.registerProducer(producer, True)
    if transport.unsent > transport.bufferSize:
        transport.producerPaused = True
        producer.pauseProducing()
