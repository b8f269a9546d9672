"""What names in a certificate may look like: each function says what is wrong with one, or nothing.

Names are judged as the bytes they are in the certificate.  What comes back is for logs: printable ASCII,
and without the name, which the caller adds.
"""
from __future__ import annotations

import re

from edgegw.certificate import printable
from edgegw.der import SEQUENCE, DERError, expect, only
from edgegw.policies.directory_names import attributes

__all__ = [
    "DIRECTORY_NAME",
    "DNS_NAME",
    "IP_ADDRESS",
    "OTHER_NAME",
    "REGISTERED_ID",
    "RFC822_NAME",
    "URI",
    "address_fault",
    "alternative_name_fault",
    "control_fault",
    "dns_fault",
    "name_text",
    "shown_name",
    "uri_host",
]

#: Tags of ``GeneralName`` (RFC 5280 §4.2.1.6).
OTHER_NAME = 0xA0
RFC822_NAME = 0x81
DNS_NAME = 0x82
X400_ADDRESS = 0xA3
DIRECTORY_NAME = 0xA4
EDI_PARTY_NAME = 0xA5
URI = 0x86
IP_ADDRESS = 0x87
REGISTERED_ID = 0x88

_KINDS = {
    OTHER_NAME: "otherName",
    RFC822_NAME: "email",
    DNS_NAME: "DNS",
    X400_ADDRESS: "x400Address",
    DIRECTORY_NAME: "directoryName",
    EDI_PARTY_NAME: "ediPartyName",
    URI: "URI",
    IP_ADDRESS: "IP",
    REGISTERED_ID: "registeredID",
}
_TEXTS = frozenset({RFC822_NAME, DNS_NAME, URI})
_MOST_SHOWN = 80

# --- text ---------------------------------------------------------------------------------------

#: Control characters (Unicode's category Cc), then marks that turn or hide text beside them: line and paragraph
#: separators, directions and their ends.
_UNSEEN = re.compile("([\0-\x1f\x7f-\x9f])|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def control_fault(text: str) -> str | None:
    """Say which character of a text none can see, or steers what stands around it."""
    found = _UNSEEN.search(text)
    if found is None:
        return None
    if found[0] == "\0":
        return "a NUL"
    return f"the {'control character' if found[1] else 'invisible mark'} U+{ord(found[0]):04X}"


def shown_name(tag: int, contents: bytes) -> str:
    """Write an alternative name for logs: its kind, a colon, its text escaped and cut at 80 characters."""
    kind = _KINDS.get(tag, f"tag {tag:#04x}")
    text = printable(contents[: _MOST_SHOWN + 1]) if tag in _TEXTS else contents[:_MOST_SHOWN].hex()
    return f"{kind}:{text[:_MOST_SHOWN] + '...' if len(text) > _MOST_SHOWN else text}"


def name_text(tag: int, contents: bytes) -> str | None:
    """Give the text of an alternative name that is text, U+FFFD for bytes that are not ASCII; ``None`` for others."""
    return contents.decode("ascii", "replace") if tag in _TEXTS else None


# --- DNS names ----------------------------------------------------------------------------------

_LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rb"(?:%b\.)*%b" % (_LABEL, _LABEL))
_LDH = re.compile(rb"[A-Za-z0-9.-]*")


def dns_fault(name: bytes, wildcard: bool = True) -> str | None:
    """Say what keeps a name from being in the preferred name syntax (RFC 1034 §3.5, RFC 1123 §2.1).

    :param wildcard: whether its first label may be ``*`` (RFC 9525 §6.3).
    """
    if not name or len(name) > 253:
        return "is empty" if not name else "is longer than 253 characters"
    host = name[2:] if wildcard and name.startswith(b"*.") else name
    if _HOST.fullmatch(host):
        return None
    if name.startswith(b"."):
        return "begins with a dot"
    if name.endswith(b"."):
        return "ends in a dot"
    if b"*" in host:
        return "has a wildcard that is not its whole first label" if wildcard else "has a wildcard"
    if b"_" in name:
        return "has an underscore"
    if not _LDH.fullmatch(host):
        return "has characters that no host name has"
    return "has a label that is empty, too long, or begins or ends with a hyphen"


# --- other alternative names ----------------------------------------------------------------------

_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_QUOTED = rb'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_LOCAL_PART = re.compile(rb"%b(?:\.%b)*|%b" % (_ATOM, _ATOM, _QUOTED))
_ADDRESS_LITERAL = re.compile(rb"\[[!-Z^-~]+\]")

_URI = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_AUTHORITY = re.compile(rb"[^:]+://([^/?#]*)")


def address_fault(address: bytes) -> str | None:
    """Say what keeps a mail address from being a ``Mailbox`` (RFC 5321 §4.1.2)."""
    local, at, host = address.rpartition(b"@")
    if not at:
        return "has no @"
    if not local or len(local) > 64 or not _LOCAL_PART.fullmatch(local):
        return "has something before its @ that is no mailbox"
    if dns_fault(host, wildcard=False) is not None and not _ADDRESS_LITERAL.fullmatch(host):
        return "has no host name after its @"
    return None


def uri_host(uri: bytes) -> bytes | None:
    """Give the host of a URI's authority, without user and port; ``None`` without an authority."""
    found = _AUTHORITY.match(uri)
    if found is None:
        return None
    host = found[1].rpartition(b"@")[2]
    return host if host.endswith(b"]") else re.sub(rb":[0-9]*\Z", b"", host)


def _uri_fault(uri: bytes) -> str | None:
    if not _URI.fullmatch(uri):
        return "is no absolute URI"
    return "has an authority without a host" if uri_host(uri) == b"" else None


def alternative_name_fault(tag: int, contents: bytes) -> str | None:
    """Say what is wrong with an alternative name that is no DNS name (RFC 5280 §4.2.1.6)."""
    if tag == RFC822_NAME:
        return address_fault(contents)
    if tag == URI:
        return _uri_fault(contents)
    if tag == IP_ADDRESS:
        return None if len(contents) in (4, 16) else f"has {len(contents)} bytes, where 4 or 16 are an address"
    if tag == DIRECTORY_NAME:
        try:
            for attribute in attributes(only(contents, SEQUENCE)):
                attribute.text()
        except DERError as error:
            return f"is no name: {error}"
        return None
    if tag == OTHER_NAME:
        return _other_name_fault(contents)
    if tag == REGISTERED_ID:
        return None if contents and not contents[-1] & 0x80 else "is no object identifier"
    return None if tag in _KINDS else "is of no kind that there is"


def _other_name_fault(contents: bytes) -> str | None:
    try:
        at = expect(contents, 0, len(contents), 0x06)[1]
        end = expect(contents, at, len(contents), 0xA0)[1]
    except DERError as error:
        return f"is no type and value: {error}"
    return None if end == len(contents) else "has something after its value"
