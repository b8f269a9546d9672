"""Changes to header lines."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.filters.header_changes import HeaderChange, changed_block, field
from edgegw.model import HeaderModifier

LINES = b"Accept: */*\r\nX-A: 1\r\nx-b:2 \r\nX-A: 3\r\n\r\n"


class ChangeTests(SynchronousTestCase):
    """Set, add, remove."""

    def test_set(self) -> None:
        """A header that is set replaces every line of it; case does not matter."""
        change = HeaderChange(HeaderModifier(set=(("x-a", "new"), ("x-c", "c"))))
        self.assertEqual(changed_block(LINES, change), b"Accept: */*\r\nx-b:2 \r\nx-a: new\r\nx-c: c\r\n\r\n")

    def test_add(self) -> None:
        """What is added stands behind a comma, or alone where there was nothing."""
        change = HeaderChange(HeaderModifier(add=(("x-b", "4"), ("x-a", "5"), ("x-c", "6"))))
        self.assertEqual(
            changed_block(LINES, change), b"Accept: */*\r\nX-A: 1\r\nx-b: 2,4\r\nx-a: 3,5\r\nx-c: 6\r\n\r\n"
        )

    def test_add_where_a_comma_does_not_join(self) -> None:
        """Cookies are joined by semicolons, and Set-Cookie by nothing."""
        change = HeaderChange(HeaderModifier(add=(("set-cookie", "b=2"), ("cookie", "d=4"))))
        got = change.apply([field(b"set-cookie", b"a=1"), field(b"cookie", b"c=3")])
        self.assertEqual(
            [line[2] for line in got], [b"set-cookie: a=1\r\n", b"cookie: c=3; d=4\r\n", b"set-cookie: b=2\r\n"]
        )

    def test_remove(self) -> None:
        """Every line of a header is taken out, and it cannot come back as a trailer."""
        change = HeaderChange(HeaderModifier(remove=("x-a",)))
        self.assertEqual(changed_block(LINES, change), b"Accept: */*\r\nx-b:2 \r\n\r\n")
        self.assertEqual(change.trailers([field(b"x-a", b""), field(b"x-b", b"")]), [field(b"x-b", b"")])

    def test_impossible(self) -> None:
        """Nothing can end a line, or frame a message in another way."""
        for one in (
            HeaderModifier(set=(("x-a", "1\r\nx-b: 2"),)), HeaderModifier(add=(("x-a", "\0"),)),
            HeaderModifier(set=(("x a", ""),)), HeaderModifier(remove=("X-A",)), HeaderModifier(remove=("",)),
            HeaderModifier(set=(("content-length", "0"),)), HeaderModifier(remove=("transfer-encoding",)),
            HeaderModifier(add=(("host", "b"),)), HeaderModifier(set=(("x-a", "\u0100"),)),
        ):
            self.assertRaises(ValueError, HeaderChange, one)

    def test_one_after_the_other(self) -> None:
        """A backend's modifier works on what the rule's has made."""
        change = HeaderChange(HeaderModifier(set=(("x-a", "1"),)), HeaderModifier(add=(("x-a", "2"),)))
        self.assertEqual(changed_block(b"\r\n", change), b"x-a: 1,2\r\n\r\n")

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"x-a", b"X-A", b"x-b", b"y"]), st.from_regex(rb"[!-~][ -~]*[!-~]", fullmatch=True)
            )
        )
    )
    def test_others_stay(self, lines: list[tuple[bytes, bytes]]) -> None:
        """Lines that no change names are the same bytes as before, in their order."""
        block = b"".join(b"%b: %b\r\n" % line for line in lines)
        change = HeaderChange(HeaderModifier(set=(("x-a", "1"),), remove=("x-b",)))
        got = changed_block(block + b"\r\n", change)
        kept = b"".join(b"%b: %b\r\n" % line for line in lines if line[0].lower() == b"y")
        self.assertEqual(got, kept + b"x-a: 1\r\n\r\n")
