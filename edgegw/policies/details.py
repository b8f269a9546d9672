"""The words of a refusal's detail: printable ASCII and short, whatever a certificate or a configuration holds."""
from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from edgegw.certificate import printable

__all__ = ["MOST_ITEMS", "listed", "shown"]

_MOST_CHARACTERS = 100
#: Texts of a list that are given.
MOST_ITEMS = 5


def shown(text: str, most: int = _MOST_CHARACTERS) -> str:
    """Give a text in printable ASCII, its end left out where it has more than ``most`` characters."""
    cut = text if len(text) <= most else text[:most] + "..."
    return cut if cut.isascii() and cut.isprintable() else printable(cut.encode("utf-8", "backslashreplace"))


def listed(texts: Collection[str], nothing: str = "nothing", count: int | None = None) -> str:
    """Give the first few of some texts joined with commas, and how many more there are.

    :param nothing: what stands for no texts at all.
    :param count: how many there are, if ``texts`` are only the first :data:`MOST_ITEMS`.
    """
    if not texts:
        return nothing
    more = (len(texts) if count is None else count) - MOST_ITEMS
    few = ", ".join([shown(text) for text in islice(texts, MOST_ITEMS)])
    return f"{few} and {more} more" if more > 0 else few
