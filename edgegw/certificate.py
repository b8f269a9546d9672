"""A client certificate as facts, computed from its DER when first asked for, and once.

The common name comes out as its issuer wrote it: whoever puts it into a header or a log escapes it.
All the other facts are printable ASCII by construction.
"""
from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

from attrs import frozen
from cryptography import x509

from edgegw.der import GENERALIZED_TIME, UTC_TIME, CertificateFields, DERError, certificate_fields, elements
from edgegw.distinguished_name import common_name, rfc2253

__all__ = ["MAX_CACHED_BYTES", "Certificate", "certificate", "is_plain", "normalise_fingerprint", "printable"]

T = TypeVar("T")

# --- subject alternative names --------------------------------------------------------------

_EMAIL = 0x81
_DNS = 0x82
_URI = 0x86
_IP = 0x87
#: otherName, x400Address, directoryName, ediPartyName, registeredID: names that are no facts here.
_UNREAD = frozenset({0xA0, 0xA3, 0xA4, 0xA5, 0x88})
_KINDS = {_EMAIL: "email", _DNS: "DNS", _URI: "URI", _IP: "IP"}

_PLAIN = re.compile(r"[!-~]+")
_PLAIN_BYTES = re.compile(rb"[!-~]+")

#: A SPIFFE ID of a workload (SPIFFE-ID §2): a trust domain, then a path without empty or dot segments.
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+")
_MAX_SPIFFE_ID = 2048


@frozen
class _AlternativeNames:
    """The names of one extension by their kind; ``malformed`` as ``Certificate.malformed_names``."""

    uris: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    malformed: tuple[str, ...] = ()


def is_plain(name: str) -> bool:
    """Whether a URI, DNS name or mail address is printable ASCII without spaces, and not empty.

    Nothing else is a name in a certificate (RFC 5280 §4.2.1.6), and nothing else can be told apart
    from its neighbours in a header, where outer spaces fall away.
    """
    return _PLAIN.fullmatch(name) is not None


def printable(raw: bytes) -> str:
    """Write bytes in printable ASCII: what is not, a backslash and an outer space become ``\\XX``."""
    last = len(raw) - 1
    return "".join([
        chr(byte) if _is_plain_byte(byte) or (byte == 0x20 and 0 < at < last) else f"\\{byte:02X}"
        for at, byte in enumerate(raw)
    ])


def _is_plain_byte(byte: int) -> bool:
    return 0x20 < byte < 0x7F and byte != 0x5C


def _alternative_names(general_names: bytes) -> _AlternativeNames:
    found: dict[int, list[str]] = {_URI: [], _DNS: [], _EMAIL: [], _IP: []}
    malformed: list[str] = []
    for tag, start, stop in elements(general_names):
        if tag in _UNREAD:
            continue
        if tag not in found:
            raise DERError(f"tag {tag:#04x} among the subject alternative names")
        name = general_names[start:stop]
        if tag == _IP and len(name) in (4, 16):
            found[_IP].append(_address(name))
        elif tag != _IP and _PLAIN_BYTES.fullmatch(name):
            found[tag].append(name.decode("ascii"))
        else:
            malformed.append(f"{_KINDS[tag]}:{printable(name)}")
    return _AlternativeNames(
        tuple(found[_URI]), tuple(found[_DNS]), tuple(found[_EMAIL]), tuple(found[_IP]), tuple(malformed)
    )


def _address(packed: bytes) -> str:
    address = ip_address(packed)
    # Newer Pythons write ::ffff:10.1.2.3 by themselves, older ones ::ffff:a01:203.
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return f"::ffff:{address.ipv4_mapped}"
    return str(address)


# --- the certificate ------------------------------------------------------------------------

#: Bytes of a subject, and of an issuer, beyond which nobody reads it for one connection.
MAX_NAME_BYTES = 8192
#: The same of the subject alternative names together: six hundred ordinary ones fit.
MAX_ALTERNATIVE_NAMES_BYTES = 32_768

_TIME = re.compile(rb"([0-9]{2,4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z")
_YEAR_DIGITS = {UTC_TIME: 2, GENERALIZED_TIME: 4}


