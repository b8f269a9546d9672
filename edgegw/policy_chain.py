"""A list of policies, ready to judge: every one must accept, and whatever is no verdict refuses.

A chain has two halves.  :meth:`PolicyChain.check` asks the policies that need no waiting, inside the TLS
handshake; :meth:`PolicyChain.check_later` asks the others once it is done.  ``all``, ``any`` and ``not`` nest;
one that holds a policy which waits is asked as a whole in the second half.  Within each half the order is the
configuration's and the first refusal ends it.

Nothing that a policy does gets past here: exceptions of any kind, results that are no verdict, coroutines that
nobody awaited and codes that were not declared are refusals with ``policy_error``.
"""
from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, Protocol

from edgegw.interfaces import IPolicy
from edgegw.model import PolicyAny, PolicyNot, PolicyRule, PolicyUse
from edgegw.peer import Peer
from edgegw.policy_cache import VerdictCache
from edgegw.verdict import Accept, Reason, Reject, Ruling, Verdict

__all__ = ["NobodyWaits", "PolicyChain", "PolicyCounts", "TooLate", "build_chain"]

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


class _Step(Protocol):
    label: str
    waits: bool
    needs_chain: bool
    without_certificate: bool
    recheck: bool

    def check(self, peer: Peer, rulings: list[Ruling]) -> Verdict | None:
        """Ask; ``None`` where it has nothing to say of a client without a certificate."""

    async def check_later(self, peer: Peer, rulings: list[Ruling], limit: Limit) -> Verdict | None:
        """The same, with what waits."""


class _Single:
    """One policy."""

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
        certificate = peer.certificate
        if certificate is None and not self.without_certificate:
            return None
        cache = self.cache
        if cache is not None and (known := cache.get(certificate, peer.verified)) is not None:
            return self._ruled(known, 0.0, rulings, cached=True)
        state = None if cache is None else cache.state
        started = perf_counter()
        try:
            verdict = self._proper(self._check(peer))
        except BaseException as error:
            verdict = self._error(error)
        seconds = perf_counter() - started
        if seconds > SLOW:
            self._counts.slow += 1
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
                return self._fault("gave attributes that are not text by text")
            # What the policy does with its own afterwards changes nothing here.
            kept = dict(attributes.items())
            if all(type(key) is str and type(value) is str for key, value in kept.items()):
                return Accept(kept)
            return self._fault("gave attributes that are not text by text")
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
            f"refused with the code {_bounded(code)}, which it does not declare (codes={{...}}), "
            f"and {_bounded(detail)}"
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
            if code in _FAILURES:
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


#: Codes of refusals that no policy has decided for.
_FAILURES = frozenset({Reason.POLICY_ERROR, Reason.POLICY_TIMEOUT})


def _bounded(value: object) -> str:
    try:
        return str(value)[:200] if isinstance(value, BaseException) else repr(value)[:200]
    except BaseException:
        return f"a {type(value).__name__}"


class _Group:
    """What ``all``, ``any`` and ``not`` have in common."""

    def __init__(self, label: str, steps: Sequence[_Step]) -> None:
        self.label = label
        self.steps = tuple(steps)
        self.waits = any(step.waits for step in steps)
        self.needs_chain = any(step.needs_chain for step in steps)
        self.without_certificate = self._one_or_all(step.without_certificate for step in steps)
        # One that may not be asked twice would decide in part of the group all the same.
        self.recheck = all(step.recheck for step in steps)

    #: Whether one member that judges clients without a certificate is enough for the group to judge them.
    _one_or_all: Callable[[Iterable[bool]], bool] = staticmethod(any)

    def check(self, peer: Peer, rulings: list[Ruling]) -> Verdict | None:
        begun = _Progress(self, peer)
        for step in self.steps:
            if begun.take(step.check(begun.peer, rulings)):
                break
        return begun.verdict()

    async def check_later(self, peer: Peer, rulings: list[Ruling], limit: Limit) -> Verdict | None:
        begun = _Progress(self, peer)
        for step in self.steps:
            if begun.take(await step.check_later(begun.peer, rulings, limit)):
                break
        return begun.verdict()

    def combine(self, verdicts: list[Verdict], attributes: dict[str, str]) -> Verdict | None:
        """Give the verdict of those that had something to say."""
        raise NotImplementedError

    def ends(self, verdict: Verdict) -> bool:
        """Whether no more members need be asked after this one."""
        raise NotImplementedError


