"""Asks HTTP services for plugins: bounded in time, size and number, and nothing done that was not asked for.

treq speaks HTTP, over Twisted's ``Agent``.  What is added here: one time limit for everything from the wait for a free
place to the last byte, a bound on what an answer may be, closing what is not read to its end, and a second try
where a kept connection turns out to be closed.  No redirect is followed, no cookie is kept, no proxy is taken
from the environment, and no answer is decompressed: an answer of a few bytes could become gigabytes.
"""
from __future__ import annotations

import re
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient as Treq
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HostnameCachingHTTPSPolicy, HTTPConnectionPool
from twisted.web.http_headers import Headers
from zope.interface import implementer

from edgegw import __version__
from edgegw.certificate import printable
from edgegw.http_connections import (
    BytesProducer,
    Endpoints,
    NoCookies,
    PlainAgent,
    StaleConnection,
    read_body,
)
from edgegw.interfaces import HTTPAnswer, HTTPUnavailable, IHTTPClient

__all__ = ["HTTPClient", "trust_of"]

#: Seconds that a connection is kept for the next request.
KEEP_SECONDS: Final = 15
_MOST_REASON: Final = 300

#: RFC 9110 §9.2.2.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
_URL = re.compile(r"[!-~]+")


def trust_of(pem: bytes) -> Any:
    """Give what a client trusts, of the certificates in a PEM file.

    :raises ValueError: there is none in it, or one of them is broken.
    """
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except x509.InvalidVersion as error:
        raise ValueError(f"has a certificate of an unknown version: {error}") from None
    return ssl.trustRootFromCertificates(
        [ssl.Certificate.loadPEM(one.public_bytes(Encoding.PEM)) for one in certificates]
    )


@frozen
class _Question:
    """A request; equal ones ask for the same.

    :ivar shown: what it is in messages: without its query, which may have secrets in it.
    """

    shown: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    limit: int

    @property
    def key(self) -> bool:
        """Whether it carries an Idempotency-Key."""
        return any(name.lower() == "idempotency-key" for name, _ in self.headers)

    @property
    def repeatable(self) -> bool:
        """Whether asking twice does no more than asking once."""
        return self.method in _IDEMPOTENT or self.key

    def wire_headers(self) -> Headers:
        headers = Headers({"user-agent": [f"edgegw/{__version__}"]})
        for name, value in self.headers:
            headers.setRawHeaders(name, [value])
        return headers


def _question(method: str, url: str, headers: Mapping[str, str] | None, body: bytes, limit: int) -> _Question:
    """Take a request apart.

    :raises HTTPUnavailable: it cannot be sent.
    """
    try:
        parts = urlsplit(url)
        if not _URL.fullmatch(url) or parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise HTTPUnavailable(f"{_escaped(url)[:200]} is no http or https URL") from None
    # Everything but the query, and user information least of all.
    host = parts.netloc.rpartition("@")[2]
    shown = f"{method} {parts.scheme}://{host}{parts.path}"[:200]
    if "@" in parts.netloc:
        raise HTTPUnavailable(f"{shown}: a URL with user information is not asked; use a header")
    given = tuple((headers or {}).items())
    sound = all(_TOKEN.fullmatch(name) and _VALUE.fullmatch(text) for name, text in given)
    if not sound or not _TOKEN.fullmatch(method):
        raise HTTPUnavailable(f"{shown}: the method or a header cannot be sent")
    return _Question(shown, method, url.partition("#")[0], given, body, limit)


