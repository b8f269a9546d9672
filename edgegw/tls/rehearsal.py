"""One handshake against a listener's own code, over a pair of sockets: no network, no port, no reactor's turn.

It is what ``edgegw explain`` and ``edgegw.testing`` run.  OpenSSL at both ends, the listener's contexts, its
verification and its policies are those of a gateway that serves; only the transport is a stand-in.

Where the client's private key is not at hand, the handshake goes as far as the client's certificate, which is
when everything about it is decided in the handshake; what would be decided afterwards is then decided on what
was found out.
"""
from __future__ import annotations

import socket
from time import monotonic
from typing import Any, Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from edgegw.certificate import Certificate, certificate
from edgegw.identity import CertificateStatus, ConnectionInfo, Identity
from edgegw.tls import openssl, store_context
from edgegw.tls.failure import reason_for_error
from edgegw.tls.listener import TLSListener
from edgegw.tls.verification import Hearing
from edgegw.verdict import Accept, Reason, Reject, Ruling, Verdict
from edgegw.wire.fingerprints import Fingerprints

__all__ = ["ClientSide", "Rehearsed", "rehearse"]

#: Steps after which a handshake that does not end is given up; one takes four.
_MOST_STEPS: Final = 64
_SECLEVEL: Final = b"DEFAULT:@SECLEVEL=0"


@frozen
class ClientSide:
    """The client of a rehearsal.

    :ivar certificate: ``None`` sends none.
    :ivar key: its private key, if it is at hand.
    :ivar chain: what is sent above the certificate.
    :ivar server_name: SNI; ``None`` sends none.
    :ivar address: as the gateway would see it.
    :ivar fingerprints: JA3 and JA4 of its ClientHello, which is not this client's; ``None`` where they are not known.
    :ivar version: the only version of TLS that it speaks, as OpenSSL numbers them; ``None`` for all.
    """

    certificate: x509.Certificate | None = None
    key: Any = field(default=None, repr=False)
    chain: tuple[x509.Certificate, ...] = ()
    server_name: str | None = None
    address: str = "192.0.2.1"
    version: int | None = None
    fingerprints: Fingerprints | None = None


@frozen
class Rehearsed:
    """What came of it.

    :ivar verdict: acceptance with what the policies said, or the refusal.
    :ivar status: as what the client's certificate would count.
    :ivar certificate: the client's, if the gateway saw one.
    :ivar chain: as far as OpenSSL built it, the client's certificate first.
    :ivar errors: what OpenSSL found wrong with it: ``X509_V_ERR_…`` and the distance from the client's certificate.
    :ivar rulings: what each policy said.
    :ivar alert: the number of the alert that the gateway sent in the handshake.
    :ivar not_asked: whether policies that wait were left out.
    :ivar info: the connection's facts as policies were told them; ``None`` where none was asked.
    """

    verdict: Verdict
    status: CertificateStatus
    certificate: Certificate | None
    chain: tuple[Certificate, ...]
    errors: tuple[tuple[int, int], ...]
    rulings: tuple[Ruling, ...]
    alert: int | None = None
    not_asked: bool = False
    info: ConnectionInfo | None = None


class _Owner:
    """Stands in for the port's profile."""

    port_number = 0


class _Stage:
    """Stands in for the transport: what a listener wants of one."""

    def __init__(self, end: socket.socket, client: ClientSide) -> None:
        self.socket = end
        self.hostname = client.address
        self.client = (client.address, 1024)
        self.server_name = client.server_name
        self.started = monotonic()
        self.owner = _Owner()
        self.fingerprints = client.fingerprints
        self.proxied = None
        self.tls: SSL.Connection | None = None
        self.hearing: Hearing | None = None


async def rehearse(
    listener: TLSListener, context: SSL.Context | Reject | None, client: ClientSide, ask_waiting: bool = True
) -> Rehearsed:
    """Play one handshake.

    :param context: what the listener answers the client's name with; ``None`` where it refuses the name.
    :param ask_waiting: whether policies that wait are asked too; they may ask others over a network.
    """
    if context is None:
        return _nothing(Reject(Reason.UNRECOGNIZED_NAME, str(client.server_name)))
    if isinstance(context, Reject):
        return _nothing(context)
    ends = socket.socketpair()
    try:
        for end in ends:
            end.setblocking(False)
        stage: Any = _Stage(ends[0], client)
        reason = listener.may_begin(stage)
        if reason is not None:
            return _nothing(Reject(reason))
        stage.hearing = listener.begin(stage, context)
        play = _Play(stage, client, ends[1])
        failed = play.run()
        hearing: Hearing | None = stage.hearing
        if failed is None:
            assert stage.tls is not None
            settled = listener.verification.conclude(stage.tls, hearing, False)
        elif play.key_is_missing and hearing is not None and hearing.certificate is not None and not hearing.ended:
            settled = _settled(listener, hearing, client)
        else:
            settled = failed
        return await _decided(listener, stage, play, settled, ask_waiting)
    finally:
        for end in ends:
            end.close()


