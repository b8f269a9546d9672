"""The rules of RFC 5280 for one certificate, each by its name.

Each function gives what is wrong, in words and without saying of which certificate.  A part that cannot be
read raises :class:`~edgegw.der.DERError`, which is a fault of the rule that needed it.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

from edgegw.certificate import Certificate
from edgegw.der import GENERALIZED_TIME, OID, SEQUENCE, UTC_TIME, DERError, expect, only, read
from edgegw.policies.certificate_parts import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    CRL_SIGN,
    KEY_CERT_SIGN,
    MOST_NAMES,
    NAME_CONSTRAINTS,
    SUBJECT_ALT_NAME,
    SUBJECT_KEY_IDENTIFIER,
    CertificateParts,
    x509_extensions,
)
from edgegw.policies.details import shown
from edgegw.policies.directory_names import EMAIL_ADDRESS, Attribute, attributes
from edgegw.policies.name_rules import (
    DIRECTORY_NAME,
    DNS_NAME,
    OTHER_NAME,
    alternative_name_fault,
    control_fault,
    dns_fault,
    name_text,
    shown_name,
)

__all__ = ["RULES", "X509_STRICT", "Rule", "Subject", "time_fault"]


class Rule(str, Enum):
    """What ``rules`` and ``without`` of the policy may name."""

    ALL = "all"
    X509_STRICT = "x509_strict"
    VERSION = "version"
    SIGNATURE_ALGORITHM = "signature_algorithm"
    BASIC_CONSTRAINTS = "basic_constraints"
    BASIC_CONSTRAINTS_CRITICAL = "basic_constraints_critical"
    KEY_USAGE = "key_usage"
    EMPTY_NAMES = "empty_names"
    KEY_IDENTIFIERS = "key_identifiers"
    NAME_CONSTRAINTS = "name_constraints"
    NAME_CONSTRAINTS_CRITICAL = "name_constraints_critical"
    NAME_CONSTRAINTS_IN_LEAF = "name_constraints_in_leaf"
    DNS_NAMES = "dns_names"
    ALTERNATIVE_NAMES = "alternative_names"
    EMPTY_SUBJECT = "empty_subject"
    CONTROL_CHARACTERS = "control_characters"
    STRINGS = "strings"
    ATTRIBUTE_LENGTHS = "attribute_lengths"
    SERIAL_NUMBER = "serial_number"
    VALIDITY = "validity"
    CRITICALITY = "criticality"
    EXTENSIONS = "extensions"
    ENCODING = "encoding"

    def __str__(self) -> str:
        return self.value


class Subject(NamedTuple):
    """A certificate, and where it stands.

    :ivar place: in its chain, 0 for the client's own.
    :ivar last: whether it is the last one of its chain.
    """

    certificate: Certificate
    parts: CertificateParts
    place: int
    last: bool


Faults = Iterator[str]

# --- X509_STRICT ----------------------------------------------------------------------------------


def version(subject: Subject) -> Faults:
    """§4.1.2.1, §4.1.2.8: whoever has extensions has version 3, and every conforming CA's certificate has some."""
    parts = subject.parts
    if parts.version != 3:
        what = "and has extensions" if parts.extensions else "where a CA that keeps to RFC 5280 issues version 3"
        yield f"it is of version {parts.version}, {what}"
    if parts.unique_ids:
        yield "it has unique identifiers"


def signature_algorithm(subject: Subject) -> Faults:
    """§4.1.1.2: what says how it is signed stands under the signature, too."""
    if subject.parts.inner_algorithm != subject.parts.outer_algorithm:
        yield "the signature algorithm under the signature is another than the one beside it"


def basic_constraints(subject: Subject) -> Faults:
    """§4.2.1.9: CAs say that they are, and only they limit a path's length."""
    parts = subject.parts
    found = parts.basic_constraints
    if found is None:
        if subject.place:
            yield "an issuer without basicConstraints"
        return
    if subject.place and not found.ca:
        yield "an issuer whose basicConstraints do not say that it is a CA"
    if found.path_length is not None:
        if not found.ca:
            yield "a path length in a certificate that is no CA's"
        elif not (parts.key_usage or 0) & KEY_CERT_SIGN:
            yield "a path length without keyCertSign"


