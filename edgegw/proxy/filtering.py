"""A request whose rule does more than pass it on: filters between a client's connection and an exchange.

In this order: what the rule demands of the client was met before; then how many requests it takes, preflights of
CORS, its redirect, its fixed response, the service that decides about requests, what the upstream is asked for and
told, copies for mirrors, and the exchange.  Responses of upstreams come back the same way.
"""
from __future__ import annotations

from functools import partial
from typing import Any, Final, Protocol

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.filters.cors import CORSRules
from edgegw.filters.header_changes import changed_block
from edgegw.filters.places import Asked, location, rewritten_host, rewritten_target
from edgegw.headers.request import ConnectionHeaders, HeaderRefusal
from edgegw.identity import ConnectionInfo
from edgegw.observe.metrics import RequestMetrics
from edgegw.proxy.answers import phrase
from edgegw.proxy.body import TrailerRules
from edgegw.proxy.compressing import CompressedBody
from edgegw.proxy.decisions import AwaitedDecision
from edgegw.proxy.destination import Destination
from edgegw.proxy.exchange import Downstream, Exchange
from edgegw.proxy.external_auth import Allowed, Refused
from edgegw.proxy.filtered_response import FilteredResponse
from edgegw.proxy.mirroring import Copy
from edgegw.proxy.plugin_backend import PluginCall
from edgegw.proxy.retrying import RetryingExchange
from edgegw.proxy.rule_filters import RuleFilters, Treatment
from edgegw.proxy.site import Backend, Target
from edgegw.proxy.upgrading import SwitchedUpstream, Upgrade
from edgegw.upstream.connection import UpstreamConnection
from edgegw.verdict import Reason
from edgegw.wire.http1 import Field, RequestHead, ResponseHead

__all__ = ["FilteredDownstream", "FilteredRequest", "begin"]

#: Bytes of a request's body beyond which nothing more is read while a service decides about it.
MAX_HELD: Final = 65_536

_log = Logger(namespace="edgegw.http")


