"""``tls_fingerprint``: which TLS libraries come in, by the fingerprints of their ClientHellos."""
from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Final

from attrs import frozen

from edgegw.api import Accept, FilePath, IEnvironment, IFollowed, Peer, Reason, Reject, Verdict, option, policy
from edgegw.policies.details import shown
from edgegw.policies.list_files import read_list

__all__ = ["Config", "TLSFingerprint", "normalise_tls_fingerprint"]

_ACCEPT: Final = Accept()
_JA3 = re.compile(r"[0-9a-f]{32}")
#: Over TCP: JA4's other letters are for QUIC and DTLS.
_JA4 = re.compile(r"t[0-9a-z]{2}[di][0-9]{4}[0-9A-Za-z]{2}_[0-9a-f]{12}_[0-9a-f]{12}")
_ANY_JA4: Final = "t13d0000h2_000000000000_000000000000"


def normalise_tls_fingerprint(text: str) -> str:
    """Give a JA3 in lower case; a JA4, or the beginning of one with ``*`` behind it, as it is.

    :raises ValueError: it is none of them.
    """
    text = text.strip()
    if _JA3.fullmatch(text.lower()):
        return text.lower()
    begins = text.removesuffix("*")
    # The beginning of one is what the end of another makes whole.
    whole = begins if begins == text else begins + _ANY_JA4[len(begins) :]
    if begins and _JA4.fullmatch(whole):
        return text
    raise ValueError(
        f"{shown(text)!r} is no fingerprint; write a JA3 of 32 hexadecimal digits, a JA4 such as "
        "t13d1516h2_8daaf6152771_e5627efa2ab1, or the beginning of one and *, such as t13d1516h2_*"
    )


def _fingerprints(given: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(map(normalise_tls_fingerprint, [given] if isinstance(given, str) else given))


@frozen
class _Known:
    """Fingerprints of a list: whole ones, and how others begin."""

    whole: frozenset[str]
    beginnings: tuple[str, ...]

    @classmethod
    def of(cls, listed: Iterable[str]) -> _Known:
        every = frozenset(listed)
        beginnings = frozenset(one for one in every if one.endswith("*"))
        return cls(every - beginnings, tuple(one[:-1] for one in sorted(beginnings)))

    @classmethod
    def read(cls, data: bytes, may_be_empty: bool) -> _Known:
        return cls.of(read_list(data, normalise_tls_fingerprint, may_be_empty))

    def has(self, ja3: str, ja4: str) -> bool:
        return ja3 in self.whole or ja4 in self.whole or ja4.startswith(self.beginnings)

    def __len__(self) -> int:
        return len(self.whole) + len(self.beginnings)


class _Lists:
    """What stands in the configuration, and what is in a file beside it."""

    def __init__(self, listed: Iterable[str], file: str | None, env: IEnvironment, may_be_empty: bool) -> None:
        self._own = _Known.of(listed)
        self._followed: IFollowed | None = None
        if file is not None:
            self._followed = env.follow(file, partial(_Known.read, may_be_empty=may_be_empty))

    def has(self, ja3: str, ja4: str) -> bool:
        followed = self._followed
        return self._own.has(ja3, ja4) or (followed is not None and followed.value.has(ja3, ja4))

    def __len__(self) -> int:
        return len(self._own) + (0 if self._followed is None else len(self._followed.value))


@frozen(kw_only=True)
class Config:
    """Options of ``tls_fingerprint``; one list at least."""

    allow: tuple[str, ...] = option(
        "Fingerprints that come in, and no others: JA3, JA4, or how a JA4 begins and * behind it.",
        default=(),
        convert=_fingerprints,
    )
    allow_file: FilePath | None = option(
        "A file with more of them, one on a line, # before comments; followed as it changes.", default=None
    )
    deny: tuple[str, ...] = option(
        "Fingerprints that do not come in, written as those of allow are.", default=(), convert=_fingerprints
    )
    deny_file: FilePath | None = option(
        "A file with more of them, as allow_file.  Without a single byte in it, it is not taken.", default=None
    )

    def __attrs_post_init__(self) -> None:
        if not (self.allow or self.deny) and self.allow_file is None and self.deny_file is None:
            raise ValueError("names no fingerprint; give allow, deny, allow_file or deny_file")
        both = sorted(set(self.allow) & set(self.deny))
        if both:
            raise ValueError(f"{both[0]} is both allowed and denied; leave it out of one list")


@policy("tls_fingerprint", Config, without_certificate=True, needs_fingerprints=True)
class TLSFingerprint:
    """Let in the clients whose TLS fingerprint is allowed, and not denied.

    With ``allow`` or ``allow_file`` only what is listed there comes in; with ``deny`` or ``deny_file`` all but what is
    listed there; with both what is on the first and not on the second.  A client is on a list when its JA3 or its JA4
    is.

    A fingerprint tells which TLS library a client uses, and how it is set up: curl from a browser, a browser from a
    script that names itself one.  It is no secret and proves nothing, since anybody can write a ClientHello like
    another's; it keeps out what does not take the trouble.  It changes with new versions of the library.  JA4 sorts
    what browsers shuffle; their JA3 is another one each time, so list the JA4 of such a client.  ``edgegw handshakes
    ID`` and the log show both of a client.

    ``t13d1516h2_*`` is every JA4 that begins so: the second part is made of the cipher suites, the third of the
    extensions.

    The ClientHello of every connection of a port with this policy is looked at before OpenSSL reads it, as with the
    listener's ``fingerprints: true``.  A connection without TLS has no fingerprint and is refused with
    ``no_fingerprint``; so is one from before the policy was configured, where open connections are judged again.
    ``edgegw explain`` is told them: ``--ja3``, ``--ja4``.

    Files are followed: a line added or removed counts within about a second, and what cannot be read leaves the
    last list in use.  An empty ``allow_file`` allows nobody.  A ``deny_file`` that denies nobody has a comment in it: a
    file without a single byte is one that is just being written.

    Example::

        policies:
          - tls_fingerprint:
              allow: ["t13d3112h2_e8f1e7e78f70_*", "t13d1516h2_8daaf6152771_e5627efa2ab1"]
              deny: [e7d705a3286e19ea42f587b344ee6865]
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._allow: _Lists | None = None
        if config.allow or config.allow_file is not None:
            self._allow = _Lists(config.allow, config.allow_file, env, True)
        self._deny: _Lists | None = None
        if config.deny or config.deny_file is not None:
            self._deny = _Lists(config.deny, config.deny_file, env, False)

    def check(self, peer: Peer) -> Verdict:
        """Look both fingerprints up."""
        ja3, ja4 = peer.ja3, peer.ja4
        if ja3 is None or ja4 is None:
            return Reject(Reason.NO_FINGERPRINT, "no fingerprint was taken of this connection")
        if self._deny is not None and self._deny.has(ja3, ja4):
            return Reject(Reason.TLS_FINGERPRINT, f"{ja4} (JA3 {ja3}) is denied")
        if self._allow is not None and not self._allow.has(ja3, ja4):
            return Reject(Reason.TLS_FINGERPRINT, f"{ja4} (JA3 {ja3}) is none of the {len(self._allow)} allowed")
        return _ACCEPT
