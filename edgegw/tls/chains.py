"""Verifying a chain outside a handshake, by the trust of a listener."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from OpenSSL import crypto

from edgegw.certificate import Certificate
from edgegw.model import ClientValidation
from edgegw.tls import store_context
from edgegw.tls.failure import reason_for_verify_result
from edgegw.verdict import Reason, Reject

__all__ = ["chain_fault"]


def chain_fault(chain: Sequence[Certificate], validation: ClientValidation, when: datetime | None) -> Reject | None:
    """Say why no chain of some certificates ends in a trust anchor; ``None`` if one does.

    :param chain: the client's own certificate first.
    :param when: aware; the time to judge by.
    """
    try:
        anchors = [
            crypto.X509.from_cryptography(x509.load_pem_x509_certificate(anchor.pem))
            for anchor in validation.trust_anchors
        ]
        parsed = [crypto.X509.from_cryptography(one.x509) for one in chain]
        store = store_context.client_store(anchors, when or datetime.now(UTC))
        verified = crypto.X509StoreContext(store, parsed[0], parsed[1:]).get_verified_chain()
    except crypto.X509StoreContextError as error:
        code = error.errors[0] if error.errors else 0
        return Reject(reason_for_verify_result(int(code)), str(error))
    except (ValueError, crypto.Error) as error:
        return Reject(Reason.CERTIFICATE_INVALID, str(error))
    if len(verified) - 1 > validation.max_depth:
        return Reject(Reason.CHAIN_TOO_LONG, f"{len(verified) - 1} certificates above the client's")
    return None
