"""What an OCSP responder has answered, taken only if it is about the certificate, in time, and signed by who may.

RFC 6960 §3.2 lists what must hold before an answer says anything, §4.2.2.2 who may sign it.  ``cryptography`` takes
an answer apart and judges nothing; which extensions are critical it does not say of answers about several
certificates, and not at all with which parameters RSASSA-PSS was used.  These are read here.
"""
from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import new as new_hash
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from edgegw.certificate import Certificate
from edgegw.der import OCTET_STRING, OID, SEQUENCE, DERError, elements, expect, only, read
from edgegw.policies.certificate_parts import (
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    CertificateParts,
    Extension,
    authority_parts,
    read_extensions,
)
from edgegw.policies.details import shown
from edgegw.policies.directory_names import canonical
from edgegw.policies.ocsp_questions import BIT_STRING, Question, key_hash
from edgegw.policies.signatures import is_signed, load_public_key, signature_scheme, to_be_signed

__all__ = ["GOOD", "REVOKED", "UNKNOWN", "Answer", "Rules", "UnusableAnswer", "read_answer"]

GOOD: Final = "good"
REVOKED: Final = "revoked"
UNKNOWN: Final = "unknown"

_STATUSES: Final = {
    ocsp.OCSPCertStatus.GOOD: GOOD,
    ocsp.OCSPCertStatus.REVOKED: REVOKED,
    ocsp.OCSPCertStatus.UNKNOWN: UNKNOWN,
}
_ID_HASHES: Final = frozenset({"sha1", "sha256", "sha384", "sha512"})
_EXTENSIONS: Final = 0xA1
_NONCE: Final = bytes.fromhex("2b0601050507300102")
_NO_CHECK: Final = bytes.fromhex("2b0601050507300105")
_EXTENDED_KEY_USAGE: Final = bytes.fromhex("551d25")
_OCSP_SIGNING: Final = bytes.fromhex("2b06010505070309")
_DIGITAL_SIGNATURE: Final = 0x8000
#: Extensions of a responder's certificate that may be critical.
_UNDERSTOOD: Final = frozenset({BASIC_CONSTRAINTS, KEY_USAGE, _EXTENDED_KEY_USAGE, _NO_CHECK})
#: Certificates in an answer that are looked at.
_MOST_CERTIFICATES: Final = 8
#: How old an answer may be that does not say when the next one comes: it should have been made for the question.
_MOST_AGE: Final = timedelta(minutes=5)


class UnusableAnswer(ValueError):
    """An answer that says nothing; the text tells why."""


@frozen
class Rules:
    """How strictly answers are judged.

    :ivar clock_skew: by how much the clocks of responder and gateway may differ.
    :ivar nonce_required: whether an answer must repeat the nonce.
    :ivar nocheck_required: whether a responder that speaks for a CA must be exempt from being revoked itself
        (``id-pkix-ocsp-nocheck``, RFC 6960 §4.2.2.2.1); otherwise a certificate without that is trusted while it
        is valid.
    """

    clock_skew: timedelta = timedelta(seconds=60)
    nonce_required: bool = False
    nocheck_required: bool = True


@frozen
class Answer:
    """What is known of a certificate.

    :ivar status: ``good``, ``revoked`` or ``unknown``.
    :ivar next_update: when newer knowledge is there at the latest; ``None`` for an answer that must not be kept.
    :ivar revoked: when and why, in words; empty for one that is not revoked.
    """

    status: str
    this_update: datetime
    next_update: datetime | None
    revoked: str = ""


def read_answer(data: bytes, question: Question, now: datetime, rules: Rules) -> Answer:
    """Read the answer to a question.

    :param data: DER of an ``OCSPResponse``.
    :raises UnusableAnswer: it says nothing about the certificate.
    """
    try:
        return _read(data, question, now, rules)
    except UnusableAnswer:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise UnusableAnswer(f"an OCSP response that is broken: {shown(str(error))}") from None


