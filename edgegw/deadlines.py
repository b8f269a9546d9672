"""Deadlines that cost nothing until they pass.

Every connection of a gateway waits for something that must not take for ever, and nearly
always comes in time.  A reactor timer made and cancelled for each wait costs more than parsing
the request; here a connection sets a ``float`` and a coarse wheel looks at it later.
"""
from __future__ import annotations

from math import inf
from time import monotonic
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["Deadlines", "Expires"]

_log = Logger("edgegw.deadlines")


class Expires(Protocol):
    """Something with a deadline.

    :ivar deadline: when it expires, by :func:`time.monotonic`; ``inf`` never.  Setting it later than
        it was is free; setting it earlier takes :meth:`Deadlines.watch`.
    :ivar watched_until: owned by :class:`Deadlines`; starts as ``inf``.  Finite while a slot of the wheel
        holds the item.
    """

    deadline: float
    watched_until: float

    def deadline_passed(self) -> None:
        """Called once when the deadline has passed; may set a new one."""


class Deadlines:
    """A wheel of slots, each as long as the tick.

    A deadline is noticed at most two ticks late and never early.

    :param tick: seconds between two looks.
    """

    def __init__(self, reactor: IReactorTime, tick: float = 0.25) -> None:
        self._reactor = reactor
        self._tick = tick
        self._slots: dict[int, dict[Expires, None]] = {}
        self._next_slot = int(monotonic() / tick)
        self._call: IDelayedCall | None = None
        self._running_out = False

    def watch(self, item: Expires, deadline: float) -> None:
        """Set ``item.deadline`` and see that it is looked at by then."""
        item.deadline = deadline
        if deadline < item.watched_until:
            if item.watched_until != inf:
                self._take_out(item)
            self._insert(item, deadline)

    def forget(self, item: Expires) -> None:
        """Let go of an item that has ended; without it the wheel keeps the item alive until its slot comes."""
        item.deadline = inf
        if item.watched_until != inf:
            self._take_out(item)
            item.watched_until = inf

    def _take_out(self, item: Expires) -> None:
        # An item whose deadline was over when it was set stands in the slot that is next.
        for slot in (int(item.watched_until / self._tick) + 1, self._next_slot):
            items = self._slots.get(slot)
            if items is not None:
                items.pop(item, None)

    def _insert(self, item: Expires, deadline: float) -> None:
        item.watched_until = deadline
        if not self._slots:
            self._next_slot = max(self._next_slot, int(monotonic() / self._tick))
        slot = max(int(deadline / self._tick) + 1, self._next_slot)
        items = self._slots.get(slot)
        if items is None:
            items = self._slots[slot] = {}
        items[item] = None
        if self._call is None:
            self._call = self._reactor.callLater(self._tick, self._turn)

    def _turn(self) -> None:
        self._call = None
        now = monotonic()
        until = int(now / self._tick)
        slots = self._slots
        if until - self._next_slot > len(slots):
            due = sorted(slot for slot in slots if slot <= until)
        else:
            due = [slot for slot in range(self._next_slot, until + 1) if slot in slots]
        self._next_slot = until + 1
        for slot in due:
            # Whoever's time is up may have been the last one, which stops everything.
            for item in slots.pop(slot, ()):
                self._look_at(item, now)
        if self._running_out:
            self._drop_empty()
        if slots and self._call is None:
            self._call = self._reactor.callLater(self._tick, self._turn)

    def _look_at(self, item: Expires, now: float) -> None:
        if item.watched_until > now:
            return  # while the slot was being looked at, it was forgotten or moved to another
        item.watched_until = inf
        deadline = item.deadline
        if deadline <= now:
            item.deadline = inf
            try:
                item.deadline_passed()
            except Exception:
                # The others of the slot have nothing to do with it.
                _log.failure("when the deadline of {item!r} had passed", item=item)
        elif deadline != inf:
            self._insert(item, deadline)

    def run_out(self) -> None:
        """Nobody is served any more: let only what is watched still come to its end, by its deadline at the latest."""
        self._running_out = True
        self._drop_empty()
        if not self._slots:
            self.stop()

    def _drop_empty(self) -> None:
        for slot in [slot for slot, items in self._slots.items() if not items]:
            del self._slots[slot]

    def stop(self) -> None:
        """Forget everything that is watched."""
        self._slots.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None
