"""The handshake record: the last handshakes, who it was and why they came in or did not, in fixed memory.

The data path calls :meth:`HandshakeRecord.add` once for each handshake, which costs about as much as counting
it; nothing is formatted before somebody asks.  No keys, tickets or whole certificates of more than
:data:`~edgegw.observe.certificate_summary.MAX_KEPT` bytes are in it.

What is looked for must not be washed away by what comes in masses.  There are four sorts of handshakes, each
with a share of the room that the others cannot take: half is for those that were accepted, a quarter for
refusals of certificates whose chain was verified, an eighth for refusals of certificates that were not
verified, an eighth for refusals and failures without any certificate.  Room that one sort does not need the
others use, until it needs it.  Nobody but the operator's own clients can therefore push out an entry of the
first sort, and of the second nobody who has no copy of such a certificate: a policy refuses in the handshake
before the client has proved that it has the key.

Of the last sort, what a scanner or a flood brings, repeats within a second from one address on one
listener for one reason are one entry with a count.
"""
from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from time import time
from typing import Final

from edgegw.identity import Certificate, CertificateStatus
from edgegw.observe.certificate_summary import MAX_KEPT, CertificateSummaries, shorten
from edgegw.observe.handshake_entry import CODES, MAX_DETAIL, Parameters, Row, entry, kept_proxied, kept_rulings
from edgegw.proxied import ProxyFacts
from edgegw.verdict import Ruling

__all__ = ["CAPACITY", "REPEAT_SECONDS", "BadPosition", "HandshakeRecord"]

#: Handshakes that are kept unless somebody says otherwise.
CAPACITY: Final = 10_000
#: Seconds from an entry in which the same again is counted there.
REPEAT_SECONDS: Final = 1.0

#: Addresses, listeners and reasons whose repeats are looked out for at once.
_MAX_RECENT: Final = 1_024
#: What was negotiated, and fingerprints, in how many combinations; further ones are kept by each row for itself.
_MAX_PARAMETERS: Final = 64
_MAX_SERVER_NAME: Final = 255
_MAX_PEER: Final = 64

_MAX_CODE: Final = 64
#: A smaller record has just the last ones: there is not room for one of each sort.
_SHARED_FROM: Final = 8

#: The sorts of handshakes, by their place in a record's queues and shares.
_ACCEPTED: Final = 0
_REFUSED_VERIFIED: Final = 1
_REFUSED_UNVERIFIED: Final = 2
_REFUSED_UNKNOWN: Final = 3

# To look a member of an enumeration up takes longer than most of what is done with it here.
_VERIFIED: Final = CertificateStatus.VERIFIED
#: The last two digits of an id.
_LOW: Final = tuple(f"{number:02x}" for number in range(256))

_POSITION = re.compile(r"([0-9a-f]{8})-([0-9a-f]{3,15})")

#: Number, id and time of the entry in which repeats are counted.
_Recent = tuple[int, str, float]


class BadPosition(ValueError):
    """A text that is neither an id nor a position of any record."""


