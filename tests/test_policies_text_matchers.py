"""Matchers of texts: what each way takes, and that no text and no expression stalls anybody."""
from __future__ import annotations

import re
import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.policies.text_matchers import MAX_REGEX_TEXT, TextMatch, TextMatcher, fold, regular_expression

WAYS = ("exact", "prefix", "suffix", "contains")
#: Few letters, so that random texts match random matchers often; two that become ASCII in lower case.
TEXTS = st.text(alphabet="aAbB.kK\u212a\u017f", max_size=6)


def expected(match: TextMatch, text: str) -> bool:
    """Judge by the words of the documentation, without anything of the code under test."""

    def lower(value: str) -> str:
        return "".join(chr(ord(one) + 32) if one in string.ascii_uppercase else one for one in value)

    same = lower if match.ignore_case else str
    text = same(text)
    if match.exact is not None:
        return text == same(match.exact)
    if match.prefix is not None:
        return text[:len(match.prefix)] == same(match.prefix)
    if match.suffix is not None:
        return len(text) >= len(match.suffix) and text[len(text) - len(match.suffix):] == same(match.suffix)
    assert match.contains is not None
    return same(match.contains) in text


def matches(text: str, **options: object) -> bool:
    """Ask one matcher."""
    return TextMatcher([TextMatch(**options)])(text)  # type: ignore[arg-type]  # of several types


class LiteralTests(SynchronousTestCase):
    """exact, prefix, suffix and contains."""

    def test_ways(self) -> None:
        """Each way takes what its name says, and nothing else."""
        for way, good, bad in (
            ("exact", "corp", "corp."), ("prefix", "corp.example", "a.corp"), ("suffix", "a.corp", "corp.example"),
            ("contains", "a.corp.example", "c.orp"),
        ):
            self.assertTrue(matches(good, **{way: "corp"}), way)
            self.assertFalse(matches(bad, **{way: "corp"}), way)
            self.assertFalse(matches("A.CORP.EXAMPLE", **{way: "corp"}), way)
            self.assertTrue(matches("CORP", **{way: "corp", "ignore_case": True}), way)

    @given(st.lists(st.tuples(st.sampled_from(WAYS), TEXTS.filter(bool), st.booleans()), max_size=5), TEXTS)
    def test_any_one_is_enough(self, given_matches: list[tuple[str, str, bool]], text: str) -> None:
        """A list of matchers takes what one of them takes."""
        made = [TextMatch(**{way: value}, ignore_case=ignore) for way, value, ignore in given_matches]
        self.assertEqual(TextMatcher(made)(text), any(expected(one, text) for one in made))

    def test_only_ascii_is_folded(self) -> None:
        """The Kelvin sign, which is an ASCII k in lower case, is no k."""
        self.assertEqual(fold("AZaz[`\u212aÄ"), "azaz[`\u212aÄ")
        self.assertFalse(matches("\u212a", exact="k", ignore_case=True))

    def test_no_matchers(self) -> None:
        """No matchers take nothing."""
        self.assertFalse(TextMatcher([])(""))

    def test_same(self) -> None:
        """What makes two whole texts the same holds for exact alone."""
        matcher = TextMatcher([TextMatch(exact="a b"), TextMatch(prefix="c ")], lambda text: text.replace(" ", ""))
        self.assertTrue(matcher("ab"))
        self.assertTrue(matcher("c d"))
        self.assertFalse(matcher("cd"))


class RegexTests(SynchronousTestCase):
    """Regular expressions of RE2."""

    def test_whole_text(self) -> None:
        """An expression must match from the first character to the last."""
        self.assertTrue(matches("abc", regex="a.c"))
        for text in ("abcd", "xabc", "abc\n", "\nabc", "abc\x00"):
            self.assertFalse(matches(text, regex="a.c"), repr(text))
        self.assertTrue(matches("ab", regex="a|ab"))

    def test_case(self) -> None:
        """Case counts unless it is said not to."""
        self.assertFalse(matches("ABC", regex="a.c"))
        self.assertTrue(matches("ABC", regex="a.c", ignore_case=True))
        self.assertTrue(matches("ABC", regex="(?i)a.c"))

    def test_beyond_ascii(self) -> None:
        """One character beyond ASCII is one character of the expression."""
        self.assertTrue(matches("Zażółć", regex="Za.{3}ć"))
        self.assertTrue(matches("Müller", regex=r"M\pLller"))

    def test_bad_expressions(self) -> None:
        """What RE2 does not take is a fault that says why and what to do."""
        for pattern, reason in (
            ("(", "missing )"), ("(?=a)", "invalid perl operator: (?="), (r"(a)\1", "invalid escape sequence"),
            ("a{1001}", "invalid repetition size"), (r"\pL{1,100}", "pattern too large"),
            ("[z-a]", "invalid character"),
        ):
            with self.assertRaises(ValueError) as caught:
                TextMatch(regex=pattern)
            problem, _, remedy = str(caught.exception).partition("; ")
            self.assertIn(reason, problem)
            self.assertIn("RE2 has neither look-around", remedy)

    def test_long_texts(self) -> None:
        """A text that is longer than a name ever is matches no expression, and does not raise."""
        self.assertTrue(matches("a" * MAX_REGEX_TEXT, regex="a*"))
        self.assertFalse(matches("a" * (MAX_REGEX_TEXT + 1), regex="a*"))
        self.assertFalse(matches("é" * MAX_REGEX_TEXT, regex=".*"))

    def test_expressions_that_explode_elsewhere(self) -> None:
        """An expression over which others backtrack for years is over at once."""
        self.assertFalse(matches("a" * 4000 + "!", regex="(?:a+)+(?:a*)*b"))

    def test_lone_surrogates(self) -> None:
        """A text that is no Unicode is matched by nothing that was meant for others, and does not raise."""
        self.assertFalse(matches("a\ud800c", regex="a.c"))

    @given(st.lists(st.sampled_from(("a", "b", "[ab]", ".", "a*", "b+", "(?:ab|ba)", "a?", "(?:a|b)*"))), TEXTS)
    def test_as_python(self, parts: list[str], text: str) -> None:
        """What both can say means the same as in Python's own expressions."""
        pattern = "".join(parts)
        found = regular_expression(pattern).fullmatch(text.encode()) is not None
        self.assertEqual(found, re.fullmatch(pattern, text) is not None)

    @given(st.text(max_size=20))
    def test_any_pattern(self, pattern: str) -> None:
        """Whatever somebody writes is an expression or a fault of one line."""
        try:
            regular_expression(pattern)
        except ValueError as error:
            self.assertNotIn("\n", str(error))


class OptionTests(SynchronousTestCase):
    """What a configuration may give."""

    def fault(self, **options: object) -> str:
        """Give the words of the fault."""
        return str(self.assertRaises(ValueError, TextMatch, **options))

    def test_exactly_one(self) -> None:
        """A matcher with no way or with two is a fault that names them."""
        self.assertEqual(
            self.fault(), "says nothing to match; give exactly one of exact, prefix, suffix, contains, regex"
        )
        self.assertIn("says nothing", self.fault(ignore_case=True))
        self.assertIn("has exact and suffix; give exactly one", self.fault(exact="a", suffix="b"))

    def test_empty(self) -> None:
        """An empty matcher, which would take everybody or nobody, is a fault."""
        for way in (*WAYS, "regex"):
            self.assertEqual(self.fault(**{way: ""}), f"has an empty {way}; write what the text has there")

    def test_told(self) -> None:
        """A matcher tells itself as it was written."""
        self.assertEqual(str(TextMatch(suffix=".corp", ignore_case=True)), "suffix .corp")
