"""The entries of a CRL (RFC 5280 §5.3), read so that a million of them cost seconds once and then a look-up.

Of each entry its serial number is kept, and a value that it shares with all others of the same day and
reason: about 90 bytes.
"""
from __future__ import annotations

from datetime import UTC, datetime
from time import sleep
from typing import Final

from attrs import frozen

from edgegw.der import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, DERError, expect, only, read
from edgegw.policies.certificate_parts import Extension, read_extensions

__all__ = ["Revocation", "read_entries", "read_time"]

_ENUMERATED: Final = 0x0A
_REASON_CODE: Final = bytes.fromhex("551d15")
_INVALIDITY_DATE: Final = bytes.fromhex("551d18")
_HOLD_INSTRUCTION: Final = bytes.fromhex("551d17")
_CERTIFICATE_ISSUER: Final = bytes.fromhex("551d1d")
#: Extensions that may be critical, as what they say changes nothing or is heeded.
_UNDERSTOOD: Final = frozenset({_REASON_CODE, _INVALIDITY_DATE, _HOLD_INSTRUCTION})

#: The lengths of times in their only form (RFC 5280 §4.1.2.5).
_TIMES: Final = {UTC_TIME: 13, GENERALIZED_TIME: 15}
#: RFC 5280 §5.3.1.
_REASONS: Final = {
    0: "unspecified",
    1: "keyCompromise",
    2: "cACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    9: "privilegeWithdrawn",
    10: "aACompromise",
}
_REMOVE_FROM_CRL: Final = 8

#: Bytes of entries that are read before other threads get their turn: about a millisecond's work.
_STEP: Final = 16_384
#: Endings of entries that are remembered while a list is read.
_ENDINGS: Final = 65_536


@frozen
class Revocation:
    """What a list says about one certificate or many.

    :ivar day: ``2026-01-31``.
    :ivar reason: as RFC 5280 §5.3.1 calls it; empty where none is given.
    """

    day: str
    reason: str

    def __str__(self) -> str:
        return f"on {self.day}" + (f" ({self.reason})" if self.reason else "")


def read_time(tag: int, contents: bytes) -> datetime:
    """Read a ``Time`` (RFC 5280 §5.1.2.4): to the second, in UTC.

    :raises DERError: it is none.
    """
    if len(contents) != _TIMES.get(tag) or not contents[:-1].isdigit() or contents[-1:] != b"Z":
        raise DERError("a time that is none")
    if tag == UTC_TIME:
        contents = (b"20" if contents < b"50" else b"19") + contents
    month, day, hour, minute, second = [int(contents[at:at + 2]) for at in range(4, 14, 2)]
    try:
        # strptime takes ten times as long, and a list may have a time of its own in each entry.
        return datetime(int(contents[:4]), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise DERError("a time that is none") from None


def read_entries(der: bytes, at: int, end: int) -> dict[int, Revocation]:
    """Read ``revokedCertificates`` by serial number.

    An entry with the reason removeFromCRL stands for a certificate that is not revoked (RFC 5280 §6.3.3 (k)).

    :raises ValueError: one is broken, or has a critical extension that is not known: RFC 5280 §5.3 forbids to use
        any of the list then.
    """
    revoked: dict[int, Revocation] = {}
    endings = _Endings()
    find, number = endings.known.get, int.from_bytes
    while at < end:
        # The reactor's thread, if it waits for its turn, gets it now and not after five milliseconds.
        sleep(0)
        pause = min(at + _STEP, end)
        while at < pause:
            start = at + 2
            stop = start + der[at + 1]
            if der[at] != SEQUENCE or der[at + 1] >= 0x80 or stop > end:
                start, stop = expect(der, at, end, SEQUENCE)
            last = start + 2 + der[start + 1]
            if der[start] != INTEGER or not 0 < der[start + 1] < 0x80 or last >= stop:
                raise DERError("an entry that is no serial number and a time")
            # The time of day, of a UTCTime, tells entries apart and nobody asks for it.
            ending = der[last:last + 8] + der[last + 14:stop]
            revocation = find(ending)
            if revocation is None:
                revocation = endings.read(der[last:stop], ending)
            if revocation is not _REMOVED:
                revoked[number(der[start + 2:last], "big", signed=True)] = revocation
            at = stop
    return revoked


_REMOVED: Final = Revocation("", "removeFromCRL")


class _Endings:
    """What comes after the serial number in an entry, read once for each that differs.

    :ivar known: what was read, by the ending without the time of day.
    """

    def __init__(self) -> None:
        self.known: dict[bytes, Revocation] = {}
        self._shared: dict[tuple[str, str], Revocation] = {}

    def read(self, ending: bytes, key: bytes) -> Revocation:
        """Read one.

        :raises ValueError: it is broken, or has a critical extension that is not known.
        """
        tag, first, at = read(ending, 0, len(ending))
        day = read_time(tag, ending[first:at]).strftime("%Y-%m-%d")
        reason = ""
        if at < len(ending):
            if expect(ending, at, len(ending), SEQUENCE)[1] != len(ending):
                raise DERError("bytes after an entry's extensions")
            reason = _read_reason(read_extensions(ending, at, len(ending), []))
        if reason == _REMOVED.reason:
            found = _REMOVED
        else:
            found = self._shared.setdefault((day, reason), Revocation(day, reason))
        if tag == UTC_TIME:
            # Of other times the key leaves out more than the time of day.
            if len(self.known) >= _ENDINGS:
                self.known.clear()
            self.known[key] = found
        return found


def _read_reason(extensions: tuple[Extension, ...]) -> str:
    reason = ""
    for one in extensions:
        if one.oid == _CERTIFICATE_ISSUER:
            raise ValueError("it is an indirect CRL (certificateIssuer in an entry), which is not supported")
        if one.critical and one.oid not in _UNDERSTOOD:
            raise ValueError(f"an entry has a critical extension that is not known: {one.oid.hex()} (its type's bytes)")
        if one.oid == _REASON_CODE:
            contents = only(one.value, _ENUMERATED)
            if len(contents) != 1:
                raise DERError("a reason that is none")
            removed = contents[0] == _REMOVE_FROM_CRL
            reason = _REMOVED.reason if removed else _REASONS.get(contents[0], f"reason {contents[0]}")
    return reason
