"""How a route is written in the native document."""
from __future__ import annotations

from typing import Final

from edgegw.config.document_filters import BACKEND_FILTERS, RULE_FILTERS
from edgegw.config.document_http import UPGRADES
from edgegw.config.document_matches import MATCHES
from edgegw.config.document_terms import HOSTNAME, NAME, setting
from edgegw.config.faults import Report
from edgegw.config.policies import POLICIES
from edgegw.config.scalars import Boolean, Choice, Duration, Integer
from edgegw.config.shapes import REQUIRED, Field, ListOf, Record, Section
from edgegw.model import BackendRef, ClientRequirement, RouteRule

__all__ = ["BACKEND", "ROUTE", "RULE"]

BACKEND: Final = Record(
    (
        Field("upstream", NAME, "The name of an upstream.", REQUIRED),
        setting(BackendRef(""), "weight", Integer(0, 1_000_000), "Its share of the requests, beside the others'."),
        *BACKEND_FILTERS,
    ),
    name="backend_ref",
)


_DESTINATIONS: Final = ("backends", "redirect", "fixed_response")


def _check_rule(section: Section, report: Report) -> None:
    """A rule sends requests somewhere, or answers them by itself."""
    given = [key for key in _DESTINATIONS if key in section.node.values]
    if len(given) == 1:
        return
    if not given:
        report.fault(section.node, "has no backends", "give backends, or redirect or fixed_response in their place")
    for key in given[1:]:
        report.fault(section.node.key(key), f"does not go with {given[0]}", "give one of the two")


RULE: Final = Record(
    (
        Field("name", NAME, "A name in place of the rule's number, for metrics.", attribute="name"),
        Field(
            "matches",
            MATCHES,
            "What a request must be: any of these. Default: anything.",
        ),
        Field("backends", ListOf(BACKEND), "Where requests go; needed unless the rule answers by itself.  Empty: 500."),
        Field(
            "client",
            Choice(ClientRequirement),
            "What the client needs: a verified certificate, any certificate, or none; otherwise 403.  "
            "Default: verified where there are policies, none where there are not.",
        ),
        Field("policies", POLICIES, "What must accept the client, otherwise 403: all of these."),
        setting(RouteRule(), "policy_timeout", Duration(maximum=60.0), "For the answer of a policy that waits."),
        setting(RouteRule(), "explain_to_client", Boolean(), "Name the reason code in the 403."),
        Field("upgrades", UPGRADES, "In place of the listener's.", attribute="upgrades"),
        Field("upgrade_idle_timeout", Duration(), "In place of the listener's.", attribute="upgrade_idle_timeout"),
        *RULE_FILTERS,
    ),
    name="rule",
    check=_check_rule,
    rules={
        "oneOf": [
            {"required": ["backends"], "properties": {"redirect": False, "fixed_response": False}},
            {"required": ["redirect"], "properties": {"backends": False, "fixed_response": False}},
            {"required": ["fixed_response"], "properties": {"backends": False, "redirect": False}},
        ]
    },
)
ROUTE: Final = Record(
    (
        Field("name", NAME, "A unique name, for logs and metrics.", REQUIRED),
        Field("hostnames", ListOf(HOSTNAME, 1, distinct=True), "Default: every name of its listeners."),
        Field("listeners", ListOf(NAME, 1, distinct=True), "Names of listeners. Default: all."),
        Field("rules", ListOf(RULE, 1), "The most specific match of all rules wins.", REQUIRED),
    ),
    name="route",
    description="Where the requests for some names go.",
)
