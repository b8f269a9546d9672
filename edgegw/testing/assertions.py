"""What a policy says of a client, asserted in one line.

The gateway's own code asks the policy and judges its answer: with the chain only if it was registered with
``needs_chain``, and about a client without a certificate only with ``without_certificate``.  What would be a refusal
with ``policy_error`` fails the test.
"""
from __future__ import annotations

from collections.abc import Awaitable, Mapping
from inspect import isawaitable
from typing import Any

from edgegw.interfaces import IEnvironment, IPolicyKind
from edgegw.model import PolicyUse
from edgegw.observe.metrics import PolicyMetrics
from edgegw.peer import Peer
from edgegw.policy_chain import build_chain
from edgegw.testing.environment import FakeEnvironment
from edgegw.testing.options import configure
from edgegw.testing.waiting import result_of
from edgegw.verdict import Accept, Reason, Reject, Ruling, Verdict

__all__ = ["BuiltPolicy", "assert_accepts", "assert_rejects", "build", "judge", "judge_later"]


class BuiltPolicy:
    """A configured policy as the gateway has it: with what its kind says where it says nothing itself.

    It has ``waits``, ``needs_chain``, ``without_certificate`` and ``cache_seconds`` as
    :class:`edgegw.interfaces.IPolicy` has them.

    :ivar kind: what it was built by.
    :ivar policy: the object itself.
    :ivar env: what it was built with.
    """

    def __init__(self, kind: Any, policy: Any, env: IEnvironment) -> None:
        self.kind = kind
        self.policy = policy
        self.env = env
        self.waits: bool = getattr(policy, "waits", kind.waits)
        self.needs_chain: bool = getattr(policy, "needs_chain", getattr(kind, "needs_chain", False))
        self.without_certificate: bool = getattr(
            policy, "without_certificate", getattr(kind, "without_certificate", False)
        )
        self.cache_seconds: float = getattr(policy, "cache_seconds", 0.0)

    def check(self, peer: Peer) -> Any:
        """Ask as the gateway does: with the chain only if it was registered for it.

        :raises AssertionError: the gateway would not ask it about a client without a certificate.
        """
        self.check_asked_about(peer)
        if not self.needs_chain:
            peer = Peer(peer.connection, peer.now, None, peer.attributes, peer.request)
        return self.policy.check(peer)

    def check_asked_about(self, peer: Peer) -> None:
        """See that the gateway would ask it about a client at all.

        :raises AssertionError: it would not.
        """
        if peer.certificate is None and not self.without_certificate:
            raise AssertionError(
                "the gateway does not ask a policy about clients without a certificate unless it was registered with "
                "without_certificate=True"
            )

    def close(self) -> None:
        """Have it give up what it holds, if it has a method for that."""
        close = getattr(self.policy, "close", None)
        if close is not None:
            close()


def build(kind: Any, config: Any = None, env: IEnvironment | None = None) -> BuiltPolicy:
    """Make a policy of its kind, to ask it several times.

    :param config: its options: an instance of the kind's class for them, a mapping as a configuration has it, or
        YAML; ``None`` if there are none.
    :param env: a new :class:`~edgegw.testing.FakeEnvironment` without it.
    :raises edgegw.testing.ConfigError: a mapping or YAML has a fault.
    :raises TypeError: ``kind`` is no kind of policy, or ``config`` is of another class than its options.
    """
    if not IPolicyKind.providedBy(kind):
        raise TypeError(f"{kind!r} is no kind of policy: is the decorator @policy missing?")
    env = FakeEnvironment() if env is None else env
    return BuiltPolicy(kind, configure(kind, config, env), env)


def judge(kind: Any, config: Any, peer: Peer, env: IEnvironment | None = None) -> Verdict:
    """Ask a policy about a client.

    An ``async`` one is run to its end without a reactor.

    :param kind: a kind of policy, or what :func:`build` has made; then ``config`` is ``None``.
    :raises AssertionError: the gateway would refuse everybody for its answer: one that is neither ``Accept`` nor
        ``Reject``, attributes that are not text by text, a code that was not declared, something to await from a
        plain function.  Or it waits for something.  What it raises comes out as it is.
    """
    verdict: Verdict = result_of(judge_later(kind, config, peer, env))
    return verdict


