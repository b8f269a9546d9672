"""``all``, ``any`` and ``not``: several policies in the place of one."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from edgegw.peer import Peer
from edgegw.policy_step import UNDECIDED, Limit, Step
from edgegw.verdict import Accept, Reason, Reject, Ruling, Verdict

__all__ = ["AllOf", "AnyOf", "Group", "NotOf"]


class Group:
    """What ``all``, ``any`` and ``not`` have in common."""

    def __init__(self, label: str, steps: Sequence[Step]) -> None:
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

    def __init__(self, group: Group, peer: Peer) -> None:
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


class AllOf(Group):
    # The members that are silent about such a client have not accepted it.
    _one_or_all = staticmethod(all)

    def ends(self, verdict: Verdict) -> bool:
        return type(verdict) is Reject

    def combine(self, verdicts: list[Verdict], attributes: dict[str, str]) -> Verdict | None:
        return verdicts[-1] if type(verdicts[-1]) is Reject else Accept(attributes)


class AnyOf(Group):
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


class NotOf(Group):
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
