"""What an SNI router is told of a client, and what it may say: plain values.

A router decides where a TLS connection goes when nothing is known of the client but its ClientHello.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Union

from attrs import field, frozen

from edgegw.verdict import Reject

__all__ = ["ClientHelloFacts", "PassThrough", "RouterAnswer", "ToListener"]


@frozen
class ClientHelloFacts:
    """What a client says before anything is agreed (RFC 8446 §4.1.2).  None of it is authenticated.

    :ivar server_name: the name that it asks for (SNI, RFC 6066 §3), in lower case without a trailing dot; ``None``
        without one.
    :ivar alpn: the application protocols that it offers (RFC 7301), its preference first, such as
        ``("h2", "http/1.1")``.  Bytes beyond ASCII stand as the characters of the same number.
    :ivar tls_versions: the versions that it speaks, its preference first: ``"TLSv1.3"``, ``"TLSv1.2"``,
        ``"TLSv1.1"``, ``"TLSv1.0"`` and ``"SSLv3"``; others, GREASE (RFC 8701) among them, are left out.  A client that
        gives no list is told of by its highest alone.
    :ivar fingerprints: gives its JA3 and its JA4; ``None`` where there are none.  :attr:`ja3` and :attr:`ja4` ask it.
    """

    server_name: str | None
    alpn: tuple[str, ...] = ()
    tls_versions: tuple[str, ...] = ()
    fingerprints: Callable[[], tuple[str, str]] | None = field(default=None, eq=False, repr=False)

    @property
    def ja3(self) -> str | None:
        """The JA3 of the ClientHello, 32 lower-case hexadecimal digits.

        It is made when it, or :attr:`ja4`, is first asked for, which takes 5 µs for clients like those before it and
        50 µs for others.  For a ClientHello in which a list does not end where it must, or that offers more than 1000
        things, it raises; the connection is refused with ``bad_client_hello`` if the router lets that pass.  ``None``
        where there is no ClientHello: in ``edgegw explain``.
        """
        return None if self.fingerprints is None else self.fingerprints()[0]

    @property
    def ja4(self) -> str | None:
        """The JA4 of the ClientHello, such as ``t13d1516h2_8daaf6152771_e5627efa2ab1``; otherwise as :attr:`ja3`."""
        return None if self.fingerprints is None else self.fingerprints()[1]


@frozen
class ToListener:
    """Terminate TLS, as a listener of the port does.

    :ivar listener: its name in the configuration.
    """

    listener: str


@frozen
class PassThrough:
    """Do not terminate TLS: an upstream gets the bytes, the ClientHello first, untouched.

    :ivar upstream: its name in the configuration; one with endpoints.
    """

    upstream: str


#: ``None`` leaves the decision to the host names of the port's listeners.
RouterAnswer = Union[ToListener, PassThrough, Reject, None]