async def judge_later(kind: Any, config: Any, peer: Peer, env: IEnvironment | None = None) -> Verdict:
    """Ask a policy about a client and wait for its answer, in a test of ``twisted.trial``.

    :raises AssertionError: see :func:`judge`.
    """
    built = isinstance(kind, BuiltPolicy)
    if built and config is not None:
        raise TypeError("a policy that is built already has its options: give None")
    policy: BuiltPolicy = kind if built else build(kind, config, env)
    try:
        return await _asked_by_the_gateway(policy, peer)
    finally:
        if not built:
            policy.close()


async def _asked_by_the_gateway(policy: BuiltPolicy, peer: Peer) -> Verdict:
    policy.check_asked_about(peer)
    witness = _Witness(policy)
    faults: list[str] = []
    rulings: list[Ruling] = []
    use = PolicyUse(policy.kind, witness, policy.env)
    chain = build_chain([use], lambda label: PolicyMetrics(), lambda label, text: faults.append(text))
    # The chain tells the next policy what this one has said, and there may be another question about the client.
    client = Peer(peer.connection, peer.now, peer._chain, peer.attributes, peer.request)
    verdict = chain.check(client, rulings)
    if chain.waits and isinstance(verdict, Accept):
        verdict = await chain.check_later(client, rulings, _without_limit)
    if witness.raised is not None:
        raise witness.raised
    if faults:
        raise AssertionError(f"the gateway refuses everybody for this: {policy.kind.name} {faults[0]}")
    return rulings[-1].verdict if rulings else verdict


class _Witness:
    """A policy for the gateway's code, which makes a refusal of what it raises: here it is kept."""

    def __init__(self, policy: BuiltPolicy) -> None:
        self._policy = policy
        self.raised: BaseException | None = None
        self.waits = policy.waits
        self.needs_chain = policy.needs_chain
        self.without_certificate = policy.without_certificate

    def check(self, peer: Peer) -> Any:
        try:
            asked = self._policy.check(peer)
        except BaseException as error:
            self.raised = error
            raise
        return self._awaited(asked) if self.waits and isawaitable(asked) else asked

    async def _awaited(self, asked: Awaitable[Any]) -> Any:
        try:
            return await asked
        except BaseException as error:
            self.raised = error
            raise


async def _without_limit(asked: Awaitable[Any]) -> Any:
    return await asked


def assert_accepts(
    kind: Any, config: Any, peer: Peer, *, env: IEnvironment | None = None, **attributes: str
) -> Accept:
    """Assert that a policy lets a client in.

    :param kind: a kind of policy, or what :func:`build` has made; then ``config`` is ``None``.
    :param attributes: what it says of the client: these and no others, unless none are given.
    :raises AssertionError: it does not, or says otherwise.
    """
    verdict = judge(kind, config, peer, env)
    if not isinstance(verdict, Accept):
        raise AssertionError(f"{peer!r} was refused with {verdict.code}: {verdict.detail}")
    if attributes and dict(verdict.attributes) != attributes:
        raise AssertionError(f"accepted with attributes {dict(verdict.attributes)}, and not {attributes}")
    return verdict


def assert_rejects(
    kind: Any, config: Any, peer: Peer, code: str | None = None, *, env: IEnvironment | None = None
) -> Reject:
    """Assert that a policy refuses a client.

    :param kind: a kind of policy, or what :func:`build` has made; then ``config`` is ``None``.
    :param code: the reason's; any that the kind may give without it.
    :raises AssertionError: it does not, with another code, or with one that it did not declare.
    """
    verdict = judge(kind, config, peer, env)
    if not isinstance(verdict, Reject):
        raise AssertionError(f"{peer!r} was accepted with {dict(verdict.attributes)}")
    if code is not None and verdict.code != code:
        raise AssertionError(f"refused with {verdict.code}, and not {code!s}: {verdict.detail}")
    return verdict


def is_declared(kind: Any, code: str) -> bool:
    """Whether a policy of this kind may give a reason code."""
    codes: Mapping[str, object] = kind.codes
    return code == kind.name or code in codes or any(code == one.value for one in Reason)