class _Play:
    """Both ends taking turns.

    :ivar chain: as OpenSSL built it when it last asked.
    :ivar alert: what the gateway sent.
    :ivar key_is_missing: whether the client could not go on for want of its private key.
    """

    def __init__(self, stage: _Stage, client: ClientSide, end: socket.socket) -> None:
        self.chain: tuple[Certificate, ...] = ()
        self.alert: int | None = None
        self.key_is_missing = False
        self._stage = stage
        self._client = SSL.Connection(self._context(client), end)
        if client.server_name is not None:
            self._client.set_tlsext_host_name(client.server_name.encode("ascii"))
        self._client.set_connect_state()

    def _context(self, client: ClientSide) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        # A weak certificate is the gateway's to refuse, not this client's.
        context.set_cipher_list(_SECLEVEL)
        if client.version is not None:
            context.set_min_proto_version(client.version)
            context.set_max_proto_version(client.version)
        if client.certificate is not None:
            context.use_certificate(client.certificate)
            key = client.key
            if key is None:
                # With the public half alone it gets as far as sending the certificate.
                self.key_is_missing = True
                key = crypto.PKey.from_cryptography_key(client.certificate.public_key())  # type: ignore[arg-type]
            context.use_privatekey(key)
            for above in client.chain:
                context.add_extra_chain_cert(above)
        return context

    def _told(self, connection: SSL.Connection, where: int, value: int) -> None:
        if where & SSL.SSL_CB_WRITE_ALERT == SSL.SSL_CB_WRITE_ALERT and value >> 8 == 2:
            self.alert = value & 0xFF

    def _asked(self, ok: bool, store: Any) -> bool:
        hearing = self._stage.hearing
        self.chain = tuple(map(certificate, store_context.verified_chain(store)))
        return hearing is not None and hearing.asked(ok, store)

    def run(self) -> Reject | None:
        """Take steps until the gateway's end is done; gives why it failed."""
        tls = self._stage.tls
        assert tls is not None
        tls.set_info_callback(self._told)
        failed: Reject | None = None
        done = False
        for _ in range(_MOST_STEPS):
            self._step()
            try:
                done = openssl.do_handshake(tls, self._asked) is None
            except Exception as error:
                hearing = self._stage.hearing
                refusal = None if hearing is None else hearing.refusal
                failed = reason_for_error(error, openssl.verify_result(tls), refusal)
            if done or failed is not None:
                break
        else:
            failed = Reject(Reason.HANDSHAKE_TIMEOUT, "neither end goes on")
        return failed

    def _step(self) -> None:
        try:
            self._client.do_handshake()
            self._client.recv(1)
        except SSL.Error:
            pass  # WantReadError among them: what went wrong is told by the gateway's end


def _status(hearing: Hearing | None) -> CertificateStatus:
    if hearing is None or hearing.certificate is None:
        return CertificateStatus.NONE
    return CertificateStatus.UNVERIFIED if hearing.errors else CertificateStatus.VERIFIED


def _nothing(refusal: Reject) -> Rehearsed:
    return Rehearsed(refusal, CertificateStatus.NONE, None, (), (), ())


def _settled(listener: TLSListener, hearing: Hearing, client: ClientSide) -> Identity | Reject:
    """Decide on what was found out before the handshake came to its end."""
    assert hearing.certificate is not None and hearing.tls is not None
    verification = listener.verification
    sent = (hearing.certificate, *(certificate(one.public_bytes(Encoding.DER)) for one in client.chain))
    identity = verification.settle_identity(hearing, hearing.certificate, sent)
    if isinstance(identity, Reject):
        return identity
    return verification.settle(hearing.tls, hearing, identity, False, sent)


async def _decided(
    listener: TLSListener, stage: Any, play: _Play, settled: Identity | Reject, ask_waiting: bool
) -> Rehearsed:
    """Ask the policies that wait, and give what came of it all."""
    hearing: Hearing | None = stage.hearing
    peer = None if hearing is None else hearing.peer
    verdict: Verdict = Accept({} if peer is None else peer.attributes)
    not_asked = False
    if isinstance(settled, Reject):
        verdict, status = settled, _status(hearing)
    else:
        status = settled.status
        policies = listener.verification.policies
        if policies is not None and policies.waits and hearing is not None and peer is not None and not isinstance(
            hearing.verdict, Reject
        ):
            not_asked = not ask_waiting
            if ask_waiting:
                verdict = await policies.check_later(peer, hearing.rulings, listener.limit)
        come_in = listener.verification.refused(settled, peer) if isinstance(verdict, Reject) else None
        if come_in is not None:
            verdict, status = Accept(), come_in.status
    return Rehearsed(
        verdict,
        status,
        None if hearing is None else hearing.certificate,
        play.chain,
        () if hearing is None else tuple(hearing.errors),
        () if hearing is None else tuple(hearing.rulings),
        play.alert,
        not_asked,
        None if peer is None else peer.connection,
    )
