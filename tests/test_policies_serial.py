"""``serial``: lists of serial numbers, in the configuration and in files."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError
from edgegw.policies.serial import SerialNumber, normalise_serial
from edgegw.testing import (
    Authority,
    FakeEnvironment,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    examples_of,
    options,
    peer,
)
from edgegw.verdict import Accept, Reason

from .client_certificates import handmade, recorded

CA = Authority("Device CA")
OTHER_CA = Authority("Other CA")
NUMBERS = (0x4F8A, 0x4F8B, 0x0A)
CLIENTS = {number: peer(CA.issue(serial=number)) for number in NUMBERS}


def accepted(document: dict[str, Any] | str, env: FakeEnvironment | None = None) -> set[int]:
    """Give whose numbers come in."""
    policy = build(SerialNumber, document, env)
    return {number for number, client in CLIENTS.items() if type(policy.check(client)) is Accept}


class SpellingTests(SynchronousTestCase):
    """How a serial number may be written."""

    def test_spellings(self) -> None:
        """Hexadecimal of either case, with and without colons or 0x, and decimal after a word."""
        for written in ("4f8a", "4F8A", "4f:8a", "4F:8A", "0x4f8a", "0X4F8A", "00004f8a", "00:4f:8a", " 4f8a ",
                        "dec:20362", "DEC:020362"):
            self.assertEqual(normalise_serial(written), "4f8a", written)
        for written in ("a", "0a", "A", "0x0a", "dec:10"):
            self.assertEqual(normalise_serial(written), "0a", written)
        for written in ("0", "00", "00:00", "dec:0", "-0"):
            self.assertEqual(normalise_serial(written), "0", written)
        self.assertEqual(normalise_serial("10"), "10", "digits alone are hexadecimal")
        self.assertEqual(normalise_serial("-7f"), "-7f")
        self.assertEqual(normalise_serial("dec:-127"), "-7f")
        self.assertEqual(normalise_serial("1:02"), "0102")

    def test_faults(self) -> None:
        """What is no serial number is a fault."""
        for written in ("", " ", "-", "0x", "4f:8", "4f::8a", ":4f", "4f8a:", "4g", "dec:", "dec:4f", "4f 8a", "--1",
                        "١", "f" * 513, "dec:" + "9" * 601):
            self.assertIn("is no serial number", str(self.assertRaises(ValueError, normalise_serial, written)), written)

    @given(st.integers(-(2**500), 2**500))
    def test_any_number(self, number: int) -> None:
        """Every number is the same number in all its spellings."""
        sign, digits = "-" if number < 0 else "", f"{abs(number):x}"
        even = digits.zfill(len(digits) + len(digits) % 2)
        expected = "0" if number == 0 else sign + even
        for written in (sign + digits, f"{sign}0x{digits}", sign + bytes.fromhex(even).hex(":").upper(),
                        f"{sign}00{even}", f"dec:{number}"):
            self.assertEqual(normalise_serial(written), expected)
        self.assertEqual(normalise_serial(expected), expected)

    @given(st.text(alphabet="0123456789abcdefxX:- dec", max_size=20))
    def test_any_text(self, text: str) -> None:
        """Whatever else is written is a fault."""
        try:
            found = normalise_serial(text)
        except ValueError:
            return
        self.assertEqual(normalise_serial(found), found)

    def test_as_certificates_have_them(self) -> None:
        """What the gateway shows of any certificate is what is listed for it."""
        rows = recorded()
        for name in ("serial7", "serialbig", "serialneg", "serialzero", "c-valid"):
            certificate = rows[name].chain[0]
            self.assertEqual(normalise_serial(certificate.serial), certificate.serial)
            assert_accepts(SerialNumber, {"allow": [certificate.serial]}, peer(certificate))
            assert_rejects(SerialNumber, {"deny": [certificate.serial]}, peer(certificate), Reason.SERIAL)


class ListTests(SynchronousTestCase):
    """Who comes in by which lists."""

    def test_allow(self) -> None:
        """Only what is allowed comes in."""
        self.assertEqual(accepted({"allow": ["4F:8A", "dec:10"]}), {0x4F8A, 0x0A})

    def test_deny(self) -> None:
        """All but what is denied comes in."""
        self.assertEqual(accepted({"deny": ["4F:8A"]}), {0x4F8B, 0x0A})

    def test_both(self) -> None:
        """With both lists only what is on the first and not on the second."""
        self.assertEqual(accepted({"allow": ["4f8a", "4f8b"], "deny": ["0a"]}), {0x4F8A, 0x4F8B})

    def test_words(self) -> None:
        """The refusal names the number and the list."""
        refused = assert_rejects(SerialNumber, {"deny": ["0a"]}, CLIENTS[0x0A], Reason.SERIAL)
        self.assertEqual(refused.detail, "0a is denied")
        refused = assert_rejects(SerialNumber, {"allow": ["01", "02"]}, CLIENTS[0x0A], Reason.SERIAL)
        self.assertEqual(refused.detail, "0a is none of the 2 allowed")

    def test_issuer(self) -> None:
        """Numbers of one issuer are not those of another: such a certificate is on neither list."""
        theirs = peer(OTHER_CA.issue(serial=0x4F8A))
        issuer = "cn=device ca"
        assert_accepts(SerialNumber, {"allow": ["4f8a"], "issuer": issuer}, CLIENTS[0x4F8A])
        refused = assert_rejects(SerialNumber, {"allow": ["4f8a"], "issuer": issuer}, theirs, Reason.SERIAL)
        self.assertEqual(refused.detail, "the issuer is CN=Other CA, and not cn=device ca")
        assert_rejects(SerialNumber, {"deny": ["4f8a"], "issuer": issuer}, CLIENTS[0x4F8A], Reason.SERIAL)
        assert_accepts(SerialNumber, {"deny": ["4f8a"], "issuer": issuer}, theirs)
        assert_rejects(SerialNumber, {"deny": ["4f8a"]}, theirs, Reason.SERIAL)

    def test_unreadable(self) -> None:
        """A number or an issuer that cannot be read is refused, also where only a few are denied."""
        assert_rejects(SerialNumber, {"deny": ["0a"]}, peer(b"\x30\x00"), Reason.CERTIFICATE_INVALID)
        # The issuer is the empty sequence before the validity; it gets a set of two bytes that are none.
        der = handmade().der
        at = der.index(b"\x30\x00\x30\x20")
        spoiled = bytearray(der[:at] + b"\x30\x02\x31\x7f" + der[at + 2:])
        spoiled[1] += 2
        spoiled[3] += 2
        document = {"deny": ["0a"], "issuer": "CN=a"}
        assert_accepts(SerialNumber, document, peer(der))
        assert_rejects(SerialNumber, document, peer(bytes(spoiled)), Reason.CERTIFICATE_INVALID)


class FileTests(SynchronousTestCase):
    """Lists in files that are followed."""

    def setUp(self) -> None:
        """Give the policy a directory of its own."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.env = FakeEnvironment(self.directory)

    def start(self, text: str, **document: Any) -> Any:
        """Make a policy with a list of this text."""
        (self.directory / "list").write_text(text)
        return build(SerialNumber, document, self.env)

    def accepted(self, policy: Any) -> set[int]:
        """Give whose numbers come in."""
        return {number for number, client in CLIENTS.items() if type(policy.check(client)) is Accept}

    def test_deny_file(self) -> None:
        """A number that is added to the file is refused when the file is looked at again."""
        policy = self.start("# lost\n4F:8A  # laptop\n", deny_file="list")
        self.assertEqual(self.accepted(policy), {0x4F8B, 0x0A})
        (self.directory / "list").write_text("4f8a\ndec:10\n")
        self.assertTrue(self.env.reread())
        self.assertEqual(self.accepted(policy), {0x4F8B})

    def test_truncated_deny_file(self) -> None:
        """A file that is truncated to be written again lets nobody in meanwhile; a comment empties the list."""
        policy = self.start("4f8a", deny_file="list")
        (self.directory / "list").write_text("")
        self.assertFalse(self.env.reread())
        self.assertEqual(self.accepted(policy), {0x4F8B, 0x0A})
        (self.directory / "list").write_text("# nobody\n")
        self.assertTrue(self.env.reread())
        self.assertEqual(self.accepted(policy), set(NUMBERS))
        self.assertRaises(ValueError, self.start, "", deny_file="list")

    def test_allow_file(self) -> None:
        """Numbers in the file are allowed beside those of the configuration; an empty file allows nobody."""
        policy = self.start("4f8b", allow_file="list", allow=["0a"])
        self.assertEqual(self.accepted(policy), {0x4F8B, 0x0A})
        policy = self.start("", allow_file="list")
        self.assertEqual(self.accepted(policy), set())

    def test_spoiled(self) -> None:
        """A file that is spoiled leaves the last list in use, and from the beginning is a fault."""
        policy = self.start("4f8a", deny_file="list")
        (self.directory / "list").write_text("nonsense")
        self.assertFalse(self.env.reread())
        self.assertEqual(self.accepted(policy), {0x4F8B, 0x0A})
        self.assertRaises(ValueError, self.start, "nonsense", allow_file="list")


