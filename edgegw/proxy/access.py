"""Who may ask what: the demands of a route's rule on the client, and paths that could be read as another rule's."""
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.identity import CertificateStatus, ConnectionInfo
from edgegw.model import ClientRequirement
from edgegw.observe.certificate_summary import shorten
from edgegw.observe.metrics import RequestMetrics
from edgegw.peer import Peer
from edgegw.policy_chain import PolicyChain
from edgegw.tls.deciding import decide_later
from edgegw.tls.verification import Clock, now
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
_NO_CERTIFICATE: Final = Reject(Reason.NO_CERTIFICATE, "the rule needs one")
_UNVERIFIED: Final = Reject(Reason.CLIENT_UNVERIFIED, "the rule needs a verified one")
#: Characters of a path in the log.
_MOST_PATH: Final = 256
_log = Logger(namespace="edgegw.http")


def _path(head: RequestHead) -> str:
    return head.target.partition(b"?")[0].decode("latin-1")


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
        return _path(self._head)

    def header(self, name: str) -> str | None:
        """Give a header's value; ``None`` if it was not sent, or more than once."""
        values = self._head.values(name.lower().encode("latin-1", "replace"))
        return values[0].decode("latin-1") if len(values) == 1 else None


def deciding_failed(failure: Failure) -> Reject:
    """Make a refusal of what should not have happened while policies were deciding."""
    if not failure.check(CancelledError):
        _log.failure("policies deciding about a request", failure)
    return Reject(Reason.INTERNAL_ERROR, "the gateway failed to judge the request")


def log_refusal(
    refusal: Reject, by: str, info: ConnectionInfo, head: RequestHead, handshake_id: str, request_id: bytes
) -> None:
    """Say who was refused what, by whom and why.

    :param by: as :meth:`RuleAccess.refused_by` gives it.
    :param handshake_id: of the connection; empty without TLS.
    :param request_id: that the client is told.
    """
    identity = info.identity
    _log.info(
        "403 to {peer} on {listener}: {reason} by {by} ({method} {path}, certificate {certificate} {status}, "
        "handshake {handshake}, request {request}) {detail}",
        peer=info.peer,
        listener=info.listener,
        reason=str(refusal.code),
        by=by,
        method=head.method.decode("ascii"),
        path=shorten(_path(head), _MOST_PATH),
        certificate="-" if identity.certificate is None else identity.certificate.sha256,
        status=identity.status.value,
        handshake=handshake_id or "-",
        request=request_id.decode("ascii"),
        detail=refusal.detail,
    )


class RuleAccess:
    """What a rule demands of a client.

    :param policies: ``None`` without any.
    :ivar metrics: counts the requests that are refused.
    :ivar explain: whether the client is told the reason code.
    :ivar name: the rule's, such as ``all.rules[0]``, as metrics and logs have it.
    :ivar reactor: that policies which wait do so with.
    """

    __slots__ = ("_client", "_clock", "_limit", "_policies", "explain", "metrics", "name", "reactor")

    def __init__(
        self,
        client: ClientRequirement,
        policies: PolicyChain | None,
        timeout: float,
        explain: bool,
        name: str,
        metrics: RequestMetrics,
        reactor: Any,
        clock: Clock = now,
    ) -> None:
        """
        :param timeout: seconds that a policy which waits has for its answer.
        :param clock: the time that policies judge by.
        """
        self._client = client
        self._clock = clock
        self._policies = policies
        self._limit = time_limit(reactor, timeout)
        self.reactor = reactor
        self.explain = explain
        self.name = name
        self.metrics = metrics

    @property
    def needs_chain(self) -> bool:
        """Whether a policy reads the chain."""
        return self._policies is not None and self._policies.needs_chain

    def judge(
        self, info: ConnectionInfo, head: RequestHead, host: str | None, rulings: list[Ruling]
    ) -> Verdict | Deferred[Verdict]:
        """Decide about a request of a connection's client.

        :param rulings: takes what each policy says.
        """
        status = info.identity.status
        if status is CertificateStatus.NONE:
            if self._client is not ClientRequirement.NONE:
                return _NO_CERTIFICATE
        elif status is CertificateStatus.UNVERIFIED and self._client is ClientRequirement.VERIFIED:
            return _UNVERIFIED
        policies = self._policies
        if policies is None:
            return _LET_IN
        if status is CertificateStatus.NONE and not policies.judges_everyone:
            return Reject(Reason.NO_CERTIFICATE, "a policy of the rule judges certificates")
        peer = Peer(info, self._clock, info.identity.known_chain, info.attributes, RequestView(head, host))
        verdict = policies.check(peer, rulings)
        if isinstance(verdict, Reject) or not policies.waits:
            return verdict
        return decide_later(policies, peer, rulings, self._limit)

    def refused_by(self, refusal: Reject, rulings: Sequence[Ruling]) -> str:
        """Give the place in the configuration of what has refused a request: ``all.rules[0].named``.

        :param rulings: what :meth:`judge` was given.
        """
        if refusal is _NO_CERTIFICATE or refusal is _UNVERIFIED:
            return f"{self.name}.client"
        by = "" if self._policies is None else self._policies.refused_by(refusal, rulings)
        return f"{self.name}.{by or 'policies'}"
