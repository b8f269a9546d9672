"""OCSP stapling: the gateway shows with its own certificates what their responders say of them (RFC 6066 §8).

A response is fetched as soon as a certificate is in use, judged by the same code as those about clients, and fetched
again when half of its time is over.  What is not good, or has expired, is not shown: OpenSSL would pass it on.
"""
from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from OpenSSL import SSL, crypto
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.certificate import Certificate
from edgegw.der import DERError
from edgegw.interfaces import IHTTPClient
from edgegw.model import ServerCertificate
from edgegw.policies.allowed_urls import plain_url
from edgegw.policies.ocsp_answers import UnusableAnswer
from edgegw.policies.ocsp_asking import Asker
from edgegw.policies.ocsp_questions import Question, responder_urls
from edgegw.tls.staples import RULES, Staple, Stapling, certificates_in, must_staple, question_about, staple_of

__all__ = ["Stapler"]

#: Seconds for all responders of one certificate.
_TIMEOUT: Final = 15.0
#: Seconds: the least between two requests, the first wait after a failure, and the longest.
_SOONEST: Final = 60.0
_FIRST_PAUSE: Final = 30.0
_LONGEST_PAUSE: Final = 3600.0
#: By how much waits vary, so that certificates of one CA do not all come at once.
_JITTER: Final = 0.1

_log = Logger("edgegw.tls.stapling")


class _Entry:
    """One certificate, and what is known of it.

    :ivar problem: why there is nothing newer; empty if there is.
    """

    def __init__(self, stapling: Stapling, leaf: Certificate) -> None:
        self.stapling = stapling
        self.leaf = leaf
        self.staple: Staple | None = None
        self.problem = ""
        self.failures = 0
        self.question: Question | None = None
        self.urls: tuple[str, ...] = ()
        self.timer: IDelayedCall | None = None
        self.fetching: Deferred[None] | None = None

    def stop(self) -> None:
        """End what is under way."""
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if self.fetching is not None:
            self.fetching.cancel()


