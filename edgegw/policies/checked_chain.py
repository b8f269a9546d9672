"""Which certificates of a verified chain are asked about, and who has issued each of them."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from edgegw.certificate import Certificate
from edgegw.der import DERError
from edgegw.policies.certificate_parts import authority_parts

__all__ = ["Checked", "to_be_checked"]

#: The client's own certificate, or the chain's.
Checked = Literal["chain", "leaf"]


def to_be_checked(
    chain: Sequence[Certificate], check: Checked
) -> Iterator[tuple[Certificate, Certificate | None]]:
    """Give the certificates that must not be revoked, each with its issuer's.

    The trust anchor, which is the chain's last, is trusted by configuration (RFC 5280 §6.1), but is looked up where
    it is the client's own certificate.  Its issuer is itself, or ``None`` where another has issued it.
    """
    if len(chain) == 1:
        yield chain[0], chain[0] if _self_issued(chain[0]) else None
        return
    for at in range(1 if check == "leaf" else len(chain) - 1):
        yield chain[at], chain[at + 1]


def _self_issued(certificate: Certificate) -> bool:
    try:
        return authority_parts(certificate).self_issued
    except DERError:
        return False
