"""How what is to be sent on a client's HTTP/2 connection gets to its transport.

It is gathered until the turn of the reactor is over: one write for all responses that came in it.  What waits for
windows is sent stream by stream in turn, no faster than the transport takes it.
"""
from __future__ import annotations

from math import inf
from time import monotonic
from typing import Any, Final

from twisted.internet import protocol
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from edgegw.proxy.http2_response import RespondingStream
from edgegw.proxy.site import Site
from edgegw.wire.http2 import ServerConnection

__all__ = ["SendingConnection"]

#: Bytes of output that are written before the turn of the reactor is over, and that one stream sends in its turn.
MAX_GATHERED: Final = 65_536
PIECE: Final = 16_384
#: Bytes that the client leaves unread beyond which nothing more is read from it.
MAX_UNSENT: Final = 1_048_576


@implementer(IPushProducer)
class SendingConnection(protocol.Protocol):
    """What :class:`edgegw.proxy.http2.HTTP2Connection` stands on; it is the producer of what its transport sends.

    :ivar site: the listener's.
    :ivar codec: what stands on the wire.
    :ivar full: whether the transport takes no more data for now.
    :ivar queued: bytes of responses that wait for windows, or for the transport.
    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    transport: Any
    deadline = inf
    watched_until = inf

    def __init__(self, site: Site, codec: ServerConnection) -> None:
        self.site = site
        self.codec = codec
        self.full = False
        self.queued = 0
        self._waiting: dict[RespondingStream, None] = {}
        self._receiving = False
        self._gathered = 0
        self._flush_call: IDelayedCall | None = None
        self._reading = True
        self._sent = 0
        self._taken = 0
        self._stalled_until = inf

    def written(self, size: int) -> None:
        """See ``StreamOwner``."""
        self._gathered += size
        if self._receiving:
            if self._gathered > MAX_GATHERED:
                self.flush()
        elif self._gathered > MAX_GATHERED or not self.codec.streams:
            self.flush()
        elif self._flush_call is None:
            self._flush_call = self.transport.reactor.callLater(0, self._flush_now)

    def _flush_now(self) -> None:
        self._flush_call = None
        self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        self._gathered = 0
        output = self.codec.take_output()
        transport = self.transport
        if output:
            self._sent += len(output)
            self.site.metrics.bytes_sent += len(output)
            transport.write(output)
        elif self._stalled_until == inf:
            return  # nothing waits in the transport either
        unsent = transport.unsent
        if not unsent:
            self.codec.output_read()
            return
        if self._stalled_until == inf:
            self._taken = self._sent - unsent
            self._stalled_until = self._watch(self.site.http.write_timeout)
        if unsent > MAX_UNSENT and self._reading:
            self._reading = False
            transport.pauseProducing()

    def wait(self, stream: RespondingStream) -> None:
        """See ``StreamOwner``."""
        self._waiting[stream] = None

    def _serve(self, stream: RespondingStream) -> bool:
        """Let a stream that waits send a piece; whether it could."""
        sent = stream.send_some(PIECE)
        waiting = self._waiting
        if stream in waiting:
            # The others first, next time.
            del waiting[stream]
            if stream.waits:
                waiting[stream] = None
        return sent

    def _go_on(self) -> None:
        """Let all streams that wait send in turn, as long as the client takes it."""
        progress = True
        while progress and self._waiting:
            progress = False
            for stream in tuple(self._waiting):
                if self.full:
                    return
                if stream in self._waiting and self._serve(stream):
                    progress = True

    def pauseProducing(self) -> None:
        """Called by the transport when too much is queued in it."""
        self.full = True

    def resumeProducing(self) -> None:
        """Called by the transport when all of it is sent."""
        self.full = False
        self._stalled_until = inf
        self.codec.output_read()
        if not self._reading:
            self._reading = True
            self.transport.resumeProducing()
        self._go_on()
        self.flush()

    def stopProducing(self) -> None:
        """Called by a transport that is gone; ``connectionLost`` follows."""

    def _watch(self, seconds: float) -> float:
        """Have the time looked at in so many seconds at the latest; gives when that is."""
        until = monotonic() + seconds
        if until < self.deadline:
            self.site.deadlines.watch(self, until)
        return until

    def deadline_passed(self) -> None:
        """See ``Deadlines``."""
        raise NotImplementedError

    def _stop_gathering(self) -> None:
        """Nothing more is written."""
        call, self._flush_call = self._flush_call, None
        if call is not None:
            call.cancel()