def basic_constraints_critical(subject: Subject) -> Faults:
    """§4.2.1.9: a CA's must be."""
    extension = subject.parts.extension(BASIC_CONSTRAINTS)
    if extension is not None and subject.parts.ca and not extension.critical:
        yield "basicConstraints of a CA that are not critical"


def key_usage(subject: Subject) -> Faults:
    """§4.2.1.3: who signs certificates says so, and nobody else."""
    parts = subject.parts
    usage = parts.key_usage
    if usage is None:
        if parts.ca:
            yield "a CA without keyUsage"
    elif not usage:
        yield "a keyUsage that has no bit set"
    elif parts.ca and not usage & KEY_CERT_SIGN:
        yield "a CA whose keyUsage lacks keyCertSign"
    elif usage & KEY_CERT_SIGN and not parts.ca:
        yield "keyCertSign in a certificate that is no CA's"


def empty_names(subject: Subject) -> Faults:
    """§4.1.2.4, §4.1.2.6, §4.2.1.6: issuers have names, and every subject has one somewhere."""
    parts = subject.parts
    if not parts.issuer:
        yield "an empty issuer"
    if not parts.subject:
        if parts.ca:
            yield "a CA with an empty subject"
        elif (parts.key_usage or 0) & CRL_SIGN:
            yield "an issuer of CRLs with an empty subject"
        elif parts.extension(SUBJECT_ALT_NAME) is None:
            yield "neither subject nor alternative names"
    if parts.alternative_names == ():
        yield "a subjectAltName without a name"


def key_identifiers(subject: Subject) -> Faults:
    """§4.2.1.1, §4.2.1.2: what chains are built by."""
    parts = subject.parts
    for oid, name in ((SUBJECT_KEY_IDENTIFIER, "subject"), (AUTHORITY_KEY_IDENTIFIER, "authority")):
        extension = parts.extension(oid)
        if extension is not None and extension.critical:
            yield f"{name}KeyIdentifier is critical"
    own, authority = parts.subject_key_identifier, parts.authority_key_identifier
    if own is None and parts.ca:
        yield "a CA without subjectKeyIdentifier"
    self_signed = subject.last and parts.self_issued
    if authority is None:
        if not self_signed:
            yield "no authorityKeyIdentifier"
        return
    if authority.key_identifier is None:
        yield "an authorityKeyIdentifier without keyIdentifier"
    elif self_signed and own is not None and authority.key_identifier != own:
        yield "a self-signed certificate with two key identifiers"
    if authority.issuer != authority.serial:
        yield "an authorityKeyIdentifier with one of authorityCertIssuer and authorityCertSerialNumber"


# --- names ----------------------------------------------------------------------------------------


def name_constraints_critical(subject: Subject) -> Faults:
    """§4.2.1.10: they must be."""
    extension = subject.parts.extension(NAME_CONSTRAINTS)
    if extension is not None and not extension.critical:
        yield "nameConstraints that are not critical"


def name_constraints_in_leaf(subject: Subject) -> Faults:
    """§4.2.1.10: only a CA has any."""
    if subject.parts.extension(NAME_CONSTRAINTS) is not None and not subject.parts.ca:
        yield "nameConstraints in a certificate that is no CA's"


def dns_names(subject: Subject) -> Faults:
    """§4.2.1.6: DNS names in the preferred name syntax, or a wildcard and one of them."""
    for tag, contents in _alternative_names(subject):
        if tag == DNS_NAME and (fault := dns_fault(contents)) is not None:
            yield f"{shown_name(tag, contents)} {fault}"


def alternative_names(subject: Subject) -> Faults:
    """§4.2.1.6: the other names are what their kinds say."""
    for tag, contents in _alternative_names(subject):
        if tag != DNS_NAME and (fault := alternative_name_fault(tag, contents)) is not None:
            yield f"{shown_name(tag, contents)} {fault}"


def _alternative_names(subject: Subject) -> tuple[tuple[int, bytes], ...]:
    names = subject.parts.alternative_names or ()
    if len(names) > MOST_NAMES:
        raise DERError(f"more than {MOST_NAMES} alternative names")
    return names


def empty_subject(subject: Subject) -> Faults:
    """§4.2.1.6: without a subject the alternative names must be critical."""
    extension = subject.parts.extension(SUBJECT_ALT_NAME)
    if not subject.parts.subject and extension is not None and not extension.critical:
        yield "an empty subject and a subjectAltName that is not critical"