class _Progress:
    """A group's members, asked one after the other; each sees what those before it said."""

    def __init__(self, group: _Group, peer: Peer) -> None:
        self._group = group
        self._attributes = dict(peer.attributes)
        self._verdicts: list[Verdict] = []
        self.peer = Peer(peer.connection, peer.now, peer._chain, self._attributes, peer.request)

    def take(self, verdict: Verdict | None) -> bool:
        if verdict is None:
            return False
        self._verdicts.append(verdict)
        if type(verdict) is Accept:
            for name, value in verdict.attributes.items():
                self._attributes.setdefault(name, value)
        return self._group.ends(verdict)

    def verdict(self) -> Verdict | None:
        if not self._group.steps:
            return Reject(Reason.NO_POLICY, f"{self._group.label} has no members")
        return self._group.combine(self._verdicts, self._attributes) if self._verdicts else None


class _All(_Group):
    # The members that are silent about such a client have not accepted it.
    _one_or_all = staticmethod(all)

    def ends(self, verdict: Verdict) -> bool:
        return type(verdict) is Reject

    def combine(self, verdicts: list[Verdict], attributes: dict[str, str]) -> Verdict | None:
        return verdicts[-1] if type(verdicts[-1]) is Reject else Accept(attributes)


class _Any(_Group):
    def ends(self, verdict: Verdict) -> bool:
        return type(verdict) is Accept

    def combine(self, verdicts: list[Verdict], attributes: dict[str, str]) -> Verdict | None:
        if type(verdicts[-1]) is Accept:
            return Accept(attributes)
        refused = [one for one in verdicts if isinstance(one, Reject)]
        if len(refused) == 1:
            return refused[0]
        # One code, since the record has every member's: of one that failed, which leaves the question open and must
        # not count as a no under ``not``; else the first one's.
        code = next((one.code for one in refused if one.code in UNDECIDED), refused[0].code)
        said = "; ".join(f"{one.code}: {one.detail}" for one in refused)
        return Reject(code, f"none of {self.label} accepted: {said}")


class _Not(_Group):
    def ends(self, verdict: Verdict) -> bool:
        return True

    def combine(self, verdicts: list[Verdict], attributes: dict[str, str]) -> Verdict | None:
        verdict = verdicts[0]
        if type(verdict) is Accept:
            return Reject(Reason.EXCLUDED, f"{self.steps[0].label} accepted, under not")
        if isinstance(verdict, Reject) and verdict.code in UNDECIDED:
            # It did not say no: it failed.
            return verdict
        return Accept()


#: Codes of refusals that are no answer to the question: ``not`` makes no acceptance of them.
UNDECIDED = _FAILURES | frozenset({
    Reason.NO_POLICY, Reason.NO_CERTIFICATE, Reason.CERTIFICATE_INVALID, Reason.CRL_MISSING, Reason.CRL_STALE,
    Reason.OCSP_UNAVAILABLE, Reason.OCSP_UNKNOWN, Reason.CHECK_UNAVAILABLE,
})


