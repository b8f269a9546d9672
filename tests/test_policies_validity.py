"""``validity``: lifetimes, time left, and certificates that have expired."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.certificate import Certificate
from edgegw.config import ConfigError
from edgegw.config.scalars import parse_duration
from edgegw.policies.validity import Config, Validity
from edgegw.testing import (
    FakeEnvironment,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    examples_of,
    options,
    peer,
)
from edgegw.verdict import Accept, Reason, Reject

from .client_certificates import handmade, tlv

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def certificate(begin: datetime, end: datetime) -> Certificate:
    """Make a certificate that is valid for this time."""
    return handmade(validity=[tlv(0x18, f"{one:%Y%m%d%H%M%SZ}".encode()) for one in (begin, end)])


NINETY_DAYS = certificate(BEGIN, BEGIN + 90 * DAY)
END = BEGIN + 90 * DAY


def verdict(document: dict[str, Any] | str, now: datetime, of: Certificate = NINETY_DAYS) -> str:
    """Give the code of the refusal; ``"accepted"`` if there is none."""
    judged = build(Validity, document).check(peer(of, now=now))
    return "accepted" if isinstance(judged, Accept) else str(judged.code)


class LifetimeTests(SynchronousTestCase):
    """max_lifetime and min_remaining."""

    def test_lifetime(self) -> None:
        """A certificate of exactly the longest lifetime comes in, and one of a second more does not."""
        self.assertEqual(verdict("max_lifetime: 2160h", BEGIN), "accepted")
        longer = peer(certificate(BEGIN, END + SECOND), now=BEGIN)
        refused = assert_rejects(Validity, "max_lifetime: 2160h", longer, Reason.CERTIFICATE_LIFETIME)
        self.assertEqual(refused.detail, "it is valid for 90.0 days, longer than 90.0 days")
        assert_rejects(Validity, "max_lifetime: 1h", peer(NINETY_DAYS, now=BEGIN), Reason.CERTIFICATE_LIFETIME)

    def test_no_end(self) -> None:
        """A certificate without an end is longer than any lifetime, and has time left."""
        endless = handmade(validity=[b"\x17\x0d260101000000Z", b"\x18\x0f99991231235959Z"])
        self.assertEqual(verdict("max_lifetime: 99999h", BEGIN, endless), "certificate_lifetime")
        self.assertEqual(verdict("min_remaining: 99999h", BEGIN, endless), "accepted")

    def test_remaining(self) -> None:
        """A certificate with exactly the time left comes in, and one with a second less does not."""
        self.assertEqual(verdict("min_remaining: 24h", END - DAY), "accepted")
        self.assertEqual(verdict("min_remaining: 24h", END - DAY + SECOND), "certificate_expires_soon")
        refused = assert_rejects(Validity, "min_remaining: 168h", peer(NINETY_DAYS, now=END - 3 * DAY))
        self.assertEqual(refused, Reject(Reason.CERTIFICATE_EXPIRES_SOON, "it ends in 3.0 days, less than 7.0 days"))

    def test_days(self) -> None:
        """Days are written in hours, and a certificate's years fit."""
        self.assertEqual(parse_duration("2160h"), 90 * 86_400)
        self.assertEqual(options(Validity, "max_lifetime: 99999h").max_lifetime, 99_999 * 3600)
        self.assertEqual(options(Validity, "max_lifetime: 9528h").max_lifetime, 397 * 86_400)


class DatesTests(SynchronousTestCase):
    """What TLS has refused already is refused here, too: on resumed connections, and in explain."""

    def test_dates(self) -> None:
        """The dates are judged by the client's time, both ends included."""
        for now, expected in (
            (BEGIN - SECOND, "certificate_not_yet_valid"), (BEGIN, "accepted"), (END, "accepted"),
            (END + SECOND, "certificate_expired"), (END + 9999 * DAY, "certificate_expired"),
        ):
            self.assertEqual(verdict("max_lifetime: 9999h", now), expected, str(now))
            # What is not valid now is told as that, whatever else is wrong with it.
            shorter = expected if expected != "accepted" else "certificate_lifetime"
            self.assertEqual(verdict("max_lifetime: 1h", now), shorter, str(now))

    def test_words(self) -> None:
        """The refusal names the date."""
        refused = assert_rejects(Validity, "max_lifetime: 9999h", peer(NINETY_DAYS, now=END + DAY))
        self.assertEqual(refused.detail, "it ended 2026-04-01T00:00:00+00:00")
        refused = assert_rejects(Validity, "max_lifetime: 9999h", peer(NINETY_DAYS, now=BEGIN - DAY))
        self.assertEqual(refused.detail, "it begins 2026-01-01T00:00:00+00:00")

    def test_unreadable(self) -> None:
        """Dates that cannot be read, or end before they begin, are refused whatever is allowed."""
        broken = handmade(validity=[b"\x17\x0d260199000000Z", b"\x18\x0f20450101000000Z"])
        document = "allow_expired: true\nallow_not_yet_valid: true"
        for client in (broken, certificate(END, BEGIN), Certificate(b"")):
            self.assertEqual(verdict(document, BEGIN, client), "certificate_invalid")