def control_characters(subject: Subject) -> Faults:
    """Nobody who reads a name is to be misled by what is not seen of it."""
    for what, found in _directory_names(subject):
        yield from _controls(what, found)
    for tag, contents in _alternative_names(subject):
        if tag == DIRECTORY_NAME:
            yield from _controls("a directoryName", attributes(only(contents, SEQUENCE)))
            continue
        text = _other_name_text(contents) if tag == OTHER_NAME else name_text(tag, contents)
        fault = control_fault(text or "")
        if fault is not None:
            yield f"{fault} in {shown_name(tag, contents)}"


def _other_name_text(contents: bytes) -> str | None:
    """Give the value of an ``otherName`` that is a string, such as a Windows principal's name."""
    at = expect(contents, 0, len(contents), OID)[1]
    start, stop = expect(contents, at, len(contents), 0xA0)
    tag, first, last = read(contents, start, stop)
    return Attribute(b"", tag, contents[first:last], 0).text(strict=False)


def _directory_names(subject: Subject) -> tuple[tuple[str, tuple[Attribute, ...]], ...]:
    return ("subject", subject.parts.subject_attributes), ("issuer", subject.parts.issuer_attributes)


def _controls(what: str, found: Iterable[Attribute]) -> Faults:
    for attribute in found:
        fault = control_fault(attribute.text(strict=False) or "")
        if fault is not None:
            yield f"{fault} in the {what}"


def strings(subject: Subject) -> Faults:
    """Appendix A, X.680 §41: a string has the characters of its type only."""
    for what, found in _directory_names(subject):
        for attribute in found:
            try:
                attribute.text()
            except DERError as error:
                yield f"{error}, in the {what}"


#: The most characters of an attribute (Appendix A.1), by its type.
_LENGTHS: Mapping[bytes, tuple[str, int]] = {
    bytes.fromhex("550403"): ("commonName", 64),
    bytes.fromhex("550405"): ("serialNumber", 64),
    bytes.fromhex("550406"): ("countryName", 2),
    bytes.fromhex("550407"): ("localityName", 128),
    bytes.fromhex("550408"): ("stateOrProvinceName", 128),
    bytes.fromhex("55040a"): ("organizationName", 64),
    bytes.fromhex("55040b"): ("organizationalUnitName", 64),
    bytes.fromhex("55040c"): ("title", 64),
    bytes.fromhex("550441"): ("pseudonym", 128),
    EMAIL_ADDRESS: ("emailAddress", 255),
}


def attribute_lengths(subject: Subject) -> Faults:
    """Appendix A.1: the upper bounds of a name's attributes, none of which is empty."""
    for what, found in _directory_names(subject):
        for attribute in found:
            text = attribute.text(strict=False)
            if text == "":
                yield f"an empty attribute in the {what}"
            label, most = _LENGTHS.get(attribute.oid, ("", 32_768))
            if text is not None and len(text) > most:
                yield f"a {label or 'text'} of {len(text)} characters in the {what}, where {most} are allowed"


# --- the rest -------------------------------------------------------------------------------------


def serial_number(subject: Subject) -> Faults:
    """§4.1.2.2: positive, and 20 bytes at most."""
    serial = subject.parts.serial
    value = int.from_bytes(serial, "big", signed=True)
    if value <= 0:
        yield "a serial number that is zero" if value == 0 else "a serial number that is negative"
    if len(serial) > 20:
        yield f"a serial number of {len(serial)} bytes, where 20 are allowed"


_TIMES = {
    UTC_TIME: (re.compile(rb"([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z"), "UTCTime"),
    GENERALIZED_TIME: (
        re.compile(rb"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z"), "GeneralizedTime"
    ),
}


def time_fault(tag: int, text: bytes) -> str | None:
    """Say what is wrong with the encoding of a time (§4.1.2.5); of a CRL's, too (§5.1.2.4)."""
    if tag not in _TIMES:
        return "a time of neither type"
    pattern, name = _TIMES[tag]
    match = pattern.fullmatch(text)
    if match is None:
        return f"a {name} that is not the date, hours, minutes and seconds, and Z"
    year, month, day, hour, minute, second = map(int, match.groups())
    if tag == UTC_TIME:
        year += 2000 if year < 50 else 1900
    elif year < 2050:
        return "a GeneralizedTime before 2050"
    try:
        datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return "a time that no calendar or clock has"
    return None


