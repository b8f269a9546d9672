"""PEM as text: its blocks, and whether a file was written to its end."""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

__all__ = ["CUT_OFF", "PARSE_ERRORS", "blocks", "certificates", "is_cut_off", "without"]

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
#: What a PEM block begins with, whether it was written to its end or not.
_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]*(?:-----|-{0,4}\Z)")
_CERTIFICATE_LABELS: Final = (b"CERTIFICATE", b"X509 CERTIFICATE")

#: What ``cryptography`` raises for certificates that it does not understand.
PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

#: What is wrong where :func:`is_cut_off`, to be put behind a file's name.
CUT_OFF: Final = "has a PEM block without its end in it: it was written in part, or is being written now"


def blocks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the label and the whole text of each block."""
    for match in _BLOCK.finditer(content):
        yield match[1], match[0]


def certificates(content: bytes) -> list[bytes]:
    """Give the text of each certificate's block."""
    return [text for label, text in blocks(content) if label in _CERTIFICATE_LABELS]


def is_cut_off(content: bytes) -> bool:
    """Whether PEM blocks begin that do not end, as in a file that was not written to its end."""
    whole = sum(len(_BEGIN.findall(text)) == 1 for _, text in blocks(content))
    return len(_BEGIN.findall(content)) > whole


def without(content: bytes) -> str:
    """Say what is there instead of the block that was looked for, to be put behind a file's name."""
    if not content.strip():
        return "is empty"
    if content.startswith(b"\x30"):
        return "is in DER"
    return "has no such PEM block in it"
