"""``subject`` and ``issuer``: whole names and their parts."""
from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError
from edgegw.policies.distinguished_names import IssuerName, SubjectName
from edgegw.testing import (
    Authority,
    assert_accepts,
    assert_rejects,
    build,
    check_plugin,
    examples_of,
    options,
    peer,
)
from edgegw.verdict import Accept, Reason

from .client_certificates import handmade, recorded, tlv

ROWS = {name: row.chain[0] for name, row in recorded().items()}
CA = Authority("Device CA")


def name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """Make a name of parts in the certificate's order."""
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


ACME = name((NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, "Acme, Inc."),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, "Guests"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "Services"),
            (NameOID.COMMON_NAME, "Billing"))
CLIENT = peer(CA.issue(subject=ACME))


def accepts(document: dict[str, Any] | str, client: Any = CLIENT, kind: Any = SubjectName) -> bool:
    """Whether the policy lets a client in."""
    return type(build(kind, document).check(client)) is Accept


class WholeNameTests(SynchronousTestCase):
    """Names as RFC 4514 writes them."""

    def test_names(self) -> None:
        """The certificate's name comes in, in every spelling of it."""
        for written in (
            "CN=Billing,OU=Services,OU=Guests,O=Acme\\, Inc.,C=US",
            "cn=billing, ou=SERVICES, ou=guests, o=\"Acme, Inc.\", c=us",
            "2.5.4.3=Billing,OU=Services,OU=Guests,organizationName=Acme\\2C Inc.,C=US",
        ):
            self.assertTrue(accepts({"names": ["CN=other", written]}), written)

    def test_other_names(self) -> None:
        """A part that is missing, is more, or stands elsewhere makes another name."""
        for written in (
            "CN=Billing", "CN=Billing,OU=Services,O=Acme\\, Inc.,C=US",
            "CN=Billing,OU=Guests,OU=Services,O=Acme\\, Inc.,C=US",
            "CN=Billing+OU=Services,OU=Guests,O=Acme\\, Inc.,C=US",
        ):
            self.assertFalse(accepts({"names": [written]}), written)

    def test_gateways_own(self) -> None:
        """The subject as logs show it is what lets the certificate in, whatever is in it."""
        for label, certificate in ROWS.items():
            if certificate.subject:
                self.assertTrue(accepts({"names": [certificate.subject]}, peer(certificate)), label)
                self.assertFalse(accepts({"names": ["CN=other"]}, peer(certificate)), label)

    def test_opposite_order(self) -> None:
        """A name in OpenSSL's own order does not match, and the refusal says why."""
        refused = assert_rejects(
            SubjectName, {"names": ["C=US,O=Acme\\, Inc.,OU=Guests,OU=Services,CN=Billing"]}, CLIENT, Reason.SUBJECT
        )
        self.assertIn("wanted the other way round", refused.detail)
        refused = assert_rejects(SubjectName, {"names": ["CN=x"]}, CLIENT, Reason.SUBJECT)
        self.assertEqual(
            refused.detail, "the subject is CN=Billing,OU=Services,OU=Guests,O=Acme\\, Inc.,C=US; wanted is CN=x"
        )


class PartsTests(SynchronousTestCase):
    """Matchers of parts."""

    def test_all_that_are_named(self) -> None:
        """Every attribute that is named must be there and match, by one of its matchers."""
        for document, expected in (
            ("organization: [{exact: 'Acme, Inc.'}]", True),
            ("organization: [{exact: Other}, {prefix: Acme}]", True),
            ("organization: [{exact: 'Acme, Inc.'}]\ncountry: [{exact: US}]", True),
            ("organization: [{exact: 'Acme, Inc.'}]\ncountry: [{exact: DE}]", False),
            ("organization: [{exact: 'Acme, Inc.'}]\nlocality: [{regex: '.*'}]", False),
            ("common_name: [{exact: Acme}]", False),
        ):
            self.assertEqual(accepts(document), expected, document)

    def test_several_of_one_type(self) -> None:
        """Of an attribute that is there several times, one must match."""
        for unit, expected in (("Services", True), ("Guests", True), ("Services,Guests", False)):
            self.assertEqual(accepts({"organizational_unit": [{"exact": unit}]}), expected)

    def test_case(self) -> None:
        """Whole values ignore case and outer or repeated spaces; parts of values do not."""
        self.assertTrue(accepts("common_name: [{exact: '  BILLING '}]"))
        self.assertFalse(accepts("common_name: [{prefix: BILL}]"))
        self.assertTrue(accepts("common_name: [{prefix: BILL, ignore_case: true}]"))
        self.assertTrue(accepts("common_name: [{regex: 'B.*'}]"))
        self.assertFalse(accepts("common_name: [{regex: 'b.*'}]"))

    def test_in_one_part(self) -> None:
        """Attributes that stand in one part of the name are found there."""
        self.assertTrue(accepts("common_name: [{exact: multi}]\norganizational_unit: [{exact: rdn}]",
                                peer(ROWS["c-multirdn"])))

    def test_every_option(self) -> None:
        """Each option is about the attribute that it names."""
        oids = {
            "common_name": NameOID.COMMON_NAME, "organization": NameOID.ORGANIZATION_NAME,
            "organizational_unit": NameOID.ORGANIZATIONAL_UNIT_NAME,
            "organization_identifier": NameOID.ORGANIZATION_IDENTIFIER, "country": NameOID.COUNTRY_NAME,
            "state": NameOID.STATE_OR_PROVINCE_NAME, "locality": NameOID.LOCALITY_NAME,
            "street": NameOID.STREET_ADDRESS,
            "postal_code": NameOID.POSTAL_CODE,
            "serial_number": NameOID.SERIAL_NUMBER, "title": NameOID.TITLE,
            "given_name": NameOID.GIVEN_NAME, "surname": NameOID.SURNAME, "email": NameOID.EMAIL_ADDRESS,
            "user_id": NameOID.USER_ID, "domain_component": NameOID.DOMAIN_COMPONENT,
        }
        for option, oid in oids.items():
            client = peer(CA.issue(subject=name((oid, "Xy"))))
            for other in oids:
                self.assertEqual(accepts({other: [{"exact": "XY"}]}, client), other == option, (option, other))

    def test_other_attributes(self) -> None:
        """Attributes without an option of their own are given by name or number; unknown ones compare exactly."""
        subject = name((NameOID.BUSINESS_CATEGORY, "Private Organization"), (x509.ObjectIdentifier("1.2.3.4"), "Ab"))
        client = peer(CA.issue(subject=subject))
        for type_, value, expected in (
            ("businessCategory", "private organization", True), ("2.5.4.15", "Private  Organization", True),
            ("1.2.3.4", "Ab", True), ("1.2.3.4", "AB", False), ("1.2.3.5", "Ab", False),
        ):
            self.assertEqual(accepts({"attributes": {type_: [{"exact": value}]}}, client), expected, (type_, value))

    def test_values_that_are_no_text(self) -> None:
        """A value that is no text matches nothing."""
        attribute = tlv(0x31, tlv(0x30, tlv(0x06, b"\x55\x04\x03"), tlv(0x30)))
        self.assertFalse(accepts("common_name: [{regex: '.*'}]", peer(handmade(subject=attribute))))