class _Exchange:
    """A request on its way, and those who wait for its answer.

    :ivar sent: whether it has had its turn.
    """

    def __init__(self) -> None:
        self.sent = False
        self._waiting: list[Deferred[HTTPAnswer]] = []
        self._work: Deferred[HTTPAnswer] | None = None

    def wait(self) -> Deferred[HTTPAnswer]:
        """Give a Deferred of the answer; when the last one is cancelled the request is."""
        waiting: Deferred[HTTPAnswer] = Deferred(self._left)
        self._waiting.append(waiting)
        return waiting

    def begin(self, work: Coroutine[Deferred[Any], Any, HTTPAnswer]) -> None:
        """Do it."""
        self._work = Deferred.fromCoroutine(work)
        self._work.addBoth(self._ended)

    def fail(self, problem: str) -> None:
        """Give up on it."""
        waiting, self._waiting = self._waiting, []
        if self._work is not None:
            self._work.cancel()
        for one in waiting:
            if not one.called:
                one.errback(HTTPUnavailable(problem))

    def _left(self, waiting: Deferred[HTTPAnswer]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        if not self._waiting and self._work is not None:
            self._work.cancel()

    def _ended(self, result: HTTPAnswer | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            # What the one before it has set off may have cancelled it.
            if one.called:
                continue
            if isinstance(result, Failure):
                one.errback(HTTPUnavailable(str(result.value)))
            else:
                one.callback(result)


@implementer(IHTTPClient)
class HTTPClient:
    """A client for the services of one plugin's object.

    A request whose method is idempotent (RFC 9110 §9.2.2), or that carries ``Idempotency-Key``, is sent a second
    time if the connection that it went on had been kept and was closed without an answer.  Equal requests with the
    same ``Idempotency-Key`` that are on their way at the same time are sent once.

    Making one does nothing with the reactor.

    :param trust: what ``https`` servers' chains end in, of :func:`trust_of`; ``None`` for the system's.
    :param concurrency: requests at a time.
    """

    def __init__(self, reactor: Any, trust: Any, concurrency: int) -> None:
        self._reactor = reactor
        self._concurrency = concurrency
        self._places = DeferredSemaphore(concurrency)
        self._exchanges: dict[_Exchange, None] = {}
        self._shared: dict[_Question, _Exchange] = {}
        self._closed = False
        policy = HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS(trust))
        self._endpoints = Endpoints(reactor, policy)
        self._pool: Any = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = concurrency
        self._pool.cachedConnectionTimeout = KEEP_SECONDS
        self._pool.retryAutomatically = False
        self._kept = self._treq(self._pool)
        self._fresh = self._treq(HTTPConnectionPool(reactor, False))

    def _treq(self, pool: Any) -> Treq:
        agent = PlainAgent(Agent.usingEndpointFactory(self._reactor, self._endpoints, pool))
        # treq wants one of its own class for what nobody asks of it.
        return Treq(agent, NoCookies(), BytesProducer)  # type: ignore[arg-type]

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 5.0,
        limit: int = 1_048_576,
    ) -> HTTPAnswer:
        """See :class:`~edgegw.interfaces.IHTTPClient`."""
        question = _question(method, url, headers, body, limit)
        if self._closed:
            raise HTTPUnavailable(f"{question.shown}: the configuration is no longer in use")
        exchange = self._exchange(question)
        waiting = exchange.wait()
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            waiting.cancel()

        timer = self._reactor.callLater(max(timeout, 0.0), expire)
        if exchange not in self._exchanges:
            self._begin(exchange, question)
        try:
            return await waiting
        except CancelledError:
            if not expired:
                raise
            lacking = "no answer" if exchange.sent else f"no turn, behind {self._concurrency} other requests,"
            raise HTTPUnavailable(f"{question.shown}: {lacking} within {timeout:g} s") from None
        finally:
            if timer.active():
                timer.cancel()

    def close(self) -> None:
        """End every request and close every connection; later requests fail."""
        self._closed = True
        for exchange in tuple(self._exchanges):
            exchange.fail("the configuration is no longer in use")
        self._pool.closeCachedConnections()

    # --- one request ------------------------------------------------------------------------

    def _exchange(self, question: _Question) -> _Exchange:
        if not question.key:
            return _Exchange()
        exchange = self._shared.get(question)
        if exchange is None:
            exchange = self._shared[question] = _Exchange()
        return exchange

    def _begin(self, exchange: _Exchange, question: _Question) -> None:
        self._exchanges[exchange] = None
        exchange.begin(self._ask(exchange, question))

    async def _ask(self, exchange: _Exchange, question: _Question) -> HTTPAnswer:
        try:
            await self._places.acquire()
            try:
                if self._closed:
                    raise HTTPUnavailable("the configuration is no longer in use")
                exchange.sent = True
                return await self._send(question)
            finally:
                self._places.release()
        except (HTTPUnavailable, CancelledError):
            raise
        except Exception as error:
            raise HTTPUnavailable(f"{question.shown}: {_reason(error)}") from error
        finally:
            del self._exchanges[exchange]
            if self._shared.get(question) is exchange:
                del self._shared[question]

    async def _send(self, question: _Question) -> HTTPAnswer:
        self._endpoints.allow(question.limit)
        try:
            return await self._answer(self._kept, question)
        except Exception as error:
            if not (question.repeatable and any(isinstance(one, StaleConnection) for one in _causes(error))):
                raise
        return await self._answer(self._fresh, question)

    async def _answer(self, treq: Treq, question: _Question) -> HTTPAnswer:
        response: Any = await treq.request(
            question.method,
            question.url,
            headers=question.wire_headers(),
            data=question.body or None,
            allow_redirects=False,
            # Buffered, it would have no bound.
            unbuffered=True,
            reactor=self._reactor,
        )
        fields = [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, values in response.headers.getAllRawHeaders()
            for value in values
        ]
        body = await read_body(response, question.limit)
        if not 200 <= response.code <= 599:
            raise HTTPUnavailable(f"{question.shown}: answered with the status {response.code}")
        return HTTPAnswer(response.code, dict(fields), body, fields)


# --- words ----------------------------------------------------------------------------------


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error, or those that it wraps as twisted.web's do."""
    reasons = getattr(error, "reasons", None)
    if not isinstance(reasons, list):
        yield error
        return
    for reason in reasons:
        yield from _causes(reason.value)


def _reason(error: BaseException) -> str:
    """Say what went wrong, in printable ASCII."""
    said = dict.fromkeys(_words(cause) for cause in _causes(error))
    return _escaped("; ".join(said) or type(error).__name__)[:_MOST_REASON]


def _words(error: BaseException) -> str:
    if isinstance(error, SSL.Error):
        stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return f"TLS: {', '.join(str(entry[-1]) for entry in stack) or 'the connection was closed'}"
    if isinstance(error, VerificationError):
        return "TLS: the certificate is not for this host"
    if isinstance(error, DNSLookupError):
        return f"the name cannot be resolved: {' '.join(map(str, error.args))}"
    if isinstance(error, (ConnectionDone, ConnectionLost)):
        return "the connection was closed before the answer was complete"
    # The parser's errors come with the line that they are about, which may hold anything.
    said = error.args[0] if len(error.args) == 2 and isinstance(error.args[1], bytes) else error
    return " ".join(str(said).split()).rstrip(".") or type(error).__name__


def _escaped(text: str) -> str:
    return printable(text.encode("utf-8", "backslashreplace"))
