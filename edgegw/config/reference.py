"""What people read about a kind of plugin: description, flags, options and codes, as text, reStructuredText or JSON.

The kinds are passed in, by whoever has found them: ``edgegw plugins`` shows one as text, and
:mod:`edgegw.config.reference_page` makes ``docs/policies.rst`` of those that come with the gateway.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from textwrap import wrap
from typing import Any, Final, Protocol

import attrs
from attrs import frozen

from edgegw.config.options import Options, options_of
from edgegw.config.scalars import (
    Boolean,
    Choice,
    Duration,
    Integer,
    Number,
    Size,
    Words,
    format_duration,
    format_size,
)
from edgegw.config.shapes import Entries, Field, ListOf, Shape
from edgegw.verdict import Explanation

__all__ = ["FoundKind", "OptionReference", "flags", "kind_as_json", "kind_as_rst", "kind_as_text", "option_references"]

#: Characters of a line of reStructuredText.
WIDTH: Final = 120


class FoundKind(Protocol):
    """A kind and where it comes from; :class:`edgegw.registry.Found`."""

    @property
    def kind(self) -> Any:
        """Provides :class:`edgegw.interfaces.IPluginKind`."""

    @property
    def what(self) -> str:
        """The sort of kinds that it belongs to: ``policy``."""

    @property
    def origin(self) -> str:
        """A file, an entry point or a module."""

    @property
    def version(self) -> str:
        """Its version; may be empty."""

    @property
    def built_in(self) -> bool:
        """Whether it comes with the gateway."""


# --- options ----------------------------------------------------------------------------------


@frozen
class OptionReference:
    """An option, for people.

    :ivar type: in words, such as ``list of text``.
    :ivar default: as a configuration writes it; empty where there is none or it is nothing that could be written.
    :ivar options: of the mapping that it is, or that it is a list or mapping of; without those of ``same_as``.
    :ivar same_as: the option whose options it has, too, where they are shown already; may be empty.
    """

    name: str
    type: str
    required: bool
    default: str
    doc: str
    options: tuple[OptionReference, ...] = ()
    same_as: str = ""

    @property
    def summary(self) -> str:
        """Its type and its default in one line."""
        if self.required:
            return f"{self.type}; required"
        return f"{self.type}; default: {self.default}" if self.default else f"{self.type}; optional"


def option_references(config_type: type[Any] | None) -> tuple[OptionReference, ...]:
    """Give the options of a class; none of ``None``.

    :raises TypeError: it is no class of options.
    """
    return () if config_type is None else _references(config_type, "", {})


def _references(config_type: Any, path: str, shown: dict[type[Any], str]) -> tuple[OptionReference, ...]:
    """:param shown: the path of the option under which each class's options are shown."""
    attributes = {attribute.alias: attribute for attribute in attrs.fields(config_type)}
    found = []
    fields: tuple[Field, ...] = options_of(config_type).record.fields
    for field in fields:
        attribute = attributes[field.key]
        own = f"{path}.{field.key}" if path else field.key
        nested = _nested(field.shape)
        options: tuple[OptionReference, ...] = ()
        same_as = ""
        if nested is not None:
            known = next((one for one in nested.__mro__ if one in shown), None)
            if known is not None:
                same_as = shown[known]
            if known is not nested:
                shown[nested] = own
                inherited = set() if known is None else {one.alias for one in attrs.fields(known)}
                options = tuple(one for one in _references(nested, own, shown) if one.name not in inherited)
        found.append(
            OptionReference(
                field.key,
                _type(field.shape, attribute.metadata),
                attribute.default is attrs.NOTHING,
                _default(attribute.default, field.shape),
                field.description,
                options,
                same_as,
            )
        )
    return tuple(found)


def _nested(shape: Shape) -> type[Any] | None:
    if isinstance(shape, Options):
        return shape.config_type
    if isinstance(shape, ListOf):
        return _nested(shape.element)
    return _nested(shape.value) if isinstance(shape, Entries) else None


