"""What of a request decides where it goes: a header, a cookie, a fact of the client's certificate, its address."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from edgegw.balancing.members import Request
from edgegw.identity import fact
from edgegw.model import HashKey, HashSource

__all__ = ["cookie_reader", "header_reader", "key_reader"]

#: Gives a key, or ``None``.
Reader = Callable[[Request], bytes | None]


def header_reader(name: str) -> Reader:
    """Read a header's value, the first one where there are several; an empty one is none."""
    find = re.compile(rb"(?im)^%b:[ \t]*+([^\r\n]*+)" % re.escape(name.encode("ascii"))).search

    def read(request: Request) -> bytes | None:
        found = find(request.header_lines)
        return (found[1].rstrip(b" \t") or None) if found is not None else None

    return read


def cookie_reader(name: str) -> Reader:
    """Read a cookie's value (RFC 6265 §5.4), the first one where there are several; an empty one is none."""
    wanted = name.encode("ascii")
    headers = re.compile(rb"(?im)^cookie:([^\r\n]*+)")

    def read(request: Request) -> bytes | None:
        for line in headers.findall(request.header_lines):
            for pair in line.split(b";"):
                found, _, value = pair.partition(b"=")
                if found.strip(b" \t") == wanted:
                    value = value.strip(b' \t"')
                    if value:
                        return bytes(value)
        return None

    return read


def _fact_reader(name: str) -> Reader:
    def read(request: Request) -> bytes | None:
        return fact(request.info, name).encode("utf-8", "replace") or None

    return read


def _address(request: Request) -> bytes | None:
    return request.info.peer.encode("utf-8", "replace")


def _reader(key: HashKey) -> Reader:
    if key.source is HashSource.HEADER:
        return header_reader(key.name)
    if key.source is HashSource.COOKIE:
        return cookie_reader(key.name)
    if key.source is HashSource.IDENTITY:
        return _fact_reader(key.name)
    return _address


def key_reader(keys: Sequence[HashKey]) -> Reader:
    """Read the first of some keys that a request has."""
    readers = [_reader(key) for key in keys]
    if len(readers) == 1:
        return readers[0]

    def read(request: Request) -> bytes | None:
        for reader in readers:
            key = reader(request)
            if key is not None:
                return key
        return None

    return read