def _read(data: bytes, question: Question, now: datetime, rules: Rules) -> Answer:
    response = ocsp.load_der_ocsp_response(data)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise UnusableAnswer(f"the responder answers {response.response_status.name.lower()}")
    basic = _basic(data)
    _check_signature(response, basic, question, now, rules)
    extensions = _extensions(basic.signed)
    if any(one.critical and one.oid != _NONCE for one in extensions):
        raise UnusableAnswer("it has a critical extension that is not known")
    _check_nonce(extensions, question, rules)
    single = _find(response, question)
    begin, end = single.this_update_utc, single.next_update_utc
    if begin > now + rules.clock_skew:
        raise UnusableAnswer(f"it holds only from {begin:%Y-%m-%dT%H:%M:%SZ} on")
    if end is None and now - rules.clock_skew > begin + _MOST_AGE:
        raise UnusableAnswer(f"it is of {begin:%Y-%m-%dT%H:%M:%SZ} and does not say until when it holds")
    if end is not None and now - rules.clock_skew > end:
        raise UnusableAnswer(f"it holds only until {end:%Y-%m-%dT%H:%M:%SZ}")
    status = _STATUSES[single.certificate_status]
    revoked = ""
    if status == REVOKED:
        when, reason = single.revocation_time_utc, single.revocation_reason
        revoked = f"on {when:%Y-%m-%d}" + (f" ({reason.value})" if reason is not None else "")
    return Answer(status, begin, end, revoked)


# --- the parts ------------------------------------------------------------------------------


@frozen
class _Basic:
    """A ``BasicOCSPResponse``: ``signed`` is its ``ResponseData``, DER with the tag."""

    signed: bytes
    algorithm: bytes
    signature: bytes


def _basic(data: bytes) -> _Basic:
    body = only(data, SEQUENCE)
    (_, _, at), (tag, start, stop) = elements(body)
    if tag != 0xA0 or stop != len(body) or at == stop:
        raise DERError("an OCSP response without an answer")
    inner = only(body[start:stop], SEQUENCE)
    _, at = expect(inner, 0, len(inner), OID)
    basic = only(only(inner[at:], OCTET_STRING), SEQUENCE)
    end = expect(basic, 0, len(basic), SEQUENCE)[1]
    after = expect(basic, end, len(basic), SEQUENCE)[1]
    first, last = expect(basic, after, len(basic), BIT_STRING)
    if last - first < 2 or basic[first]:
        raise DERError("a signature that is no string of bytes")
    return _Basic(basic[:end], basic[end:after], basic[first + 1:last])


def _extensions(signed: bytes) -> list[Extension]:
    """Give the extensions of an answer, and those about each certificate in it."""
    body = only(signed, SEQUENCE)
    found: list[Extension] = []
    answered = False
    for tag, start, stop in elements(body):
        if tag == SEQUENCE:
            answered = True
            for _, first, last in elements(body, start, stop):
                # The certificate, its status, a time, and then what may be left out.
                for inner, begin, end in list(elements(body, first, last))[3:]:
                    if inner == _EXTENSIONS:
                        found += read_extensions(body, begin, end, [])
        elif answered and tag == _EXTENSIONS:
            # The responder's name before the answers has the same tag.
            found += read_extensions(body, start, stop, [])
    return found


def _check_nonce(extensions: list[Extension], question: Question, rules: Rules) -> None:
    nonces = [_unwrapped(one.value) for one in extensions if one.oid == _NONCE]
    if question.nonce is None:
        return
    if nonces and nonces != [question.nonce]:
        raise UnusableAnswer("it has another nonce than the request")
    if not nonces and rules.nonce_required:
        raise UnusableAnswer("it does not repeat the nonce")


def _unwrapped(value: bytes) -> bytes:
    try:
        return only(value, OCTET_STRING)
    except DERError:
        # Before RFC 6960 nobody had said that a nonce is an octet string.
        return value