class HandshakeRecord:
    """The last handshakes of one process.

    Everything runs on the reactor's thread.  Ids are eight random hexadecimal digits of the process, a dash and
    a number in hexadecimal: two processes give the same ones by a chance of one in four billion.

    :param capacity: how many are kept; at the worst each takes
        :data:`~edgegw.observe.handshake_entry.MAX_BYTES`.  With 0 handshakes get ids and nothing else.
    :param clock: seconds since the epoch.
    :raises ValueError: a negative capacity.
    """

    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._prefix = os.urandom(4).hex()
        self._number = 0
        self._block = self._text(0)[:-2]
        self._length = 0
        self._sorts: tuple[deque[Row], ...] = (deque(), deque(), deque(), deque())
        self._summaries = CertificateSummaries()
        self._parameters: dict[Parameters, Parameters] = {}
        self._fingerprints: dict[tuple[str, str], tuple[str, str]] = {}
        self._recent: dict[tuple[str, str, str], _Recent] = {}
        # How many more, and when the last of them was, by the entry's number.
        self._repeats: dict[int, tuple[int, float]] = {}
        self.resize(capacity)

    def __len__(self) -> int:
        return self._length

    @property
    def capacity(self) -> int:
        """How many handshakes are kept."""
        return self._capacity

    def resize(self, capacity: int) -> None:
        """Keep more or fewer from now on; of too many the oldest go, of each sort beyond its new share.

        :raises ValueError: a negative capacity.
        """
        if capacity < 0:
            raise ValueError(f"a record cannot have {capacity} handshakes")
        self._capacity = capacity
        if capacity >= _SHARED_FROM:
            self._shares = (capacity // 2, capacity // 4, capacity // 8, capacity // 8)
        else:
            self._shares = (capacity,) * 4
        while self._length > capacity:
            self._make_room()
            self._length -= 1

    # --- writing ----------------------------------------------------------------------------

    def next_id(self) -> str:
        """Give an id to a handshake whose end is still to come, for logs; pass it to :meth:`add`."""
        number = self._number = self._number + 1
        return self._block + _LOW[number & 0xFF] if number & 0xFF else self._next_block(number)

    def add(
        self,
        listener: str,
        peer: str,
        port: int,
        server_name: str | None,
        version: str | None,
        cipher: str | None,
        group: str | None,
        resumed: bool,
        status: CertificateStatus,
        certificate: Certificate | None,
        reason: str,
        detail: str,
        rulings: Sequence[Ruling],
        seconds: float,
        handshake_id: str = "",
        fingerprints: tuple[str, str] | None = None,
        proxied: ProxyFacts | None = None,
    ) -> str:
        """Record a handshake that ended, or a connection that was refused before it.

        :param listener: the listener's name, or the port's first one where the client's name was not known.
        :param peer: the client's address as text, without a port.
        :param server_name: SNI, or ``None``.
        :param version: as OpenSSL names it; so are ``cipher`` and ``group``; ``None`` where it had not come to that.
        :param certificate: the client's own, or ``None``.
        :param reason: the code; empty for a client that came in.
        :param rulings: what each policy said, in its order.
        :param seconds: from accept to the end.
        :param handshake_id: what :meth:`next_id` gave; without it the handshake gets an id here.
        :param fingerprints: JA3 and JA4 of its ClientHello, or ``None``.
        :param proxied: what a proxy in front said, which told ``peer`` and ``port``.
        :returns: its id; that of the entry in which it is counted, if it is a repeat.
        """
        now = self._clock()
        sort = _ACCEPTED
        if reason:
            reason = CODES.get(reason) or shorten(str(reason), _MAX_CODE)
            detail = shorten(detail, MAX_DETAIL)
            if certificate is not None:
                sort = _REFUSED_VERIFIED if status is _VERIFIED else _REFUSED_UNVERIFIED
            else:
                sort = _REFUSED_UNKNOWN
                if not handshake_id and (known := self._repeated(listener, peer, reason, now)) is not None:
                    return known
        number = self._number = self._number + 1
        parameters = (version, cipher, group)
        row: Row = (
            number,
            handshake_id or None,
            now,
            listener,
            # Each is looked at here first: a call costs more than what it finds nothing to do about.
            peer if len(peer) <= _MAX_PEER else shorten(peer, _MAX_PEER),
            port,
            server_name if not server_name or (len(server_name) <= _MAX_SERVER_NAME and server_name.isascii())
            else shorten(server_name, _MAX_SERVER_NAME),
            self._parameters.get(parameters) or self._new_parameters(parameters),
            resumed,
            status._value_,
            None if certificate is None
            else certificate.der if len(certificate.der) <= MAX_KEPT
            else self._summaries.summary(certificate, status),
            reason,
            detail,
            kept_rulings(rulings) if rulings else (),
            seconds,
            fingerprints and (self._fingerprints.get(fingerprints) or self._new_fingerprints(fingerprints)),
            None if proxied is None else kept_proxied(proxied),
        )
        rows = self._sorts[sort]
        rows.append(row)
        if self._length < self._capacity:
            self._length += 1
        elif len(rows) > self._shares[sort]:
            self._drop(rows)
        else:
            self._make_room()
        if handshake_id:
            return handshake_id
        given = self._block + _LOW[number & 0xFF] if number & 0xFF else self._next_block(number)
        if sort == _REFUSED_UNKNOWN:
            self._look_out(listener, peer, reason, (number, given, now))
        return given

    def _next_block(self, number: int) -> str:
        """Give the id of a number that ends in ``00``; the 255 that follow have all but the last two digits of it."""
        self._block = self._text(number)[:-2]
        return self._text(number)

    def _text(self, number: int) -> str:
        return f"{self._prefix}-{number:03x}"

    def _new_parameters(self, parameters: Parameters) -> Parameters:
        if len(self._parameters) < _MAX_PARAMETERS:
            self._parameters[parameters] = parameters
        return parameters

    def _new_fingerprints(self, fingerprints: tuple[str, str]) -> tuple[str, str]:
        # A plain tuple, whatever came: the collector looks at no other again and again.
        ja3, ja4 = fingerprints
        kept = (ja3, ja4)
        if len(self._fingerprints) < _MAX_PARAMETERS:
            self._fingerprints[kept] = kept
        return kept

    def _drop(self, rows: deque[Row]) -> None:
        number = rows.popleft()[0]
        if self._repeats:
            self._repeats.pop(number, None)

    def _make_room(self) -> None:
        # There are too many, and one sort has no more than its share: so another has more.
        for rows, share in zip(self._sorts, self._shares, strict=True):
            if len(rows) > share:
                self._drop(rows)
                return
        # Or it is too small to have shares.
        self._drop(min((rows for rows in self._sorts if rows), key=lambda rows: rows[0][0]))

    def _repeated(self, listener: str, peer: str, reason: str, now: float) -> str | None:
        """Count it in the entry that it repeats, and give that one's id."""
        recent = self._recent.get((listener, peer, reason))
        if recent is None:
            return None
        number, given, began = recent
        rows = self._sorts[_REFUSED_UNKNOWN]
        if not 0.0 <= now - began < REPEAT_SECONDS or not rows or number < rows[0][0]:
            return None
        self._repeats[number] = (self._repeats.get(number, (0,))[0] + 1, now)
        return given

    def _look_out(self, listener: str, peer: str, reason: str, recent: _Recent) -> None:
        if len(self._recent) >= _MAX_RECENT:
            self._recent.clear()
        self._recent[(listener, shorten(peer, _MAX_PEER), reason)] = recent

    # --- reading ----------------------------------------------------------------------------

    def position(self, text: str) -> int:
        """Give the number behind an id, or behind what :meth:`entries` gave as the next position.

        Those of an earlier process come before everything of this one, and so does ``0``.

        :raises BadPosition: it is neither.
        """
        if text == "0":
            return 0
        match = _POSITION.fullmatch(text)
        if match is None:
            raise BadPosition(f"{text[:40]!r} is no id of a handshake")
        return int(match[2], 16) if match[1] == self._prefix else 0

    def entries(
        self,
        limit: int,
        since: str | None = None,
        *,
        refused: bool = False,
        listener: str | None = None,
        reason: str | None = None,
        peer: str | None = None,
    ) -> tuple[list[dict[str, object]], str]:
        """Give entries as JSON has them, oldest first, and the position behind them.

        :param limit: how many at most, 1 or more: the first ones after ``since``, or the last ones of all without it.
        :param since: an id, or a position that an earlier call gave; only later ones are given.
        :param refused: only those that did not come in, whether refused or failed.
        :param listener: only those of a listener; likewise ``reason`` and ``peer``.
        :returns: the entries, and what to pass as ``since`` for the ones that follow.
        :raises BadPosition: ``since`` is neither id nor position.
        """
        def fits(row: Row) -> bool:
            return (
                (listener is None or row[3] == listener)
                and (reason is None or row[11] == reason)
                and (peer is None or row[4] == peer)
            )

        sorts = self._sorts[1:] if refused else self._sorts
        end = self._number
        if since is None:
            # The last ones of all are among the last ones of each sort.
            found = sorted(row for rows in sorts for row in islice(filter(fits, reversed(rows)), limit))[-limit:]
        else:
            start = self.position(since)
            found = sorted(
                row for rows in sorts for row in takewhile(lambda row: row[0] > start, reversed(rows)) if fits(row)
            )
            if len(found) > limit:
                found = found[:limit]
                end = found[-1][0]
        return [self._entry(row) for row in found], self._text(end)

    def find(self, id: str) -> dict[str, object] | None:
        """Give the entry with an id; ``None`` if there is none any more, or never was."""
        match = _POSITION.fullmatch(id)
        number = int(match[2], 16) if match is not None and match[1] == self._prefix else 0
        for rows in self._sorts:
            for row in rows:
                if row[1] == id if row[1] else row[0] == number:
                    return self._entry(row)
        return None

    def _id(self, row: Row) -> str:
        return row[1] or self._text(row[0])

    def _entry(self, row: Row) -> dict[str, object]:
        return entry(row, self._id(row), self._repeats.get(row[0]))
