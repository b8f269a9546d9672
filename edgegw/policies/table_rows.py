"""Rows of a table in a CSV or YAML file, one after the other and each with its line.

A table of a million rows is never a million objects at a time.  CSV is RFC 4180's with a header line; YAML is a list
of mappings whose values are text whatever they look like: ``4711`` and ``1e10`` stay what was written.
"""
from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

import yaml

from edgegw.policies.details import listed, shown

__all__ = ["RowFaults", "csv_rows", "yaml_rows"]

_MOST_FAULTS: Final = 5
#: libyaml where it is there: it is many times as fast.
_YAML: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

#: A line's number from 1, and the values of the columns that were asked for, empty where there is none.
Row = tuple[int, Sequence[str]]


class RowFaults:
    """What is wrong with some rows: the first few in words, and how many more."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._more = 0

    def add(self, line: int, problem: object) -> None:
        """Take note of a row that cannot be used."""
        if len(self._texts) < _MOST_FAULTS:
            self._texts.append(f"line {line}: {problem}")
        else:
            self._more += 1

    def check(self) -> None:
        """Make sure that there were none.

        :raises ValueError: there were.
        """
        if self._texts:
            more = f", and {self._more} more lines" if self._more else ""
            raise ValueError(", ".join(self._texts) + more)


# --- CSV ------------------------------------------------------------------------------------


def csv_rows(data: bytes, columns: Sequence[str], faults: RowFaults) -> Iterator[Row]:
    """Read CSV (RFC 4180): UTF-8, commas, a first line that names the columns.

    Outer spaces of cells do not count, nor do empty lines.  Other columns are passed over.

    :param columns: those wanted, in the order in which the rows have their values.
    :param faults: told of rows that have too few or too many cells; they are left out.
    :raises ValueError: it is not UTF-8, a column is not there or there twice, or quotes do not end.
    """
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        places = _places(header, columns)
        width = len(header)
        for cells in reader:
            if len(cells) != width:
                if len(cells) > 1 or (cells and cells[0].strip()):
                    faults.add(reader.line_num, f"has {len(cells)} cells, the first line has {width}")
                continue
            yield reader.line_num, [cells[place].strip() for place in places]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    except UnicodeDecodeError:
        raise ValueError(_undecodable(data)) from None


def _places(header: list[str], columns: Sequence[str]) -> list[int]:
    if not any(header):
        raise ValueError("has no first line that names the columns")
    for column in columns:
        if header.count(column) != 1:
            there = "is there twice" if column in header else "is not there"
            raise ValueError(f"the column {shown(column)} {there}: the first line names {listed(header)}")
    return [header.index(column) for column in columns]


def _undecodable(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line}: is not UTF-8"
    return "is not UTF-8"


# --- YAML -----------------------------------------------------------------------------------


def yaml_rows(data: bytes, columns: Sequence[str], faults: RowFaults) -> Iterator[Row]:
    """Read a YAML list of mappings; an item that is text alone is the value of the first column.

    Other keys are passed over, whatever is under them.

    :param columns: those wanted, in the order in which the rows have their values.
    :param faults: told of items that are no mappings, and of values that are no text; they are left out.
    :raises ValueError: it is no YAML, no list, or has anchors and aliases in it.
    """
    events = _Events(data)
    try:
        while isinstance(event := events.next(), yaml.StreamStartEvent | yaml.DocumentStartEvent):
            pass
        if not isinstance(event, yaml.SequenceStartEvent):
            raise ValueError(f"line {events.line}: is no list; write an item that begins with - for each identity")
        yield from _items(events, columns, faults)
        while not isinstance(event := events.next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                raise ValueError(f"line {events.line}: a second document begins")
    except yaml.MarkedYAMLError as error:
        line = events.line if error.problem_mark is None else error.problem_mark.line + 1
        raise ValueError(f"line {line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"after line {events.line}: {' '.join(str(error).split())[:200]}") from None


class _Events:
    """The parts of a document, one after the other.

    :ivar line: where the last one stands, from 1.
    """

    def __init__(self, data: bytes) -> None:
        self.line = 1
        self._parsed = yaml.parse(data, Loader=_YAML)

    def next(self) -> Any:
        """Give the next part.

        :raises ValueError: it is, or has, what would make one part of the document stand in several places.
        """
        event: Any = next(self._parsed)
        self.line = event.start_mark.line + 1
        if getattr(event, "anchor", None):
            raise ValueError(f"line {self.line}: anchors and aliases are not taken")
        return event

    def pass_over(self, event: Any) -> None:
        """Pass over what an event began."""
        depth = 0
        while True:
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth == 0:
                return
            event = self.next()


def _items(events: _Events, columns: Sequence[str], faults: RowFaults) -> Iterator[Row]:
    places = {column: place for place, column in enumerate(columns)}
    while not isinstance(event := events.next(), yaml.SequenceEndEvent):
        line = events.line
        values: list[str] | None = [""] * len(columns)
        if isinstance(event, yaml.ScalarEvent):
            values[0] = event.value.strip()  # type: ignore[index]  # it is a list here
        elif isinstance(event, yaml.MappingStartEvent):
            values = _mapping(events, places, faults)
        else:
            faults.add(line, "is neither a mapping nor text")
            events.pass_over(event)
            values = None
        if values is not None:
            yield line, values


def _mapping(events: _Events, places: dict[str, int], faults: RowFaults) -> list[str] | None:
    values: list[str | None] = [None] * len(places)
    sound = True
    while not isinstance(key := events.next(), yaml.MappingEndEvent):
        place = places.get(key.value) if isinstance(key, yaml.ScalarEvent) else None
        events.pass_over(key)
        value = events.next()
        if place is not None:
            problem = _value_problem(value, values[place])
            if problem:
                sound = False
                faults.add(events.line, f"{shown(key.value)} {problem}")
            else:
                values[place] = "" if value.implicit[0] and value.value in _NULLS else value.value.strip()
        events.pass_over(value)
    return [value or "" for value in values] if sound else None


def _value_problem(value: Any, before: str | None) -> str:
    if not isinstance(value, yaml.ScalarEvent):
        return "is no text"
    return "" if before is None else "is there twice"