def _type(shape: Shape, metadata: Mapping[str, Any]) -> str:
    if isinstance(shape, ListOf):
        least = f", {shape.min_items} or more" if shape.min_items else ""
        return f"list of {_several(shape.element)}{least}"
    if isinstance(shape, Entries):
        return f"mapping of names to {_several(shape.value)}"
    if isinstance(shape, Options):
        return "mapping"
    if isinstance(shape, (Words, Choice)):
        words = shape.wanted.split(" or ")
        return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
    if isinstance(shape, Boolean):
        return "true or false"
    for of, name, write in (
        (Duration, "duration", format_duration), (Size, "size", format_size),
        (Integer, "whole number", str), (Number, "number", lambda number: f"{number:g}"),
    ):  # fmt: skip
        if isinstance(shape, of):
            return name + _bounds(metadata, write)
    return shape.wanted.removeprefix("the ")


_PLURALS: Final = {
    "text": "texts", "mapping": "mappings", "duration": "durations", "size": "sizes", "number": "numbers",
    "whole number": "whole numbers", "path of a file": "paths of files",
}  # fmt: skip


def _several(shape: Shape) -> str:
    one = _type(shape, {})
    word, of, rest = one.partition(" of ")
    if isinstance(shape, (ListOf, Entries)):
        return f"{word}s{of}{rest}"
    return _PLURALS.get(one, one)


def _bounds(metadata: Mapping[str, Any], write: Any) -> str:
    lowest, highest = metadata.get("minimum"), metadata.get("maximum")
    if lowest is None:
        return "" if highest is None else f", {write(highest)} or less"
    return f", {write(lowest)} or more" if highest is None else f" from {write(lowest)} to {write(highest)}"