class FilteredDownstream(Downstream, Protocol):
    """A client's side of a request that filters look at."""

    def own_response(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response that the gateway has made itself; nothing of another has been sent."""

    def denied(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response that a service has refused a request with; nothing of another has been sent."""

    def answer(self, status: int, extra: bytes = b"", reason: str = "") -> None:
        """Send the gateway's own answer; nothing of a response has been sent."""

    def refuse(self, status: int, detail: str) -> None:
        """Answer, and believe nothing more of what the client sends."""

    def carry(self, head: RequestHead, exchange: FilteredRequest, limit: int | None, trailers: TrailerRules) -> None:
        """Start the exchange, and give it the request's body as it comes."""


def begin(
    client: FilteredDownstream,
    head: RequestHead,
    target: Target,
    rules: RuleFilters,
    destination: Destination,
    upgrade: Upgrade | None = None,
) -> None:
    """Do with a request what its rule says; exactly one answer comes of it.

    :param upgrade: the other protocol that it asks for.
    """
    backend = target.choose()
    request = FilteredRequest(client, head, rules, rules.treatment(backend), destination, upgrade)
    if request.answered():
        return
    if backend is None:
        request.own_answer(500)
        return
    try:
        lines = destination.request_lines(head)
    except HeaderRefusal as refusal:
        request.abandon(0)
        client.refuse(refusal.status, refusal.detail)
        return
    if not request.prepare(backend, lines):
        request.own_answer(500)
        return
    limit = destination.site.http.max_body_bytes if rules.limit is None else rules.limit
    client.carry(head, request, limit, request)


class FilteredRequest:
    """One request on its way through the filters: an exchange to the client's side, the client's side to an exchange.

    :ivar info: what is known of the client's connection.
    :ivar transport: the client's.
    """

    def __init__(
        self,
        client: FilteredDownstream,
        head: RequestHead,
        rules: RuleFilters,
        treatment: Treatment,
        destination: Destination,
        upgrade: Upgrade | None = None,
    ) -> None:
        self._client = client
        self._upgrade = upgrade
        self.info: ConnectionInfo = client.info
        self.transport: Any = client.transport
        self._head = head
        self._rules = rules
        self._treatment = treatment
        self._destination = destination
        self._headers: ConnectionHeaders | None = None
        self._exchange: Exchange | None = None
        self._backend: Backend | None = None
        self._timer: IDelayedCall | None = None
        self._response = FilteredResponse(client, head, rules, treatment, self._end)
        self._copies: list[Copy] = []
        self._asking: AwaitedDecision[Allowed | Refused] | None = None
        self._paused = False
        self._held = b""
        self._ended = self._waits = False
        self._line = self._host = self._lines = b""

    # --- answers of the gateway's own -------------------------------------------------------

    def answered(self) -> bool:
        """Answer here, if the rule says so."""
        rules, treatment = self._rules, self._treatment
        if rules.limiter is not None:
            wait = rules.limiter.take(self.info)
            if wait > 0:
                rules.own.refuse(Reason.RATE_LIMITED)
                self.own_answer(429, rules.limiter.lines(wait))
                return True
        if treatment.cors is not None and self._preflight(treatment.cors):
            return True
        if treatment.redirect is not None:
            place = location(treatment.redirect, self._asked(), rules.prefix)
            if place is None:
                self.own_answer(400)
            else:
                self._own_response(treatment.redirect.status, [(b"location", place, b"location: %b\r\n" % place)], b"")
            return True
        if rules.fixed is not None:
            self._own_response(rules.fixed.status, rules.fixed.fields, rules.fixed.body)
            return True
        return False

    def _asked(self) -> Asked:
        destination = self._destination
        scheme = destination.site.request_headers.scheme.decode("ascii")
        return Asked(scheme, destination.host_name, self.info.local_port, self._head.target)

    def _preflight(self, cors: CORSRules) -> bool:
        """Answer a preflight (Fetch, "CORS-preflight request"), if the request is one."""
        head, origin = self._head, self._response.origin
        asked = head.values(b"access-control-request-method")
        if origin is None or not cors.is_preflight(head.method, asked):
            return False
        if cors.allows(origin):
            lines = cors.preflight(origin, asked[0], head.values(b"access-control-request-headers"))
            self._own_response(204, lines, b"", False)
        else:
            self._own_response(403, cors.refused(), b"", False)
        return True

    def own_answer(self, status: int, extra: bytes = b"") -> None:
        """Send an answer of the gateway's, before any exchange."""
        self._rules.own.done(status, 0.0)
        self._response.stop()
        self._client.answer(status, extra + _block(self._response.cors_fields()))

    def _own_response(self, status: int, fields: list[Field], body: bytes, tells_origin: bool = True) -> None:
        self._client.own_response(self._own_head(status, fields, tells_origin), body)

    def _own_head(self, status: int, fields: list[Field], tells_origin: bool = True) -> ResponseHead:
        self._rules.own.done(status, 0.0)
        self._response.stop()
        if tells_origin:
            fields = [*fields, *self._response.cors_fields()]
        return ResponseHead(status, phrase(status), 1, list(fields), b"")

    # --- towards the upstream ---------------------------------------------------------------

    def prepare(self, backend: Backend, lines: bytes) -> bool:
        """Make the request's head for the upstream.

        :returns: whether the path can be rewritten as the rule says.
        """
        head, treatment = self._head, self._treatment
        target = head.target
        host = head.host if self._destination.site.preserve_host else b""
        rewrite = treatment.rewrite
        if rewrite is not None:
            new_target = rewritten_target(rewrite.path, target, self._rules.prefix)
            if new_target is None:
                return False
            target = new_target
            host = rewritten_host(rewrite, head.host, self._destination.host_name) or host
        self._backend = backend
        # Over HTTP/2 the next request may go to another host before this one has ended.
        self._headers = self._destination.headers
        self._line = b"%b %b HTTP/1.1\r\n" % (head.method, target)
        self._host = host
        self._lines = lines
        return True

    @property
    def metrics(self) -> RequestMetrics:
        """What counts it."""
        assert self._backend is not None
        return self._backend.metrics

    @property
    def connection(self) -> UpstreamConnection | PluginCall | CompressedBody | None:
        """See :attr:`Exchange.connection`."""
        if self._response.compressed is not None:
            return self._response.compressed
        return None if self._exchange is None else self._exchange.connection

    def trailers(self, fields: list[Field]) -> list[Field]:
        """Give the request's trailers that go on."""
        kept = [] if self._headers is None else self._headers.trailers(fields)
        for change in (self._treatment.request, None if self._rules.auth is None else self._rules.auth.told):
            if change is not None:
                kept = change.trailers(kept)
        return kept

    def start(self, body: bytes, ended: bool, waits: bool) -> None:
        """See :meth:`Exchange.start`."""
        rules = self._rules
        if rules.seconds:
            self._timer = rules.reactor.callLater(rules.seconds, self._too_long)
        if rules.auth is None:
            self._send(body, ended, waits)
            return
        self._waits = waits
        self._hold(body, ended)
        scheme = self._destination.site.request_headers.scheme
        decision = rules.auth.ask(self.info, self._head, scheme).addErrback(partial(_undecided, self.info.peer))
        asking = self._asking = AwaitedDecision(rules.reactor, self._decided)
        asking.wait(decision)

    def _hold(self, data: bytes, ended: bool) -> None:
        """Keep what comes of the body while the service decides.

        There is a bound, but reading goes on up to it: who does not read does not hear that the client has left.
        """
        self._held += data
        self._ended = ended
        if not ended and len(self._held) > MAX_HELD and not self._paused:
            self.pause_body()

    def _decided(self, decision: Allowed | Refused) -> None:
        self._asking = None
        try:
            self._heed(decision)
        except Exception:
            # Nobody else would hear of it: the reactor ends a connection only for what its own call raises.
            _log.failure("sending a request of {peer}", peer=self.info.peer)
            self.abandon(0)
            self._client.cut()

    def _heed(self, decision: Allowed | Refused) -> None:
        if isinstance(decision, Allowed):
            self._lines = changed_block(self._lines, decision.change)
            held, self._held = self._held, b""
            self._send(held, self._ended, self._waits)
            return
        self._end()
        self._rules.own.refuse(decision.code)
        if decision.fields is None:
            self.own_answer(decision.status)
        else:
            self._client.denied(self._own_head(decision.status, decision.fields), decision.body)

    def _send(self, body: bytes, ended: bool, waits: bool) -> None:
        backend, tries = self._backend, self._rules.tries
        assert backend is not None
        if self._treatment.request is not None:
            self._lines = changed_block(self._lines, self._treatment.request)
        request = (self, backend, self._head.method, self._line, self._host, self._lines)
        upgrade = self._upgrade
        # Whoever gets a copy would have to be talked to in the other protocol.
        for mirror in self._treatment.mirrors if upgrade is None else ():
            copy = mirror.copy(self.info, self.transport, *request[2:])
            if copy is not None:
                if not ended:
                    self._copies.append(copy)
                copy.start(body, ended, waits)
        if upgrade is not None:
            exchange = evolve(upgrade, switched=self._switched).exchange(*request, tries)
        else:
            exchange = Exchange(*request) if tries is None else RetryingExchange(*request, tries)
        self._exchange = exchange
        held_up, self._paused = self._paused, False
        exchange.start(body, ended, waits)
        if held_up and not self._paused and self._exchange is not None:
            self._client.resume_body()

    def body(self, data: bytes, ended: bool) -> None:
        """See :meth:`Exchange.body`."""
        if self._asking is not None:
            self._hold(data, ended)
            return
        for copy in self._copies:
            copy.body(data, ended)
        if ended:
            self._copies.clear()
        if self._exchange is not None:
            self._exchange.body(data, ended)

    # --- from the upstream ------------------------------------------------------------------

    def pause_body(self) -> None:
        """See ``Downstream``."""
        self._paused = True
        self._client.pause_body()

    def resume_body(self) -> None:
        """See ``Downstream``."""
        self._paused = False
        self._client.resume_body()

    def interim(self, head: ResponseHead) -> None:
        """See ``Downstream``."""
        self._client.interim(head)

    def _switched(self, head: ResponseHead, upstream: SwitchedUpstream) -> None:
        """The upstream speaks another protocol now: no filter has anything to say about that."""
        upgrade = self._upgrade
        assert upgrade is not None
        head = self._response.changed(head)
        self._end()
        upgrade.switched(head, upstream)

    def respond(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """See ``Downstream``."""
        upstream = self.connection
        if ended:
            self._exchange = None
        self._response.respond(head, length, data, ended, upstream)

    def respond_more(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """See ``Downstream``."""
        if ended:
            self._exchange = None
        self._response.respond_more(data, ended, trailers)

    def answer(self, status: int) -> None:
        """See ``Downstream``."""
        self._end()
        self._client.answer(status, _block(self._response.cors_fields()))

    def cut(self) -> None:
        """See ``Downstream``."""
        self._end()
        self._client.cut()

    # --- ends -------------------------------------------------------------------------------

    def _too_long(self) -> None:
        """All of it has taken too long."""
        self._timer = None
        if self._response.begun:
            self.abandon(0)
            self._client.cut()
        else:
            self.abandon(504)
            self._client.answer(504, _block(self._response.cors_fields()))

    def _end(self) -> None:
        """Nothing more will come of it."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._exchange = None
        self._response.stop()
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.leave()
        copies, self._copies = self._copies, []
        for copy in copies:
            # The rest of the request will not come.
            copy.abandon()

    def abandon(self, status: int) -> None:
        """See :meth:`Exchange.abandon`."""
        exchange, asking = self._exchange, self._asking
        self._end()
        if exchange is not None:
            exchange.abandon(status)
        elif asking is not None or (status and not self._response.begun):
            # No exchange counts it.
            self._rules.own.done(status, 0.0)


def _undecided(peer: str, failure: Failure) -> Refused:
    """Refuse what could not be asked about: a request that nobody decided about does not pass."""
    if not failure.check(CancelledError):
        # The service's module says that this cannot be.
        _log.failure("asking about a request of {peer}", failure, peer=peer)
    return Refused(500, Reason.INTERNAL_ERROR)


def _block(fields: list[Field]) -> bytes:
    return b"".join(line for _, _, line in fields)
