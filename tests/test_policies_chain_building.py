"""Other chains are found where OpenSSL gives up on its first, and a hostile client cannot make the search long."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.identity import Certificate
from edgegw.policies.certificate_parts import certificate_parts
from edgegw.policies.chain_building import MOST_SENT, alternative_chains
from tests.x509_chains import NOW, Made, make, name, verified_chain

DAY = timedelta(days=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a key that several certificates may share."""
    return ec.generate_private_key(ec.SECP256R1())


def find(leaf: Made, sent: Sequence[Made], anchors: Sequence[Made], limit: int = 8, **options: Any) -> list[list[Made]]:
    """Give the chains that are found, as what they were made from."""
    known = {one.certificate: one for one in (leaf, *sent, *anchors)}
    chains = alternative_chains(
        leaf.certificate, [one.certificate for one in sent], [one.certificate for one in anchors], limit, **options
    )
    return [[known[link] for link in chain] for chain in chains]


class TwoIntermediatesTests(SynchronousTestCase):
    """An intermediate CA has two certificates, and OpenSSL takes the one that is no good."""

    def assert_found(self, leaf: Made, sent: Sequence[Made], anchors: Sequence[Made], wanted: Sequence[Made]) -> None:
        """Make sure that OpenSSL alone refuses, in one order at least, and that this is the first good chain."""
        given_up = [verified_chain(leaf, order, anchors) is None for order in (sent, sent[::-1])]
        self.assertIn(True, given_up)
        for order in (sent, sent[::-1]):
            good = [
                chain for chain in find(leaf, order, anchors, now=NOW)
                if verified_chain(leaf, chain[1:-1], chain[-1:]) is not None
            ]
            self.assertEqual(good[0], [leaf, *wanted])

    def test_the_first_has_expired(self) -> None:
        """The certificate of the intermediate that is still valid is found, and comes first."""
        key = new_key()
        old_root, new_root = make("old root", ca=True), make("new root", ca=True)
        old = make("intermediate", old_root, ca=True, key=key, not_after=NOW - DAY)
        new = make("intermediate", new_root, ca=True, key=key)
        leaf = make("leaf", new)
        for sent in ([old, new], [new, old]):
            self.assertEqual(
                find(leaf, sent, [old_root, new_root], now=NOW), [[leaf, new, new_root], [leaf, old, old_root]]
            )

    def test_the_first_root_has_expired(self) -> None:
        """Of two roots that have signed the intermediate the one that is still valid is found, and comes first."""
        key = new_key()
        old_root, new_root = make("old root", ca=True, not_after=NOW - DAY), make("new root", ca=True)
        old = make("intermediate", old_root, ca=True, key=key)
        new = make("intermediate", new_root, ca=True, key=key)
        leaf = make("leaf", new)
        self.assert_found(leaf, [old, new], [old_root, new_root], [new, new_root])
        self.assertEqual(find(leaf, [old, new], [old_root, new_root], now=NOW)[0], [leaf, new, new_root])

    def test_nc_forbids_same_chain_ica(self) -> None:
        """rfc5280::nc::nc-forbids-same-chain-ica: one way breaks a name constraint, the other does not."""
        key = new_key()
        root_a, root_b = make("root a", ca=True), make("root b", ca=True)
        forbidden = [x509.DNSName("forbidden.example.com")]
        ica_a = make("a", root_a, ca=True, constraints=x509.NameConstraints(None, forbidden))
        first = make("an-intermediate", ica_a, ca=True, key=key, names=forbidden)
        second = make("an-intermediate", root_b, ca=True, key=key, names=[x509.DNSName("other.example.com")])
        leaf = make("leaf", first, names=[x509.DNSName("unconstrained.example.com")])
        self.assert_found(leaf, [ica_a, first, second], [root_a, root_b], [second, root_b])

    def test_nc_forbids_alternate_chain_ica(self) -> None:
        """rfc5280::nc::nc-forbids-alternate-chain-ica: one way leads to a root that nobody trusts."""
        key = new_key()
        unknown, root = make("discarded root", ca=True), make("root", ca=True)
        forbidden = [x509.DNSName("forbidden.example.com")]
        ica_a = make("a", root, ca=True, constraints=x509.NameConstraints(None, forbidden))
        first = make("an-intermediate", unknown, ca=True, key=key, names=forbidden)
        second = make("an-intermediate", ica_a, ca=True, key=key)
        leaf = make("leaf", first, names=[x509.DNSName("permitted.example.com")])
        self.assertEqual(find(leaf, [ica_a, first, second], [root]), [[leaf, second, ica_a, root]])
        self.assert_found(leaf, [ica_a, first, second], [root], [second, ica_a, root])

    def test_multiple_chains_expired_intermediate(self) -> None:
        """pathological::multiple-chains-expired-intermediate: the root itself is shorter, and comes first."""
        root, root_two = make("root", ca=True), make("root two", ca=True)
        expired = make("root", root_two, ca=True, key=root.key, not_after=NOW - DAY)
        leaf = make("leaf", root)
        self.assertEqual(find(leaf, [expired], [root, root_two], now=NOW)[0], [leaf, root])
        self.assertEqual(find(leaf, [expired], [root, root_two])[0], [leaf, root])
        self.assertEqual(len(find(leaf, [expired], [root, root_two])), 2)

    def test_renewed_root_with_another_key(self) -> None:
        """Of two roots with one name the one whose key signed is taken, by its identifier or else by trying."""
        old, new = make("root", ca=True), make("root", ca=True)
        known, unknown = make("leaf", new), make("leaf", new, aki=None)
        self.assertEqual(find(known, [], [old, new]), [[known, new]])
        self.assertEqual(find(unknown, [], [old, new]), [[unknown, old], [unknown, new]])


