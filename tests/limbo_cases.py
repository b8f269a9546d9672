"""Chains of x509-limbo (https://x509-limbo.com), made again for TLS clients.

Each case has its id there, and what is to become of it.  They are of the parts ``rfc5280``, ``webpki``, ``pathlen``
and ``cve`` that mean something for a client's certificate: servers' names, the web's key types and its list of
public suffixes are left out.  Purposes are ``clientAuth``.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from tests.client_certificates import extension, general_names, tlv
from tests.x509_chains import Made, key_usage, make, make_raw, name, raw_extension, raw_name

__all__ = ["CASES", "Case"]


@frozen
class Case:
    """A leaf, what is sent with it, and trust anchors.

    :ivar rule: which rule refuses it; empty for a good chain.
    :ivar accepted: whether the client comes in; without a rule it is OpenSSL that refuses.
    """

    id: str
    leaf: Made
    sent: tuple[Made, ...]
    anchors: tuple[Made, ...]
    rule: str
    accepted: bool


#: Functions that make each case.
CASES: Final[list[Callable[[], Case]]] = []

_DNS = x509.DNSName
_IP = x509.IPAddress
_UNKNOWN = x509.ObjectIdentifier("1.3.6.1.4.1.55738.666.1")
_OTHER = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.55738.666.3"), b"\x05\x00")
_NO_BITS = key_usage()


def _address(text: str) -> x509.RFC822Name:
    return x509.RFC822Name._init_without_validation(text)


def _case(id: str, build: Callable[[], Any], rule: str = "", accepted: bool = True) -> None:
    """Add a case; ``build`` gives the leaf, what is sent above it, and its anchors."""

    def make_case() -> Case:
        leaf, sent, anchors = build()
        return Case(id, leaf, tuple(sent), tuple(anchors), rule, accepted and not rule)

    CASES.append(make_case)


def _tree(permitted: Sequence[Any] | None, excluded: Sequence[Any] | None = None) -> x509.NameConstraints:
    """Give name constraints, whatever is in them."""
    constraints = x509.NameConstraints([_DNS("placeholder.example")], None)
    constraints._permitted_subtrees = None if permitted is None else list(permitted)
    constraints._excluded_subtrees = None if excluded is None else list(excluded)
    return constraints


def _simple(root: dict[str, Any] | None = None, leaf: dict[str, Any] | None = None) -> Callable[[], Any]:
    """A leaf of a root, with these options of :func:`make`."""

    def build() -> Any:
        anchor = make("root", **{"ca": True, **(root or {})})
        return make("leaf", anchor, **{"names": [_DNS("example.com")], **(leaf or {})}), [], [anchor]

    return build


def _through(ica: dict[str, Any], leaf: dict[str, Any] | None = None) -> Callable[[], Any]:
    """A leaf of an intermediate of a root."""

    def build() -> Any:
        root = make("root", ca=True)
        intermediate = make("intermediate", root, **{"ca": True, **ica})
        options: dict[str, Any] = {"names": [_DNS("example.com")], **(leaf or {})}
        return make("leaf", intermediate, **options), [intermediate], [root]

    return build


def _raw(**parts: Any) -> Callable[[], Any]:
    """A leaf made by hand, of a root."""

    def build() -> Any:
        root = make("root", ca=True)
        return make_raw(root, **parts), [], [root]

    return build


# --- rfc5280 --------------------------------------------------------------------------------------

_case("rfc5280::ee-empty-issuer", _raw(issuer_name=raw_name()), accepted=False)
_case("rfc5280::ca-empty-subject", lambda: _ca_empty_subject(), "empty_names")
_case(
    "rfc5280::unknown-critical-extension-ee",
    _simple(leaf={"extra": [(x509.UnrecognizedExtension(_UNKNOWN, b""), True)]}),
    accepted=False,
)
_case(
    "rfc5280::unknown-critical-extension-root",
    _simple(root={"extra": [(x509.UnrecognizedExtension(_UNKNOWN, b""), True)]}),
    accepted=False,
)
_case(
    "rfc5280::unknown-critical-extension-intermediate",
    _through({"extra": [(x509.UnrecognizedExtension(_UNKNOWN, b""), True)]}),
    accepted=False,
)
_case(
    "rfc5280::intermediate-ca-without-ca-bit",
    _through({"basic_constraints": x509.BasicConstraints(False, None)}),
    accepted=False,
)
_case("rfc5280::intermediate-ca-missing-basic-constraints", _through({"basic_constraints": None}), accepted=False)
_case("rfc5280::root-missing-basic-constraints", _simple(root={"basic_constraints": None}), "basic_constraints")
_case(
    "rfc5280::root-non-critical-basic-constraints",
    _simple(root={"basic_constraints_critical": False}),
    "basic_constraints_critical",
)
_case("rfc5280::root-inconsistent-ca-extensions", _simple(root={"usage": _NO_BITS}), accepted=False)
_case("rfc5280::ica-ku-keycertsign", _through({"path_length": 0, "usage": _NO_BITS}), accepted=False)
_case(
    "rfc5280::leaf-ku-keycertsign",
    _simple(leaf={"usage": key_usage("digital_signature", "key_cert_sign")}),
    "key_usage",
)
_AIA = x509.AuthorityInformationAccess([
    x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, _DNS("example.com"))
])
_case("rfc5280::ee-aia", _simple(leaf={"extra": [(_AIA, False)]}))
_case("rfc5280::ee-critical-aia-invalid", _simple(leaf={"extra": [(_AIA, True)]}), accepted=False)
_case(
    "rfc5280::duplicate-extensions",
    _raw(replace={"again": raw_extension(x509.SubjectAlternativeName([_DNS("a.example")]))}),
    accepted=False,
)
_case("rfc5280::no-keyusage", _simple(leaf={"usage": None}))
_case("rfc5280::no-basicconstraints", _simple(leaf={"basic_constraints": None}))
_case(
    "rfc5280::mismatching-signature-algorithm",
    # ecdsa-with-SHA384 beside the signature, ecdsa-with-SHA256 under it
    _raw(inner=bytes.fromhex("300a06082a8648ce3d040303")),
    "signature_algorithm",
)
_case("rfc5280::ca-as-leaf", lambda: _ca_as_leaf())
_case("rfc5280::root-and-intermediate-swapped", lambda: _swapped())


def _ca_empty_subject() -> Any:
    root = make(name(""), ca=True)
    return make("leaf", root), [], [root]


def _ca_as_leaf() -> Any:
    root = make("root", ca=True)
    return make("intermediate", root, ca=True, names=[_DNS("ca.example.com")]), [], [root]


def _swapped() -> Any:
    root = make("root", ca=True)
    intermediate = make("intermediate", root, ca=True)
    return make("leaf", intermediate), [root], [intermediate]


# --- rfc5280: key identifiers, serial numbers, policies, alternative names ------------------------------

_case("rfc5280::aki::critical-aki", _simple(root={"identifiers_critical": True}), "key_identifiers")
_case("rfc5280::aki::leaf-missing-aki", _simple(leaf={"aki": None}), "key_identifiers")
_case("rfc5280::aki::intermediate-missing-aki", _through({"path_length": 0, "aki": None}), "key_identifiers")
_case("rfc5280::aki::self-signed-root-missing-aki", _simple(root={"aki": None}))
_case("rfc5280::aki::cross-signed-root-missing-aki", lambda: _cross_signed_root(), "key_identifiers")
_case("rfc5280::ski::critical-ski", _simple(root={"identifiers_critical": True, "aki": None}), "key_identifiers")
_case("rfc5280::ski::root-missing-ski", _simple(root={"ski": None}), "key_identifiers")
_case("rfc5280::ski::intermediate-missing-ski", _through({"ski": None}), "key_identifiers")
_case("rfc5280::serial::number-too-long", _raw(serial=b"\x01" * 22), "serial_number")
_case("rfc5280::serial::number-zero", _raw(serial=b"\0"), "serial_number")
_case("rfc5280::serial::number-negative", _raw(serial=b"\xff"), "serial_number")
_case(
    "rfc5280::pc::ica-noncritical-pc",
    _through({"extra": [(x509.PolicyConstraints(3, None), False)]}),
    "criticality",
)
_case(
    "rfc5280::san::malformed",
    _raw(replace={"names": extension("551d11", b"a.example")}),
    accepted=False,
)
_case(
    "rfc5280::san::noncritical-with-empty-subject",
    lambda: _no_subject(),
    "empty_subject",
)
_case("rfc5280::eku::ee-without-eku", _simple(leaf={"purposes": None}))


def _cross_signed_root() -> Any:
    other = make("other root", ca=True)
    root = make("root", other, ca=True, path_length=0, aki=None)
    return make("leaf", root), [], [root]


def _no_subject() -> Any:
    root = make("root", ca=True)
    return make(name(""), root, names=[_DNS("example.com")], names_critical=False), [], [root]


# --- rfc5280::nc ------------------------------------------------------------------------------------


def _constrained(
    id: str,
    permitted: Sequence[Any] | None,
    excluded: Sequence[Any] | None,
    names: Sequence[x509.GeneralName],
    rule: str = "",
    accepted: bool = True,
    subject: str = "leaf",
    critical: bool = True,
) -> None:
    def build() -> Any:
        root = make("root", ca=True, constraints=_tree(permitted, excluded), constraints_critical=critical)
        return make(subject, root, names=names), [], [root]

    _case(f"rfc5280::nc::{id}", build, rule, accepted)


def _directory(common_name: str) -> x509.DirectoryName:
    return x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))


_V4 = _IP(ip_network("192.0.2.0/24"))
_V6 = _IP(ip_network("::1/128"))
_EXAMPLE = [_DNS("example.com")]
_constrained("permitted-dns-mismatch", _EXAMPLE, None, [_DNS("not-example.com")], accepted=False)
_constrained("excluded-dns-match", None, _EXAMPLE, _EXAMPLE, accepted=False)
_constrained("permitted-dns-match", _EXAMPLE, None, _EXAMPLE)
_constrained(
    "permitted-dns-match-noncritical", _EXAMPLE, None, _EXAMPLE, "name_constraints_critical", critical=False
)
_constrained("permitted-dns-match-more", _EXAMPLE, None, [_DNS("foo.bar.example.com")])
_constrained(
    "excluded-dns-match-second", None, [_DNS("no.example.com")], [*_EXAMPLE, _DNS("no.example.com")], accepted=False
)
_constrained("permitted-ip-mismatch", [_V4], None, [_IP(ip_address("192.0.3.1"))], accepted=False)
_constrained("excluded-ipv4-match", None, [_V4], [_IP(ip_address("192.0.2.1"))], accepted=False)
_constrained("excluded-ipv6-match", None, [_V6], [_IP(ip_address("::1"))], accepted=False)
_constrained("permitted-ipv4-match", [_V4], None, [_IP(ip_address("192.0.2.1"))])
_constrained("permitted-ipv6-match", [_V6], None, [_IP(ip_address("::1"))])
_FOO = [_directory("foo")]
_constrained("permitted-dn-mismatch", _FOO, None, [_directory("not-foo")], accepted=False, subject="not-foo")
_constrained("excluded-dn-match", None, _FOO, _FOO, accepted=False, subject="foo")
_constrained("permitted-dn-match", _FOO, None, _FOO, subject="foo")
_constrained("permitted-dn-match-subject-san-mismatch", _FOO, None, _FOO, accepted=False, subject="not-foo")
_constrained("excluded-dn-match-sub-mismatch", None, _FOO, [_directory("not-foo")], accepted=False, subject="foo")
_constrained("excluded-match-permitted-and-excluded", _EXAMPLE, _EXAMPLE, _EXAMPLE, accepted=False)
_constrained("permitted-different-constraint-type", [_V4], None, _EXAMPLE)
_constrained("excluded-different-constraint-type", None, [_V4], _EXAMPLE)
_constrained(
    "invalid-dnsname-wildcard", [_DNS("*.example.com")], None, [_DNS("foo.example.com")], accepted=False
)
_constrained(
    "invalid-dnsname-leading-period", [_DNS(".example.com")], None, [_DNS("foo.example.com")], "name_constraints"
)
_constrained(
    "invalid-ipv4-address", [_IP(ip_address("127.0.0.1"))], None, [_IP(ip_address("127.0.0.1"))], accepted=False
)
_constrained("invalid-ipv6-address", [_IP(ip_address("::1"))], None, [_IP(ip_address("::1"))], accepted=False)
_constrained(
    "invalid-email-address", [_address("a@a@example.com")], None, [_address("a@example.com")], accepted=False
)
_NC = _tree(_EXAMPLE)
_case(
    "rfc5280::nc::not-allowed-in-ee-noncritical",
    _simple(leaf={"constraints": _NC, "constraints_critical": False}),
    "name_constraints_in_leaf",
)
_case("rfc5280::nc::not-allowed-in-ee-critical", _simple(leaf={"constraints": _NC}), "name_constraints_in_leaf")


def _below(id: str, permitted: Sequence[Any], names: Sequence[Any], rule: str = "", accepted: bool = True) -> None:
    ica = {"constraints": _tree(permitted)}
    _case(f"rfc5280::nc::{id}", _through(ica, {"names": names}), rule, accepted)


_below("nc-permits-invalid-dns-san", _EXAMPLE, [_DNS(".example.com"), _DNS("foo.example.com")], "name_constraints")
_below("nc-permits-invalid-ip-san", [_V4], [_V4, _IP(ip_address("192.0.2.1"))], accepted=False)
_below(
    "nc-permits-invalid-email-san",
    [_address("example.com")],
    [_address("good@example.com"), _address("bad@address@example.com")],
    "name_constraints",
)
_below("nc-permits-email-exact", [_address("foo@example.com")], [_address("foo@example.com")])
_below("nc-permits-email-domain", [_address("example.com")], [_address("foo@example.com")])
_case(
    "rfc5280::nc::nc-forbids-othername",
    _through({"constraints": _tree(_EXAMPLE, [_OTHER])}, {"names": [*_EXAMPLE, _OTHER]}),
    accepted=False,
)
_case("rfc5280::nc::nc-forbids-othername-noop", _through({"constraints": _tree(_EXAMPLE, [_OTHER])}))


def _rolled_over(last: bool) -> Any:
    """A self-issued certificate with a name that is not permitted, above the leaf or as the leaf."""
    no = [_DNS("not-example.com")]
    root = make("not-example.com", ca=True, names=no, constraints=_tree(_EXAMPLE))
    again = make("not-example.com", root, ca=True, names=no)
    if last:
        return make("not-example.com", root, names=no, key=again.key), [], [root]
    return make("leaf", again, names=_EXAMPLE), [again], [root]


_case("rfc5280::nc::permitted-self-issued", lambda: _rolled_over(last=False))
_case("rfc5280::nc::excluded-self-issued-leaf", lambda: _rolled_over(last=True), accepted=False)


def _two_intermediates(first: dict[str, Any], second: dict[str, Any], names: Sequence[Any]) -> Callable[[], Any]:
    def build() -> Any:
        root = make("root", ca=True)
        one = make("one", root, ca=True, **first)
        two = make("two", one, ca=True, **second)
        return make("leaf", two, names=names), [one, two], [root]

    return build


_BAR = [_DNS("bar.example.com")]
_FOO_BAR = [_DNS("foo.example.com"), *_BAR]
_case(
    "rfc5280::nc::intermediate-with-san-rejected-by-intermediate-nc",
    _two_intermediates({"constraints": _tree(None, _BAR)}, {"names": _BAR}, _EXAMPLE),
    accepted=False,
)
_case(
    "rfc5280::nc::restrictive-permits-in-intermediates-narrows",
    _two_intermediates({"constraints": _tree(_FOO_BAR)}, {"constraints": _tree(_BAR)}, _FOO_BAR[:1]),
    accepted=False,
)
_case(
    "rfc5280::nc::restrictive-permits-in-intermediates-widens",
    _two_intermediates({"constraints": _tree(_BAR)}, {"constraints": _tree(_FOO_BAR)}, _FOO_BAR[:1]),
    accepted=False,
)

# --- cve, webpki, pathlen -----------------------------------------------------------------------------

_WILDCARD = [_DNS("*.example.com")]
_case(
    "cve::cve-2025-61727",
    _through({"constraints": _tree(_EXAMPLE, _BAR)}, {"names": _WILDCARD}),
    "name_constraints",
)
_case(
    "cve::cve-2025-61727-nc-permits-variant",
    _through({"constraints": _tree(_FOO_BAR[:1])}, {"names": _WILDCARD}),
    accepted=False,
)
_case(
    "webpki::malformed-aia",
    _simple(leaf={"extra": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.1"), b"bad"), False)]}),
    "extensions",
)
_case("webpki::san::leftmost-wildcard-san", _simple(leaf={"names": _WILDCARD}))
for _id, _name in (
    ("wildcard-embedded-leftmost-san", b"ba*.example.com"),
    ("wildcard-not-in-leftmost-san", b"foo.*.example.com"),
    ("wildcard-embedded-ulabel-san", b"xn--*-1b3c148a.example.com"),
    ("unicode-emoji-san", "\U0001f61c.example.com".encode()),
    ("underscore", b"a_b.example.com"),
):
    _case(f"webpki::san::{_id}", _raw(replace={"names": general_names((0x82, _name))}), "dns_names")
_case(
    "webpki::v1-cert",
    _raw(version=b"", extensions=[]),
    "version",
)
_case(
    "webpki::ee-basicconstraints-ca",
    _simple(leaf={"basic_constraints": x509.BasicConstraints(True, None)}),
    "key_usage",
)
_case("webpki::ku::ee-rsa-without-any-usages", _raw(replace={"usage": raw_extension(_NO_BITS, True)}), accepted=False)
_case(
    "webpki::nc::intermediate-permitted-excluded-subtrees-both-null",
    _through({"constraints": _tree(None)}),
    "name_constraints",
)
_case(
    "webpki::nc::intermediate-permitted-excluded-subtrees-both-empty-sequences",
    _through({"constraints": _tree([], [])}),
    "name_constraints",
)


def _identified(aki: x509.AuthorityKeyIdentifier | None) -> Callable[[], Any]:
    return _simple(root={"aki": aki})


def _partial_identifier(issuer: bool, serial: bool) -> x509.AuthorityKeyIdentifier:
    identifier = x509.AuthorityKeyIdentifier(b"\1" * 20, None, None)
    identifier._authority_cert_issuer = [_directory("root")] if issuer else None
    identifier._authority_cert_serial_number = 1234 if serial else None
    return identifier


_case(
    "webpki::aki::root-with-aki-missing-keyidentifier",
    _identified(x509.AuthorityKeyIdentifier(None, None, None)),
    "key_identifiers",
)
_case("webpki::aki::root-with-aki-ski-mismatch", _identified(_partial_identifier(False, False)), "key_identifiers")
_case(
    "webpki::aki::root-with-aki-authoritycertissuer",
    _identified(_partial_identifier(True, False)),
    "key_identifiers",
)
_case(
    "webpki::aki::root-with-aki-authoritycertserialnumber",
    _identified(_partial_identifier(False, True)),
    "key_identifiers",
)


def _lengths(*lengths: int | None) -> Callable[[], Any]:
    """A chain of intermediates with these path lengths, the first below the root."""

    def build() -> Any:
        root = make("root", ca=True)
        above, sent = root, []
        for place, length in enumerate(lengths):
            above = make(f"intermediate {place}", above, ca=True, path_length=length)
            sent.append(above)
        return make("leaf", above), sent, [root]

    return build


for _length in (0, 1, 2):
    _case(f"pathlen::ee-with-intermediate-pathlen-{_length}", _lengths(_length))
_case("pathlen::intermediate-violates-pathlen-0", _lengths(0, 0), accepted=False)
_case("pathlen::intermediate-pathlen-may-increase", _lengths(1, 2))
_case("pathlen::intermediate-pathlen-too-long", _lengths(1, 0, 0), accepted=False)


def _self_issued() -> Any:
    root = make("root", ca=True)
    one = make("intermediate", root, ca=True, path_length=1)
    two = make("intermediate", one, ca=True, path_length=1)
    three = make("last", two, ca=True, path_length=0)
    return make("leaf", three), [one, two, three], [root]


def _pathlen_in_leaf() -> Any:
    root = make("root", ca=True)
    one = make("one", root, ca=True, path_length=0)
    return make("two", one, ca=True, path_length=0), [one], [root]


_case("pathlen::self-issued-certs-pathlen", _self_issued)
_case("pathlen::validation-ignores-pathlen-in-leaf", _pathlen_in_leaf)

# --- not of limbo: what else the issue names -------------------------------------------------------------

for _id, _general_name, _rule in (
    ("nul-in-dns-name", (0x82, b"a.example\0.evil"), "control_characters"),
    ("newline-in-uri", (0x86, b"https://a.example/\nx"), "control_characters"),
    ("leading-dot", (0x82, b".a.example"), "dns_names"),
    ("address-without-at", (0x81, b"a.example"), "alternative_names"),
    ("relative-uri", (0x86, b"/a"), "alternative_names"),
    ("address-of-five-bytes", (0x87, b"12345"), "alternative_names"),
):
    _case(f"own::{_id}", _raw(replace={"names": general_names(_general_name)}), _rule)
for _id, _subject, _rule in (
    ("nul-in-subject", raw_name(("550403", 0x0C, b"a\0b")), "control_characters"),
    ("escape-in-subject", raw_name(("550403", 0x0C, b"a\x1b[31m")), "control_characters"),
    ("turned-text-in-subject", raw_name(("550403", 0x0C, "a\u202eb".encode())), "control_characters"),
    ("ampersand-in-printable-string", raw_name(("550403", 0x13, b"a&b")), "strings"),
    ("latin-1-in-utf8-string", raw_name(("550403", 0x0C, b"\xe9")), ""),
    ("country-of-three-letters", raw_name(("550406", 0x13, b"USA"), ("550403", 0x0C, b"a")), "attribute_lengths"),
    ("empty-attribute", raw_name(("55040a", 0x0C, b""), ("550403", 0x0C, b"a")), "attribute_lengths"),
):
    _case(f"own::{_id}", _raw(subject=_subject), _rule, accepted=bool(_rule))
_case("own::early-generalized-time", _raw(
    validity=[tlv(0x17, b"250101000000Z"), tlv(0x18, b"20491231235959Z")]
), "validity")
_case("own::critical-false-written-out", _raw(
    replace={"aki": raw_extension(x509.UnrecognizedExtension(_UNKNOWN, b""), b"\x01\x01\x00")}
), "encoding")
_case("own::unique-identifier", _raw(middle=tlv(0x81, b"\0\1")), "version")
_case("own::two-keys-one-name", lambda: _renewed_root())


def _renewed_root() -> Any:
    key = ec.generate_private_key(ec.SECP256R1())
    old = make("root", ca=True, key=key)
    new = make("root", ca=True, key=key)
    return make("leaf", old), [], [new]
