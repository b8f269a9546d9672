"""The policy ``rfc5280``: what OpenSSL's defaults let pass, each part by name."""
from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Final

from attrs import frozen

from edgegw.api import Accept, Certificate, IEnvironment, Peer, Reason, Reject, Verdict, option, policy
from edgegw.certificate import MAX_CACHED_BYTES
from edgegw.der import DERError
from edgegw.policies.certificate_parts import CertificateParts, authority_parts, certificate_parts
from edgegw.policies.details import shown
from edgegw.policies.name_constraints import constraint_faults
from edgegw.policies.profile_rules import RULES, X509_STRICT, Rule, Subject

__all__ = ["Config", "RFC5280", "chain_faults", "chosen_rules"]

#: Who has read this many faults of a chain has seen enough.
_MOST_FAULTS: Final = 4
_MOST_SUBJECT: Final = 60
#: Verdicts of this many chains are remembered.
_REMEMBERED: Final = 1024

_ACCEPT: Final = Accept()


@frozen
class Config:
    """The options of ``rfc5280``."""

    rules: tuple[Rule, ...] = option(
        "Rules that each certificate of the chain must keep.  x509_strict is those of OpenSSL's flag of that name, "
        "all is all of them.",
        default=(),
    )
    without: tuple[Rule, ...] = option("Rules that are left out of those.", default=())
    trust_anchors: bool = option(
        "Whether the rules hold for the trust anchor, the last certificate of the chain, too.", default=True
    )
    alternative_chains: int = option(
        "How many other chains are tried where the one that OpenSSL has built is not good: by another issuer of the "
        "same name, such as a CA that two others have signed; 0 for none.",
        default=0,
        minimum=0,
        maximum=32,
    )

    def __attrs_post_init__(self) -> None:
        """:raises ValueError: nothing is asked for."""
        if not self.alternative_chains and not chosen_rules(self):
            raise ValueError("nothing is asked for; name rules, such as all, or give a number of alternative_chains")
        if self.rules and not chosen_rules(self):
            raise ValueError("no rule is left; name fewer under without")


def chosen_rules(config: Config) -> frozenset[Rule]:
    """Give the single rules that a configuration asks for."""
    chosen = _expanded(config.rules) - _expanded(config.without)
    return frozenset(chosen)


def _expanded(rules: tuple[Rule, ...]) -> set[Rule]:
    found: set[Rule] = set()
    for rule in rules:
        if rule is Rule.ALL:
            found |= RULES.keys() | {Rule.NAME_CONSTRAINTS}
        elif rule is Rule.X509_STRICT:
            found |= X509_STRICT
        else:
            found.add(rule)
    return found


# --- a chain --------------------------------------------------------------------------------------


def _rule_faults(rules: tuple[Rule, ...], subject: Subject) -> Iterator[str]:
    for rule in rules:
        try:
            for fault in RULES[rule](subject):
                yield f"{rule.value}: {fault}"
        except DERError as error:
            yield f"{rule.value}: cannot be judged: {error}"


def _most_rule_faults(rules: tuple[Rule, ...], subject: Subject) -> tuple[str, ...]:
    return tuple(islice(_rule_faults(rules, subject), _MOST_FAULTS))


@lru_cache(maxsize=256)
def _authority_faults(rules: tuple[Rule, ...], certificate: Certificate, last: bool) -> tuple[str, ...]:
    """Judge a CA's certificate, which many clients' chains have: as one that is not the client's own."""
    return _most_rule_faults(rules, Subject(certificate, authority_parts(certificate), 1, last))


def chain_faults(chain: tuple[Certificate, ...], rules: frozenset[Rule], trust_anchors: bool = True) -> Iterator[str]:
    """Give what breaks the rules in a chain, each with the rule's name and the certificate at fault.

    :param chain: the client's certificate first, the trust anchor last.
    :param rules: single ones, neither ``all`` nor ``x509_strict``.
    :param trust_anchors: whether they hold for the last certificate too; for a client's own they always do.
    """
    ordered = tuple(sorted(rules & RULES.keys()))
    parts: list[CertificateParts] = []
    for place, certificate in enumerate(chain):
        last = place == len(chain) - 1
        where = _where(certificate, place, len(chain))
        try:
            found = authority_parts(certificate) if place else certificate_parts(certificate.der)
        except DERError as error:
            # Not even its place in the chain can be relied on.
            yield f"it cannot be read: {error}{where}"
            return
        parts.append(found)
        if place and last and not trust_anchors:
            continue
        if place and len(certificate.der) <= MAX_CACHED_BYTES:
            faults = _authority_faults(ordered, certificate, last)
        else:
            faults = _most_rule_faults(ordered, Subject(certificate, found, place, last))
        yield from (f"{fault}{where}" for fault in faults)
    if Rule.NAME_CONSTRAINTS in rules:
        for place, fault in constraint_faults(parts):
            if trust_anchors or place == 0 or place < len(chain) - 1:
                yield f"{Rule.NAME_CONSTRAINTS.value}: {fault}{_where(chain[place], place, len(chain))}"


