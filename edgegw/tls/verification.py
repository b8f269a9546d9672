"""What one listener decides about client certificates: in the handshake, after it, and on resumed sessions.

A :class:`Hearing` goes with each connection.  OpenSSL's callback asks it about the chain and, once that is
good, about the client's own certificate, which is when the policies that need no waiting are asked.  When
the handshake is done :meth:`ClientVerification.conclude` turns what was heard into an identity or a refusal:
a resumed session, for which OpenSSL asked nothing, is judged there, and a certificate about which nothing was heard is
refused.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from OpenSSL import SSL, crypto

from edgegw.certificate import MAX_CACHED_BYTES
from edgegw.der import DERError, only
from edgegw.identity import Certificate, CertificateStatus, ConnectionInfo, Identity, certificate
from edgegw.model import ClientValidation, ValidationMode
from edgegw.peer import Peer
from edgegw.policies.encoded_parts import encoded_parts, remembered
from edgegw.policy_chain import PolicyChain
from edgegw.tls import openssl, store_context
from edgegw.tls.alternatives import Alternatives, namesakes
from edgegw.tls.chains import chain_fault
from edgegw.tls.failure import error_for_refusal, reason_for_verify_result
from edgegw.tls.store_context import verify_error_text
from edgegw.verdict import Accept, Reason, Reject, Ruling, Verdict

__all__ = ["ClientVerification", "Clock", "Hearing", "now"]

_NOBODY = Identity()
#: Certificates that a listener knows again without asking OpenSSL for their bytes.
_REMEMBERED: Final = 512
#: Faults of one chain that are noted; a chain with more is refused, whatever the listener lets in.
_MOST_ERRORS: Final = 100
#: ``X509_V_ERR_CERT_NOT_YET_VALID``, ``X509_V_ERR_CERT_HAS_EXPIRED``.
_OUT_OF_DATE: Final = frozenset({9, 10})
#: ``X509_V_ERR_INVALID_PURPOSE``.
_WRONG_PURPOSE: Final = 26
_KEY_USAGE: Final = bytes.fromhex("551d0f")
_BIT_STRING: Final = 0x03
_DIGITAL_SIGNATURE: Final = 0x80

Describe = Callable[[SSL.Connection, Identity, bool], ConnectionInfo]


class Hearing:
    """What was found out about one connection's client.

    :ivar tls: the connection; set before the handshake begins.
    :ivar certificate: the client's own, as soon as it was seen.
    :ivar identity: as what it counts if its chain is good.
    :ivar signs: whether its key is for signing.
    :ivar accepted: as what the client comes in, where all that is to be asked in the handshake was and spoke for it.
    :ivar errors: what OpenSSL found wrong with the chain, with the distance from the client's certificate, first
        things first.
    :ivar ended: whether the handshake was failed for what was found out.
    :ivar chain: the chain that was verified, the client's own certificate first, where a policy needs it.
    :ivar proved: whether the client has shown that it has the certificate's key: whether the handshake was done.
    :ivar peer: what the policies were told; ``None`` before they were asked.
    :ivar verdict: what those that do not wait said together; ``None`` before they were asked.
    :ivar rulings: what each policy said.
    """

    __slots__ = (
        "_verification", "accepted", "certificate", "chain", "describe", "ended", "errors", "identity", "peer",
        "proved", "rulings", "signs", "tls", "verdict",
    )

    def __init__(self, verification: ClientVerification, describe: Describe) -> None:
        """:param describe: makes the connection's facts, for policies."""
        self._verification = verification
        self.describe = describe
        self.tls: SSL.Connection | None = None
        self.certificate: Certificate | None = None
        self.identity: Identity | None = None
        self.signs = False
        self.accepted: Identity | None = None
        self.errors: list[tuple[int, int]] = []
        self.chain: tuple[Certificate, ...] | None = None
        self.ended = False
        self.proved = False
        self.peer: Peer | None = None
        self.verdict: Verdict | None = None
        self.rulings: list[Ruling] = []

    def asked(self, ok: bool, store: Any) -> bool:
        """Answer OpenSSL's callback; see :func:`edgegw.tls.openssl.do_handshake`."""
        try:
            judge = self._verification
            goes_on = judge.hear_client(self, store) if ok else judge.hear_error(self, store)
            self.ended = not goes_on
            return goes_on
        except BaseException:
            self.ended = True
            self.verdict = Reject(Reason.INTERNAL_ERROR, "the gateway failed to judge it")
            raise

    def begin_again(self) -> None:
        """Forget what the policies said: they were told something that has turned out otherwise."""
        self.accepted = None
        self.peer = None
        self.verdict = None
        self.rulings = []

    @property
    def refusal(self) -> Reject | None:
        """Why the handshake was failed, as far as that was decided here."""
        if isinstance(self.verdict, Reject):
            return self.verdict
        if self.errors:
            error, depth = self.errors[0]
            words = _words(error, depth)
            if (error, depth) == (_WRONG_PURPOSE, 0) and self.certificate is not None and not _signs(self.certificate):
                words += ": its keyUsage lacks digitalSignature"
            return Reject(reason_for_verify_result(error), words)
        return None