class CycleTests(SynchronousTestCase):
    """CAs that sign one another do not make the search go round."""

    def test_cve_2024_0567(self) -> None:
        """cve::cve-2024-0567: A, B and C have signed one another, and A is a root too."""
        keys = {letter: new_key() for letter in "ABC"}
        roots = {letter: make(f"Root {letter}", ca=True, key=keys[letter]) for letter in "ABC"}
        a1 = make("Intermediate A1", roots["A"], ca=True)
        crossed = [
            make(f"Root {of}", roots[by], ca=True, key=keys[of]) for of in "ABC" for by in "ABC" if of != by
        ]
        leaf = make("leaf", a1)
        found = find(leaf, [a1, *crossed], [roots["A"]], limit=64)
        self.assertEqual(found[0], [leaf, a1, roots["A"]])
        # Every other way comes back to A, which is in it already.
        self.assertEqual(len(found), 1)

    def test_no_way_out(self) -> None:
        """pathological::intermediate-cycle-distinct-cas, -same-logical-ca: there is no chain."""
        for names in (("one", "two"), ("same", "same")):
            keys = [new_key(), new_key()]
            first = make(names[0], ca=True, key=keys[0])
            second = make(names[1], first, ca=True, key=keys[1])
            back = make(names[0], second, ca=True, key=keys[0])
            leaf = make("leaf", back)
            self.assertEqual(find(leaf, [second, back], [make("root", ca=True)]), [])


