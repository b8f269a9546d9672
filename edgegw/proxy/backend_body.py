"""A request's body on its way to a backend: pieces that wait until they are asked for."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from zope.interface import implementer

__all__ = ["WaitingBody"]


@implementer(IConsumer)
class WaitingBody:
    """Stands where an upstream connection's transport would: what is queued here pauses the client.

    It is an async iterator of the body's pieces.

    :param wanted: called when the backend wants more than has come.
    :ivar unsent: bytes that wait.
    :ivar taken: bytes that the backend has taken.
    :ivar waited_for: whether the backend waits for the client.
    """

    #: Bytes queued beyond which the client is paused.
    bufferSize = 65_536

    def __init__(self, wanted: Callable[[], None]) -> None:
        self.producer: Any = None
        self.producerPaused = False
        self.unsent = 0
        self.taken = 0
        self._wanted = wanted
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._closed = False
        self._reader: Deferred[None] | None = None

    # --- what comes -------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""
        self.producer = producer

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""
        self.producer = None
        self.producerPaused = False

    def write(self, data: bytes) -> None:
        """Queue a piece."""
        if self._closed or not data:
            return
        self._pieces.append(data)
        self.unsent += len(data)
        self._wake()
        if self.unsent > self.bufferSize and self.producer is not None and not self.producerPaused:
            self.producerPaused = True
            self.producer.pauseProducing()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Nobody wants it any more."""
        self._closed = True
        self._pieces.clear()
        self.unsent = 0
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    # --- what is taken ----------------------------------------------------------------------

    @property
    def waited_for(self) -> bool:
        """Whether the backend waits for the client."""
        return self._reader is not None

    def __aiter__(self) -> WaitingBody:
        return self

    async def __anext__(self) -> bytes:
        """Give the next piece, as soon as there is one.

        :raises RuntimeError: the request is over, or somebody else waits for a piece already.
        """
        while not self._pieces:
            if self._closed:
                raise RuntimeError("the request is over: its body cannot be read any more")
            if self._ended:
                raise StopAsyncIteration
            if self._reader is not None:
                raise RuntimeError("the request's body is read twice at a time")
            self._wanted()
            if self._pieces or self._ended:
                continue
            reader = self._reader = Deferred(self._no_longer_wanted)
            await reader
        piece = self._pieces.popleft()
        self.unsent -= len(piece)
        self.taken += len(piece)
        if self.producerPaused and not self.unsent:
            self.producerPaused = False
            self.producer.resumeProducing()
        return piece

    def _no_longer_wanted(self, reader: Deferred[None]) -> None:
        self._reader = None
