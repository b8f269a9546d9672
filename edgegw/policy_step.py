"""One policy of a list, with nothing that it does getting past here.

Exceptions of any kind, results that are no verdict, coroutines that nobody awaited and codes that were not
declared are refusals with ``policy_error``.
"""
from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Protocol

from edgegw.interfaces import IPolicy
from edgegw.model import PolicyUse
from edgegw.peer import Peer
from edgegw.policy_cache import VerdictCache
from edgegw.verdict import Accept, Reason, Reject, Ruling, Verdict

__all__ = [
    "UNDECIDED",
    "Count",
    "Failed",
    "Limit",
    "NobodyWaits",
    "PolicyCounts",
    "PolicyStep",
    "Step",
    "TooLate",
    "attribute_fault",
]

#: Codes of refusals that no policy has decided for.
FAILURES = frozenset({Reason.POLICY_ERROR, Reason.POLICY_TIMEOUT})
#: Codes of refusals that are no answer to the question: ``not`` makes no acceptance of them.
UNDECIDED = FAILURES | frozenset({
    Reason.NO_POLICY, Reason.NO_CERTIFICATE, Reason.NO_FINGERPRINT, Reason.CERTIFICATE_INVALID, Reason.CRL_MISSING,
    Reason.CRL_STALE, Reason.OCSP_UNAVAILABLE, Reason.OCSP_UNKNOWN, Reason.CHECK_UNAVAILABLE,
})

#: Makes a ruling without the call that its class would make of it.
_new = tuple.__new__

#: Seconds past which a plain policy has held up every other connection for too long.
SLOW = 0.005

#: Steps and characters of the traceback of a policy that failed.
_MOST_STEPS = 12
_MOST_CHARACTERS = 8_000

#: Waits for what a policy waits for, with its time limit; raises :class:`TooLate` past it, and :class:`NobodyWaits`.
Limit = Callable[[Awaitable[Any]], Awaitable[Any]]


class TooLate(Exception):
    """A policy did not decide in time."""


class NobodyWaits(Exception):
    """The client left before a policy had decided, which is no fault of the policy's."""


class PolicyCounts(Protocol):
    """What is counted of one policy on one listener.

    :ivar refused: by reason code.
    :ivar errors: refusals because the policy failed or did not decide in time.
    :ivar seconds: spent, waiting included.
    :ivar slow: times that a plain policy took longer than :data:`SLOW`.
    :ivar cached: answers from its cache.
    """

    accepted: int
    refused: dict[str, int]
    errors: int
    seconds: float
    slow: int
    cached: int


#: Told of a policy that failed: its label and what happened, with a traceback if there is one.
Failed = Callable[[str, str], None]
Count = Callable[[str], PolicyCounts]


class Step(Protocol):
    label: str
    waits: bool
    needs_chain: bool
    without_certificate: bool
    recheck: bool

    def check(self, peer: Peer, rulings: list[Ruling]) -> Verdict | None:
        """Ask; ``None`` where it has nothing to say of a client without a certificate."""

    async def check_later(self, peer: Peer, rulings: list[Ruling], limit: Limit) -> Verdict | None:
        """The same, with what waits."""


