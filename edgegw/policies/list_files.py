"""Lists that stand in a configuration, in a file beside it that is followed as it changes, or in both."""
from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any

from edgegw.api import IEnvironment, IFollowed

__all__ = ["Listed", "read_list"]


def read_list(data: bytes, parse: Callable[[str], Any], may_be_empty: bool = True) -> frozenset[Any]:
    """Read a list from a file's bytes: UTF-8, one item on a line, ``#`` and what follows it is a comment.

    White space around an item does not count, nor do lines with nothing else.

    :param parse: makes the value of an item; a ``ValueError`` says what is wrong with it.
    :param may_be_empty: whether a file without a single byte is a list with nothing in it.
    :raises ValueError: it is not UTF-8, or an item is none; the text names the line.
    """
    if not data and not may_be_empty:
        raise ValueError("is empty, as a file is that is just being written; let a list of nothing be a comment line")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start}") from None
    found = set()
    for number, line in enumerate(text.split("\n"), 1):
        item = line.partition("#")[0].strip()
        if not item:
            continue
        try:
            found.add(parse(item))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return frozenset(found)


class Listed:
    """What is on a list: ``value in listed``.

    :param values: those that stand in the configuration.
    :param file: the path of a file with more, followed; ``None`` if there is none.
    :param parse: makes the value of an item of the file, as for :func:`read_list`.
    :param may_be_empty: as for :func:`read_list`.  False for lists of what is refused: a file that has been
        truncated, to be written again, would let everybody in for a moment.
    :raises OSError: the file cannot be read.
    :raises ValueError: it is no list.
    """

    def __init__(
        self,
        values: Iterable[Hashable],
        file: str | None,
        parse: Callable[[str], Hashable],
        env: IEnvironment,
        may_be_empty: bool = True,
    ) -> None:
        self._values = frozenset(values)
        self._followed: IFollowed | None = None
        if file is not None:
            self._followed = env.follow(file, partial(read_list, parse=parse, may_be_empty=may_be_empty))

    def __contains__(self, value: Hashable) -> bool:
        followed = self._followed
        return value in self._values or (followed is not None and value in followed.value)

    def __len__(self) -> int:
        if self._followed is None:
            return len(self._values)
        # A union of a million would be made for each client that is refused.
        listed = self._followed.value
        return len(listed) + sum(value not in listed for value in self._values)
