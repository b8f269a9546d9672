"""OCSP responses about the gateway's own certificates: what may be shown, and what to ask for it."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from edgegw.certificate import Certificate
from edgegw.der import INTEGER, SEQUENCE, elements, only
from edgegw.model import ServerCertificate
from edgegw.policies.certificate_parts import certificate_parts
from edgegw.policies.ocsp_answers import GOOD, Answer, Rules, UnusableAnswer, read_answer
from edgegw.policies.ocsp_questions import Question, ask_about

__all__ = [
    "RULES",
    "Staple",
    "Stapling",
    "certificates_in",
    "must_staple",
    "question_about",
    "read_staple",
    "staple_of",
]

_TLS_FEATURE: Final = bytes.fromhex("2b06010505070118")
_STATUS_REQUEST: Final = b"\x05"
#: For how long a response is shown that does not say until when it holds.
_HOLDS: Final = timedelta(hours=1)

#: It is the clients who judge whether a responder that could itself be revoked counts.
RULES: Final = Rules(nocheck_required=False)


@frozen
class Stapling:
    """A certificate of the gateway's whose status is to be shown.

    :ivar fetch: whether its responder is asked; otherwise :meth:`~edgegw.tls.stapling.Stapler.give` brings its
        response.
    :ivar responder: the URL to ask in place of those that the certificate names.
    """

    certificate: ServerCertificate
    fetch: bool = True
    responder: str | None = None


@frozen
class Staple:
    """A response that may be shown.

    :ivar der: of the ``OCSPResponse``.
    :ivar begin: since when it holds; ``end`` is until when it is shown.
    """

    der: bytes
    begin: datetime
    end: datetime


def must_staple(certificate: Certificate) -> bool:
    """Whether clients may refuse a certificate that is shown without a response (RFC 7633).

    :raises DERError: the certificate is not DER.
    """
    extension = certificate_parts(certificate.der).extension(_TLS_FEATURE)
    if extension is None:
        return False
    body = only(extension.value, SEQUENCE)
    return any(tag == INTEGER and body[start:stop] == _STATUS_REQUEST for tag, start, stop in elements(body))


def read_staple(
    certificate: ServerCertificate, data: bytes, issuers: Iterable[bytes] = (), now: datetime | None = None
) -> Staple:
    """Read a response from a file, for :meth:`~edgegw.tls.stapling.Stapler.give`.

    :param data: DER, as ``openssl ocsp -respout`` writes it.
    :param issuers: as for :class:`~edgegw.tls.stapling.Stapler`.
    :param now: the time to judge by; the present without it.
    :raises ValueError: it is no response, is about another certificate, does not hold now, or does not say that the
        certificate is good.
    """
    moment = datetime.now(UTC) if now is None else now
    answer = read_answer(data, question_about(certificate, certificates_in(issuers)), moment, RULES)
    return staple_of(answer, data, moment)


def staple_of(answer: Answer, der: bytes, now: datetime) -> Staple:
    """Make a staple of an answer.

    :param der: of the same answer.
    :raises UnusableAnswer: it does not say that the certificate is good.
    """
    if answer.status != GOOD:
        raise UnusableAnswer(f"it says that the certificate is {answer.status} {answer.revoked}".rstrip())
    return Staple(der, answer.this_update, now + _HOLDS if answer.next_update is None else answer.next_update)


def certificates_in(pems: Iterable[bytes]) -> list[Certificate]:
    """Give the certificates of PEM texts; those that ``cryptography`` does not take are left out."""
    found: list[Certificate] = []
    for pem in pems:
        try:
            loaded = x509.load_pem_x509_certificates(pem)
            found += [Certificate(one.public_bytes(Encoding.DER)) for one in loaded]
        except (ValueError, x509.InvalidVersion):
            continue
    return found


def question_about(certificate: ServerCertificate, issuers: Sequence[Certificate]) -> Question:
    """Make the question about a certificate.

    Without a nonce: the answers are for everybody, and caches on the way may have them.

    :raises ValueError: its issuer's certificate is not at hand.
    """
    chain = certificates_in([certificate.chain])
    if not chain:
        raise ValueError("there is no certificate in it")
    leaf = chain[0]
    for issuer in (*chain[1:], *issuers):
        try:
            leaf.x509.verify_directly_issued_by(issuer.x509)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            continue
        return ask_about(leaf, issuer, "sha1", with_nonce=False)
    raise ValueError("its issuer's certificate is not at hand; add it to the file, below the certificate")