def _words(error: int, depth: int) -> str:
    where = "" if depth == 0 else f", {depth} above the client's certificate"
    return f"{verify_error_text(error)} ({error}{where})"


@remembered
def _signs(leaf: Certificate) -> bool:
    """Whether a certificate's key is for signing, which is how TLS clients show that it is theirs (RFC 5246 §7.4.6).

    It is where there is no ``keyUsage``, or one with ``digitalSignature`` (RFC 5280 §4.2.1.3).
    """
    if _KEY_USAGE not in leaf.der:
        return True
    try:
        usage = encoded_parts(leaf).extension(_KEY_USAGE)
        bits = None if usage is None else only(usage, _BIT_STRING)
    except DERError:
        return False
    # The first byte counts the bits of the last one that mean nothing.
    return bits is None or (len(bits) > 1 and bool(bits[1] & _DIGITAL_SIGNATURE))


#: Gives the time to judge by, aware.
Clock = Callable[[], datetime]


def now() -> datetime:
    """Give the present."""
    return datetime.now(UTC)


class ClientVerification:
    """The judge of one listener's client certificates.

    :param validation: with the policies that hold for the listener, wherever they are named; ``None`` asks
        no client for a certificate.
    :param policies: made of them; ``None`` without any.
    :param keep_chain: whether the identity is to have what the client sent above its own certificate.
    :param keep_verified: whether it is to have the chain that was verified.
    :param clock: the time to judge by.
    :ivar policies: see above.
    :ivar keeps_verified: ``keep_verified``.
    :ivar tickets: whether sessions may be resumed: not where a chain is needed, which no ticket has.
    """

    def __init__(
        self,
        validation: ClientValidation | None,
        policies: PolicyChain | None,
        keep_chain: bool,
        keep_verified: bool = False,
        clock: Clock = now,
    ) -> None:
        self.policies = policies
        self._validation = validation
        #: What a chain is verified by.
        self._trust = None if validation is None else (validation.trust_anchors, validation.max_depth, validation.mode)
        self._keep_chain = keep_chain
        self._clock = clock
        # By its digest, as what a certificate counts with a good chain, and whether its key is for signing.
        self._known: dict[bytes, tuple[Identity, bool]] = {}
        self._fallback = validation is not None and validation.mode is ValidationMode.ALLOW_INSECURE_FALLBACK
        self._lets_everyone_in = self._fallback and validation is not None and validation.envoy_compatible
        offered = () if policies is None else policies.policies
        self._forgives_dates = any(getattr(policy, "allows_expired", False) for policy in offered)
        tries = max((getattr(policy, "alternative_chains", 0) for policy in offered), default=0)
        if validation is not None:
            tries = max(tries, namesakes(validation))
        self._alternatives = Alternatives(validation, tries) if tries and validation is not None else None
        self.keeps_verified = keep_verified
        self._needs_chain = keep_verified or (policies is not None and policies.needs_chain)
        self._bare = not (keep_chain or keep_verified)
        #: Whether faults of a chain do not end the handshake.
        self.goes_on = self._fallback or self._alternatives is not None
        self.tickets = not (keep_chain or self._needs_chain or self._alternatives)

    def begin(self, describe: Describe) -> Hearing | None:
        """Give the hearing of a new connection; ``None`` where no client is asked for anything."""
        if self._validation is None and self.policies is None:
            return None
        return Hearing(self, describe)

    # --- in the handshake -----------------------------------------------------------------------

    def hear_error(self, hearing: Hearing, store: Any) -> bool:
        """OpenSSL found a fault in the chain; whether the handshake goes on all the same."""
        error, depth = store_context.error(store), store_context.depth(store)
        if hearing.identity is None:
            self._meet(hearing, store)
        if self._forgives_dates and depth == 0 and error in _OUT_OF_DATE:
            # The policy that forgives it judges the dates instead.  What else was found stays in the session.
            store_context.set_error(store, hearing.errors[-1][0] if hearing.errors else 0)
            return True
        hearing.errors.append((error, depth))
        if not self.goes_on:
            return False
        hearing.begin_again()
        return len(hearing.errors) < _MOST_ERRORS

    def hear_client(self, hearing: Hearing, store: Any) -> bool:
        """Every certificate was checked, and faults were passed over; whether the policies accept the client."""
        identity = hearing.identity or self._meet(hearing, store)
        if not (hearing.signs or hearing.errors):
            # OpenSSL is content with keyAgreement, which was for clients with fixed Diffie-Hellman keys.
            store_context.set_error(store, _WRONG_PURPOSE)
            if not self.hear_error(hearing, store):
                return False
        policies, good = self.policies, not hearing.errors
        if not good:
            if self._needs_chain or self._alternatives is not None:
                # What such a client has sent, and as what it counts, is known when the handshake is done.
                return True
            identity = Identity(CertificateStatus.UNVERIFIED, identity.certificate)
        if self._needs_chain:
            hearing.chain = tuple(map(certificate, store_context.verified_chain(store)))
        if policies is not None:
            assert hearing.tls is not None
            peer = hearing.peer = Peer(hearing.describe(hearing.tls, identity, False), self._clock, hearing.chain)
            verdict = hearing.verdict = policies.check(peer, hearing.rulings)
            if type(verdict) is not Accept:
                if self._lets_everyone_in:
                    return True
                store_context.set_error(store, error_for_refusal(verdict.code))  # type: ignore[union-attr]  # a Reject
                return False
        if good and self._bare:
            hearing.accepted = identity
        return True

    def _meet(self, hearing: Hearing, store: Any) -> Identity:
        """Find out whose certificate it is."""
        digest = store_context.client_digest(store)
        known = self._known.get(digest) or self._remember(digest, store_context.client_certificate(store))
        identity, hearing.signs = known
        hearing.identity, hearing.certificate = identity, identity.certificate
        return identity

    def _remember(self, digest: bytes, der: bytes) -> tuple[Identity, bool]:
        leaf = certificate(der)
        known = Identity(CertificateStatus.VERIFIED, leaf), _signs(leaf)
        if len(der) <= MAX_CACHED_BYTES:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = known
        return known

    # --- after it -------------------------------------------------------------------------------

    def conclude(self, tls: SSL.Connection, hearing: Hearing | None, resumed: bool) -> Identity | Reject:
        """Give the identity of a connection whose handshake is done, the policies that do not wait asked.

        What they said of it is in the hearing's peer; those that wait are still to be asked.
        """
        if hearing is None:
            return _NOBODY
        hearing.proved = True
        accepted = hearing.accepted
        if accepted is not None and not (resumed or openssl.verify_result(tls)):
            return accepted
        identity = self._identity(tls, hearing, resumed)
        return identity if isinstance(identity, Reject) else self.settle(tls, hearing, identity, resumed)

    def settle(
        self,
        tls: SSL.Connection,
        hearing: Hearing,
        identity: Identity,
        resumed: bool,
        sent: tuple[Certificate, ...] | None = None,
    ) -> Identity | Reject:
        """Give what an identity counts as after the policies that do not wait.

        :param sent: what the client has sent, its own certificate first; ``None`` asks OpenSSL.
        """
        if self.policies is None:
            return identity
        if hearing.verdict is None:
            if identity.status is CertificateStatus.VERIFIED and not resumed and not hearing.errors:
                # OpenSSL was to ask about it and did not: whatever the cause, nobody has vouched for it.
                return Reject(Reason.INTERNAL_ERROR, "the certificate was not judged in the handshake")
            if self._needs_chain and hearing.chain is None:
                hearing.chain = self._sent(tls, identity.certificate) if sent is None else sent
            if self._validation is None and not self.policies.judges_everyone:
                # Nobody is asked for a certificate here, so nobody can have one that they accept.
                return Reject(Reason.NO_CERTIFICATE, "a policy judges certificates, and none is asked for")
            info = hearing.describe(tls, identity, resumed)
            hearing.peer = Peer(info, self._clock, hearing.chain)
            hearing.verdict = self.policies.check(hearing.peer, hearing.rulings)
        if not isinstance(hearing.verdict, Reject):
            return identity
        return self.refused(identity, hearing.peer) or hearing.verdict

    def refused(self, identity: Identity, peer: Peer | None = None) -> Identity | None:
        """Give what a client comes in as although a policy refused it; ``None`` where it does not come in.

        :param peer: what the policies were told; what those before the refusal said of the client is taken back.
        """
        if not self._lets_everyone_in:
            return None
        if peer is not None:
            peer.attributes = {}
        if identity.certificate is None:
            return identity
        return Identity(CertificateStatus.UNVERIFIED, identity.certificate, identity.chain)

    def peer_of(self, info: ConnectionInfo) -> Peer:
        """Give what policies are told of a client that has come in already."""
        return Peer(info, self._clock, info.identity.known_chain)

    def still_good(self, tls: SSL.Connection, info: ConnectionInfo, before: ClientVerification) -> Reject | None:
        """Why a client that has come in would not come in now; ``None`` where its certificate is still good.

        Policies are not asked here.

        :param before: what it came in by.
        """
        identity = info.identity
        validation = self._validation
        if validation is None:
            return None
        leaf = identity.certificate
        if leaf is None:
            demanded = validation.demands_certificate
            return Reject(Reason.NO_CERTIFICATE, "one is demanded now") if demanded else None
        if identity.status is not CertificateStatus.VERIFIED:
            return None if self._fallback else Reject(Reason.CLIENT_UNVERIFIED, "a verified one is demanded now")
        out_of_date = None if self._forgives_dates else _out_of_date(leaf, self._clock())
        if out_of_date is not None:
            return out_of_date
        if info.resumed and before._trust == self._trust:
            # Its session has no chain to verify again, and nothing has changed that the chain was verified by.
            return None
        between = identity.verified_chain or self._sent(tls, leaf)
        fault = chain_fault(between, validation, leaf.not_before if self._forgives_dates else self._clock())
        if fault is None or self._alternatives is None:
            return fault
        return None if self._alternatives.find(leaf, between[1:], (), self._clock()) is not None else fault

    def _identity(self, tls: SSL.Connection, hearing: Hearing, resumed: bool) -> Identity | Reject:
        validation = self._validation
        if validation is None:
            return _NOBODY
        leaf = hearing.certificate
        if leaf is None:
            digest = openssl.peer_digest(tls)
            if digest is None:
                if validation.demands_certificate:
                    return Reject(Reason.NO_CERTIFICATE, "the client sent none")
                return _NOBODY
            hearing.identity, hearing.signs = self._known.get(digest) or self._get_to_know(tls, digest)
            leaf = hearing.certificate = hearing.identity.certificate
            assert leaf is not None
        if resumed:
            result = openssl.verify_result(tls)
            if result:
                fault: Reject | None = Reject(reason_for_verify_result(result), _words(result, 0))
            else:
                fault = None if self._forgives_dates else _out_of_date(leaf, self._clock())
            return self._identity_with(hearing, leaf, (), fault)
        result = openssl.verify_result(tls)
        if result and not hearing.errors:
            hearing.errors.append((result, 0))
            hearing.begin_again()
        chained = self._keep_chain or self._alternatives is not None
        return self.settle_identity(hearing, leaf, self._sent(tls, leaf) if chained else (leaf,))

    def settle_identity(
        self, hearing: Hearing, leaf: Certificate, sent: tuple[Certificate, ...]
    ) -> Identity | Reject:
        """Give the identity that a certificate makes, before any policy is asked.

        :param sent: what the client has sent, its own certificate first.
        """
        fault = hearing.refusal if hearing.errors else None
        if fault is not None and self._alternatives is not None and _signs(leaf):
            hearing.chain = self._alternatives.find(leaf, sent[1:], hearing.errors, self._clock())
            if hearing.chain is not None:
                fault = None
        return self._identity_with(hearing, leaf, sent[1:] if self._keep_chain else (), fault)

    def _identity_with(
        self, hearing: Hearing, leaf: Certificate, chain: tuple[Certificate, ...], fault: Reject | None
    ) -> Identity | Reject:
        if fault is None:
            if not chain and not self.keeps_verified and hearing.identity is not None:
                return hearing.identity
            kept = hearing.chain if self.keeps_verified else None
            return Identity(CertificateStatus.VERIFIED, leaf, chain, kept)
        if self._fallback:
            return Identity(CertificateStatus.UNVERIFIED, leaf, chain)
        return fault

    def _get_to_know(self, tls: SSL.Connection, digest: bytes) -> tuple[Identity, bool]:
        """Take the client's certificate out of OpenSSL."""
        peer = tls.get_peer_certificate()
        assert peer is not None
        return self._remember(digest, crypto.dump_certificate(crypto.FILETYPE_ASN1, peer))

    def _sent(self, tls: SSL.Connection, leaf: Certificate | None) -> tuple[Certificate, ...]:
        """Give what the client sent, its own certificate first."""
        ders = [crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in tls.get_peer_cert_chain() or []]
        if leaf is not None and (not ders or ders[0] != leaf.der):
            ders.insert(0, leaf.der)
        return tuple(map(certificate, ders))


def _out_of_date(leaf: Certificate, now: datetime) -> Reject | None:
    if leaf.not_after is None or leaf.not_before is None:
        return Reject(Reason.CERTIFICATE_INVALID, "its validity cannot be read")
    if now > leaf.not_after:
        return Reject(Reason.CERTIFICATE_EXPIRED, f"on {leaf.not_after:%Y-%m-%d %H:%M:%S} UTC")
    if now < leaf.not_before:
        return Reject(Reason.CERTIFICATE_NOT_YET_VALID, f"before {leaf.not_before:%Y-%m-%d %H:%M:%S} UTC")
    return None
