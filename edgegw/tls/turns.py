"""How many handshakes take a step in one turn of the reactor.

A handshake step is a thousand times the work of a small request.  Without a bound a burst of
clients would have all of their handshakes done before the next byte of an established connection
is looked at.
"""
from __future__ import annotations

from collections import deque
from typing import Any, Final

from edgegw.tcp import Server

__all__ = ["HandshakeTurns"]

#: Steps in one turn: some ten milliseconds of ECDSA, twice that of RSA.
STEPS_PER_TURN: Final = 16


class HandshakeTurns:
    """Hands out the steps; those that get none wait, in order, for the next turn.

    :param reactor: one that counts its turns (:class:`edgegw.reactor.EdgeReactor`) is asked for the number;
        with another a call in the next turn takes its place.
    """

    def __init__(self, reactor: Any, steps: int = STEPS_PER_TURN) -> None:
        self._reactor = reactor
        self._steps = steps
        self._left = steps
        self._counts_turns = hasattr(reactor, "turn")
        self._turn = -1
        self._armed = False
        self._waiting: deque[Server] = deque()
        self._granted: set[Server] = set()

    def take(self, transport: Server) -> bool:
        """Whether the transport may go on now; if not, it stops reading until its turn has come."""
        if self._granted and transport in self._granted:
            self._granted.discard(transport)
            return True
        if not self._counts_turns:
            self._arm()
        elif self._reactor.turn != self._turn:
            self._turn = self._reactor.turn
            self._left = self._steps - len(self._granted)
        if self._left == 0:
            transport.stopReading()
            self._waiting.append(transport)
            self._arm()
            return False
        self._left -= 1
        return True

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            self._reactor.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        self._armed = False
        waiting, granted = self._waiting, self._granted
        # Who has waited gets a step for certain, or newcomers could overtake it again and again.
        granted.clear()
        while waiting and len(granted) < self._steps:
            transport = waiting.popleft()
            if transport.connected:
                granted.add(transport)
                transport.startReading()
        self._left = self._steps - len(granted)
        if waiting or granted:
            self._arm()
