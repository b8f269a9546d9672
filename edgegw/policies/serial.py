"""``serial``: lists of serial numbers that are let in, and of those that are not."""
from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen

from edgegw.api import Accept, FilePath, IEnvironment, Peer, Reason, Reject, Verdict, option, policy
from edgegw.policies.details import shown
from edgegw.policies.list_files import Listed
from edgegw.policies.rfc4514 import MAX_NAME, comparable, parse_name, read_name

__all__ = ["Config", "SerialNumber", "normalise_serial"]

_ACCEPT = Accept()
_HEXADECIMAL = re.compile(
    r"(-?)(?:0x)?([0-9a-f]{1,512}|[0-9a-f]{1,2}(?::[0-9a-f]{2}){1,255})", re.IGNORECASE | re.ASCII
)
_DECIMAL = re.compile(r"dec:(-?)([0-9]{1,600})", re.IGNORECASE | re.ASCII)


def normalise_serial(text: str) -> str:
    """Give a serial number as :attr:`edgegw.certificate.Certificate.serial` writes it.

    Hexadecimal digits of either case are taken with or without ``0x`` before them or a colon between every two of
    them, decimal ones after ``dec:``, and ``-`` before the digits of a negative number.  Zeros in front do not count.

    :returns: lower-case hexadecimal, an even number of digits but for ``0``.
    :raises ValueError: it is none.
    """
    text = text.strip()
    match = _HEXADECIMAL.fullmatch(text)
    if match is not None:
        digits = match[2].replace(":", "").lower().lstrip("0")
    else:
        match = _DECIMAL.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{shown(text)!r} is no serial number; write hexadecimal, with or without colons, or dec: and decimal"
            )
        digits = f"{int(match[2]):x}".lstrip("0")
    if not digits:
        return "0"
    return f"{match[1]}{'0' if len(digits) % 2 else ''}{digits}"


def _serials(given: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(map(normalise_serial, [given] if isinstance(given, str) else given))


def _check_issuer(name: str | None) -> None:
    if name is not None and not parse_name(name):
        raise ValueError("is an empty name; write the issuer's, such as CN=Device CA,O=Acme")


@frozen(kw_only=True)
class Config:
    """Options of ``serial``; one list at least."""

    allow: tuple[str, ...] = option(
        "Serial numbers that come in, and no others: hexadecimal in quotes, with or without colons, or decimal after "
        "dec:.",
        default=(),
        convert=_serials,
    )
    allow_file: FilePath | None = option(
        "A file with more of them, one on a line, # before comments; followed as it changes.", default=None
    )
    deny: tuple[str, ...] = option(
        "Serial numbers that do not come in, written as those of allow are.", default=(), convert=_serials
    )
    deny_file: FilePath | None = option(
        "A file with more of them, as allow_file.  Without a single byte in it, it is not taken.", default=None
    )
    issuer: str | None = option(
        "The issuer whose serial numbers these are, as RFC 4514 writes it: CN=Device CA,O=Acme.  Certificates of "
        "others are on neither list.",
        default=None,
        check=_check_issuer,
    )

    def __attrs_post_init__(self) -> None:
        if not (self.allow or self.deny) and self.allow_file is None and self.deny_file is None:
            raise ValueError("names no serial number; give allow, deny, allow_file or deny_file")
        both = sorted(set(self.allow) & set(self.deny))
        if both:
            raise ValueError(f"{both[0]} is both allowed and denied; leave it out of one list")


@policy("serial", Config)
class SerialNumber:
    """Let in the certificates whose serial number is allowed, and not denied.

    With ``allow`` or ``allow_file`` only what is listed there comes in; with ``deny`` or ``deny_file`` all but what is
    listed there; with both what is on the first and not on the second.

    Serial numbers are hexadecimal, as ``openssl x509 -serial`` and the gateway's logs print them: ``4f:8a`` is ``4F8A``
    and ``0x4f8a``.  Digits alone are hexadecimal, too: decimal ones are written ``dec:20362``.  Quote them, or YAML
    takes some for numbers.

    They are unique for each issuer only.  Where several CAs are trusted, say with ``issuer`` whose they are: no
    certificate of another is on the lists then, so that ``allow`` refuses it and ``deny`` does not.

    Files are followed: a line added or removed counts within about a second, and what cannot be read leaves the
    last list in use.  An empty ``allow_file`` allows nobody.  A ``deny_file`` that denies nobody has a comment in it: a
    file without a single byte is one that is just being written.

    Example::

        policies:
          - serial:
              issuer: CN=Device CA,O=Acme
              deny: ["4F:8A:00:1C", "dec:20362"]
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._allow: Listed | None = None
        if config.allow or config.allow_file is not None:
            self._allow = Listed(config.allow, config.allow_file, normalise_serial, env)
        self._deny: Listed | None = None
        if config.deny or config.deny_file is not None:
            self._deny = Listed(config.deny, config.deny_file, normalise_serial, env, may_be_empty=False)
        self._issuer = None if config.issuer is None else comparable(parse_name(config.issuer))
        self._issuer_text = shown(config.issuer or "")

    def check(self, peer: Peer) -> Verdict:
        """Look the serial number up."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        serial = certificate.serial
        if not serial:
            return Reject(Reason.CERTIFICATE_INVALID, "its serial number cannot be read")
        if self._issuer is not None:
            if len(certificate.issuer) > MAX_NAME:
                return Reject(Reason.CERTIFICATE_INVALID, f"the issuer's name has more than {MAX_NAME} characters")
            issuer = read_name(certificate.issuer)
            if not issuer.name and certificate.parse_error is not None:
                return Reject(Reason.CERTIFICATE_INVALID, f"cannot be read: {shown(certificate.parse_error)}")
            if issuer.comparable != self._issuer:
                if self._allow is None:
                    return _ACCEPT
                return Reject(Reason.SERIAL, f"the issuer is {shown(certificate.issuer)}, and not {self._issuer_text}")
        if self._deny is not None and serial in self._deny:
            return Reject(Reason.SERIAL, f"{shown(serial)} is denied")
        if self._allow is not None and serial not in self._allow:
            return Reject(Reason.SERIAL, f"{shown(serial)} is none of the {len(self._allow)} allowed")
        return _ACCEPT
