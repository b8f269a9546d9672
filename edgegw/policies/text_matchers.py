"""Matchers of texts, as the options of policies: ``{exact: …}``, ``{suffix: …}``, ``{regex: …}`` and so on.

Regular expressions are RE2's, which take time in proportion to the text whatever the expression is, so that no
name in a certificate can stall the gateway.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, ClassVar

from attrs import frozen

from edgegw.api import option
from edgegw.expressions import ExpressionError, compile_expression
from edgegw.policies.details import shown

__all__ = ["MAX_REGEX_TEXT", "TextMatch", "TextMatcher", "fold", "regular_expression"]

#: Bytes of UTF-8; a longer text matches no regular expression.
MAX_REGEX_TEXT = 4096

_UPPER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def fold(text: str) -> str:
    """Give a text with its ASCII letters in lower case, and all other characters as they are."""
    # Beyond ASCII there are characters that become ASCII letters in lower case (U+212A, the Kelvin sign).
    return text.lower() if text.isascii() else text.translate(_UPPER)


def regular_expression(pattern: str, ignore_case: bool = False) -> Any:
    """Compile an RE2 expression; its ``fullmatch`` takes bytes of UTF-8.

    :raises ValueError: RE2 does not take it.
    """
    try:
        return compile_expression(pattern, ignore_case)
    except ExpressionError as error:
        raise ValueError(
            f"{shown(pattern)!r} is no regular expression of RE2: {shown(str(error))}; "
            "RE2 has neither look-around nor references back, and bounds the size"
        ) from None


@frozen(kw_only=True)
class TextMatch:
    """One way to match a text; case counts unless it says otherwise.

    :raises ValueError: not exactly one way is given, it is empty, or the expression is none.
    """

    #: A text alone is the whole of it.
    shorthand: ClassVar[str] = "exact"
    #: The options that say how, of which one must be given.
    ways: ClassVar[tuple[str, ...]] = ("exact", "prefix", "suffix", "contains", "regex")

    exact: str | None = option("The whole text.", default=None)
    prefix: str | None = option("What the text begins with.", default=None)
    suffix: str | None = option("What the text ends in.", default=None)
    contains: str | None = option("What is somewhere in the text.", default=None)
    regex: str | None = option("An RE2 expression that the whole text must match.", default=None)
    ignore_case: bool = option(
        "Whether ASCII letters of either case are the same; for regex as its flag (?i).", default=False
    )

    def __attrs_post_init__(self) -> None:
        given = [way for way in self.ways if getattr(self, way) is not None]
        if len(given) != 1:
            said = f"has {' and '.join(given)}" if given else "says nothing to match"
            raise ValueError(f"{said}; give exactly one of {', '.join(self.ways)}")
        if not getattr(self, given[0]):
            raise ValueError(f"has an empty {given[0]}; write what the text has there")
        if self.regex is not None:
            regular_expression(self.regex, self.ignore_case)

    def __str__(self) -> str:
        way = next(way for way in self.ways if getattr(self, way) is not None)
        return f"{way} {getattr(self, way)}"


class _Literals:
    """The matchers without an expression, all of one treatment of case."""

    def __init__(
        self, matches: Collection[TextMatch], exact: Callable[[str], str], other: Callable[[str], str]
    ) -> None:
        self.exact = frozenset(exact(match.exact) for match in matches if match.exact is not None)
        self.prefixes = tuple(other(match.prefix) for match in matches if match.prefix is not None)
        self.suffixes = tuple(other(match.suffix) for match in matches if match.suffix is not None)
        self.contained = tuple(other(match.contains) for match in matches if match.contains is not None)
        self.empty = not (self.exact or self.prefixes or self.suffixes or self.contained)

    def match(self, text: str, whole: str) -> bool:
        if whole in self.exact or text.startswith(self.prefixes) or text.endswith(self.suffixes):
            return True
        # A loop costs less here than any() over a generator.
        for part in self.contained:  # noqa: SIM110
            if part in text:
                return True
        return False


class TextMatcher:
    """Several matchers, ready to be asked: ``matcher(text)`` is whether one of them matches.

    :param same: gives the form in which whole texts are compared by ``exact``; as they are without it.
    :ivar bounded: whether there is an expression among them, which longer texts than :data:`MAX_REGEX_TEXT` do not
        match whatever they are.
    """

    def __init__(self, matches: Iterable[TextMatch], same: Callable[[str], str] | None = None) -> None:
        matches = tuple(matches)
        whole = same or str
        plain = _Literals([match for match in matches if not match.ignore_case], whole, str)
        folded = _Literals(
            [match for match in matches if match.ignore_case], lambda text: fold(whole(text)), fold
        )
        self._same = same
        self._plain = None if plain.empty else plain
        self._folded = None if folded.empty else folded
        self._expressions = tuple(
            regular_expression(match.regex, match.ignore_case).fullmatch
            for match in matches
            if match.regex is not None
        )
        self.bounded = bool(self._expressions)

    def __call__(self, text: str) -> bool:
        whole = text if self._same is None else self._same(text)
        if self._plain is not None and self._plain.match(text, whole):
            return True
        if self._folded is not None and self._folded.match(fold(text), fold(whole)):
            return True
        if not self._expressions:
            return False
        encoded = text.encode("utf-8", "backslashreplace")
        if len(encoded) > MAX_REGEX_TEXT:
            return False
        for fullmatch in self._expressions:  # noqa: SIM110
            if fullmatch(encoded) is not None:
                return True
        return False