class Stapler:
    """Keeps responses about the gateway's certificates, and gives them to OpenSSL.

    :param reactor: provides ``IReactorTime``.
    :param client: asks the responders.
    :param now: the time of day, aware.
    :param vary: gives a number between two others, to vary waits.
    :ivar asked: handshakes in which a client asked for a response; ``stapled``: those in which it got one.
    """

    def __init__(
        self,
        reactor: Any,
        client: IHTTPClient,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        vary: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.asked = 0
        self.stapled = 0
        self._reactor = reactor
        self._now = now
        self._vary = vary
        self._asker = Asker(client, reactor.seconds, _TIMEOUT, RULES)
        self._entries: dict[bytes, _Entry] = {}
        self._stopped = False

    def use(self, staplings: Iterable[Stapling], issuers: Iterable[bytes] = ()) -> None:
        """Look after these certificates from now on, and after no others.

        One that was looked after already keeps its response.  Whatever is wrong with one is logged.

        :param issuers: PEM of CA certificates that may have issued one whose chain does not have its issuer,
            such as the listeners' trust anchors.
        """
        if self._stopped:
            return
        known, self._entries = self._entries, {}
        authorities = certificates_in(issuers)
        for stapling in staplings:
            chain = certificates_in([stapling.certificate.chain])
            if not chain or chain[0].der in self._entries:
                continue
            leaf = chain[0]
            before = known.get(leaf.der)
            same = before is not None and before.stapling == stapling
            if same and (known[leaf.der].question is not None or not stapling.fetch):
                self._entries[leaf.der] = known.pop(leaf.der)
                continue
            entry = self._entries[leaf.der] = _Entry(stapling, leaf)
            if before is not None:
                # Whose issuer was not at hand may be so now; a problem that stays is not told again.
                entry.staple, entry.problem = before.staple, before.problem if same else ""
            if stapling.fetch:
                self._prepare(entry, authorities)
        for gone in known.values():
            gone.stop()

    def give(self, certificate: ServerCertificate, staple: Staple) -> None:
        """Show a response that came from elsewhere; nothing happens for a certificate that is not looked after.

        :param staple: of :func:`edgegw.tls.staples.read_staple`.
        """
        chain = certificates_in([certificate.chain])
        entry = self._entries.get(chain[0].der) if chain else None
        if entry is not None and not self._stopped:
            self._take(entry, staple)
            self._wait(entry, (staple.end - self._now()).total_seconds(), self._expired)

    def stop(self) -> None:
        """Ask nobody any more."""
        self._stopped = True
        for entry in self._entries.values():
            entry.stop()

    def callback(self, connection: SSL.Connection, data: object = None) -> bytes:
        """Give the response about the certificate that a connection shows; empty without one.

        For ``OpenSSL.SSL.Context.set_ocsp_server_callback``; raises nothing.
        """
        self.asked += 1
        try:
            shown = connection.get_certificate()
            if shown is None:
                return b""
            entry = self._entries.get(crypto.dump_certificate(crypto.FILETYPE_ASN1, shown))
            if entry is None or entry.staple is None or not self._holds(entry.staple):
                return b""
        except Exception:
            _log.failure("no OCSP response is stapled")
            return b""
        self.stapled += 1
        return entry.staple.der

    @property
    def first_end(self) -> datetime | None:
        """When the response that expires first will have expired; ``None`` without any."""
        return min((entry.staple.end for entry in self._entries.values() if entry.staple is not None), default=None)

    @property
    def problems(self) -> dict[str, str]:
        """Why certificates have no new response, by the certificate's name."""
        return {one.stapling.certificate.name: one.problem for one in self._entries.values() if one.problem}

    # --- one certificate --------------------------------------------------------------------

    def _prepare(self, entry: _Entry, issuers: Sequence[Certificate]) -> None:
        """Find out whom to ask about a certificate, and ask."""
        stapling = entry.stapling
        try:
            urls = responder_urls(entry.leaf) if stapling.responder is None else (stapling.responder,)
            entry.urls = tuple(url for url in urls if _is_plain(url))
            if entry.urls:
                entry.question = question_about(stapling.certificate, issuers)
            elif urls:
                self._fail(entry, f"{urls[0][:200]!r} cannot be asked")
            elif must_staple(entry.leaf):
                self._fail(entry, "it names no OCSP responder")
        except ValueError as error:
            self._fail(entry, str(error))
        if entry.question is not None:
            self._begin(entry)

    def _begin(self, entry: _Entry) -> None:
        entry.timer = None
        fetching = entry.fetching = Deferred.fromCoroutine(self._fetch(entry))
        fetching.addErrback(self._failed, entry)
        fetching.addBoth(self._fetched, entry)

    async def _fetch(self, entry: _Entry) -> None:
        assert entry.question is not None
        now = self._now()
        answer, der = await self._asker.ask(entry.question, entry.urls, now)
        self._take(entry, staple_of(answer, der, now))

    def _failed(self, failure: Failure, entry: _Entry) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(UnusableAnswer):
            self._fail(entry, str(failure.value))
        else:
            _log.failure("{name}: while its OCSP responder was asked", failure, name=entry.stapling.certificate.name)
            self._fail(entry, repr(failure.value)[:200])

    def _fetched(self, _: object, entry: _Entry) -> None:
        entry.fetching = None
        if not self._stopped and self._entries.get(entry.leaf.der) is entry:
            self._wait(entry, self._pause(entry), self._begin)

    def _pause(self, entry: _Entry) -> float:
        """Give the seconds until the next request."""
        now = self._now()
        staple = entry.staple
        left = 0.0 if staple is None else (staple.end - now).total_seconds()
        if entry.failures:
            pause = min(_FIRST_PAUSE * 2.0 ** min(entry.failures - 1, 10), _LONGEST_PAUSE)
            return self._varied(min(pause, max(left / 2, _SOONEST)) if left > 0 else pause)
        assert staple is not None
        half = (staple.begin + (staple.end - staple.begin) / 2 - now).total_seconds()
        # A response that was fetched late is renewed when half of what is left is over.
        return self._varied(max(half if half > 0 else left / 2, _SOONEST))

    def _varied(self, seconds: float) -> float:
        return seconds * self._vary(1 - _JITTER, 1 + _JITTER)

    def _wait(self, entry: _Entry, seconds: float, call: Callable[[_Entry], None]) -> None:
        if entry.timer is not None and entry.timer.active():
            entry.timer.cancel()
        entry.timer = self._reactor.callLater(max(seconds, 0.0), call, entry)

    def _take(self, entry: _Entry, staple: Staple) -> None:
        if entry.problem:
            _log.info("{name}: an OCSP response is stapled again", name=entry.stapling.certificate.name)
        entry.staple, entry.problem, entry.failures = staple, "", 0

    def _expired(self, entry: _Entry) -> None:
        entry.timer = None
        self._fail(entry, "the response has expired")

    def _holds(self, staple: Staple) -> bool:
        return self._now() < staple.end

    def _fail(self, entry: _Entry, problem: str) -> None:
        """Note why there is no new response, and tell of it if it is news."""
        entry.failures += 1
        shown = entry.staple is not None and self._holds(entry.staple)
        text = problem if shown else f"{problem}; nothing is stapled"
        if text == entry.problem:
            return
        entry.problem = text
        name = entry.stapling.certificate.name
        if not shown and _demanded(entry.leaf):
            _log.error("{name}: no OCSP response, and clients may refuse the certificate without one: {problem}",
                       name=name, problem=text)
        else:
            _log.warn("{name}: no new OCSP response: {problem}", name=name, problem=text)


def _demanded(leaf: Certificate) -> bool:
    try:
        return must_staple(leaf)
    except DERError:
        return False


def _is_plain(url: str) -> bool:
    try:
        plain_url(url)
    except ValueError:
        return False
    return True
