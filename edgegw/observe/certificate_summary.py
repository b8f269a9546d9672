"""What the handshake record keeps of a certificate: little, bounded, and nothing that a terminal would obey.

A certificate of common size is kept as it is, which costs nothing: whoever shows it reads it then.  Of
a larger one (they may have 100 KB) a summary is made at once.  Either takes :data:`MAX_KEPT` bytes at most.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from time import monotonic
from typing import Final

from edgegw.identity import Certificate, CertificateStatus

__all__ = ["MAX_KEPT", "CertificateSummaries", "Kept", "certificate_facts", "shorten"]

#: Bytes that are kept of one certificate at most, be it as DER or as a summary.
MAX_KEPT: Final = 1_280
#: Characters of a subject or an issuer that are kept.
_MAX_NAME: Final = 224
#: Characters of all alternative names together, and of one.
_MAX_NAMES: Final = 512
_MAX_ALTERNATIVE: Final = 224
#: Summaries that are remembered.
_REMEMBERED: Final = 1_024
#: Certificates that were kept as they are and have been shown.
_READ: Final = 256
#: Bytes of DER up to which what a stranger sent is read, and how many such a second: reading 16 KiB that are
#: made for it takes some milliseconds.
_MAX_UNVERIFIED: Final = 16_384
_UNVERIFIED_A_SECOND: Final = 10

#: DER of :data:`MAX_KEPT` bytes at most, or what :meth:`CertificateSummaries.summary` gives.
Kept = bytes | str

_TAGS: Final = {"U": "uris", "D": "dns_names", "E": "emails", "I": "ip_addresses", "M": "malformed_names"}


def shorten(text: str, limit: int) -> str:
    """Give ASCII of ``limit`` characters at most; what is cut off is told by the length of the whole.

    Other characters become ``\\xe9`` or ``\\u20ac``.  Control characters are left for whoever shows it.
    """
    if len(text) <= limit and text.isascii():
        return text
    ascii_text = text[:limit].encode("ascii", "backslashreplace").decode("ascii")
    if len(text) <= limit and len(ascii_text) <= limit:
        return ascii_text
    mark = f"... ({len(text)} characters)"
    return (ascii_text[: max(0, limit - len(mark))] + mark)[:limit]


class CertificateSummaries:
    """Makes a summary of a certificate that is too large to be kept, once.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._made: dict[str, str] = {}
        self._second = 0.0
        self._unverified = 0

    def summary(self, certificate: Certificate, status: CertificateStatus) -> str:
        """Give a summary: :data:`MAX_KEPT` characters at most, all ASCII.

        Of a certificate that was not verified it has only the hash and the size, where it is larger than 16 KiB or
        strangers have sent ten large ones within a second: to read them would cost more than to refuse them.
        """
        der = certificate.der
        sha256 = certificate.sha256
        made = self._made.get(sha256)
        if made is None:
            if status is not CertificateStatus.VERIFIED and not self._may_read(len(der)):
                # Not remembered: another time there may be time for it.
                return _unread(sha256, f"not read: {len(der)} bytes, and unverified")
            made = _summary(certificate)
            if len(self._made) >= _REMEMBERED:
                self._made.clear()
            self._made[sha256] = made
        return made

    def _may_read(self, size: int) -> bool:
        if size > _MAX_UNVERIFIED:
            return False
        now = self._clock()
        if now - self._second >= 1.0:
            self._second = now
            self._unverified = 0
        self._unverified += 1
        return self._unverified <= _UNVERIFIED_A_SECOND


def certificate_facts(kept: Kept) -> dict[str, object]:
    """Give what is known of a certificate, as JSON has it; all texts are ASCII and bounded.

    ``names_left_out`` counts the alternative names for which there was no room.
    """
    lines = (_read(kept) if isinstance(kept, bytes) else kept).split("\n")
    sha256, serial, subject, issuer, not_before, not_after, left_out, problem, *names = lines
    facts: dict[str, object] = {
        "sha256": sha256,
        "serial": serial,
        "subject": subject,
        "issuer": issuer,
        "not_before": not_before or None,
        "not_after": not_after or None,
    }
    for tag, name in _TAGS.items():
        facts[name] = [line[1:] for line in names if line[0] == tag]
    return {**facts, "names_left_out": int(left_out), "parse_error": problem or None}


@lru_cache(_READ)
def _read(der: bytes) -> str:
    return _summary(Certificate(der))


def _summary(certificate: Certificate) -> str:
    """Read a certificate; the facts are printable ASCII, so that a line's end can stand between two of them."""
    names: list[str] = []
    room = _MAX_NAMES
    left_out = 0
    for tag, name in _alternative_names(certificate):
        line = tag + shorten(name, _MAX_ALTERNATIVE)
        if len(line) < room:
            names.append(line)
            room -= len(line) + 1
        else:
            left_out += 1
    fixed = (
        certificate.sha256,
        shorten(certificate.serial, 48),
        shorten(certificate.subject, _MAX_NAME),
        shorten(certificate.issuer, _MAX_NAME),
        _moment(certificate.not_before),
        _moment(certificate.not_after),
        str(left_out),
        shorten(certificate.parse_error or "", 64),
    )
    return "\n".join((*fixed, *names))


def _unread(sha256: str, problem: str) -> str:
    return "\n".join((sha256, "", "", "", "", "", "0", problem))


def _alternative_names(certificate: Certificate) -> Iterator[tuple[str, str]]:
    for tag, kind in _TAGS.items():
        for name in getattr(certificate, kind):
            yield tag, name


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")
