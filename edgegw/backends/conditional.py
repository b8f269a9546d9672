"""Conditional requests (RFC 9110 §13) and ranges (§14), for something with one representation."""
from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Sequence
from email.utils import formatdate
from time import strptime
from typing import Final

from attrs import frozen

from edgegw.backend import BackendRequest

__all__ = ["Unsatisfiable", "Validators", "byte_range", "precondition"]

_TAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
#: A list of entity tags is read no further than this.
_MOST_TAGS: Final = 64
_RANGE: Final = re.compile(r"bytes=\s*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))\s*", re.IGNORECASE)
_DATES: Final = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")


class Unsatisfiable(Exception):
    """A range that lies outside; to be answered with 416."""


@frozen
class Validators:
    """What tells one version of a representation from another.

    :ivar etag: a strong entity tag with its quotes.
    :ivar modified: seconds since the epoch.
    """

    etag: str
    modified: int

    @property
    def last_modified(self) -> str:
        """The time as an HTTP date."""
        return formatdate(self.modified, usegmt=True)


def precondition(request: BackendRequest, current: Validators) -> int:
    """Say what the request's conditions come to: 304, 412, or 0 to go on (RFC 9110 §13.2.2)."""
    if_match = request.values("if-match")
    if if_match:
        if not _matches(if_match, current.etag, strong=True):
            return 412
    else:
        since = _date(request.header("if-unmodified-since"))
        if since is not None and current.modified > since:
            return 412
    if_none_match = request.values("if-none-match")
    if if_none_match:
        return 304 if _matches(if_none_match, current.etag, strong=False) else 0
    since = _date(request.header("if-modified-since"))
    return 304 if since is not None and current.modified <= since else 0


def byte_range(request: BackendRequest, current: Validators, size: int) -> tuple[int, int] | None:
    """Give the first byte and the number of bytes that are asked for; ``None`` for all of it.

    Several ranges, other units, and what cannot be read are as good as no range (RFC 9110 §14.2).

    :raises Unsatisfiable: nothing of the range is there.
    """
    wanted = request.header("range")
    if request.method != "GET" or wanted is None:
        return None
    match = _RANGE.fullmatch(wanted)
    if match is None or not _range_holds(request, current):
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        if not length:
            raise Unsatisfiable
        return size - length, length
    begin = int(first)
    end = size - 1 if last is None else min(int(last), size - 1)
    if last is not None and int(last) < begin:
        return None
    if begin >= size:
        raise Unsatisfiable
    return begin, end - begin + 1


def _range_holds(request: BackendRequest, current: Validators) -> bool:
    """Whether ``If-Range`` lets the range through (RFC 9110 §13.1.5)."""
    values = request.values("if-range")
    if not values:
        return True
    if len(values) != 1:
        return False
    if _TAG.fullmatch(values[0]):
        return values[0] == current.etag
    return _date(values[0]) == current.modified


def _matches(values: Sequence[str], etag: str, strong: bool) -> bool:
    joined = ",".join(values)
    if joined.strip() == "*":
        return True
    for number, match in enumerate(_TAG.finditer(joined)):
        if number >= _MOST_TAGS:
            return False
        tag = match[0]
        if tag == etag or (not strong and tag == f"W/{etag}"):
            return True
    return False


def _date(text: str | None) -> int | None:
    """Read an HTTP date in any of its three forms (RFC 9110 §5.6.7); ``None`` for what is none."""
    if text is None or len(text) > 40:
        return None
    for form in _DATES:
        try:
            return timegm(strptime(text, form))
        except (ValueError, OverflowError):
            continue
    return None
