"""A list of policies, ready to judge: every one must accept, and whatever is no verdict refuses.

A chain has two halves.  :meth:`PolicyChain.check` asks the policies that need no waiting, inside the TLS
handshake; :meth:`PolicyChain.check_later` asks the others once it is done.  ``all``, ``any`` and ``not`` nest;
one that holds a policy which waits is asked as a whole in the second half.  Within each half the order is the
configuration's and the first refusal ends it.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgegw.interfaces import IPolicy
from edgegw.model import PolicyAny, PolicyNot, PolicyRule, PolicyUse
from edgegw.peer import Peer
from edgegw.policy_groups import AllOf, AnyOf, Group, NotOf
from edgegw.policy_step import Count, Failed, Limit, PolicyStep, Step
from edgegw.verdict import Accept, Reason, Reject, Ruling, Verdict

__all__ = ["PolicyChain", "build_chain"]


class PolicyChain:
    """The policies of one validation, or of one rule.

    :ivar needs_chain: whether any of them reads the chain.
    :ivar waits: whether any of them waits.
    :ivar policies: the configured objects that have to accept whatever the others say, for what they offer beside
        ``check``: what stands under ``any`` or ``not`` vouches for nobody.
    :ivar judges_everyone: whether each of them has something to say of a client without a certificate.
    :ivar environments: what they were built with.
    """

    def __init__(self, steps: Sequence[Step], singles: Sequence[PolicyStep]) -> None:
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
        """Ask the policies that do not wait; a certificate whose names are too long to read they are not asked about.

        :param rulings: takes what each said.
        :returns: acceptance with everything that they and those before them said of the client.
        """
        if not self._steps:
            return Reject(Reason.NO_POLICY, "the list of policies is empty")
        leaf = peer.certificate
        if leaf is not None and leaf.excess is not None:
            return Reject(Reason.CERTIFICATE_INVALID, leaf.excess)
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

    def refused_by(self, refusal: Reject, rulings: Sequence[Ruling]) -> str:
        """Give the label of what gave a refusal of this chain: a policy's, or a group's; empty if none of them did.

        :param rulings: what each policy said before it.
        """
        if not rulings:
            return ""
        last = rulings[-1]
        if last.verdict is refusal:
            return last.policy
        # A group has words of its own, and nobody was asked behind its members.
        groups = [step.label for step in self._steps if isinstance(step, Group)]
        return next((label for label in groups if last.policy.startswith(label)), "")

    def forget(self) -> None:
        """Empty every cache: what the answers were made of has changed."""
        for single in self._singles:
            if single.cache is not None:
                single.cache.clear()


def _required(steps: Sequence[Step]) -> Iterator[IPolicy]:
    for step in steps:
        if isinstance(step, PolicyStep):
            yield step.policy
        elif isinstance(step, AllOf):
            yield from _required(step.steps)


def _asked_again(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        if step.recheck:
            yield step
        elif isinstance(step, AllOf):
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
    singles: list[PolicyStep] = []

    def step(rule: PolicyRule, label: str) -> Step:
        if isinstance(rule, PolicyUse):
            label += rule.kind.name
            single = PolicyStep(rule, label, count(label), failed)
            singles.append(single)
            return single
        if isinstance(rule, PolicyNot):
            return NotOf(f"{label}not", [step(rule.member, f"{label}not.")])
        word, group = ("any", AnyOf) if isinstance(rule, PolicyAny) else ("all", AllOf)
        members = [step(member, f"{label}{word}[{at}].") for at, member in enumerate(rule.members)]
        return group(f"{label}{word}", members)

    repeated = len(rules) > 1
    steps = [step(rule, f"[{at}]." if repeated else "") for at, rule in enumerate(rules)]
    return PolicyChain(steps, singles)
