"""Who may ask what: the demands of a route's rule on the client, and paths that could be read as another rule's."""
from __future__ import annotations

import re
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.identity import CertificateStatus, ConnectionInfo
from edgegw.model import ClientRequirement
from edgegw.observe.metrics import RequestMetrics
from edgegw.peer import Peer
from edgegw.policy_chain import PolicyChain
from edgegw.tls.deciding import decide_later
from edgegw.tls.verification import now
from edgegw.tls.waiting import time_limit
from edgegw.verdict import Accept, Reason, Reject, Ruling, Verdict
from edgegw.wire.http1 import RequestHead

__all__ = ["RequestView", "RuleAccess", "deciding_failed", "is_ambiguous", "log_refusal"]

#: What upstreams may read as another path: dot and empty segments, backslashes, parameters of segments, and
#: percent-encodings of these, once or twice, and of characters that need none (RFC 3986 §6.2.2).
_AMBIGUOUS: Final = re.compile(
    rb"//|/\.{1,2}(?:/|\Z)|[\\;]"
    rb"|%(?:2[dDeEfF]|5[cCfF]|3[bB0-9]|00|7[eE]|[46][1-9a-fA-F]|[57][0-9aA]|25(?:2[eEfF]|5[cC]|3[bB]))|%(?![0-9A-Fa-f]{2})"
)


def is_ambiguous(path: bytes) -> bool:
    """Whether an upstream could take a path, as it is sent, for another one than the rules are matched with."""
    return _AMBIGUOUS.search(path) is not None


_LET_IN: Final = Accept()
_log = Logger(namespace="edgegw.http")


class RequestView:
    """A request, as policies see it; provides :class:`edgegw.peer.RequestFacts`."""

    __slots__ = ("_head", "host")

    def __init__(self, head: RequestHead, host: str | None) -> None:
        self._head = head
        self.host = host

    @property
    def method(self) -> str:
        """As it was sent."""
        return self._head.method.decode("latin-1")

    @property
    def path(self) -> str:
        """As it was sent, without the query."""
        return self._head.target.partition(b"?")[0].decode("latin-1")

    def header(self, name: str) -> str | None:
        """Give a header's value; ``None`` if it was not sent, or more than once."""
        values = self._head.values(name.lower().encode("latin-1", "replace"))
        return values[0].decode("latin-1") if len(values) == 1 else None


def deciding_failed(failure: Failure) -> Reject:
    """Make a refusal of what should not have happened while policies were deciding."""
    if not failure.check(CancelledError):
        _log.failure("policies deciding about a request", failure)
    return Reject(Reason.INTERNAL_ERROR, "the gateway failed to judge the request")


def log_refusal(refusal: Reject, info: ConnectionInfo, route: str) -> None:
    """Say who was refused what, and why."""
    _log.info(
        "403 to {peer} on {listener}: {reason} by the route {route} ({certificate}) {detail}",
        peer=info.peer,
        listener=info.listener,
        reason=str(refusal.code),
        route=route,
        certificate=info.identity.certificate or "no certificate",
        detail=refusal.detail,
    )


class RuleAccess:
    """What a rule demands of a client.

    :param policies: ``None`` without any.
    :ivar metrics: counts the requests that are refused.
    :ivar explain: whether the client is told the reason code.
    :ivar route: the route's name, for logs.
    """

    __slots__ = ("_client", "_limit", "_policies", "explain", "metrics", "route")

    def __init__(
        self,
        client: ClientRequirement,
        policies: PolicyChain | None,
        timeout: float,
        explain: bool,
        route: str,
        metrics: RequestMetrics,
        reactor: Any,
    ) -> None:
        """:param timeout: seconds that a policy which waits has for its answer."""
        self._client = client
        self._policies = policies
        self._limit = time_limit(reactor, timeout)
        self.explain = explain
        self.route = route
        self.metrics = metrics

    @property
    def needs_chain(self) -> bool:
        """Whether a policy reads the chain."""
        return self._policies is not None and self._policies.needs_chain

    def judge(self, info: ConnectionInfo, head: RequestHead, host: str | None) -> Verdict | Deferred[Verdict]:
        """Decide about a request of a connection's client."""
        status = info.identity.status
        if status is CertificateStatus.NONE:
            if self._client is not ClientRequirement.NONE:
                return Reject(Reason.NO_CERTIFICATE, "the rule needs one")
        elif status is CertificateStatus.UNVERIFIED and self._client is ClientRequirement.VERIFIED:
            return Reject(Reason.CLIENT_UNVERIFIED, "the rule needs a verified one")
        policies = self._policies
        if policies is None:
            return _LET_IN
        if status is CertificateStatus.NONE and not policies.judges_everyone:
            return Reject(Reason.NO_CERTIFICATE, "a policy of the rule judges certificates")
        peer = Peer(info, now, info.identity.known_chain, info.attributes, RequestView(head, host))
        rulings: list[Ruling] = []
        verdict = policies.check(peer, rulings)
        if isinstance(verdict, Reject) or not policies.waits:
            return verdict
        return decide_later(policies, peer, rulings, self._limit)

