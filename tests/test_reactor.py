"""The gateway's own reactor: what it does in fewer system calls than Twisted's."""
from __future__ import annotations

import socket
from select import EPOLLHUP, EPOLLIN
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


class _Told:
    """A poller that tells of what it is given, once."""

    def __init__(self, *events: tuple[int, int]) -> None:
        self._events = list(events)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        events, self._events = self._events, []
        return events

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class ReusedTests(SynchronousTestCase):
    """Within a turn a descriptor is closed, and its number taken by the next socket."""

    def test_event_of_the_one_before(self) -> None:
        """What had been told of a socket is nothing to the one that has its number now."""
        reactor: Any = EdgeReactor()
        for one in reactor._internalReaders:
            self.addCleanup(one.connectionLost, Failure(ConnectionDone()))
        lost: list[Failure] = []

        class Closing(Reader):
            """Closes another, whose number a new one takes."""

            def doRead(self) -> None:
                reactor.forget(old)
                reactor.addReader(new)

        class Lost(Reader):
            """Remembers its end."""

            def connectionLost(self, reason: Failure) -> None:
                lost.append(reason)

        pair = socket.socketpair()
        for sock in pair:
            self.addCleanup(sock.close)
        first = Closing(reactor, pair[0])
        old, new = Lost(reactor, pair[1]), Lost(reactor, pair[1])
        reactor._poller, poller = _Told((first.fileno(), EPOLLIN), (old.fileno(), EPOLLHUP)), reactor._poller
        self.addCleanup(poller.close)
        reactor.addReader(first)
        reactor.addReader(old)
        reactor.doPoll(0)
        self.assertEqual((lost, new.reads), ([], 0))
        reactor._poller = _Told((new.fileno(), EPOLLHUP))
        reactor.doPoll(0)
        self.assertEqual(len(lost), 1)


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
