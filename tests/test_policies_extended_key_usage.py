"""``extended_key_usage``: usages demanded and forbidden."""
from __future__ import annotations

from typing import Any

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError
from edgegw.policies.extended_key_usage import ExtendedKeyUsage
from edgegw.testing import (
    ANY_USAGE,
    BOTH,
    CLIENT,
    NO_USAGE,
    SERVER,
    Authority,
    assert_rejects,
    build,
    check_plugin,
    examples_of,
    options,
    peer,
)
from edgegw.verdict import Accept, Reason

from .client_certificates import extension, handmade, tlv

CA = Authority()
OWN = x509.ObjectIdentifier("1.3.6.1.4.1.55555.1.7")
CLIENTS = {
    "client": peer(CA.issue(usages=CLIENT)),
    "server": peer(CA.issue(usages=SERVER)),
    "both": peer(CA.issue(usages=BOTH)),
    "own": peer(CA.issue(usages=(*CLIENT, OWN))),
    "any": peer(CA.issue(usages=ANY_USAGE)),
    "client and any": peer(CA.issue(usages=(*CLIENT, *ANY_USAGE))),
    "none": peer(CA.issue(usages=NO_USAGE)),
}
EKU = "551d25"


def accepted(**document: Any) -> set[str]:
    """Give who comes in."""
    policy = build(ExtendedKeyUsage, document)
    return {name for name, client in CLIENTS.items() if type(policy.check(client)) is Accept}


class UsageTests(SynchronousTestCase):
    """Who comes in by which lists."""

    def test_all_of(self) -> None:
        """Every usage of all_of must be there, by name in any case or number."""
        clients = {"client", "both", "own", "client and any"}
        for written in ("clientAuth", "CLIENTAUTH", "1.3.6.1.5.5.7.3.2"):
            self.assertEqual(accepted(all_of=[written]), clients)
        self.assertEqual(accepted(all_of=["clientAuth", "serverAuth"]), {"both"})
        self.assertEqual(accepted(all_of=["clientAuth", OWN.dotted_string]), {"own"})

    def test_any_of(self) -> None:
        """One usage of any_of must be there."""
        self.assertEqual(accepted(any_of=["serverAuth", OWN.dotted_string]), {"server", "both", "own"})

    def test_none_of(self) -> None:
        """No usage of none_of may be there, nor one that stands for all."""
        self.assertEqual(accepted(none_of=["serverAuth"]), {"client", "own"})
        self.assertEqual(accepted(none_of=["anyExtendedKeyUsage"]), {"client", "server", "both", "own"})

    def test_together(self) -> None:
        """All three lists hold together."""
        self.assertEqual(accepted(all_of=["clientAuth"], none_of=["serverAuth"]), {"client", "own"})
        self.assertEqual(accepted(any_of=["clientAuth", "serverAuth"], none_of=[OWN.dotted_string]),
                         {"client", "server", "both"})

    def test_any_usage(self) -> None:
        """A certificate for any usage satisfies the demand for that alone."""
        self.assertEqual(accepted(all_of=["anyExtendedKeyUsage"]), {"any", "client and any"})

    def test_without_the_extension(self) -> None:
        """A certificate without the extension comes in only if that is written out."""
        for lists in ({"all_of": ["codeSigning"]}, {"any_of": ["codeSigning"]}, {"none_of": ["clientAuth"]}):
            self.assertNotIn("none", accepted(**lists))
            self.assertIn("none", accepted(**lists, without_extension="accept"))

    @given(st.lists(st.sampled_from(("clientAuth", "serverAuth", "codeSigning", "1.2.3")), max_size=3, unique=True),
           st.lists(st.sampled_from(("clientAuth", "serverAuth", "timeStamping")), max_size=2, unique=True),
           st.lists(st.sampled_from(("clientAuth", "emailProtection", "1.2.3")), max_size=2, unique=True),
           st.lists(st.sampled_from(("clientAuth", "serverAuth", "1.2.3", "codeSigning")), unique=True, max_size=4))
    def test_sets(self, all_of: list[str], any_of: list[str], none_of: list[str], has: list[str]) -> None:
        """It is what sets say it is, and what can never be is a fault."""
        document = {"all_of": all_of, "any_of": any_of, "none_of": none_of}
        impossible = (set(all_of) & set(none_of)) or (any_of and set(any_of) <= set(none_of))
        if impossible or not (all_of or any_of or none_of):
            self.assertRaises(ConfigError, options, ExtendedKeyUsage, document)
            return
        words = {"clientAuth": b"\x02", "serverAuth": b"\x01", "codeSigning": b"\x03"}
        oids = [tlv(0x06, b"\x2b\x06\x01\x05\x05\x07\x03" + words[one] if one in words else b"\x2a\x03") for one in has]
        certificate = handmade(extensions=[extension(EKU, tlv(0x30, *oids))])
        expected = set(all_of) <= set(has) and (not any_of or set(any_of) & set(has)) and not set(none_of) & set(has)
        self.assertEqual(type(build(ExtendedKeyUsage, document).check(peer(certificate))) is Accept, bool(expected))