def _where(certificate: Certificate, place: int, count: int) -> str:
    return f" (certificate {place + 1} of {count}, {shown(certificate.subject, _MOST_SUBJECT) or 'no subject'})"


# --- the policy -----------------------------------------------------------------------------------


@policy("rfc5280", Config, needs_chain=True)
class RFC5280:
    """Let clients in whose certificate and chain keep rules of RFC 5280 that OpenSSL does not insist on.

    Each rule is off unless it is named; ``without`` takes some out of ``all``.  They are asked of every certificate
    of the chain, the trust anchor included unless ``trust_anchors: false`` says otherwise.  A certificate that
    cannot be read at all is refused by any rule.  Where clients with an unverified certificate may come in, these
    are refused: there is no chain to judge.

    ``x509_strict`` is these:

    * ``version``: version 3, without unique identifiers.
    * ``signature_algorithm``: the one under the signature is the one beside it.
    * ``basic_constraints``: issuers are CAs; a path length only with ``keyCertSign``.
    * ``basic_constraints_critical``: a CA's are critical.
    * ``key_usage``: there for a CA, with ``keyCertSign`` for it alone, and never without any bit.
    * ``empty_names``: no empty issuer, no CA without a subject, no ``subjectAltName`` without a name.
    * ``key_identifiers``: there where they must be, and not critical.

    The others:

    * ``name_constraints``: applied again, without OpenSSL's leniencies.  Malformed constraints are refused (a DNS
      constraint that begins with a dot is one), malformed names where constraints of their kind hold, wildcards that
      reach out of what is permitted or into what is excluded, and constrained kinds that nobody can compare.
    * ``name_constraints_critical``: they are critical.
    * ``name_constraints_in_leaf``: there are none in a certificate that is no CA's.
    * ``dns_names``: host names (RFC 1123), with ``*`` only as the whole first label: no underscore, no leading dot.
    * ``alternative_names``: mail addresses, URIs, IP addresses and others are what they should be.
    * ``empty_subject``: without a subject the ``subjectAltName`` is critical.
    * ``control_characters``: no NUL, control character or invisible mark in any name.
    * ``strings``: the subject's and issuer's strings hold what their types allow.
    * ``attribute_lengths``: their attributes keep the upper bounds, 64 characters for a common name.
    * ``serial_number``: positive, 20 bytes at most.
    * ``validity``: ``UTCTime`` until 2049, ``GeneralizedTime`` after, in the form that RFC 5280 wants.
    * ``criticality``: of extensions without a rule of their own, such as ``authorityInfoAccess``.
    * ``extensions``: none twice, and each known one can be read.
    * ``encoding``: DER, where OpenSSL reads more.

    ``alternative_chains`` is how many other ways from the client's certificate to a trust anchor are tried where
    the one that OpenSSL has chosen is not good, as when one of two certificates of the same intermediate CA has
    expired.  The whole of each is verified.  Alone, without rules, it costs the listener no session tickets.

    Example::

        policies:
          - rfc5280: {rules: [all], without: [attribute_lengths], alternative_chains: 8}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self.alternative_chains = config.alternative_chains
        self._rules = chosen_rules(config)
        self._trust_anchors = config.trust_anchors
        self.needs_chain = bool(self._rules)
        # What a chain says does not change: the time and the revocation of its certificates are others' concern.
        self._known: dict[tuple[str, ...], Verdict] = {}

    def check(self, peer: Peer) -> Verdict:
        """Judge the chain by its rules, or by what was found of the same chain before."""
        if not self._rules:
            return _ACCEPT
        if not peer.verified:
            return Reject(Reason.RFC5280, "there is no verified chain to judge")
        chain = peer.certificates
        key = tuple([one.sha256 for one in chain])
        verdict = self._known.get(key)
        if verdict is None:
            verdict = self._judge(chain)
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[key] = verdict
        return verdict

    def _judge(self, chain: tuple[Certificate, ...]) -> Verdict:
        if not chain:
            return Reject(Reason.RFC5280, "there is no verified chain to judge")
        found = list(islice(chain_faults(chain, self._rules, self._trust_anchors), _MOST_FAULTS))
        return Reject(Reason.RFC5280, "; ".join(found)) if found else _ACCEPT