def _default(default: Any, shape: Shape) -> str:
    if default is attrs.NOTHING or default is None or isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return ""
    if isinstance(default, (tuple, Mapping)) and not default:
        return ""
    try:
        return _written(shape.show(default))
    except Exception:
        # A default of a kind that no configuration could give: there is nothing to write.
        return ""


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, (str, int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return _written(value.value) if isinstance(value, Enum) else ""


# --- kinds ------------------------------------------------------------------------------------


def flags(kind: Any) -> list[str]:
    """Give sentences about how a kind's objects are used, as far as that is not what one expects."""
    found = []
    if getattr(kind, "waits", False):
        found.append("It waits for something: it runs when the handshake is done, within policy_timeout.")
    if getattr(kind, "needs_chain", False):
        found.append("It reads the chain, which is in no session ticket: listeners with it issue none.")
    if getattr(kind, "needs_fingerprints", False):
        found.append("It reads the fingerprints of ClientHellos, which are looked at first on ports with it.")
    if getattr(kind, "without_certificate", False):
        found.append("It judges clients without a certificate, too.")
    if getattr(kind, "per_request", False):
        found.append("It is asked at every request, not once for a connection.")
    seconds = getattr(kind, "cache_seconds", 0.0)
    if isinstance(seconds, str):
        found.append(f"Its answers about a certificate are kept for as long as the option {seconds} says.")
    elif seconds:
        found.append(f"Its answers about a certificate are kept for {format_duration(seconds)}.")
    return found


def kind_as_json(found: FoundKind) -> dict[str, Any]:
    """Give everything about a kind as JSON has it."""
    kind = found.kind
    return {
        "name": kind.name,
        "kind": found.what,
        "origin": found.origin,
        "version": found.version,
        "built_in": found.built_in,
        "waits": bool(getattr(kind, "waits", False)),
        "description": kind.description,
        "notes": flags(kind),
        "options": [attrs.asdict(option) for option in option_references(kind.config_type)],
        "codes": {code: attrs.asdict(text) for code, text in _codes(kind).items()},
    }


def _codes(kind: Any) -> Mapping[str, Explanation]:
    codes: Mapping[str, Explanation] = getattr(kind, "codes", {})
    return codes


def kind_as_text(found: FoundKind, width: int) -> str:
    """Give everything about a kind for a terminal.

    :param width: columns.
    """
    return "\n".join(_text_lines(found, max(width, 24))) + "\n"


def _text_lines(found: FoundKind, width: int) -> Iterator[str]:
    kind = found.kind
    version = f", version {found.version}" if found.version else ""
    # A path is not to be broken: it is copied.
    yield from wrap(
        f"{kind.name} ({found.what}) from {found.origin}{version}", width, subsequent_indent="    ",
        break_long_words=False, break_on_hyphens=False,
    )
    yield ""
    yield from _reflowed(kind.description, width)
    notes = flags(kind)
    if notes:
        yield ""
        yield from wrap("  ".join(notes), width)
    options = option_references(kind.config_type)
    yield ""
    yield "Options:" if options else "It takes no options."
    yield from _text_options(options, width, "  ")
    codes = _codes(kind)
    if codes:
        yield ""
        yield "Reason codes of its own:"
        for code, explanation in codes.items():
            yield f"  {code}"
            for text in (explanation.sentence, explanation.cause, explanation.remedy):
                yield from wrap(text, width, initial_indent="      ", subsequent_indent="      ")


def _text_options(options: Iterable[OptionReference], width: int, indent: str) -> Iterator[str]:
    for option in options:
        deeper = indent + "    "
        yield from wrap(f"{option.name}: {option.summary}", width, initial_indent=indent, subsequent_indent=deeper)
        doc = _with_reference(option)
        yield from wrap(doc, width, initial_indent=deeper, subsequent_indent=deeper)
        yield from _text_options(option.options, width, deeper)


def _with_reference(option: OptionReference) -> str:
    if not option.same_as:
        return option.doc
    more = ", and:" if option.options else "."
    return f"{option.doc}  Its options are those of {option.same_as}{more}"


def _reflowed(description: str, width: int) -> Iterator[str]:
    """Fit paragraphs and lists into a width; what is indented stays as it is."""
    for number, block in enumerate(re.split(r"\n[ \t]*\n", description)):
        if number:
            yield ""
        lines = block.split("\n")
        if any(line.startswith("* ") for line in lines) and all(line.startswith(("* ", "  ")) for line in lines):
            for item in re.split(r"\n(?=\* )", block):
                yield from wrap(item, width, subsequent_indent="  ", fix_sentence_endings=True)
        elif any(line.startswith((" ", "\t")) for line in lines):
            yield from lines
        else:
            yield from wrap(block, width, fix_sentence_endings=True)


# --- reStructuredText -------------------------------------------------------------------------

_SPECIAL: Final = re.compile(r"[\\*`|]|_(?![A-Za-z0-9])")


def kind_as_rst(found: FoundKind) -> str:
    """Give the section about a kind, ending with an empty line."""
    return "\n".join(_rst_lines(found)) + "\n"


def _rst_lines(found: FoundKind) -> Iterator[str]:
    kind = found.kind
    title = f"``{kind.name}``"
    yield from (title, "-" * len(title), "", *kind.description.rstrip().split("\n"), "")
    notes = flags(kind)
    if notes:
        yield from (*_wrapped("  ".join(map(_escaped, notes)), ""), "")
    options = option_references(kind.config_type)
    if not options:
        yield from ("It takes no options.", "")
    else:
        yield from (".. rubric:: Options", "")
        yield from _rst_options(options, "")
        yield ""
    codes = _codes(kind)
    if codes:
        yield from (".. rubric:: Reason codes of its own", "")
        for code, explanation in codes.items():
            said = "  ".join(filter(None, (explanation.sentence, explanation.cause, explanation.remedy)))
            yield f"``{code}``"
            yield from _wrapped(_escaped(said or "Refused."), "    ")
        yield ""


def _rst_options(options: Iterable[OptionReference], indent: str) -> Iterator[str]:
    for option in options:
        deeper = indent + "    "
        term = f"{indent}``{option.name}`` : {_escaped(option.summary)}"
        if len(term) <= WIDTH:
            yield term
        else:
            # A term is one line, however long.
            yield f"{indent}``{option.name}``"
            summary = option.summary[:1].upper() + option.summary[1:]
            yield from (*_wrapped(_escaped(f"{summary}."), deeper), "")
        yield from _wrapped(_escaped(_with_reference(option)), deeper)
        if option.options:
            yield ""
            yield from _rst_options(option.options, deeper)
            yield ""


def _escaped(text: str) -> str:
    """Keep plain text from being taken for markup."""
    return _SPECIAL.sub(lambda match: "\\" + match[0], text)


def _wrapped(text: str, indent: str) -> list[str]:
    return wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False,
        fix_sentence_endings=True,
    )
