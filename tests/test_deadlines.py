"""The wheel of deadlines, on a clock that stands still until it is told."""
from __future__ import annotations

import gc
import weakref
from math import inf
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from edgegw import deadlines
from edgegw.deadlines import Deadlines


class Waiting:
    """Something with a deadline that notes when it passed."""

    deadline = inf
    watched_until = inf

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.passed: list[float] = []
        self.then: Any = None

    def deadline_passed(self) -> None:
        self.passed.append(self.clock.seconds())
        if self.then is not None:
            self.then()


class DeadlineTests(SynchronousTestCase):
    """When deadlines are noticed."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.patch(deadlines, "monotonic", self.clock.seconds)
        self.wheel = Deadlines(self.clock, tick=0.25)

    def advance(self, seconds: float) -> None:
        """Let time pass in small steps, as a reactor that is idle does."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    def watch(self, seconds: float) -> Waiting:
        """Watch something new."""
        item = Waiting(self.clock)
        self.wheel.watch(item, self.clock.seconds() + seconds)
        return item

    def test_never_early_and_two_ticks_late_at_most(self) -> None:
        """A deadline is noticed after it has passed, within two ticks."""
        items = [(seconds / 10, self.watch(seconds / 10)) for seconds in range(1, 60)]
        self.advance(8)
        for seconds, item in items:
            (when,) = item.passed
            self.assertGreaterEqual(when, 1000.0 + seconds)
            self.assertLessEqual(when, 1000.0 + seconds + 0.51)

    def test_cancelled(self) -> None:
        """Setting the deadline to infinity is enough to call it off."""
        item = self.watch(1.0)
        item.deadline = inf
        self.advance(3)
        self.assertEqual(item.passed, [])

    def test_later(self) -> None:
        """So is setting it later to put it off."""
        item = self.watch(1.0)
        item.deadline = 1002.0
        self.advance(1.9)
        self.assertEqual(item.passed, [])
        self.advance(1)
        self.assertEqual(len(item.passed), 1)

    def test_earlier(self) -> None:
        """A deadline that is moved forward is noticed at its new time, once."""
        item = self.watch(10.0)
        self.wheel.watch(item, 1001.0)
        self.advance(1.6)
        self.assertEqual(len(item.passed), 1)
        self.advance(12)
        self.assertEqual(len(item.passed), 1)

    def test_moved_to_and_fro(self) -> None:
        """However often it is moved, it is noticed once, at the last one's time."""
        item = self.watch(10.0)
        for seconds in (1.0, 5.0, 0.3, 8.0, 2.0, 3.0):
            self.wheel.watch(item, 1000.0 + seconds)
        self.advance(2.9)
        self.assertEqual(item.passed, [])
        self.advance(12)
        self.assertEqual(len(item.passed), 1)

    def test_again(self) -> None:
        """Who sets a new deadline when one has passed is called again."""
        item = self.watch(0.5)
        item.then = lambda: self.wheel.watch(item, self.clock.seconds() + 0.5) if len(item.passed) < 3 else None
        self.advance(5)
        self.assertEqual(len(item.passed), 3)

    def test_already_passed(self) -> None:
        """A deadline in the past is noticed at the next look."""
        item = self.watch(-5.0)
        self.advance(0.6)
        self.assertEqual(len(item.passed), 1)

    def test_after_a_long_pause(self) -> None:
        """When the reactor was busy for long, everything that is due is noticed at its next turn."""
        items = [self.watch(seconds) for seconds in (0.1, 1.0, 5.0, 9.0)]
        later = self.watch(60.0)
        self.clock.advance(10)
        self.assertEqual([len(item.passed) for item in items], [1, 1, 1, 1])
        self.advance(51)
        self.assertEqual(len(later.passed), 1)

    def test_slow_turn(self) -> None:
        """Time that passes while deadlines are dealt with hides none of those that passed meanwhile."""
        first, second = self.watch(0.3), self.watch(1.1)

        def take_long() -> None:
            self.clock.rightNow = 1005.0
            self.wheel.watch(first, 1006.0)

        first.then = take_long
        self.advance(1.5)
        self.advance(3)
        self.assertEqual(len(second.passed), 1)

    def test_one_that_raises(self) -> None:
        """An exception in one is logged and keeps no other from being called."""
        items = [self.watch(0.5) for _ in range(3)]
        items[0].then = lambda: 1 // 0
        later = self.watch(2.0)
        self.advance(3)
        self.assertEqual([len(item.passed) for item in (*items, later)], [1, 1, 1, 1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_forgotten(self) -> None:
        """What has been forgotten is not called, and the wheel does not keep it alive."""
        item = self.watch(60.0)
        self.wheel.watch(item, 1030.0)
        self.wheel.forget(item)
        self.assertEqual((item.deadline, item.watched_until), (inf, inf))
        gone = weakref.ref(item)
        del item
        gc.collect()
        self.assertIsNone(gone())

    def test_forgotten_by_a_neighbour(self) -> None:
        """One deadline's passing may call off another of the same moment."""
        first, second = self.watch(0.5), self.watch(0.5)
        first.then = lambda: self.wheel.forget(second)
        self.advance(2)
        self.assertEqual((len(first.passed), second.passed), (1, []))

    def test_watched_again_after_forgetting(self) -> None:
        """Forgetting is not for ever."""
        item = self.watch(0.5)
        self.wheel.forget(item)
        self.wheel.watch(item, 1001.0)
        self.advance(2)
        self.assertEqual(len(item.passed), 1)

    def test_no_timer_without_deadlines(self) -> None:
        """A wheel that watches nothing asks the reactor for nothing."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch(0.5)
        self.advance(2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """A stopped wheel calls nobody and leaves no timer."""
        item = self.watch(0.5)
        self.wheel.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.advance(2)
        self.assertEqual(item.passed, [])


class EndTests(SynchronousTestCase):
    """What becomes of deadlines at the end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.patch(deadlines, "monotonic", self.clock.seconds)
        self.wheel = Deadlines(self.clock, tick=0.25)

    def watch(self, seconds: float) -> Waiting:
        """Watch something new."""
        item = Waiting(self.clock)
        self.wheel.watch(item, self.clock.seconds() + seconds)
        return item

    def test_run_out(self) -> None:
        """What is watched still comes to its end, and nothing is looked at afterwards; without anything, at once."""
        item, forgotten = self.watch(1.0), self.watch(50.0)
        self.wheel.forget(forgotten)
        self.wheel.run_out()
        for _ in range(40):
            self.clock.advance(0.05)
        self.assertEqual(len(item.passed), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.wheel.forget(self.watch(50.0))
        self.wheel.run_out()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_by_one_that_passes(self) -> None:
        """Several are due, and the first one's end is the end of everything."""
        for stop in (self.wheel.stop, self.wheel.run_out):
            first, later = self.watch(0.1), self.watch(0.6)
            self.patch(first, "deadline_passed", lambda stop=stop, later=later: (self.wheel.forget(later), stop()))
            self.clock.advance(5.0)
            self.assertEqual((later.passed, self.clock.getDelayedCalls()), ([], []))