def _find(response: ocsp.OCSPResponse, question: Question) -> Any:
    """Give what the answer says about the certificate that was asked about; the worst, if it says several things."""
    found = None
    for single in response.responses:
        digest = single.hash_algorithm.name
        if single.serial_number != question.serial or digest not in _ID_HASHES:
            continue
        name, key = [new_hash(digest, one, usedforsecurity=False).digest() for one in (question.name, question.key)]
        if (single.issuer_name_hash, single.issuer_key_hash) == (name, key):
            if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
                return single
            found = found or single
    if found is None:
        raise UnusableAnswer("it is about another certificate")
    return found


# --- who has signed it ----------------------------------------------------------------------


def _check_signature(
    response: ocsp.OCSPResponse, basic: _Basic, question: Question, now: datetime, rules: Rules
) -> None:
    """Make sure that the issuer has signed the answer, or somebody whom it has charged with that.

    :raises UnusableAnswer: nobody of them has.
    """
    scheme = signature_scheme(basic.algorithm)
    if scheme.weak:
        raise UnusableAnswer(f"it is signed with {scheme.name}")
    prepared = to_be_signed(scheme, basic.signed)
    problem = "it is signed by nobody who is known"
    for signer in _candidates(response, question):
        parts = authority_parts(signer)
        # Who is not charged with answering chooses no key that is then calculated with.
        problem = "" if signer == question.issuer else _delegate_fault(signer, parts, question.issuer, now, rules)
        if problem:
            continue
        if is_signed(scheme, load_public_key(parts.public_key), basic.signature, prepared):
            return
        problem = "its signature is wrong"
    raise UnusableAnswer(problem)


def _candidates(response: ocsp.OCSPResponse, question: Question) -> Iterator[Certificate]:
    """Give the certificates that are who the responder says that it is."""
    name = response.responder_name
    wanted = None if name is None else canonical(only(name.public_bytes(), SEQUENCE))
    given = [Certificate(one.public_bytes(Encoding.DER)) for one in response.certificates[:_MOST_CERTIFICATES]]
    for one in (question.issuer, *given):
        parts = authority_parts(one)
        if wanted is None:
            if key_hash(parts) == response.responder_key_hash:
                yield one
        elif parts.subject_name == wanted:
            yield one


def _delegate_fault(
    signer: Certificate, parts: CertificateParts, issuer: Certificate, now: datetime, rules: Rules
) -> str:
    """Say why a responder may not speak for a CA (RFC 6960 §4.2.2.2); empty if it may."""
    who = f"the responder {shown(signer.subject)}"
    try:
        signer.x509.verify_directly_issued_by(issuer.x509)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, x509.InvalidVersion):
        return f"{who} was not charged by the certificate's issuer"
    if signer.not_before is None or signer.not_after is None or not signer.not_before <= now <= signer.not_after:
        return f"the certificate of {who} is not valid now"
    if _OCSP_SIGNING not in _purposes(parts):
        return f"the certificate of {who} is not for signing OCSP responses"
    if parts.key_usage is not None and not parts.key_usage & _DIGITAL_SIGNATURE:
        return f"the certificate of {who} is not for signatures"
    if any(one.critical and one.oid not in _UNDERSTOOD for one in parts.extensions):
        return f"the certificate of {who} has a critical extension that is not known"
    if rules.nocheck_required and parts.extension(_NO_CHECK) is None:
        return f"the certificate of {who} may be revoked itself: it lacks id-pkix-ocsp-nocheck"
    return ""


def _purposes(parts: CertificateParts) -> list[bytes]:
    extension = parts.extension(_EXTENDED_KEY_USAGE)
    if extension is None:
        return []
    body = only(extension.value, SEQUENCE)
    purposes = []
    at = 0
    while at < len(body):
        tag, start, at = read(body, at, len(body))
        if tag != OID:
            raise DERError("a purpose that is no object identifier")
        purposes.append(body[start:at])
    return purposes
