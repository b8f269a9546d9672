"""How a match of a rule is written in the native document: what a request must be."""
from __future__ import annotations

import re
from typing import Final

from edgegw.config.document_terms import setting
from edgegw.config.faults import Report, shown
from edgegw.config.scalars import Choice, Parsed, Text, Unparsable
from edgegw.config.shapes import INVALID, REQUIRED, Field, ListOf, Record, Schema, Section, Shape, did_you_mean
from edgegw.expressions import ExpressionError, compile_expression
from edgegw.identity import FACTS
from edgegw.model import HeaderMatch, PathMatch, PathMatchType, ValueMatchType

__all__ = ["HEADER_MATCH", "IDENTITY_MATCH", "MATCHES", "PATH", "QUERY_PARAM_MATCH"]

#: The most that Gateway API lets stand in one list (HTTPRouteRule, HTTPRouteMatch).
_MOST_MATCHES: Final = 64
_MOST_CONDITIONS: Final = 16


def _check_expression(section: Section, key: str, report: Report) -> None:
    """Report an expression that RE2 does not take."""
    try:
        compile_expression(section.get(key))
    except ExpressionError as error:
        report.fault(
            section.at(key),
            f"{shown(section.get(key))} is no regular expression of RE2: {error}",
            "write one, without look-around and references back, that the whole text must match",
        )


# --- the path ---------------------------------------------------------------------------------

#: Gateway API's rules for the value of a path match (HTTPPathMatch).
_PATH_VALUE: Final = Text(
    "a path",
    r"(?!.*(//|/\./|/\.\./|%2[fF]))(?!.*/\.\.?$)/([\-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*",
    "begin with /, percent-encode what needs it, and leave out //, /./, /../, %2F, ? and #",
    1024,
    repeated=True,
)
_EXPRESSION: Final = Text("a regular expression", r"[^\u0000-\u001f\u007f]+", max_length=1024)
_PATH_OR_EXPRESSION: Final = Text("a path", r"[\s\S]*", max_length=1024, repeated=True)
_REGULAR_EXPRESSION: Final = PathMatchType.REGULAR_EXPRESSION


def _check_path(section: Section, report: Report) -> None:
    values, given = section.values, section.node.values
    if values.get("type") is not _REGULAR_EXPRESSION:
        # Whether a value is any good cannot be told while its type is at fault.
        if "value" in values and ("type" in values or "type" not in given):
            _PATH_VALUE.read(given["value"], report)
    elif "value" in section:
        if _EXPRESSION.read(section.at("value"), report) is not INVALID:
            _check_expression(section, "value", report)
    elif "value" not in section.node.values:
        report.fault(section.node, "has no value", "give value: a regular expression for the whole path")


PATH: Final = Record(
    (
        setting(
            PathMatch(),
            "type",
            Choice(PathMatchType),
            "Exact, PathPrefix by whole elements of the path, or RegularExpression (RE2) for all of it.",
        ),
        setting(PathMatch(), "value", _PATH_OR_EXPRESSION, "The path, its prefix or a regular expression."),
    ),
    name="path",
    check=_check_path,
    rules={
        "if": {"properties": {"type": {"const": "RegularExpression"}}, "required": ["type"]},
        "then": {"properties": {"value": _EXPRESSION.schema({})}, "required": ["value"]},
        "else": {"properties": {"value": _PATH_VALUE.schema({})}},
    },
)

# --- headers, query parameters and identity ---------------------------------------------------

_VALUE: Final = Text("a value", r"[^\u0000-\u001f\u007f]+", max_length=4096)


def _check_value(section: Section, report: Report) -> None:
    type_ = section.get("type", ValueMatchType.EXACT)
    given = "value" in section.node.values
    if "type" in section.node.values and "type" not in section:
        return
    if type_ is ValueMatchType.PRESENT:
        if given:
            report.fault(section.node.key("value"), "does not go with the type Present", "leave value out")
    elif not given:
        report.fault(section.node, "has no value", "give value: what is compared, or type: Present")
    elif type_ is ValueMatchType.REGULAR_EXPRESSION and "value" in section:
        _check_expression(section, "value", report)


_VALUE_RULES: Final[Schema] = {
    "if": {"properties": {"type": {"const": "Present"}}, "required": ["type"]},
    "then": {"properties": {"value": False}},
    "else": {"required": ["value"]},
}


def _value_match(name: str, key: str, shape: Shape, description: str) -> Record:
    """Describe a condition on a named value."""
    return Record(
        (
            Field(key, shape, description, REQUIRED),
            setting(
                HeaderMatch(""),
                "type",
                Choice(ValueMatchType),
                "Exact, RegularExpression (RE2) for the whole value, or Present.",
            ),
            Field("value", _VALUE, "What the value must be; not for Present."),
        ),
        name=name,
        check=_check_value,
        rules=_VALUE_RULES,
    )


def _fact(text: str) -> str:
    if text in FACTS:
        return text
    name = text.removeprefix("attribute:")
    if name != text:
        if _ATTRIBUTE.fullmatch(name):
            return text
        raise Unparsable("names no attribute", "write attribute: and letters, digits, _, . and -")
    raise Unparsable("is no fact", did_you_mean(text, [*FACTS, "attribute:NAME"]))


_ATTRIBUTE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

HEADER_MATCH: Final = _value_match(
    "header_match",
    "name",
    Text("the name of a header", r"[A-Za-z0-9!#$%&'*+.^_`|~\-]+", "write letters, digits and hyphens", 256),
    "The header's name, of any case.",
)
QUERY_PARAM_MATCH: Final = _value_match(
    "query_param_match",
    "name",
    Text("the name of a parameter", r"[^\u0000-\u001f\u007f]+", max_length=256),
    "The parameter's name, decoded; case counts.",
)
IDENTITY_MATCH: Final = _value_match(
    "identity_match",
    "fact",
    Parsed(
        "a fact such as spiffe_id, or attribute: and a name",
        _fact,
        {"pattern": rf"^({'|'.join(FACTS)}|attribute:[A-Za-z0-9_.\-]{{1,64}})$"},
    ),
    "What is known of the client: a fact, or attribute: and the name of an attribute that policies give.",
)

# --- the whole --------------------------------------------------------------------------------

_MATCH: Final = Record(
    (
        Field("path", PATH, "What the path must be. Default: anything."),
        Field(
            "method",
            Text("a method in capital letters", r"[A-Z][A-Z0-9\-]{0,63}", 'write one such as GET; case counts'),
            "The method. Default: any.",
        ),
        Field("headers", ListOf(HEADER_MATCH, 1, _MOST_CONDITIONS), "Headers that must be as they say: all of these."),
        Field(
            "query_params",
            ListOf(QUERY_PARAM_MATCH, 1, _MOST_CONDITIONS),
            "Parameters of the query that must be as they say: all of these.",
        ),
        Field(
            "identity",
            ListOf(IDENTITY_MATCH, 1, _MOST_CONDITIONS),
            "What must be known of the client, whose certificate is verified: all of these.",
        ),
    ),
    name="match",
)
MATCHES: Final = ListOf(_MATCH, 1, _MOST_MATCHES)
