"""When business_hours opens its doors."""
from __future__ import annotations

from datetime import UTC, datetime

from business_hours import BusinessHours, Config
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.testing import (
    Authority,
    ConfigError,
    anonymous_peer,
    assert_accepts,
    assert_rejects,
    check_plugin,
    options,
    peer,
    serve,
)

#: A Wednesday.
BERLIN = options(BusinessHours, {"begin": "08:00", "end": "18:00", "time_zone": "Europe/Berlin"})
NIGHT = options(BusinessHours, {"begin": "22:00", "end": "06:00", "days": ["fri"]})


def at(text: str) -> datetime:
    """Give a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class BusinessHoursTests(SynchronousTestCase):
    """The policy, at one time after the other."""

    def opened(self, config: Config, *times: str) -> None:
        """See that clients come in at these times."""
        for text in times:
            assert_accepts(BusinessHours, config, peer(now=at(text)))

    def closed(self, config: Config, *times: str) -> None:
        """See that they do not."""
        for text in times:
            assert_rejects(BusinessHours, config, peer(now=at(text)), "business_hours")

    def test_the_clock_on_the_wall_decides(self) -> None:
        """The doors open and close by the time zone, in summer an hour earlier by UTC than in winter."""
        self.opened(BERLIN, "2026-01-14 07:00", "2026-01-14 16:59:59", "2026-07-15 06:00")
        self.closed(BERLIN, "2026-01-14 06:59:59", "2026-01-14 17:00", "2026-07-15 05:59", "2026-07-15 16:00")

    def test_the_day_on_the_wall_decides(self) -> None:
        """A weekend begins and ends where the doors are."""
        tokyo = options(BusinessHours, {"begin": "00:00", "end": "23:59", "time_zone": "Asia/Tokyo"})
        self.opened(tokyo, "2026-01-11 15:00")
        self.closed(tokyo, "2026-01-09 15:00", "2026-01-10 12:00")

    def test_hours_that_pass_midnight(self) -> None:
        """The night of Friday ends on Saturday morning."""
        self.opened(NIGHT, "2026-01-16 22:00", "2026-01-17 05:59")
        self.closed(NIGHT, "2026-01-16 21:59", "2026-01-17 06:00", "2026-01-17 22:00", "2026-01-16 05:00")

    def test_the_whole_day(self) -> None:
        """Doors that close when they open are open all day."""
        whole = options(BusinessHours, {"begin": "00:00", "end": "00:00"})
        self.opened(whole, "2026-01-14 00:00", "2026-01-14 23:59:59")
        self.closed(whole, "2026-01-17 12:00")

    def test_closed_on(self) -> None:
        """A holiday is no working day."""
        holidays = options(BusinessHours, {"closed_on": ["2026-01-14"]})
        self.closed(holidays, "2026-01-14 12:00")
        self.opened(holidays, "2026-01-15 12:00")

    def test_without_certificate(self) -> None:
        """Whoever has no certificate comes no earlier."""
        assert_accepts(BusinessHours, BERLIN, anonymous_peer(now=at("2026-01-14 12:00")))
        assert_rejects(BusinessHours, BERLIN, anonymous_peer(now=at("2026-01-14 22:00")), "business_hours")

    def test_detail(self) -> None:
        """The reason says what time it was taken to be."""
        refused = assert_rejects(BusinessHours, BERLIN, peer(now=at("2026-01-14 22:00")))
        self.assertEqual(refused.detail, "it is Wed 2026-01-14 23:00 Europe/Berlin")

    def test_faults(self) -> None:
        """Times, zones and days that are none are faults of the configuration."""
        for wrong, said in (
            ({"begin": "8:00"}, "'8:00' is no time of the day; write it as 08:30"),
            ({"end": "24:00"}, "'24:00' is no time of the day"),
            ({"time_zone": "Mars/Olympus"}, "there is no time zone 'Mars/Olympus'"),
            ({"time_zone": "../etc/passwd"}, "there is no time zone"),
            ({"closed_on": ["25.12.2026"]}, "write a day as 2026-12-25"),
            ({"days": ["Monday"]}, "days[0]"),
        ):
            error = self.assertRaises(ConfigError, options, BusinessHours, wrong)
            self.assertIn(said, str(error))

    def test_contract(self) -> None:
        """It keeps to what a plugin promises."""
        check_plugin(BusinessHours, BERLIN, NIGHT, {})


class BusinessHoursHandshakeTests(TestCase):
    """The policy in the gateway, at times of the test's choice."""

    async def test_closing(self) -> None:
        """Who comes a second before the doors close comes in, and who comes then does not."""
        authority = Authority()
        client = authority.issue()
        times = iter([at("2026-01-14 16:59:59"), at("2026-01-14 17:00")])
        async with serve([(BusinessHours, BERLIN)], trust=[authority], now=lambda: next(times)) as edge:
            self.assertTrue((await edge.handshake(client)).accepted)
            self.assertEqual((await edge.handshake(client)).code, "business_hours")