class ExpiredTests(SynchronousTestCase):
    """allow_expired and allow_not_yet_valid."""

    def test_for_ever(self) -> None:
        """Without a limit an expired certificate comes in for ever, and only that."""
        self.assertEqual(verdict("allow_expired: true", END + 99_999 * DAY), "accepted")
        self.assertEqual(verdict("allow_expired: true", BEGIN - SECOND), "certificate_not_yet_valid")
        self.assertEqual(verdict("allow_not_yet_valid: true", BEGIN - 9_999 * DAY), "accepted")
        self.assertEqual(verdict("allow_not_yet_valid: true", END + SECOND), "certificate_expired")

    def test_limits(self) -> None:
        """With a limit it comes in until then."""
        document = "allow_expired: true\nmax_expired: 72h"
        self.assertEqual(verdict(document, END + 3 * DAY), "accepted")
        refused = assert_rejects(Validity, document, peer(NINETY_DAYS, now=END + 3 * DAY + SECOND))
        self.assertEqual(refused, Reject(
            Reason.CERTIFICATE_EXPIRED, "it ended 2026-04-01T00:00:00+00:00, more than 3.0 days ago"
        ))
        document = "allow_not_yet_valid: true\nmax_not_yet_valid: 5m"
        self.assertEqual(verdict(document, BEGIN - 300 * SECOND), "accepted")
        refused = assert_rejects(Validity, document, peer(NINETY_DAYS, now=BEGIN - 301 * SECOND))
        self.assertEqual(refused, Reject(
            Reason.CERTIFICATE_NOT_YET_VALID, "it begins 2026-01-01T00:00:00+00:00, in more than 300 seconds"
        ))

    def test_lifetime_of_expired_ones(self) -> None:
        """An expired certificate must keep to the longest lifetime all the same."""
        self.assertEqual(verdict("allow_expired: true\nmax_lifetime: 24h", END + DAY), "certificate_lifetime")

    def test_what_tls_is_told(self) -> None:
        """TLS leaves the dates to the policy exactly where one of the two is allowed."""
        for document, expected in (
            ("allow_expired: true", True), ("allow_not_yet_valid: true", True),
            ("allow_expired: true\nmax_expired: 1h", True), ("max_lifetime: 24h", False), ("min_remaining: 24h", False),
        ):
            kind: Any = Validity
            policy = kind.build(options(kind, document), FakeEnvironment())
            self.assertIs(policy.allows_expired, expected, document)

    @given(st.integers(-10_000, 10_000), st.one_of(st.none(), st.integers(1, 5000)), st.booleans(), st.booleans())
    def test_any_time(self, at: int, limit: int | None, expired: bool, early: bool) -> None:
        """Whatever the time and the limits, it comes in exactly where they say so."""
        if not expired and not early:
            return
        config = Config(
            allow_expired=expired, max_expired=float(limit) if expired and limit else None,
            allow_not_yet_valid=early, max_not_yet_valid=float(limit) if early and limit else None,
        )
        short = certificate(BEGIN, BEGIN + 1000 * SECOND)
        judged = build(Validity, config).check(peer(short, now=BEGIN + at * SECOND))
        allowed_after = (float("inf") if limit is None else limit) if expired else 0
        allowed_before = (float("inf") if limit is None else limit) if early else 0
        self.assertEqual(isinstance(judged, Accept), -allowed_before <= at <= 1000 + allowed_after)


class KindTests(SynchronousTestCase):
    """The kind and its options."""

    def test_contract(self) -> None:
        """It keeps to what every plugin promises, about the oddest clients, too."""
        check_plugin(Validity, "max_lifetime: 2160h", "min_remaining: 1h", "allow_expired: true",
                     "allow_expired: true\nmax_expired: 1h\nallow_not_yet_valid: true\nmax_not_yet_valid: 1m")

    def test_example(self) -> None:
        """The example in its documentation lets those in that it describes."""
        ((_, document),) = examples_of(Validity)
        assert_accepts(Validity, document, peer(NINETY_DAYS, now=END + 3 * DAY))
        assert_rejects(Validity, document, peer(NINETY_DAYS, now=END + 4 * DAY), Reason.CERTIFICATE_EXPIRED)

    def test_faults(self) -> None:
        """Options that cannot be meant are faults."""
        for document, words in (
            ("", "says nothing about validity"),
            ("allow_expired: false", "says nothing about validity"),
            ("max_expired: 1h\nmax_lifetime: 1h", "has max_expired, which means nothing by itself"),
            ("max_not_yet_valid: 1h\nallow_expired: true", "has max_not_yet_valid, which means nothing by itself"),
            ("min_remaining: 1h\nallow_expired: true", "demands time left and allows that none is"),
            ("max_lifetime: 0s", "0s is out of range"),
            ("max_lifetime: 90d", "is not a duration"),
            ("max_lifetime: 99999h60m", "is out of range"),
        ):
            with self.assertRaises(ConfigError) as caught:
                options(Validity, document)
            self.assertIn(words, str(caught.exception))