class IssuerTests(SynchronousTestCase):
    """The issuer's name."""

    def test_issuer(self) -> None:
        """The name of the CA next above is compared, and not the subject's."""
        for document in ({"names": ["CN=device ca"]}, {"common_name": [{"prefix": "Device"}]}):
            assert_accepts(IssuerName, document, CLIENT)
            refused = assert_rejects(IssuerName, document, peer(ROWS["c-valid"]), Reason.ISSUER)
            self.assertTrue(refused.detail.startswith("the issuer is CN=Edge Test Root CA"), refused.detail)
        assert_rejects(IssuerName, {"common_name": [{"exact": "Billing"}]}, CLIENT, Reason.ISSUER)
        below = Authority("Below", issuer=CA).issue()
        assert_rejects(IssuerName, {"names": ["CN=Device CA"]}, peer(below), Reason.ISSUER)
        assert_accepts(IssuerName, {"names": ["CN=Below"]}, peer(below))


class RefusalTests(SynchronousTestCase):
    """Refusals that are no mismatch."""

    def test_empty(self) -> None:
        """An empty subject matches nothing, and the refusal says that it is empty."""
        refused = assert_rejects(SubjectName, "common_name: [{exact: a}]", peer(ROWS["c-emptysubj"]), Reason.SUBJECT)
        self.assertIn("the subject is empty; wanted is common_name exact a", refused.detail)

    def test_unreadable(self) -> None:
        """A name that cannot be read is refused as unreadable, so that not does not let it in."""
        certificate = handmade(subject=b"\x31\x02\x30\x05")
        assert_rejects(SubjectName, "common_name: [{exact: a}]", peer(certificate), Reason.CERTIFICATE_INVALID)
        assert_rejects(IssuerName, {"names": ["CN=a"]}, peer(b"\x30\x03abc"), Reason.CERTIFICATE_INVALID)


class KindTests(SynchronousTestCase):
    """The kinds and their options."""

    def test_contract(self) -> None:
        """They keep to what every plugin promises, about the oddest clients, too."""
        for kind in (SubjectName, IssuerName):
            check_plugin(
                kind, {"names": ["CN=a,O=b"]}, "organization: [{exact: a}]",
                {"common_name": [{"regex": "[a-z ]+"}], "attributes": {"1.2.3.4": [{"suffix": "e"}]}},
            )

    def test_examples(self) -> None:
        """The examples in the documentation let those in that they describe."""
        whole, parts = [document for _, document in examples_of(SubjectName)]
        acme = name((NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, "Acme, Inc."),
                    (NameOID.ORGANIZATIONAL_UNIT_NAME, "Services"), (NameOID.COMMON_NAME, "billing"))
        self.assertTrue(accepts(whole, peer(CA.issue(subject=acme))))
        self.assertFalse(accepts(parts, peer(CA.issue(subject=acme))))

    def test_faults(self) -> None:
        """Options that cannot be meant are faults."""
        for document, words in (
            ("", "says nothing to match"),
            ({"names": ["CN=a"], "country": [{"exact": "US"}]}, "has names and matchers of parts"),
            ({"names": ["client"]}, "'client' has no type and ="),
            ({"names": [" "]}, "is an empty name"),
            ({"attributes": {"CN": [{"exact": "a"}]}}, "'CN' has an option of its own"),
            ({"attributes": {"2.5.4.15": [{"exact": "a"}], "businessCategory": [{"exact": "b"}]}}, "is there twice"),
            ({"attributes": {"title2": [{"exact": "a"}]}}, "'title2' is no attribute type"),
            ({"attributes": {"1.2.3": []}}, "has no matchers"),
            ({"country": [{"exact": "US", "prefix": "U"}]}, "has exact and prefix"),
        ):
            with self.assertRaises(ConfigError) as caught:
                options(SubjectName, document)
            self.assertIn(words, str(caught.exception), str(document))
