"""Names of cipher suites, key exchange groups and signature algorithms in their several spellings.

Which of them the OpenSSL at hand has is not known here; see ``check_tls`` of
:func:`edgegw.config.load`.
"""
from __future__ import annotations

import re
from typing import Final

from edgegw.config.scalars import Unparsable
from edgegw.config.shapes import did_you_mean

__all__ = [
    "CIPHER_SUITES",
    "TLS13_CIPHER_SUITES",
    "is_tls13",
    "parse_cipher_suite",
    "parse_group",
    "parse_signature_algorithm",
]

#: TLS 1.2 suites that are forward secret and AEAD: IANA's name and OpenSSL's.
_TLS12: Final = {
    f"TLS_ECDHE_{auth}_WITH_{iana}": openssl.format(auth)
    for auth in ("ECDSA", "RSA")
    for iana, openssl in (
        ("AES_128_GCM_SHA256", "ECDHE-{}-AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "ECDHE-{}-AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "ECDHE-{}-CHACHA20-POLY1305"),
    )
} | {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM": "ECDHE-ECDSA-AES128-CCM",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CCM": "ECDHE-ECDSA-AES256-CCM",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8": "ECDHE-ECDSA-AES128-CCM8",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8": "ECDHE-ECDSA-AES256-CCM8",
    "TLS_ECDHE_ECDSA_WITH_ARIA_128_GCM_SHA256": "ECDHE-ECDSA-ARIA128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_ARIA_256_GCM_SHA384": "ECDHE-ECDSA-ARIA256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_ARIA_128_GCM_SHA256": "ECDHE-ARIA128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_ARIA_256_GCM_SHA384": "ECDHE-ARIA256-GCM-SHA384",
}
#: TLS 1.3 suites (RFC 8446 appendix B.4).
TLS13_CIPHER_SUITES: Final = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
)
#: Every spelling that is taken, and OpenSSL's of the same suite.
CIPHER_SUITES: Final[dict[str, str]] = {
    **{name: name for name in TLS13_CIPHER_SUITES},
    **{openssl: openssl for openssl in _TLS12.values()},
    **_TLS12,
    **{"TLS13_" + name.removeprefix("TLS_"): name for name in TLS13_CIPHER_SUITES},
}
_SUITE_WORD = re.compile(
    r"(?:TLS|SSL|WITH|ANON|EXPORT|EDE|AES|CAMELLIA|ARIA|SEED|IDEA|3?DES|RC4|NULL|CBC|GCM|CCM8?|CHACHA20|POLY1305|"
    r"PSK|SRP|DHE?|EDH|ADH|AECDH|ECDHE?|RSA|DSS|ECDSA|MD5|KRB5|GOST)?[0-9]*|SHA(?:1|224|256|384|512)?"
)

#: Other spellings of groups, and the one that OpenSSL and Go share with operators.
_GROUPS: Final = {
    "secp256r1": "P-256",
    "prime256v1": "P-256",
    "p-256": "P-256",
    "secp384r1": "P-384",
    "p-384": "P-384",
    "secp521r1": "P-521",
    "p-521": "P-521",
    "x25519": "X25519",
    "x448": "X448",
    "x25519mlkem768": "X25519MLKEM768",
    "secp256r1mlkem768": "SecP256r1MLKEM768",
    "secp384r1mlkem1024": "SecP384r1MLKEM1024",
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,63}")
_WEAK_HASH = re.compile(r"(?i)(?:.*[_+])?(?:sha1|md5|sha)")


def is_tls13(suite: str) -> bool:
    """Whether a suite in OpenSSL's spelling is one of TLS 1.3's."""
    return suite in TLS13_CIPHER_SUITES


def parse_cipher_suite(text: str) -> str:
    """Give OpenSSL's name of a suite.

    :raises Unparsable: it is unknown, or neither forward secret nor AEAD (RFC 9325 §4.2).
    """
    suite = CIPHER_SUITES.get(text)
    if suite is not None:
        return suite
    known = CIPHER_SUITES.get(text.upper())
    if known is not None:
        raise Unparsable("is not spelled as the suite is", f"write {text.upper()}")
    if _is_weak([word.upper() for word in re.split(r"[-_]", text) if word]):
        raise Unparsable(
            "is no ECDHE suite with authenticated encryption (RFC 9325 §4.2)",
            "use ECDHE suites with GCM, CCM or CHACHA20-POLY1305, or TLS 1.3's",
        )
    raise Unparsable("is not a cipher suite", did_you_mean(text, list(CIPHER_SUITES)))


def _is_weak(words: list[str]) -> bool:
    """Whether a suite's name has only known parts, and one is missing that would make it strong."""
    if len(words) < 2 or not all(map(_SUITE_WORD.fullmatch, words)):
        return False
    if words[0] == "TLS" and "WITH" not in words:
        # Named as TLS 1.3 names its suites, of which none is weak.
        return False
    aead = any(word.startswith(("GCM", "CCM", "POLY1305", "CHACHA20")) for word in words)
    return not aead or "ECDHE" not in words or "PSK" in words


def parse_group(text: str) -> str:
    """Give OpenSSL's name of a key exchange group; names that are not known here stay as they are."""
    if not _NAME.fullmatch(text):
        raise Unparsable("is not the name of a group", "write a name such as X25519MLKEM768, X25519, P-256 or P-384")
    return _GROUPS.get(text.lower(), text)


def parse_signature_algorithm(text: str) -> str:
    """Give a signature algorithm's name as it stands: TLS 1.3's (RFC 8446 §4.2.3) or OpenSSL's (``ECDSA+SHA256``)."""
    if not _NAME.fullmatch(text):
        raise Unparsable(
            "is not the name of a signature algorithm", "write a name such as ecdsa_secp256r1_sha256"
        )
    if _WEAK_HASH.fullmatch(text):
        problem = "signs with SHA-1 or MD5, which TLS no longer allows (RFC 9155)"
        raise Unparsable(problem, "use one with SHA-256 or better")
    return text