class BoundTests(SynchronousTestCase):
    """What a client sends costs a bounded search."""

    def test_twenty_that_sign_one_another(self) -> None:
        """Of the astronomical number of ways through twenty certificates a few are looked at."""
        key, root = new_key(), make("root", ca=True)
        # Without key identifiers and with one name each may be any other's issuer.
        plain: dict[str, Any] = {"ca": True, "ski": None, "aki": None}
        issuer = make("same", key=key, **plain)
        sent = [make("same", issuer, **plain) for _ in range(19)]
        sent.append(make("same", root, **plain))
        leaf = make("leaf", issuer, aki=None)
        found = find(leaf, sent, [root], limit=16, now=NOW)
        self.assertLessEqual(len(found), 16)
        self.assertEqual(found[0], [leaf, sent[-1], root])
        self.assertEqual(find(leaf, sent[:-1], [root], limit=16), [])
        self.assertEqual(find(leaf, sent, [root], limit=0), [])

    def test_more_than_anybody_sends(self) -> None:
        """Certificates after the first few dozen are not looked at."""
        root = make("root", ca=True)
        intermediate = make("intermediate", root, ca=True)
        leaf = make("leaf", intermediate)
        others = [make(f"other {number}", root, ca=True) for number in range(MOST_SENT)]
        self.assertEqual(len(find(leaf, [*others[1:], intermediate], [root])), 1)
        self.assertEqual(find(leaf, [*others, intermediate], [root]), [])

    def test_depth(self) -> None:
        """No chain is longer than the listener allows."""
        root = make("root", ca=True)
        sent: list[Made] = []
        for number in range(5):
            sent.append(make(f"intermediate {number}", sent[-1] if sent else root, ca=True))
        leaf = make("leaf", sent[-1])
        self.assertEqual(find(leaf, sent, [root], depth=6), [[leaf, *sent[::-1], root]])
        self.assertEqual(find(leaf, sent, [root], depth=5), [])

    def test_no_issuers(self) -> None:
        """Certificates of those who issue none, and what cannot be read, are in no chain."""
        root = make("root", ca=True)
        no_ca = make("intermediate", root, names=[x509.DNSName("a.example")])
        leaf = make("leaf", no_ca)
        self.assertEqual(find(leaf, [no_ca], [root]), [])
        broken = [Certificate(b""), Certificate(root.certificate.der[:-1])]
        child = make("child", root).certificate
        found = list(alternative_chains(child, broken, [*broken, root.certificate], 4))
        self.assertEqual(found, [(child, root.certificate)])
        self.assertEqual(list(alternative_chains(broken[1], [], [root.certificate], 4)), [])

    def test_unlike_names(self) -> None:
        """A name is the same in another string type and case."""
        other = x509.NameAttribute(x509.NameOID.COMMON_NAME, "The  Root", x509.name._ASN1Type.T61String)
        root = make(x509.Name([other]), ca=True)
        leaf = make("leaf", root, issuer_name=name("the root"))
        self.assertEqual(find(leaf, [], [root]), [[leaf, root]])
        self.assertIsNotNone(verified_chain(leaf, [], [root]))


#: The identifier of a key that nobody has.
STRANGE = x509.AuthorityKeyIdentifier(b"nobody", None, None)


def _pool() -> list[Made]:
    """Make CAs of four names and two keys each, each signed by several of the others."""
    roots = [make(f"ca {number % 4}", ca=True, aki=None if number % 3 else STRANGE) for number in range(8)]
    return roots + [
        make(f"ca {of % 4}", roots[by], ca=True, key=roots[of].key, not_after=NOW + DAY * (1 if by % 2 else -1))
        for of in range(8)
        for by in range(8)
        if (of + by) % 3 == 0
    ]


POOL = _pool()
LEAF = make("leaf", POOL[0])
LEAVES = [LEAF, make("leaf", POOL[0], aki=None)]


class SearchTests(SynchronousTestCase):
    """Whatever is sent, what is found are chains."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.sampled_from(LEAVES),
        st.lists(st.sampled_from(POOL), max_size=30),
        st.lists(st.sampled_from(POOL), max_size=4),
        st.integers(0, 20),
        st.integers(1, 8),
        st.booleans(),
    )
    def test_chains(
        self, leaf: Made, sent: list[Made], anchors: list[Made], limit: int, depth: int, timed: bool
    ) -> None:
        """Each goes from the client's certificate from issuer to issuer to an anchor, without a loop."""
        found = find(leaf, sent, anchors, limit, depth=depth, now=NOW if timed else None)
        self.assertLessEqual(len(found), limit)
        self.assertEqual(len({tuple(chain) for chain in found}), len(found))
        for chain in found:
            self.assertIs(chain[0], leaf)
            self.assertIn(chain[-1], anchors)
            self.assertFalse(set(chain[:-1]) & set(anchors))
            self.assertLessEqual(len(chain), depth + 1)
            self.assertEqual(len({(one.subject, one.key) for one in chain}), len(chain))
            for below, above in pairwise(chain):
                self.assertEqual(
                    certificate_parts(below.certificate.der).issuer, certificate_parts(above.certificate.der).subject
                )
