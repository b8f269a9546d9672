"""What a plugin author implements: every extension point of the gateway in one place.

Everything here is called on the reactor's thread and must neither block nor wait, unless its
documentation says otherwise.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from zope.interface import Attribute, Interface

from edgegw.identity import ConnectionInfo

__all__ = ["IHeaderInjector"]


class IHeaderInjector(Interface):
    """Tells upstreams in request headers who is calling.

    The gateway removes every header of :attr:`owned` from what the client sent, in all its
    spellings, before an injector runs, whether the injector then has a value for it or not.
    Two injectors of one listener that own the same name are a fault of the configuration.
    """

    owned: frozenset[bytes] = Attribute(
        "Lower-case header names that only this injector sets on the listener where it stands."
    )
    owned_responses: frozenset[bytes] = Attribute(
        "Lower-case header names on whose value an upstream's response may depend without the client's "
        "knowing: a ``Vary`` that names one becomes ``*`` (RFC 9440 §2.4).  Usually empty."
    )
    needs_chain: bool = Attribute(
        "Whether it reads ``identity.chain``.  A chain is not kept in a session ticket, so a listener "
        "with such an injector issues none."
    )
    per_request: bool = Attribute(
        "False: inject() is called once for a connection and its answer used for each of its requests.  "
        "True: it is called at every request, with what the client had sent."
    )

    def inject(
        connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Give the headers to add, as ``(lower-case name, value)`` in the order to send them.

        :param received: what the client sent under the names of :attr:`owned`, by lower-case name;
            empty where :attr:`per_request` is false.
        :returns: names from :attr:`owned` only.  A name outside it, a value with CR, LF or NUL in it,
            an exception: the request is answered with 500 and does not reach an upstream.
        """
