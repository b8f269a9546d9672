"""ASN.1 strings as text, whatever their type (X.680 §41): values of attributes and of other names."""
from __future__ import annotations

from edgegw.der import DERError, read

__all__ = ["string_value"]

#: String types by tag.  T61String is read as Latin-1, as everybody does.
_CODECS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "latin-1",  # NumericString
    0x13: "latin-1",  # PrintableString
    0x14: "latin-1",  # T61String
    0x16: "latin-1",  # IA5String
    0x1A: "latin-1",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_BMP_STRING = 0x1E


def string_value(der: bytes) -> str | None:
    """Give the text of a string; ``None`` if it is none, or its bytes are not of its type.

    :param der: the whole element: tag, length and contents.
    """
    try:
        tag, start, stop = read(der, 0, len(der))
    except DERError:
        return None
    codec = _CODECS.get(tag)
    if codec is None or stop != len(der):
        return None
    try:
        text = der[start:stop].decode(codec)
    except UnicodeDecodeError:
        return None
    # A BMPString has no surrogates: Python would read pairs of them as UTF-16.
    return None if tag == _BMP_STRING and 2 * len(text) != stop - start else text
