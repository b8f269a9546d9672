"""``x-forwarded-client-cert``: Envoy's header, byte for byte where Envoy's is safe.

An element is ``By=…;Hash=…;Cert="…";Chain="…";Subject="…";URI=…;DNS=…``, always in that order.  As
with Envoy ``By`` stands there once for each URI of the server's certificate, ``URI`` and ``DNS`` once
for each name of the client's, and a ``URI`` that was asked for is there, empty, if the certificate has none.

Safer than Envoy:

* A URI or DNS name with ``,`` ``;`` ``=`` ``"`` or a backslash in it is quoted, quotes and backslashes in
  it escaped by a backslash.  Envoy writes it raw, so that whoever gets such a name certified adds
  pairs and elements of their own.
* Names with control characters, spaces or anything beyond ASCII are left out
  (:attr:`edgegw.certificate.Certificate.malformed_names`).  Envoy writes even their line ends.
* An unverified certificate asserts nothing.  Envoy reports it in the same words as a verified one,
  so that no upstream can tell a caller from someone who claims to be the caller.
* A received value in which a quotation mark is left open is not appended to: the gateway's own
  element would disappear inside the client's.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attrs import field, frozen
from zope.interface import implementer

from edgegw.certificate import MAX_CACHED_BYTES, Certificate, is_plain
from edgegw.identity import ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.model import XFCC, XFCCDetail, XFCCMode

from .value import header_value

__all__ = ["HEADER", "XFCCInjector"]

HEADER = b"x-forwarded-client-cert"

_SETTING = frozenset({XFCCMode.SANITIZE_SET, XFCCMode.APPEND_FORWARD})
_FORWARDING = frozenset({XFCCMode.FORWARD_ONLY, XFCCMode.APPEND_FORWARD, XFCCMode.ALWAYS_FORWARD_ONLY})

#: Elements kept; beyond them all are forgotten, which costs less than keeping count of their use.
_REMEMBERED = 512

_SPECIAL = re.compile(r'[,;="\\]')
_ESCAPE = re.compile(r'(["\\])')
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
#: Every quotation mark that opens is closed, read with or without backslashes escaping outside of quotes.
_CLOSED = re.compile(rb'(?:[^"\\]|\\[^"]|"(?:[^"\\]|\\.)*+")*+')


@implementer(IHeaderInjector)
@frozen
class XFCCInjector:
    """Sends, forwards or removes ``x-forwarded-client-cert`` as the mode of ``settings`` says.

    With a *verified* certificate, and without one:

    ======================= ========================================== ===================
    ``sanitize``            nothing is sent                            nothing is sent
    ``forward_only``        what the client sent                       nothing is sent
    ``append_forward``      what the client sent, ``,`` and an element nothing is sent
    ``sanitize_set``        an element                                 nothing is sent
    ``always_forward_only`` what the client sent                       what the client sent
    ======================= ========================================== ===================

    Several received lines become one, joined with ``,``; empty ones count as absent in
    ``append_forward``, and are forwarded as one empty line by the modes that only forward.  A
    received line with a control character in it is left out.
    """

    settings: XFCC
    owned: frozenset[bytes] = field(init=False, default=frozenset({HEADER}))
    owned_responses: frozenset[bytes] = field(init=False, default=frozenset())
    #: Whether elements are made that hold the chain.
    needs_chain: bool = field(init=False)
    #: Whether it depends on what the client sent.
    per_request: bool = field(init=False)
    _elements: dict[tuple[Certificate, tuple[str, ...]], bytes] = field(init=False, factory=dict, eq=False, repr=False)

    @needs_chain.default
    def _holds_chain(self) -> bool:
        return self.settings.mode in _SETTING and XFCCDetail.CHAIN in self.settings.details

    @per_request.default
    def _forwards(self) -> bool:
        return self.settings.mode in _FORWARDING

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Give the header or nothing.

        :raises ValueTooLargeError: see :class:`edgegw.headers.value.ValueTooLargeError`.
        """
        mode = self.settings.mode
        verified = connection.identity.verified
        if mode is XFCCMode.SANITIZE or (verified is None and mode is not XFCCMode.ALWAYS_FORWARD_ONLY):
            return ()
        lines = [line for line in received.get(HEADER, ()) if not _CONTROL.search(line)] if self.per_request else []
        value = b",".join([line for line in lines if line])
        if verified is not None and mode in _SETTING:
            element = self._element(connection, verified)
            value = value + b"," + element if value and _CLOSED.fullmatch(value) else element
        elif not lines:
            return ()
        return ((HEADER, header_value(HEADER, value)),)

    def _element(self, connection: ConnectionInfo, client: Certificate) -> bytes:
        """Give the element, remembered for clients that come back (see :func:`edgegw.certificate.certificate`)."""
        if self.needs_chain or len(client.der) > MAX_CACHED_BYTES:
            return self._make_element(connection, client)
        key = (client, connection.server_uris)
        element = self._elements.get(key)
        if element is None:
            if len(self._elements) >= _REMEMBERED:
                self._elements.clear()
            element = self._elements[key] = self._make_element(connection, client)
        return element

    def _make_element(self, connection: ConnectionInfo, client: Certificate) -> bytes:
        details = self.settings.details
        pairs = [f"By={_quoted(uri)}" for uri in connection.server_uris if is_plain(uri)]
        pairs.append(f"Hash={client.sha256}")
        if XFCCDetail.CERT in details:
            pairs.append(f'Cert="{client.url_encoded_pem}"')
        if XFCCDetail.CHAIN in details:
            chain = "".join([link.url_encoded_pem for link in (client, *connection.identity.chain)])
            pairs.append(f'Chain="{chain}"')
        if XFCCDetail.SUBJECT in details:
            # RFC 2253 escapes quotes and backslashes just as this header would have to.
            pairs.append(f'Subject="{client.subject}"')
        if XFCCDetail.URI in details:
            pairs += [f"URI={_quoted(uri)}" for uri in client.uris] or ["URI="]
        if XFCCDetail.DNS in details:
            pairs += [f"DNS={_quoted(name)}" for name in client.dns_names]
        return ";".join(pairs).encode("ascii")


def _quoted(name: str) -> str:
    if not _SPECIAL.search(name):
        return name
    return '"' + _ESCAPE.sub(r"\\\1", name) + '"'