class PolicyChain:
    """The policies of one validation, or of one rule.

    :ivar needs_chain: whether any of them reads the chain.
    :ivar waits: whether any of them waits.
    :ivar policies: the configured objects that have to accept whatever the others say, for what they offer beside
        ``check``: what stands under ``any`` or ``not`` vouches for nobody.
    :ivar judges_everyone: whether each of them has something to say of a client without a certificate.
    :ivar environments: what they were built with.
    """

    def __init__(self, steps: Sequence[_Step], singles: Sequence[_Single]) -> None:
        self._steps = tuple(steps)
        self._now = tuple(step for step in steps if not step.waits)
        self._later = tuple(step for step in steps if step.waits)
        self._singles = tuple(singles)
        self.needs_chain = any(step.needs_chain for step in steps)
        self.waits = bool(self._later)
        self.policies = tuple(_required(steps))
        self.judges_everyone = all(step.without_certificate for step in steps)
        self.environments = tuple(single.environment for single in singles if single.environment is not None)

    def for_open_connections(self) -> PolicyChain | None:
        """Give the part of it that is asked again about connections that are open already; ``None`` for none of it."""
        kept = list(_asked_again(self._steps))
        if kept == list(self._steps):
            return self
        return PolicyChain(kept, self._singles) if kept else None

    def check(self, peer: Peer, rulings: list[Ruling]) -> Verdict:
        """Ask the policies that do not wait.

        :param rulings: takes what each said.
        :returns: acceptance with everything that they and those before them said of the client.
        """
        if not self._steps:
            return Reject(Reason.NO_POLICY, "the list of policies is empty")
        attributes: dict[str, str] = {}
        for step in self._now:
            verdict = step.check(peer, rulings)
            if type(verdict) is Accept:
                if verdict.attributes:
                    attributes = _with(peer, verdict)
            elif verdict is not None:
                return verdict
        return Accept(peer.attributes) if attributes else _ACCEPT

    async def check_later(self, peer: Peer, rulings: list[Ruling], limit: Limit) -> Verdict:
        """Ask those that wait; the counterpart of :meth:`check`."""
        for step in self._later:
            verdict = await step.check_later(peer, rulings, limit)
            if isinstance(verdict, Reject):
                return verdict
            if verdict is not None:
                _with(peer, verdict)
        return Accept(peer.attributes)

    def forget(self) -> None:
        """Empty every cache: what the answers were made of has changed."""
        for single in self._singles:
            if single.cache is not None:
                single.cache.clear()


def _required(steps: Sequence[_Step]) -> Iterator[IPolicy]:
    for step in steps:
        if isinstance(step, _Single):
            yield step.policy
        elif isinstance(step, _All):
            yield from _required(step.steps)


def _asked_again(steps: Sequence[_Step]) -> Iterator[_Step]:
    for step in steps:
        if step.recheck:
            yield step
        elif isinstance(step, _All):
            # Each of its members has to accept whatever the others say.
            yield from _asked_again(step.steps)


_ACCEPT = Accept()


def _with(peer: Peer, verdict: Accept) -> dict[str, str]:
    # What was said first stays.
    peer.attributes = attributes = {**verdict.attributes, **peer.attributes}
    return attributes


def build_chain(rules: Sequence[PolicyRule], count: Count, failed: Failed) -> PolicyChain:
    """Make a chain of a list of rules.

    :param count: gives the counters for a policy by its label.
    :param failed: told of every policy that fails.
    """
    singles: list[_Single] = []

    def step(rule: PolicyRule, label: str) -> _Step:
        if isinstance(rule, PolicyUse):
            label += rule.kind.name
            single = _Single(rule, label, count(label), failed)
            singles.append(single)
            return single
        if isinstance(rule, PolicyNot):
            return _Not(f"{label}not", [step(rule.member, f"{label}not.")])
        word, group = ("any", _Any) if isinstance(rule, PolicyAny) else ("all", _All)
        members = [step(member, f"{label}{word}[{at}].") for at, member in enumerate(rule.members)]
        return group(f"{label}{word}", members)

    repeated = len(rules) > 1
    steps = [step(rule, f"[{at}]." if repeated else "") for at, rule in enumerate(rules)]
    return PolicyChain(steps, singles)