def _time(tag: int, text: bytes) -> datetime:
    match = _TIME.fullmatch(text)
    if match is None or len(match[1]) != _YEAR_DIGITS.get(tag):
        raise DERError("a time that is none")
    year, month, day, hour, minute, second = map(int, match.groups())
    if tag == UTC_TIME:
        # RFC 5280 §4.1.2.5.1
        year += 2000 if year < 50 else 1900
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise DERError(f"a time that is none: {error}") from None


class Certificate:
    """A client's certificate.

    Cheap to make: nothing is parsed until a fact is asked for.  No property but :attr:`x509` raises.  What cannot be
    read is empty (``""``, ``()`` or ``None``), and :attr:`parse_error` says what was wrong:

    * an encoding that is not DER leaves every fact empty but the hashes and :attr:`pem`;
    * a fault inside the subject, the issuer, the subject alternative names or the validity leaves
      that part empty, and the others as they are;
    * one bad name among the alternative names is left out of them, see :attr:`malformed_names`.

    A version 1 certificate, one without alternative names and one with an empty subject are none
    of these: they say little, and that is what their facts give.

    :param der: the certificate, DER.
    """

    def __init__(self, der: bytes) -> None:
        self.der = der
        self._faults: list[str] = []

    def __eq__(self, other: object) -> bool:
        return self.der == other.der if isinstance(other, Certificate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"<Certificate sha256={self.sha256}>"

    @cached_property
    def x509(self) -> x509.Certificate:
        """The certificate as ``cryptography`` reads it, for what is no fact here: keys, extensions.

        :raises ValueError: it is stricter than OpenSSL about some encodings.
        """
        return x509.load_der_x509_certificate(self.der)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the DER: 64 lower-case hexadecimal digits."""
        return sha256(self.der).hexdigest()

    @cached_property
    def sha256_colons(self) -> str:
        """The same as ``openssl x509 -fingerprint -sha256`` prints it: ``AB:CD:…``."""
        return bytes.fromhex(self.sha256).hex(":").upper()

    @cached_property
    def pem(self) -> str:
        """The certificate in PEM (RFC 7468), lines ended by ``\\n``, the last one too."""
        text = b64encode(self.der).decode("ascii")
        lines = "\n".join([text[at:at + 64] for at in range(0, len(text), 64)])
        return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"

    @cached_property
    def url_encoded_pem(self) -> str:
        """The PEM with all but letters, digits, ``-``, ``.``, ``_`` and ``~`` percent-encoded (RFC 3986 §2.1).

        The bytes of nginx's ``$ssl_client_escaped_cert`` and of Envoy's ``Cert``.
        """
        text = self.pem.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
        return text.replace(" ", "%20").replace("\n", "%0A")

    @cached_property
    def subject(self) -> str:
        """The subject as :func:`edgegw.distinguished_name.rfc2253` writes it: ``CN=client,O=Acme``."""
        return self._part("subject", lambda fields: rfc2253(fields.subject), "")

    @cached_property
    def issuer(self) -> str:
        """The issuer, written as :attr:`subject` is."""
        return self._part("issuer", lambda fields: rfc2253(fields.issuer), "")

    @cached_property
    def common_name(self) -> str:
        """The subject's most specific common name, unescaped: any character may be in it."""
        return self._part("subject", lambda fields: common_name(fields.subject), "")

    @cached_property
    def serial(self) -> str:
        """The serial number in lower-case hexadecimal, an even number of digits but for ``0``."""
        return self._part("serial", lambda fields: _hexadecimal(fields.serial), "")

    @cached_property
    def not_before(self) -> datetime | None:
        """When it begins to be valid, in UTC."""
        return self._part("not_before", lambda fields: _time(*fields.not_before), None)

    @cached_property
    def not_after(self) -> datetime | None:
        """When it ceases to be valid, in UTC."""
        return self._part("not_after", lambda fields: _time(*fields.not_after), None)

    @property
    def uris(self) -> tuple[str, ...]:
        """URI alternative names as they stand in it, in its order; all of them :func:`is_plain`."""
        return self._names.uris

    @property
    def dns_names(self) -> tuple[str, ...]:
        """DNS alternative names, as :attr:`uris`: neither lower-cased nor checked to be host names."""
        return self._names.dns_names

    @property
    def emails(self) -> tuple[str, ...]:
        """Mail addresses (``rfc822Name``), as :attr:`uris`."""
        return self._names.emails

    @property
    def ip_addresses(self) -> tuple[str, ...]:
        """IP addresses in their shortest form, in its order; none of a name constraint's networks."""
        return self._names.ip_addresses

    @property
    def malformed_names(self) -> tuple[str, ...]:
        """Alternative names that are in none of the lists above, for logs: kind, colon, escaped text.

        A name is left out for a NUL, a control character, a space or anything beyond ASCII in it,
        an empty one, and an IP address that has neither 4 nor 16 bytes.
        """
        return self._names.malformed

    @cached_property
    def spiffe_id(self) -> str | None:
        """The SPIFFE ID, if this is the certificate of a workload (X509-SVID §2, §3.1).

        ``None`` with a second URI of whatever scheme or a malformed one beside it, and for an ID
        without a path, which names a trust domain and no workload.
        """
        if len(self.uris) != 1 or any(name.startswith("URI:") for name in self.malformed_names):
            return None
        uri = self.uris[0]
        return uri if len(uri) <= _MAX_SPIFFE_ID and _SPIFFE_ID.fullmatch(uri) else None

    @cached_property
    def excess(self) -> str | None:
        """What there is so much of that reading it would hold up every other connection; ``None`` if there is not.

        Policies are not asked about such a certificate.
        """
        fields = None if len(self.der) <= MAX_NAME_BYTES else self._fields
        if fields is None:
            return None
        for what, contents, most in (
            ("subject", fields.subject, MAX_NAME_BYTES),
            ("issuer", fields.issuer, MAX_NAME_BYTES),
            ("subject alternative names", fields.subject_alt_name or b"", MAX_ALTERNATIVE_NAMES_BYTES),
        ):
            if len(contents) > most:
                return f"its {what}: {len(contents)} bytes, and {most} are read"
        return None

    @cached_property
    def parse_error(self) -> str | None:
        """What could not be read, for logs; ``None`` if everything could.  Reads all there is."""
        for part in ("subject", "issuer", "not_before", "not_after", "_names"):
            getattr(self, part)
        return "; ".join(dict.fromkeys(self._faults)) or None

    @cached_property
    def _fields(self) -> CertificateFields | None:
        try:
            return certificate_fields(self.der)
        except DERError as error:
            self._faults.append(f"certificate: {error}")
            return None

    @cached_property
    def _names(self) -> _AlternativeNames:
        return self._part(
            "subject alternative names",
            lambda fields: _alternative_names(fields.subject_alt_name or b""),
            _AlternativeNames(),
        )

    def _part(self, what: str, read: Callable[[CertificateFields], T], empty: T) -> T:
        fields = self._fields
        if fields is None:
            return empty
        try:
            return read(fields)
        except DERError as error:
            self._faults.append(f"{what}: {error}")
            return empty


def _hexadecimal(serial: int) -> str:
    if serial == 0:
        return "0"
    digits = f"{abs(serial):x}"
    return ("-" if serial < 0 else "") + ("0" if len(digits) % 2 else "") + digits


_CACHED = 512
MAX_CACHED_BYTES = 16_384

_cached = lru_cache(maxsize=_CACHED)(Certificate)


def certificate(der: bytes) -> Certificate:
    """Give the certificate of ``der``, the same object for the same bytes as far as memory allows.

    A client that comes back finds its facts already computed.  The 512 last used are remembered,
    those of more than 16 KiB never.
    """
    return Certificate(der) if len(der) > MAX_CACHED_BYTES else _cached(der)


# --- fingerprints ---------------------------------------------------------------------------

_FINGERPRINT = re.compile(
    r"(?:SHA256 Fingerprint=)?([0-9a-f]{64}|[0-9a-f]{2}(?::[0-9a-f]{2}){31})", re.IGNORECASE | re.ASCII
)


def normalise_fingerprint(text: str) -> str:
    """Give a SHA-256 fingerprint as 64 lower-case hexadecimal digits.

    Digits of either case are taken with a colon between every two bytes or without any, and after
    ``SHA256 Fingerprint=`` or ``sha256 Fingerprint=`` as OpenSSL prints them.

    :raises ValueError: it is none.
    """
    match = _FINGERPRINT.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is no SHA-256 fingerprint: 64 hexadecimal digits, or 32 pairs of them with colons between"
        )
    return match[1].replace(":", "").lower()
