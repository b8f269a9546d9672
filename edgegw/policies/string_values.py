"""ASN.1 strings as text, whatever their type (X.680 §41): values of attributes and of other names."""
from __future__ import annotations

from edgegw.der import DERError, read
from edgegw.distinguished_name import string_text

__all__ = ["string_value"]


def string_value(der: bytes) -> str | None:
    """Give the text of a string; ``None`` if it is none, or its bytes are not of its type.

    :param der: the whole element: tag, length and contents.
    """
    try:
        tag, start, stop = read(der, 0, len(der))
    except DERError:
        return None
    return string_text(tag, der[start:stop]) if stop == len(der) else None