class PolicyStep:
    """One policy."""

    __slots__ = (
        "_check", "_codes", "_counts", "_failed", "cache", "environment", "label", "needs_chain", "policy", "recheck",
        "waits", "without_certificate",
    )

    def __init__(self, use: PolicyUse, label: str, counts: PolicyCounts, failed: Failed) -> None:
        policy: IPolicy = use.policy
        self.label = label
        self.policy = policy
        self.environment = use.environment
        self.waits: bool = getattr(policy, "waits", use.kind.waits)
        self.needs_chain: bool = getattr(policy, "needs_chain", use.kind.needs_chain)
        self.without_certificate: bool = getattr(policy, "without_certificate", use.kind.without_certificate)
        self.recheck: bool = getattr(policy, "recheck", True)
        seconds: float = getattr(policy, "cache_seconds", 0.0)
        self.cache = VerdictCache(seconds) if seconds > 0 else None
        self._codes = frozenset({*map(str, Reason), use.kind.name, *use.kind.codes})
        self._check = policy.check
        self._counts = counts
        self._failed = failed

    def check(self, peer: Peer, rulings: list[Ruling]) -> Verdict | None:
        # This runs for every policy in every handshake: what most answers need no call for gets none.
        certificate = peer.connection.identity.certificate
        if certificate is None and not self.without_certificate:
            return None
        cache, counts = self.cache, self._counts
        if cache is not None and (known := cache.get(certificate, peer.verified)) is not None:
            return self._ruled(known, 0.0, rulings, cached=True)
        state = None if cache is None else cache.state
        started = perf_counter()
        try:
            verdict = self._check(peer)
            if type(verdict) is not Accept or type(verdict.attributes) is not dict or verdict.attributes:
                verdict = self._proper(verdict)
        except BaseException as error:
            verdict = self._error(error)
        seconds = perf_counter() - started
        if seconds > SLOW:
            counts.slow += 1
        if cache is None and type(verdict) is Accept:
            counts.seconds += seconds
            counts.accepted += 1
            rulings.append(_new(Ruling, (self.label, verdict, seconds, False)))
            return verdict
        return self._judged(verdict, seconds, peer, rulings, state)

    async def check_later(self, peer: Peer, rulings: list[Ruling], limit: Limit) -> Verdict | None:
        if not self.waits:
            return self.check(peer, rulings)
        certificate = peer.certificate
        if certificate is None and not self.without_certificate:
            return None
        cache = self.cache
        if cache is not None and (known := cache.get(certificate, peer.verified)) is not None:
            return self._ruled(known, 0.0, rulings, cached=True)
        state = None if cache is None else cache.state
        started = perf_counter()
        try:
            asked = self._check(peer)
            verdict = self._proper(await limit(asked) if hasattr(asked, "__await__") else asked)
        except TooLate:
            verdict = Reject(Reason.POLICY_TIMEOUT, f"{self.label} did not decide in time")
            self._failed(self.label, verdict.detail)
        except (GeneratorExit, NobodyWaits):
            raise
        except BaseException as error:
            verdict = self._error(error)
        return self._judged(verdict, perf_counter() - started, peer, rulings, state)

    def _proper(self, verdict: Any) -> Verdict:
        """Give a verdict that keeps to the rules; what does not becomes a refusal, or raises."""
        if type(verdict) is Accept:
            attributes: Any = verdict.attributes
            if type(attributes) is dict and not attributes:
                return verdict
            if not isinstance(attributes, Mapping):
                return self._fault(f"gave attributes that are no mapping: {_bounded(attributes)}")
            # What the policy does with its own afterwards changes nothing here.
            kept = dict(attributes.items())
            fault = attribute_fault(kept)
            return self._fault(fault) if fault else Accept(kept)
        if type(verdict) is not Reject:
            return self._no_verdict(verdict)
        code, detail = verdict.code, verdict.detail
        if type(detail) is not str or not isinstance(code, str):
            return self._fault("refused with a code or a detail that is no text")
        if type(code) is not str and type(code) is not Reason:
            # A plugin's own enumeration: as text it would be another word.
            code = str.__str__(code)
            verdict = Reject(code, detail)
        if code in self._codes:
            return verdict  # type: ignore[no-any-return]  # a Reject
        return self._fault(
            f"refused with the code {_bounded(code)}, which it does not declare (codes={{...}}); "
            f"its detail was {_bounded(detail)}"
        )

    def _judged(
        self, verdict: Verdict, seconds: float, peer: Peer, rulings: list[Ruling], state: object
    ) -> Verdict:
        """Take a fresh verdict.

        :param state: of the cache, as it was before the policy was asked.
        """
        if self.cache is not None and not (type(verdict) is Reject and verdict.code in UNDECIDED):
            self.cache.put(peer.certificate, peer.verified, verdict, state)
        return self._ruled(verdict, seconds, rulings)

    def _ruled(self, verdict: Verdict, seconds: float, rulings: list[Ruling], cached: bool = False) -> Verdict:
        counts = self._counts
        counts.seconds += seconds
        if cached:
            counts.cached += 1
        if type(verdict) is Accept:
            counts.accepted += 1
        else:
            code = verdict.code  # type: ignore[union-attr]  # the other of the two
            counts.refused[code] = counts.refused.get(code, 0) + 1
            if code in FAILURES:
                counts.errors += 1
        rulings.append(Ruling(self.label, verdict, seconds, cached))
        return verdict

    def _error(self, error: BaseException) -> Reject:
        # Of an endless recursion the end says as much, and a client could fill the log with all of it.
        text = "".join(traceback.format_exception(error, limit=-_MOST_STEPS))
        self._failed(self.label, text[-_MOST_CHARACTERS:])
        return Reject(Reason.POLICY_ERROR, f"{self.label}: {type(error).__name__}: {_bounded(error)}")

    def _no_verdict(self, result: object) -> Reject:
        close = getattr(result, "close", None)
        if hasattr(result, "__await__") and callable(close):
            close()
            return self._fault("returned something to await: write async def, or await it")
        return self._fault(f"returned {_bounded(result)}, which is neither Accept nor Reject")

    def _fault(self, problem: str) -> Reject:
        self._failed(self.label, problem)
        return Reject(Reason.POLICY_ERROR, f"{self.label} {problem}")


def attribute_fault(attributes: Mapping[Any, Any]) -> str:
    """Say of the first attribute that is not text by text what a policy did; empty if all are."""
    for name, value in attributes.items():
        if type(name) is not str:
            return f"gave an attribute whose name is no text: {_bounded(name)}"
        if type(value) is not str:
            return f"gave the attribute {_bounded(name)} a value that is no text: {_bounded(value)}"
    return ""


def _bounded(value: object) -> str:
    try:
        return str(value)[:200] if isinstance(value, BaseException) else repr(value)[:200]
    except BaseException:
        return f"a {type(value).__name__}"
