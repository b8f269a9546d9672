"""The gateway's own reactor: what it does in fewer system calls than Twisted's."""
from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from edgegw.reactor import EdgeReactor
from edgegw.tcp import hand_over


class Reader:
    """Counts how often it is called."""

    def __init__(self, reactor: EdgeReactor, sock: socket.socket) -> None:
        self.reactor = reactor
        self.fileno = sock.fileno
        self.reads = 0

    def logPrefix(self) -> str:
        return "reader"

    def doRead(self) -> None:
        self.reads += 1

    def doWrite(self) -> None:
        pass

    def connectionLost(self, reason: Failure) -> None:
        pass

    def stopReading(self) -> None:
        self.reactor.removeReader(self)


class HandOverTests(SynchronousTestCase):
    """Another is called for a descriptor."""

    def setUp(self) -> None:
        self.reactor: Any = EdgeReactor()
        ours, self.theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.theirs.close)
        self.before, self.after = Reader(self.reactor, ours), Reader(self.reactor, ours)
        self.addCleanup(self.close)
        self.theirs.send(b"x")

    def close(self) -> None:
        """Close what the reactor has opened."""
        readers = tuple(self.reactor._internalReaders)
        self.reactor.removeAll()
        for one in readers:
            one.connectionLost(Failure(ConnectionDone()))
        self.reactor._poller.close()

    def turn(self) -> tuple[int, int]:
        """Let the reactor look once; gives how often both were called so far."""
        self.reactor.doIteration(0)
        return self.before.reads, self.after.reads

    def test_one_that_reads(self) -> None:
        """What comes is told to the other from then on, and what it wants of the reactor holds."""
        self.reactor.addReader(self.before)
        self.assertEqual(self.turn(), (1, 0))
        hand_over(self.reactor, self.before, self.after)
        self.assertEqual(self.turn(), (1, 1))
        self.assertEqual([one for one in self.reactor.getReaders() if isinstance(one, Reader)], [self.after])
        self.reactor.removeReader(self.after)
        self.assertEqual(self.turn(), (1, 1))

    def test_one_that_does_not(self) -> None:
        """It makes no difference whether the one before has read."""
        hand_over(self.reactor, self.before, self.after)
        self.assertEqual(self.turn(), (0, 1))

    def test_one_that_writes(self) -> None:
        """What has something to write keeps that to itself: nothing is handed over the short way."""
        self.reactor.addReader(self.before)
        self.reactor.addWriter(self.before)
        self.assertFalse(self.reactor.hand_over(self.before, self.after))
