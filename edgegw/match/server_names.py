"""The table of names that clients ask for, and of the protocols that they offer for one name.

A name costs one look-up in a dictionary for itself and one for each of its labels, however many names there are.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["ServerNames"]

T = TypeVar("T")


class _Entry(Generic[T]):
    """What one host name leads to: whatever the client offers, unless a protocol of its leads somewhere else."""

    __slots__ = ("by_protocol", "everyone", "otherwise")

    def __init__(self) -> None:
        self.everyone: tuple[T, ...] = ()
        self.otherwise: T | None = None
        self.by_protocol: dict[bytes, T] | None = None

    def find(self, alpn: Iterable[bytes]) -> T | None:
        if self.by_protocol is not None:
            for offered in alpn:
                found = self.by_protocol.get(offered)
                if found is not None:
                    return found
        return self.otherwise


class ServerNames(Generic[T]):
    """Whom a name belongs to.

    An exact name comes before wildcards, of which the one with the most labels does, and what takes every name
    comes last (Gateway API ``Listener.hostname``; Envoy's ``filter_chain_match.server_names``).  ``*.example.com``
    takes any number of labels.  Where the most specific host name has nothing for the protocols that a client offers,
    less specific ones are not tried.
    """

    __slots__ = ("_default", "_exact", "_longest", "_wildcards")

    def __init__(self) -> None:
        self._exact: dict[str, _Entry[T]] = {}
        #: By what stands behind ``*.``.
        self._wildcards: dict[str, _Entry[T]] = {}
        #: Labels that any of these has at most.
        self._longest = 0
        self._default: _Entry[T] | None = None

    def add(self, hostname: str | None, value: T, protocols: Iterable[str] = ()) -> None:
        """Enter a host name, of which the first one counts.

        :param hostname: canonical; a name, ``*.`` and a name, or ``None`` for every name, and for none.
        :param protocols: that a client has to offer one of (ALPN, RFC 7301); without any all clients are meant.
        """
        if hostname is None:
            entry = self._default = self._default or _Entry()
        elif hostname.startswith("*."):
            suffix = hostname[2:]
            entry = self._wildcards.setdefault(suffix, _Entry())
            self._longest = max(self._longest, suffix.count(".") + 1)
        else:
            entry = self._exact.setdefault(hostname, _Entry())
        entry.everyone = (*entry.everyone, value)
        named = [protocol.encode("ascii") for protocol in protocols]
        if not named:
            entry.otherwise = value if entry.otherwise is None else entry.otherwise
            return
        if entry.by_protocol is None:
            entry.by_protocol = {}
        for protocol in named:
            entry.by_protocol.setdefault(protocol, value)

    def find(self, name: str | None, alpn: Iterable[bytes] = ()) -> T | None:
        """Give whom a canonical name belongs to; ``None`` where it belongs to nobody.

        :param name: ``None`` where the client names none.
        :param alpn: the protocols that the client offers, its preference first.
        """
        entry = self._entry(name)
        return None if entry is None else entry.find(alpn)

    def find_all(self, name: str | None) -> tuple[T, ...]:
        """Give everyone whom a canonical name belongs to, whatever a client offers; nobody is the empty tuple."""
        entry = self._entry(name)
        return () if entry is None else entry.everyone

    def _entry(self, name: str | None) -> _Entry[T] | None:
        if name is not None:
            entry = self._exact.get(name)
            if entry is not None:
                return entry
            wildcards = self._wildcards
            if wildcards:
                # Longer ones than any wildcard has are cut at once: a client chooses how many labels there are.
                labels = name.count(".") + 1
                suffix = name.split(".", max(labels - self._longest, 1))[-1] if labels > 1 else ""
                while suffix:
                    entry = wildcards.get(suffix)
                    if entry is not None:
                        return entry
                    suffix = suffix.partition(".")[2]
        return self._default
