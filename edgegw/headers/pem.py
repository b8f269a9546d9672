"""The caller's certificate as URL-encoded PEM, for upstreams that were written for nginx."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen
from zope.interface import implementer

from edgegw.identity import ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.model import PEMHeader

from .value import header_value

__all__ = ["PEMInjector"]


@implementer(IHeaderInjector)
@frozen
class PEMInjector:
    """Sends the verified certificate as nginx's ``$ssl_client_escaped_cert``, and no other.

    All but letters, digits, ``-``, ``.``, ``_`` and ``~`` is percent-encoded.  Unlike nginx, which sends
    an unverified certificate too (``ssl_verify_client optional_no_ca``) and leaves it to the upstream
    to look at ``$ssl_client_verify``, nothing is sent for one.
    """

    settings: PEMHeader
    owned: frozenset[bytes] = field(init=False)
    owned_responses: frozenset[bytes] = field(init=False, default=frozenset())
    needs_chain: bool = field(init=False, default=False)
    per_request: bool = field(init=False, default=False)

    @owned.default
    def _owned(self) -> frozenset[bytes]:
        return frozenset({self.settings.header.encode("ascii")})

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Give the header or nothing.

        :raises ValueTooLargeError: see :class:`edgegw.headers.value.ValueTooLargeError`.
        """
        verified = connection.identity.verified
        if verified is None:
            return ()
        (name,) = self.owned
        return ((name, header_value(name, verified.url_encoded_pem)),)
