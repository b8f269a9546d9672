"""From the policies that a configuration names to the chains that listeners and rules ask."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from edgegw.model import Gateway, Listener, PolicyAll, PolicyNot, PolicyRule, PolicyUse
from edgegw.observe.metrics import Metrics
from edgegw.policy_chain import PolicyChain, build_chain
from edgegw.verdict import Explanation

__all__ = ["chain_of", "explanations_by", "explanations_of", "policies_of", "with_its_policies"]

_log = Logger(namespace="edgegw.policy")


def with_its_policies(listener: Listener) -> Listener:
    """Give a listener whose own policies stand behind those of its client validation, if it has one."""
    tls = listener.tls
    if listener.policies is None or tls is None or tls.client_validation is None:
        return listener
    validation = tls.client_validation
    # A list that is there and empty stays what it is, a refusal of everyone.
    policies = tuple(
        rule
        for rules in (validation.policies, listener.policies)
        if rules is not None
        for rule in (rules or (PolicyAll(()),))
    )
    tls = evolve(tls, client_validation=evolve(validation, policies=policies))
    return evolve(listener, tls=tls, policies=None)


def policies_of(listener: Listener) -> tuple[PolicyRule, ...] | None:
    """Give every policy that a client of a listener has to pass; it comes from :func:`with_its_policies`."""
    validation = listener.tls.client_validation if listener.tls is not None else None
    return listener.policies if validation is None else validation.policies


def explanations_of(gateway: Gateway) -> dict[str, Explanation]:
    """Give what the reason codes of the policies and routers of a gateway mean, by code."""
    kinds = [use.kind for use in gateway.sni_routers]
    for listener in gateway.listeners:
        validation = listener.tls.client_validation if listener.tls is not None else None
        for rules in (listener.policies, None if validation is None else validation.policies):
            kinds += _kinds(rules or ())
    for route in gateway.routes:
        for rule in route.rules:
            kinds += _kinds(rule.policies or ())
    return explanations_by(kinds)


def explanations_by(kinds: Iterable[Any]) -> dict[str, Explanation]:
    """Give what the reason codes of some kinds of plugins mean, by code.

    A code is a kind's name, which it need say nothing of, or one that it has declared.
    """
    known = list(kinds)
    unsaid = {
        kind.name: Explanation(
            f"The plugin {kind.name} refused the client.", remedy=f"Read what it wants: edgegw plugins {kind.name}."
        )
        for kind in known
    }
    return unsaid | {code: explanation for kind in known for code, explanation in kind.codes.items()}


def _kinds(rules: Iterable[PolicyRule]) -> Iterator[Any]:
    for rule in rules:
        if isinstance(rule, PolicyUse):
            yield rule.kind
        else:
            yield from _kinds((rule.member,) if isinstance(rule, PolicyNot) else rule.members)


def chain_of(
    rules: tuple[PolicyRule, ...] | None, metrics: Metrics, listener: str, prefix: str = ""
) -> PolicyChain | None:
    """Make the chain of some rules; ``None`` without any.

    :param listener: the name under which its policies are counted and logged.
    :param prefix: put before each policy's own label in the metrics.
    """
    if rules is None:
        return None

    def failed(label: str, text: str) -> None:
        _log.error("the policy {policy} of {listener} failed, which refuses the client: {text}",
                   policy=prefix + label, listener=listener, text=text)

    return build_chain(rules, lambda label: metrics.policy(listener, prefix + label), failed)