class RefusalTests(SynchronousTestCase):
    """What the record says of a refusal."""

    def test_words(self) -> None:
        """It names the usages that are there, and what is wrong with them."""
        for document, client, detail in (
            ({"all_of": ["clientAuth", "1.2.3"]}, "both", "it is for clientAuth, serverAuth, and not for 1.2.3"),
            ({"any_of": ["codeSigning", "1.2.3"]}, "own",
             "it is for 1.3.6.1.4.1.55555.1.7, clientAuth, and for none of 1.2.3, codeSigning"),
            ({"none_of": ["serverAuth"]}, "both", "it is for clientAuth, serverAuth, and must not be for serverAuth"),
            ({"none_of": ["serverAuth"]}, "any", "it is for anyExtendedKeyUsage, and must not be for serverAuth"),
            ({"none_of": ["serverAuth"]}, "none", "there is no extended key usage: it is for any use"),
        ):
            refused = assert_rejects(ExtendedKeyUsage, document, CLIENTS[client], Reason.EXTENDED_KEY_USAGE)
            self.assertEqual(refused.detail, detail)

    def test_broken(self) -> None:
        """An extension that cannot be read, or is there twice, is refused as such."""
        good = extension(EKU, tlv(0x30, tlv(0x06, b"\x2a\x03")))
        for extensions in ([extension(EKU, b"\x04\x00")], [extension(EKU, tlv(0x30, tlv(0x04, b"\x2a")))],
                           [extension(EKU, tlv(0x30, tlv(0x06)))], [good, good]):
            for document in ({"all_of": ["1.2.3"]}, {"none_of": ["1.2.4"], "without_extension": "accept"}):
                client = peer(handmade(extensions=extensions))
                assert_rejects(ExtendedKeyUsage, document, client, Reason.CERTIFICATE_INVALID)

    def test_hostile_numbers(self) -> None:
        """Object identifiers that are none, huge or many do no harm to the record."""
        huge = [tlv(0x06, b"\x2a" + b"\xff" * 200 + b"\x7f"), tlv(0x06, b"\x80"), tlv(0x06, b"\x2a\x80\x01")]
        many = [tlv(0x06, b"\x2a" + bytes([1 + at % 100, 1 + at // 100])) for at in range(1000)]
        client = peer(handmade(extensions=[extension(EKU, tlv(0x30, *huge, *many))]))
        refused = assert_rejects(ExtendedKeyUsage, {"all_of": ["clientAuth"]}, client, Reason.EXTENDED_KEY_USAGE)
        self.assertLess(len(refused.detail), 700)

    def test_broken_neighbours(self) -> None:
        """Other extensions that are broken do not hide the usages."""
        client = peer(handmade(extensions=[extension("551d0f", b"\xff"),
                                           extension(EKU, tlv(0x30, tlv(0x06, b"\x2a\x03")))]))
        self.assertIs(type(build(ExtendedKeyUsage, {"all_of": ["1.2.3"]}).check(client)), Accept)


class KindTests(SynchronousTestCase):
    """The kind and its options."""

    def test_contract(self) -> None:
        """It keeps to what every plugin promises, about the oddest clients, too."""
        check_plugin(ExtendedKeyUsage, {"all_of": ["clientAuth"]}, {"none_of": ["1.2.3"]}, {"any_of": ["serverAuth"]})

    def test_example(self) -> None:
        """The example in its documentation lets those in that it describes."""
        ((_, document),) = examples_of(ExtendedKeyUsage)
        self.assertEqual(accepted(**document), {"own"})

    def test_faults(self) -> None:
        """Options that cannot be meant are faults."""
        for document, words in (
            ("", "names no usage"),
            ({"all_of": ["clientauthentication"]}, "'clientauthentication' is no usage that is known here"),
            ({"all_of": ["1.2.x"]}, "'1.2.x' is no usage"),
            ({"all_of": ["clientAuth"], "none_of": ["1.3.6.1.5.5.7.3.2"]}, "clientAuth is both demanded and forbidden"),
            ({"any_of": ["clientAuth"], "none_of": ["clientAuth"]}, "every usage of any_of is forbidden"),
            ({"all_of": ["clientAuth"], "without_extension": "maybe"}, "refuse or accept"),
        ):
            with self.assertRaises(ConfigError) as caught:
                options(ExtendedKeyUsage, document)
            self.assertIn(words, str(caught.exception))
