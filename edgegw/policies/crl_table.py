"""All CRLs of a policy by their issuer, and the alarm before they are out of date."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final

from edgegw.api import Certificate, IEnvironment
from edgegw.policies.certificate_parts import authority_parts
from edgegw.policies.crl_fetching import ListFetcher
from edgegw.policies.crl_files import ListFiles, Lists
from edgegw.policies.directory_names import CanonicalName
from edgegw.policies.distribution_points import Scope
from edgegw.policies.revocation_list import RevocationList

__all__ = ["CLOCK_SKEW", "ListTable"]

#: By how much a CA's clock may be ahead.
CLOCK_SKEW: Final = timedelta(seconds=60)
#: Seconds between two looks at how old the lists are.
_INTERVAL: Final = 10.0
#: A list is warned of when this part of its time is left, and no sooner than these seconds before its end.
_PART: Final = 1 / 5
_SOONEST: Final = 86_400.0


class ListTable:
    """What files and URLs give, by issuer.

    :param fetcher: ``None`` if nothing is fetched.
    :param warn_before: seconds before its end that a list is warned of; ``None`` for a fifth of its time, a
        day at most.
    :param stale_refuses: whether clients are refused for a stale list.
    """

    def __init__(
        self,
        files: ListFiles,
        fetcher: ListFetcher | None,
        env: IEnvironment,
        warn_before: float | None,
        stale_refuses: bool,
    ) -> None:
        self._files = files
        self._fetcher = fetcher
        self._env = env
        self._warn_before = warn_before
        self._stale_refuses = stale_refuses
        self._seen: list[Lists] = []
        self._table: dict[CanonicalName, tuple[RevocationList, ...]] = {}
        self._warned: set[tuple[RevocationList, str]] = set()
        self._show_end = env.gauge(
            "next_update_seconds", "When the CRL in use that is renewed first is to be renewed, in seconds since 1970."
        )
        env.every(_INTERVAL, self._watch)

    def lists_of(self, issuer: Certificate) -> tuple[RevocationList, ...]:
        """Give the lists that have an issuer's name, the newest first.

        :raises DERError: the issuer's certificate is not DER.
        """
        return self._current().get(authority_parts(issuer).subject_name, ())

    def _current(self) -> dict[CanonicalName, tuple[RevocationList, ...]]:
        found = list(self._files.lists())
        if self._fetcher is not None:
            found += self._fetcher.lists()
        # Equal lists are mostly the same objects, which are compared without a look into them.
        if found != self._seen:
            by_issuer: dict[CanonicalName, dict[RevocationList, None]] = {}
            for lists in found:
                for one in lists:
                    by_issuer.setdefault(one.issuer_name, {})[one] = None
            self._table = {
                name: tuple(sorted(lists, key=attrgetter("this_update"), reverse=True))
                for name, lists in by_issuer.items()
            }
            self._seen = found
        return self._table

    async def _watch(self) -> None:
        now = datetime.now(UTC)
        newest: dict[tuple[CanonicalName, Scope], RevocationList] = {}
        for name, lists in self._current().items():
            for one in lists:
                if one.this_update <= now + CLOCK_SKEW:
                    newest.setdefault((name, one.scope), one)
        warned: set[tuple[RevocationList, str]] = set()
        for one in newest.values():
            state = self._state(one, now)
            if state:
                warned.add((one, state))
                if (one, state) not in self._warned:
                    self._warn(one, state)
        self._warned = warned
        ends = [one.next_update for one in newest.values() if one.next_update is not None]
        if ends:
            self._show_end(min(ends).timestamp())

    def _state(self, one: RevocationList, now: datetime) -> str:
        if one.next_update is None or one.is_stale(now):
            return "stale"
        left = (one.next_update - now).total_seconds()
        lifetime = (one.next_update - one.this_update).total_seconds()
        before = min(lifetime * _PART, _SOONEST) if self._warn_before is None else self._warn_before
        return "old" if left <= before else ""

    def _warn(self, one: RevocationList, state: str) -> None:
        until = "no time that it names" if one.next_update is None else f"{one.next_update:%Y-%m-%dT%H:%M:%SZ}"
        if state == "old":
            text = "the CRL of {issuer} holds until {until}, and no newer one has come"
        elif self._stale_refuses:
            text = "the CRL of {issuer} is stale: it holds until {until}; certificates of this issuer are refused"
        else:
            text = "the CRL of {issuer} is stale: it holds until {until}"
        log = self._env.log.error if state == "stale" and self._stale_refuses else self._env.log.warn
        log(text, issuer=one.issuer, until=until)