class KindTests(SynchronousTestCase):
    """The kind and its options."""

    def test_contract(self) -> None:
        """It keeps to what every plugin promises, about the oddest clients, too."""
        check_plugin(SerialNumber, {"deny": ["2a"]}, {"allow": ["01"], "issuer": "CN=a"})

    def test_example(self) -> None:
        """The example in its documentation refuses those that it names."""
        ((_, document),) = examples_of(SerialNumber)
        acme = document["issuer"]
        self.assertEqual(acme, "CN=Device CA,O=Acme")
        self.assertEqual(accepted({**document, "issuer": "CN=Device CA"}), {0x4F8B, 0x0A})

    def test_faults(self) -> None:
        """Options that cannot be meant are faults."""
        for document, words in (
            ("", "names no serial number"),
            ({"allow": ["4f8a"], "deny": ["dec:20362"]}, "4f8a is both allowed and denied"),
            ({"allow": ["zz"]}, "'zz' is no serial number"),
            ("allow: [1001]", "in quotes"),
            ({"allow": ["01"], "issuer": "Device CA"}, "has no type and ="),
            ({"allow": ["01"], "issuer": " "}, "is an empty name"),
        ):
            with self.assertRaises(ConfigError) as caught:
                options(SerialNumber, document)
            self.assertIn(words, str(caught.exception))