def validity(subject: Subject) -> Faults:
    """§4.1.2.5: times as they must be written, the first not after the second."""
    parts = subject.parts
    for what, (tag, text) in (("notBefore", parts.not_before), ("notAfter", parts.not_after)):
        fault = time_fault(tag, text)
        if fault is not None:
            yield f"{fault}, as {what}"
    begin, end = subject.certificate.not_before, subject.certificate.not_after
    if begin is not None and end is not None and begin > end:
        yield "notBefore is after notAfter"


_NEVER_CRITICAL = {
    bytes.fromhex("551d09"): "subjectDirectoryAttributes",  # §4.2.1.8
    bytes.fromhex("551d2e"): "freshestCRL",  # §4.2.1.15
    bytes.fromhex("2b06010505070101"): "authorityInfoAccess",  # §4.2.2.1
    bytes.fromhex("2b0601050507010b"): "subjectInfoAccess",  # §4.2.2.2
}
_ALWAYS_CRITICAL = {
    bytes.fromhex("551d24"): "policyConstraints",  # §4.2.1.11
    bytes.fromhex("551d36"): "inhibitAnyPolicy",  # §4.2.1.14
}


def criticality(subject: Subject) -> Faults:
    """§4.2: what must and must not be critical, of extensions that have no rule of their own."""
    for extension in subject.parts.extensions:
        if extension.critical and extension.oid in _NEVER_CRITICAL:
            yield f"{_NEVER_CRITICAL[extension.oid]} is critical"
        elif not extension.critical and extension.oid in _ALWAYS_CRITICAL:
            yield f"{_ALWAYS_CRITICAL[extension.oid]} is not critical"


def extensions(subject: Subject) -> Faults:
    """§4.2: none twice, and each that is known is what it should be."""
    found = [one.oid for one in subject.parts.extensions]
    if len(set(found)) != len(found):
        yield "an extension twice"
        return
    try:
        x509_extensions(subject.certificate)
    except DERError as error:
        yield f"extensions that cannot be read: {shown(str(error))}"


def encoding(subject: Subject) -> Faults:
    """§4.1: DER, where OpenSSL reads BER."""
    yield from subject.parts.unusual


#: What each rule asks of one certificate; ``name_constraints``, which asks of a chain, is not here.
RULES: Mapping[Rule, Callable[[Subject], Faults]] = {
    Rule.VERSION: version,
    Rule.SIGNATURE_ALGORITHM: signature_algorithm,
    Rule.BASIC_CONSTRAINTS: basic_constraints,
    Rule.BASIC_CONSTRAINTS_CRITICAL: basic_constraints_critical,
    Rule.KEY_USAGE: key_usage,
    Rule.EMPTY_NAMES: empty_names,
    Rule.KEY_IDENTIFIERS: key_identifiers,
    Rule.NAME_CONSTRAINTS_CRITICAL: name_constraints_critical,
    Rule.NAME_CONSTRAINTS_IN_LEAF: name_constraints_in_leaf,
    Rule.DNS_NAMES: dns_names,
    Rule.ALTERNATIVE_NAMES: alternative_names,
    Rule.EMPTY_SUBJECT: empty_subject,
    Rule.CONTROL_CHARACTERS: control_characters,
    Rule.STRINGS: strings,
    Rule.ATTRIBUTE_LENGTHS: attribute_lengths,
    Rule.SERIAL_NUMBER: serial_number,
    Rule.VALIDITY: validity,
    Rule.CRITICALITY: criticality,
    Rule.EXTENSIONS: extensions,
    Rule.ENCODING: encoding,
}

#: What OpenSSL asks under ``X509_V_FLAG_X509_STRICT``.
X509_STRICT = frozenset({
    Rule.VERSION,
    Rule.SIGNATURE_ALGORITHM,
    Rule.BASIC_CONSTRAINTS,
    Rule.BASIC_CONSTRAINTS_CRITICAL,
    Rule.KEY_USAGE,
    Rule.EMPTY_NAMES,
    Rule.KEY_IDENTIFIERS,
})
