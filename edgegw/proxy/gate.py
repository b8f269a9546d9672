"""What a request has to pass before it goes anywhere: its host, health checks, its route, and that rule's demands."""
from __future__ import annotations

from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from edgegw.identity import ConnectionInfo
from edgegw.proxy.access import RuleAccess, deciding_failed, is_ambiguous, log_refusal
from edgegw.proxy.answers import new_request_id
from edgegw.proxy.decisions import AwaitedDecision
from edgegw.proxy.destination import Destination
from edgegw.proxy.site import Site, Target
from edgegw.verdict import Reject, Ruling, Verdict
from edgegw.wire.http1 import RequestHead

__all__ = ["Gated", "RequestGate"]

_log = Logger(namespace="edgegw.http")


class Gated(Protocol):
    """The connection whose requests a gate looks at.

    Exactly one of these is called for each request, at once or later.
    """

    def forward(self, head: RequestHead, target: Target) -> None:
        """Send a request to a backend of its rule."""

    def own_answer(self, status: int, reason: str = "", close: bool = False) -> None:
        """Answer a request that goes to no upstream.

        :param reason: a reason code that the client may know.
        :param close: whether nothing more is believed of the client.
        """

    @property
    def handshake_id(self) -> str:
        """The id of the connection's handshake in the record; empty without TLS."""

    def count_refused(self, access: RuleAccess, code: str, request_id: bytes) -> None:
        """Answer a request with 403 that a rule refused.

        :param request_id: what the answer is to be found by in the log.
        """

    def cut(self) -> None:
        """End the connection: what is to become of the request is not known."""


class RequestGate:
    """Looks at the requests of one connection.

    It does not keep the connection, which keeps it: neither would be gone before the garbage collector came.

    :param refusal: why the client does not come in: it gets 403 for whatever it asks, but health checks.
    :ivar destination: where the last request went.
    """

    __slots__ = ("_answers_probes", "_deciding", "_info", "_refusal", "destination")

    def __init__(self, site: Site, info: ConnectionInfo, refusal: Reject | None) -> None:
        self._info = info
        self._refusal = refusal
        self._answers_probes = site.answers_probes(info.peer)
        self._deciding: AwaitedDecision[Verdict] | None = None
        self.destination = Destination(site, info)

    def moved(self, site: Site) -> RequestGate:
        """Give what looks at the connection's requests when another site serves it."""
        return RequestGate(site, self._info, self._refusal)

    def look_at(self, connection: Gated, site: Site, head: RequestHead) -> None:
        """Decide about a request.

        :param site: the one that served the last request.
        """
        destination = self.destination
        if self._answers_probes and site.is_health_check(head):
            connection.own_answer(200)
            return
        if self._refusal is not None:
            connection.own_answer(403, self._refusal.code if site.explains else "", True)
            return
        status = destination.resolve(head)
        if status:
            connection.own_answer(status, close=status == 400)
            return
        site = destination.site
        path = head.target.partition(b"?")[0]
        if site.refuses_ambiguous_paths and is_ambiguous(path):
            connection.own_answer(400)
            return
        target = site.routes.find(destination.host_name, path, head, self._info)
        if target is None:
            connection.own_answer(404)
        elif target.access is None:
            connection.forward(head, target)
        else:
            self._ask(connection, target.access, head, target)

    def _ask(self, connection: Gated, access: RuleAccess, head: RequestHead, target: Target) -> None:
        rulings: list[Ruling] = []
        verdict = access.judge(self._info, head, self.destination.host_name, rulings)
        if isinstance(verdict, Deferred):
            deciding = self._deciding = AwaitedDecision(
                access.reactor, partial(self._decided_later, connection, access, head, target, rulings)
            )
            deciding.wait(verdict.addErrback(deciding_failed))
        else:
            self._decided(verdict, connection, access, head, target, rulings)

    def _decided_later(
        self, connection: Gated, access: RuleAccess, head: RequestHead, target: Target, rulings: list[Ruling],
        verdict: Verdict,
    ) -> None:
        self._deciding = None
        try:
            self._decided(verdict, connection, access, head, target, rulings)
        except Exception:
            # Nobody else would hear of it: the reactor ends a connection only for what its own call raises.
            _log.failure("answering a request of {peer}", peer=self._info.peer)
            connection.cut()

    def _decided(
        self, verdict: Verdict, connection: Gated, access: RuleAccess, head: RequestHead, target: Target,
        rulings: list[Ruling],
    ) -> None:
        if isinstance(verdict, Reject):
            request_id = new_request_id()
            by = access.refused_by(verdict, rulings)
            log_refusal(verdict, by, self._info, head, connection.handshake_id, request_id)
            connection.count_refused(access, verdict.code, request_id)
        else:
            connection.forward(head, target)

    @property
    def waits(self) -> bool:
        """Whether a decision is being waited for."""
        return self._deciding is not None

    def close(self) -> None:
        """The connection has ended: nobody waits for a decision."""
        deciding, self._deciding = self._deciding, None
        if deciding is not None:
            deciding.leave()
