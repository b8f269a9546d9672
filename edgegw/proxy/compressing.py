"""A response's body on its way through a compressor, a piece at a time so that others have their turn."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from edgegw.filters.compressors import Compressor
from edgegw.wire.http1 import Field

__all__ = ["PIECE", "CompressedBody"]

#: Bytes that are compressed at once.
PIECE: Final = 65_536


@implementer(IPushProducer)
class CompressedBody:
    """Takes an upstream's body, and gives the client's.

    It is the producer of the client's side: the upstream is paused while the client, or the compressor, is behind.

    :param upstream: the producer of what comes in; ``None`` where all of it is there.
    :param give: called with each piece, whether it is the last, and the trailers.
    """

    __slots__ = (
        "_call", "_client_paused", "_compressor", "_ended", "_give", "_holding", "_offset", "_queue", "_reactor",
        "_trailers", "upstream",
    )

    def __init__(
        self, reactor: Any, compressor: Compressor, upstream: Any, give: Callable[[bytes, bool, list[Field]], None]
    ) -> None:
        self._reactor = reactor
        self._compressor = compressor
        self._give = give
        self.upstream = upstream
        self._queue: deque[bytes] = deque()
        self._offset = 0
        self._holding = False
        self._ended = False
        self._trailers: list[Field] = []
        self._client_paused = False
        self._call: IDelayedCall | None = None

    def take(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """Take more of the body."""
        if data:
            self._queue.append(data)
        if ended:
            self._ended = True
            self._trailers = trailers
            self.upstream = None
        if self._call is None and not self._client_paused:
            self._work()

    def _work(self) -> None:
        self._call = None
        piece = self._piece()
        out = self._compressor.compress(piece) if piece else b""
        # What is given on may pause this, or end it all: everything is settled before.
        if self._queue:
            self._schedule()
            if self.upstream is not None:
                self._holding = True
                self.upstream.pauseProducing()
        elif self._ended:
            self._give(out + self._compressor.finish(), True, self._trailers)
            return
        if out:
            self._give(out, False, [])
        self._let_go()

    def _let_go(self) -> None:
        """Let the upstream go on, if it was this that held it, and nothing holds it now."""
        if self._holding and self._call is None and not self._client_paused:
            self._holding = False
            if self.upstream is not None:
                self.upstream.resumeProducing()

    def _schedule(self) -> None:
        self._call = self._reactor.callLater(0, self._work)

    def _piece(self) -> bytes:
        """Take the next bytes out of the queue."""
        queue, offset = self._queue, self._offset
        pieces: list[bytes] = []
        left = PIECE
        while queue and left:
            piece = queue[0][offset : offset + left]
            pieces.append(piece)
            left -= len(piece)
            offset += len(piece)
            if offset == len(queue[0]):
                queue.popleft()
                offset = 0
        self._offset = offset
        return b"".join(pieces)

    def stop(self) -> None:
        """Nobody wants the rest."""
        call, self._call = self._call, None
        self.upstream = None
        self._ended = False
        self._queue.clear()
        if call is not None:
            call.cancel()

    # --- for the client's transport ---------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client takes no more for now."""
        self._client_paused = True
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        if self.upstream is not None:
            self._holding = True
            self.upstream.pauseProducing()

    def resumeProducing(self) -> None:
        """The client takes more."""
        self._client_paused = False
        if self._queue or self._ended:
            if self._call is None:
                self._schedule()
        else:
            self._let_go()

    def stopProducing(self) -> None:
        """The client is gone; whoever owns it hears of that from its transport."""
