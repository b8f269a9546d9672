"""CRLs fetched from distribution points, and fetched again before they are out of date."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from weakref import WeakValueDictionary

from edgegw.api import HTTPAnswer, HTTPUnavailable, IEnvironment, IHTTPClient
from edgegw.policies.crl_files import Lists
from edgegw.policies.details import shown
from edgegw.policies.revocation_list import read_lists

__all__ = ["DistributionPoint", "ListFetcher"]

#: Seconds between two looks for what is due.
_INTERVAL: Final = 1.0
#: Requests at a time.
_WORKERS: Final = 4
#: The least time between two requests for a list that was fetched, and the most between tries after failures; seconds.
_SOONEST: Final = 60.0
_LONGEST_PAUSE: Final = 300.0
_FIRST_PAUSE: Final = 5.0
#: Distribution points that stand in clients' certificates and are remembered.
_MOST_NAMED: Final = 256
#: An answer of this many bytes is read in a few milliseconds, in which all who wait for it can be held up.
_SMALL: Final = 32_768


class _Fetched:
    """What a distribution point gave at last.

    :ivar tag: the answer's ``ETag``; empty without one.
    """

    __slots__ = ("__weakref__", "digest", "lists", "tag")

    def __init__(self, lists: Lists, digest: bytes, tag: str) -> None:
        self.lists = lists
        self.digest = digest
        self.tag = tag


#: What is in use of each URL, strictly read or not: a configuration that follows on another begins with its lists.
_IN_USE: WeakValueDictionary[tuple[str, bool], _Fetched] = WeakValueDictionary()


class DistributionPoint:
    """One URL.

    :ivar named: whether it stands in certificates and not in the configuration.
    :ivar error: why there is nothing newer.
    """

    def __init__(self, url: str, named: bool, fetched: _Fetched | None) -> None:
        self.url = url
        self.named = named
        self.error = "" if fetched is not None else "it has not been fetched yet"
        self.fetched = fetched
        self.due = 0.0
        self.failures = 0
        self.reading = False

    @property
    def lists(self) -> Lists:
        """The CRLs that it gave."""
        return () if self.fetched is None else self.fetched.lists


class ListFetcher:
    """Fetches CRLs.

    :param urls: those of the configuration.
    :param refresh: seconds after which a list is fetched again at the latest.
    :param timeout: seconds for one request.
    :param limit: bytes that a list may have.
    :param strict: as for :func:`edgegw.policies.revocation_list.read_lists`.
    """

    def __init__(
        self,
        urls: Iterable[str],
        client: IHTTPClient,
        env: IEnvironment,
        refresh: float,
        timeout: float,
        limit: int,
        strict: bool,
    ) -> None:
        self._client = client
        self._env = env
        self._refresh = refresh
        self._timeout = timeout
        self._limit = limit
        self._strict = strict
        self._points: dict[str, DistributionPoint] = {}
        self._fetches = env.counter("fetches", "Requests for CRLs.")
        self._failed = env.counter("failed_fetches", "Requests for CRLs that gave none that can be used.")
        for url in urls:
            self._add(url, named=False)
        for _ in range(_WORKERS):
            env.every(_INTERVAL, self._fetch_due)

    def lists(self) -> Iterator[Lists]:
        """Give the CRLs of each URL; the same object as long as it does not change."""
        for point in self._points.values():
            if point.fetched is not None:
                yield point.fetched.lists

    def named(self, url: str) -> DistributionPoint | None:
        """Give the distribution point of a URL that stands in a certificate, to be fetched from now on.

        256 of them are remembered.  One that never gave a list makes room for a new one; where there is none the
        new one gets none.
        """
        point = self._points.get(url)
        if point is not None:
            return point
        known = [one for one in self._points.values() if one.named]
        if len(known) >= _MOST_NAMED:
            useless = next((one for one in known if one.fetched is None and one.failures), None)
            if useless is None:
                self._env.log.warn("there are {most} distribution points already; {url} is not asked",
                                   most=_MOST_NAMED, url=shown(url))
                return None
            del self._points[useless.url]
        return self._add(url, named=True)

    async def fetch(self, point: DistributionPoint) -> None:
        """Fetch a list now, unless that has failed a moment ago; who asks at the same time shares the request."""
        waits = point.fetched is None and point.failures and point.due > self._env.seconds()
        if waits or point.reading:
            return
        point.due = self._env.seconds() + self._timeout + _FIRST_PAUSE
        headers = {"accept": "application/pkix-crl"}
        if point.fetched is None:
            # Requests with the same key are sent once.
            headers["idempotency-key"] = sha256(point.url.encode()).hexdigest()
        elif point.fetched.tag:
            headers["if-none-match"] = point.fetched.tag
        self._fetches(1)
        try:
            answer = await self._client.request(
                "GET", point.url, headers=headers, timeout=self._timeout, limit=self._limit
            )
            await self._take(point, answer)
        except (HTTPUnavailable, ValueError) as error:
            self._fail(point, str(error))

    def _add(self, url: str, named: bool) -> DistributionPoint:
        point = DistributionPoint(url, named, _IN_USE.get((url, self._strict)))
        self._points[url] = point
        return point

    async def _fetch_due(self) -> None:
        for point in list(self._points.values()):
            if point.due <= self._env.seconds() and self._points.get(point.url) is point:
                await self.fetch(point)

    async def _take(self, point: DistributionPoint, answer: HTTPAnswer) -> None:
        """Put an answer into use.

        :raises ValueError: it is none that can be used.
        """
        if answer.status == 304 and point.fetched is not None:
            self._succeed(point)
            return
        if answer.status != 200:
            raise ValueError(f"the server answers {answer.status}")
        digest = sha256(answer.body).digest()
        if point.fetched is None or point.fetched.digest != digest:
            if point.reading:
                return
            point.reading = True
            try:
                if len(answer.body) <= _SMALL:
                    lists = read_lists(answer.body, self._strict)
                else:
                    lists = await self._env.in_thread(read_lists, answer.body, self._strict)
            finally:
                point.reading = False
            _check_successors(lists, point.lists, datetime.now(UTC))
            tag = answer.headers.get("etag", "")
            # One that no header can have would keep the next request from being sent.
            fetched = _Fetched(lists, digest, tag if tag.isascii() and tag.isprintable() else "")
            point.fetched = _IN_USE[point.url, self._strict] = fetched
            self._env.log.info("{url} gave {lists}", url=point.url, lists=", ".join(map(repr, lists[:3])))
            self._env.changed()
        self._succeed(point)

    def _succeed(self, point: DistributionPoint) -> None:
        point.error = ""
        point.failures = 0
        now = datetime.now(UTC)
        ends = [one.next_update for one in point.lists if one.next_update is not None]
        left = (min(ends) - now).total_seconds() if ends else 0.0
        # Half of the time that is left: a server that is down for a while has the other half to come back.
        point.due = self._env.seconds() + min(max(left / 2, _SOONEST), self._refresh)

    def _fail(self, point: DistributionPoint, problem: str) -> None:
        self._failed(1)
        pause = min(_FIRST_PAUSE * 2.0**min(point.failures, 10), _LONGEST_PAUSE, self._refresh)
        point.failures += 1
        point.due = self._env.seconds() + pause
        if problem != point.error:
            point.error = problem
            self._env.log.warn("{url} gives no CRL: {problem}", url=point.url, problem=shown(problem, 300))


def _check_successors(lists: Lists, known: Lists, now: datetime) -> None:
    """Refuse lists that anybody on the way here can have put in the place of those in use.

    That is an older one, and one that the same issuer has not signed.  Only what a list says is looked at that is known
    to be its issuer's, as a client's certificate of that issuer has been judged by it.

    :raises ValueError: one is.
    """
    trusted = {(one.issuer_name, one.scope): one for one in known if one.signers and not one.is_stale(now)}
    for one in lists:
        before = trusted.get((one.issuer_name, one.scope))
        if before is None:
            continue
        if one.this_update < before.this_update:
            raise ValueError(f"a CRL of {one.this_update:%Y-%m-%dT%H:%MZ}, which is older than the one in use")
        if not any(one.is_signed_by(signer) for signer in before.signers):
            raise ValueError("a CRL that is not signed by the issuer of the one in use")
