"""Judging open connections again, when what they were judged by has changed."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.tls.hello import OPEN
from edgegw.tls.listener import TLSListener
from edgegw.tls.transport import TLSServer
from edgegw.verdict import Reject, Verdict

__all__ = ["Recheck"]

#: Connections judged in one turn of the reactor.
PER_TURN: Final = 64
#: Connections about which policies that wait are asked at a time: each answer has a time limit, and as many questions
#: as there are connections would use it up waiting for each other.
AT_A_TIME: Final = 16

_log = Logger(namespace="edgegw.tls")


class Recheck:
    """Closes the connections of one listener that its policies would refuse now.

    :param listener: whose policies and trust hold now.
    :param connections: gives the open connections to judge, whichever generation they were accepted under.
    :param judge_of: gives the listener that an open connection would be judged by now.
    """

    def __init__(
        self,
        reactor: Any,
        listener: TLSListener,
        connections: Callable[[], Iterable[TLSServer]],
        judge_of: Callable[[TLSServer], object],
    ) -> None:
        self._reactor = reactor
        self._listener = listener
        self._connections = connections
        self._judge_of = judge_of
        self._left: list[TLSServer] = []
        self._asking = 0
        self._scheduled = False

    def begin(self) -> None:
        """Judge every connection that there is now, some in each turn; those that come later are judged by what holds.

        One whose handshake has begun may have been judged already by what held before: it is judged when it opens.
        """
        # Whoever was waiting for a turn is among them again.
        self._left = list(self._connections())
        self._schedule()

    def _schedule(self) -> None:
        if self._left and not self._scheduled and self._asking < AT_A_TIME:
            self._scheduled = True
            self._reactor.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._scheduled = False
        for _ in range(PER_TURN):
            if not self._left or self._asking >= AT_A_TIME:
                break
            transport = self._left.pop()
            if transport.state == OPEN:
                self.judge(transport)
            elif self.judge not in transport.when_open:
                transport.when_open += (self.judge,)
        self._schedule()

    def judge(self, transport: TLSServer) -> None:
        """Close an open connection of the listener if its client would not be let in any more."""
        if not transport.connected or transport.info is None or self._judge_of(transport) is not self._listener:
            return
        try:
            verdict = self._listener.judge_again(transport)
        except Exception:
            _log.failure("judging {transport!r} again, which closes it", transport=transport)
            transport.abortConnection()
            return
        if isinstance(verdict, Deferred):
            self._asking += 1
            verdict.addCallbacks(self._decided, self._failed, (transport,), {}, (transport,))
            verdict.addBoth(self._answered)
        else:
            self._decided(verdict, transport)

    def _answered(self, _: object) -> None:
        self._asking -= 1
        self._schedule()

    def _failed(self, failure: Failure, transport: TLSServer) -> None:
        _log.failure("judging {transport!r} again, which closes it", failure, transport=transport)
        if transport.connected:
            transport.abortConnection()

    def _decided(self, verdict: Verdict, transport: TLSServer) -> None:
        if not isinstance(verdict, Reject) or not transport.connected:
            return
        info = transport.info
        _log.info(
            "closed the connection of {peer} on {listener}: {reason} ({certificate}) {detail}",
            peer=transport.hostname,
            listener=self._listener.model.name,
            reason=str(verdict.code),
            certificate=None if info is None else info.identity.certificate,
            detail=verdict.detail,
        )
        self._listener.metrics.recheck_closed(verdict.code)
        transport.abortConnection()
