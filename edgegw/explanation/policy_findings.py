"""What policies said, and the verdict that came of it, as plain values: see :mod:`edgegw.explanation.findings`."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from attrs import asdict, frozen

from edgegw.identity import CertificateStatus
from edgegw.model import PolicyNot, PolicyRule, PolicyUse
from edgegw.observe.admin import explanation
from edgegw.observe.counters import PolicyMetrics
from edgegw.policy_chain import build_chain
from edgegw.proxy.policing import explanations_by
from edgegw.verdict import Accept, Explanation, Ruling, Verdict

__all__ = ["ListedPolicy", "listed_policies", "policy_findings", "verdict_findings"]

_OFFLINE: Final = "it may ask others over the network; --online does"


@frozen
class ListedPolicy:
    """A policy where it stands in a list.

    :ivar label: its place and its name, as the chain and the handshake record have them.
    :ivar waits: whether it is asked when the handshake is done, itself or because another of its group is.
    """

    label: str
    kind: Any
    waits: bool
    without_certificate: bool


def listed_policies(rules: Sequence[PolicyRule] | None) -> list[ListedPolicy]:
    """Give every policy of a list, in its order."""
    labels: list[str] = []

    def count(label: str) -> PolicyMetrics:
        labels.append(label)
        return PolicyMetrics()

    build_chain(rules or (), count, lambda label, text: None)
    found: list[ListedPolicy] = []
    for rule in rules or ():
        uses = list(_uses(rule))
        waits = any(_attribute(use, "waits") for use in uses)
        for use in uses:
            label = labels[len(found)]
            found.append(ListedPolicy(label, use.kind, waits, _attribute(use, "without_certificate")))
    return found


def _uses(rule: PolicyRule) -> Iterator[PolicyUse]:
    if isinstance(rule, PolicyUse):
        yield rule
    elif isinstance(rule, PolicyNot):
        yield from _uses(rule.member)
    else:
        for member in rule.members:
            yield from _uses(member)


def _attribute(use: PolicyUse, name: str) -> bool:
    return bool(getattr(use.policy, name, getattr(use.kind, name, False)))


def policy_findings(
    listed: Iterable[ListedPolicy], rulings: Iterable[Ruling], not_asked: bool, why_none: str, anonymous: bool
) -> list[dict[str, Any]]:
    """Give what each policy said.

    :param not_asked: whether those that wait were left out.
    :param why_none: why none was asked; empty if any could have been.
    :param anonymous: whether there was no certificate.
    """
    said = {ruling.policy: ruling for ruling in rulings}
    found: list[dict[str, Any]] = []
    for one in listed:
        ruling = said.get(one.label)
        if ruling is not None:
            found.append({"policy": one.label, **_ruling(ruling)})
            continue
        why = why_none
        if not why:
            if anonymous and not one.without_certificate:
                why = "it has nothing to say of clients without a certificate"
            else:
                why = _OFFLINE if not_asked and one.waits else "it was decided without it"
        found.append({"policy": one.label, "verdict": "not asked", "why": why})
    return found


def _ruling(ruling: Ruling) -> dict[str, Any]:
    verdict = ruling.verdict
    if isinstance(verdict, Accept):
        said: dict[str, Any] = {"verdict": "accept", "attributes": dict(verdict.attributes)}
    else:
        said = {"verdict": "reject", "code": str(verdict.code), "detail": verdict.detail}
    return {**said, "seconds": round(ruling.seconds, 6)}


def verdict_findings(verdict: Verdict, status: CertificateStatus, kinds: Iterable[Any]) -> dict[str, Any]:
    """Give a verdict.

    :param status: as what the client's certificate counts.
    :param kinds: the kinds of plugins that may have refused.
    """
    if isinstance(verdict, Accept):
        return {"result": "accepted", "status": status.value, "attributes": dict(verdict.attributes)}
    return {
        "result": "refused",
        "status": status.value,
        "reason": str(verdict.code),
        "detail": verdict.detail,
        "explanation": asdict(_explanation(verdict.code, kinds)),
    }


def _explanation(code: str, kinds: Iterable[Any]) -> Explanation:
    """Give what a code means: one of the gateway's own, or of a plugin's."""
    return explanation(code) or explanations_by(kinds).get(code) or Explanation(f"It was refused with {code}.")
