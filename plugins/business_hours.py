"""business_hours: clients come in on some days between two times, and at no others."""
from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from attrs import frozen

from edgegw.api import Accept, Peer, Reject, Verdict, option, policy

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def clock_time(text: str | time) -> time:
    """Read ``08:30``."""
    if isinstance(text, time):
        return text
    hour, _, minute = text.partition(":")
    try:
        if len(text) != 5:
            raise ValueError
        return time(int(hour), int(minute))
    except ValueError:
        raise ValueError(f"{text!r} is no time of the day; write it as 08:30") from None


def zone(name: str | ZoneInfo) -> ZoneInfo:
    """Find a time zone by its name in the IANA database."""
    try:
        return name if isinstance(name, ZoneInfo) else ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"there is no time zone {name!r}; use a name such as Europe/Berlin or UTC") from None


def dates(texts: tuple[str | date, ...]) -> frozenset[date]:
    """Read days such as ``2026-12-25``."""
    try:
        return frozenset(one if isinstance(one, date) else date.fromisoformat(one) for one in texts)
    except ValueError as error:
        raise ValueError(f"{error}; write a day as 2026-12-25") from None


@frozen
class Config:
    """The options."""

    begin: str = option("When the doors open, as on a clock in the time zone.", default="08:00", convert=clock_time)
    end: str = option(
        "When they close; not later than ``begin`` is on the next day.", default="18:00", convert=clock_time
    )
    time_zone: str = option("The time zone's name in the IANA database.", default="UTC", convert=zone)
    days: tuple[Day, ...] = option("The days on which they open.", default=DAYS[:5], min_items=1)
    closed_on: tuple[str, ...] = option("Days on which they do not all the same.", default=(), convert=dates)


@policy("business_hours", Config, without_certificate=True)
class BusinessHours:
    """Let clients in on some days between two times, and at no others.

    The clock on the wall of the time zone decides, daylight saving time included.  Hours that pass midnight belong to
    the day on which they begin.  Connections that are open when the doors close stay open.  Clients without a
    certificate are judged as well, where such may come in.

    Example::

        policies:
          - business_hours:
              begin: "08:00"
              end: "18:30"
              time_zone: Europe/Berlin
              closed_on: ["2026-12-25", "2026-12-26"]
    """

    #: The doors have let in whom they have let in.
    recheck = False

    def __init__(self, config: Config, env: object) -> None:
        self._begin: time = clock_time(config.begin)
        self._end: time = clock_time(config.end)
        self._zone: ZoneInfo = zone(config.time_zone)
        self._days = frozenset(DAYS.index(day) for day in config.days)
        self._closed_on = dates(config.closed_on)

    def check(self, peer: Peer) -> Verdict:
        """See :class:`edgegw.api.IPolicy`."""
        local = peer.now.astimezone(self._zone)
        if self._open(local):
            return Accept()
        return Reject("business_hours", f"it is {local:%a %Y-%m-%d %H:%M} {self._zone.key}")

    def _open(self, local: datetime) -> bool:
        today, clock = local.date(), local.time()
        if self._begin < self._end:
            return self._begin <= clock < self._end and self._opens(today)
        if clock >= self._begin:
            return self._opens(today)
        return clock < self._end and today > date.min and self._opens(today - timedelta(days=1))

    def _opens(self, day: date) -> bool:
        return day.weekday() in self._days and day not in self._closed_on
