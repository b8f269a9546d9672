"""A plugin's options class as the shape of a document: values, faults with their places, and JSON Schema."""
from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Literal

from attrs import frozen
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # has no annotations
from twisted.trial.unittest import SynchronousTestCase

from edgegw.api import Duration, FilePath, Size, option
from edgegw.config.faults import Report
from edgegw.config.options import options_of
from edgegw.config.reader import read_text
from edgegw.config.shapes import INVALID


class Colour(Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


@frozen
class Inner:
    """A part."""

    shorthand: ClassVar[str] = "text"
    text: str = option("A text.")
    ignore_case: bool = option("Whether case counts.", default=False)


def upper(value: str) -> str:
    """Convert, or find fault."""
    if value == "bad":
        raise ValueError("is bad; be good")
    return value.upper()


def even(value: int) -> None:
    """Check."""
    if value % 2:
        raise ValueError(f"{value} is odd; use an even number")


@frozen
class Everything:
    """One option of each type."""

    name: str = option("A name.", convert=upper)
    count: int = option("A number.", default=2, check=even, minimum=0, maximum=10)
    share: float = option("A share.", default=0.5, minimum=0, maximum=1)
    wanted: bool = option("Whether.", default=True)
    colour: Colour = option("A colour.", default=Colour.RED)
    word: Literal["a", "b"] = option("A word.", default="a")
    names: tuple[str, ...] = option("Names.", default=())
    some: tuple[int, ...] = option("Numbers.", default=(1, 2), min_items=1)
    parts: tuple[Inner, ...] = option("Parts.", default=())
    one: Inner | None = option("A part.", default=None)
    by_name: Mapping[str, Inner] = option("Parts by name.", default={})
    wait: Duration = option("A time.", default=3.0, minimum=1.0)
    size: Size = option("A size.", default=1024)
    file: FilePath | None = option("A file.", default=None)

    def __attrs_post_init__(self) -> None:
        if self.share == 1 and not self.wanted:
            raise ValueError("share and wanted contradict each other; change one")


class OptionsCase(SynchronousTestCase):
    """Options read from YAML."""

    def read(self, text: str, config_type: type[Any] = Everything) -> tuple[Any, list[str]]:
        """Give the options and the findings, without the file's name."""
        report = Report("f")
        node = read_text(text, "f", {}, report)
        assert node is not None
        value = options_of(config_type, "/etc/edgegw").read(node, report)
        return value, [str(one).partition(":")[2] for one in report.findings]

    def fault(self, text: str, config_type: type[Any] = Everything) -> str:
        """Give the one fault of some options."""
        value, faults = self.read(text, config_type)
        self.assertIs(value, INVALID)
        self.assertEqual(len(faults), 1, faults)
        return faults[0]


class ValueTests(OptionsCase):
    """What becomes of values."""

    def test_defaults(self) -> None:
        """What is left out is as the class says."""
        value, faults = self.read("name: x")
        self.assertEqual((value, faults), (Everything("x"), []))

    def test_all_types(self) -> None:
        """Each type is read as what it is."""
        value, faults = self.read(
            "name: x\ncount: 4\nshare: 1\nwanted: true\ncolour: blue\nword: b\nnames: [p, q]\nsome: [3]\n"
            "parts: [{text: t, ignore_case: true}, short]\none: {text: u}\nby_name: {k: {text: v}}\nwait: 1m30s\n"
            "size: 2KiB\nfile: lists/a.csv\n"
        )
        self.assertEqual(faults, [])
        self.assertEqual(value, Everything(
            "x", 4, 1.0, True, Colour.BLUE, "b", ("p", "q"), (3,), (Inner("t", True), Inner("short")), Inner("u"),
            {"k": Inner("v")}, 90.0, 2048, "/etc/edgegw/lists/a.csv",  # type: ignore[arg-type]  # NewTypes
        ))
        self.assertEqual(value.name, "X")
        absolute, _ = self.read("name: x\nfile: /a.csv\nby_name: {}")
        self.assertEqual((absolute.file, absolute.by_name), ("/a.csv", {}))

    def test_without_any(self) -> None:
        """A class without required options takes an empty mapping."""

        @frozen
        class Empty:
            pass

        self.assertEqual(self.read("{}", Empty), (Empty(), []))


class FaultTests(OptionsCase):
    """Every fault has its place."""

    def test_places(self) -> None:
        """Unknown and missing keys, wrong types, values out of range, and what the class's own code says."""
        for text, expected in {
            "count: 2": "1:1: has no name; give name: text",
            "name: x\nnmae: y": "2:1: nmae: is no known key; did you mean name?",
            "name: x\ncount: a": '2:8: count: "a" is not a whole number; '
            "write a whole number from 0 to 10, without quotes",
            "name: x\ncount: 12": "2:8: count: 12 is out of range; write a whole number from 0 to 10",
            "name: x\ncount: 3": "2:8: count: 3 is odd; use an even number",
            "name: x\nshare: 1.5": "2:8: share: 1.5 is out of range; write a number from 0 to 1",
            "name: bad": "1:7: name: is bad; be good",
            "name: x\nwait: 5": "2:7: wait: 5 has no unit; write a duration such as 500ms, 30s or 1h30m",
            "name: x\nwait: 0s": "2:7: wait: 0s is out of range; write a duration from 1s to 8784h",
            "name: x\ncolour: green": "2:9: colour: \"green\" is not red or blue; use one of red, blue",
            "name: x\nsome: []": "2:7: some: is an empty list; give 1 or more",
            "name: x\nparts: [{ignore_case: true}]": "2:9: parts[0]: has no text; give text: text",
            "name: x\nshare: 1\nwanted: false": "1:1: share and wanted contradict each other; change one",
            "- a": "1:1: is a list; write a mapping",
        }.items():
            with self.subTest(text=text):
                self.assertEqual(self.fault(text), expected)

    def test_several_at_once(self) -> None:
        """All faults are found in one go."""
        _, faults = self.read("name: bad\ncount: 3\nwait: x\nother: 1")
        self.assertEqual(len(faults), 4)

    def test_code_that_fails(self) -> None:
        """A conversion with a fault of its own is a fault of the configuration, not of the gateway."""

        def explode(value: str) -> str:
            raise KeyError(value)

        @frozen
        class Config:
            name: str = option("A name.", convert=explode)

        self.assertEqual(self.fault("name: x", Config), "1:7: name: KeyError: 'x'")


class TypeTests(SynchronousTestCase):
    """Classes that cannot be options."""

    def test_types_without_a_shape(self) -> None:
        """A field whose type no configuration can give is refused by name."""

        @frozen
        class Config:
            when: object = option("When.")

        error = self.assertRaises(TypeError, options_of, Config)
        self.assertIn("Config.when", str(error))
        self.assertRaises(TypeError, options_of, int)


class SchemaTests(SynchronousTestCase):
    """The same rules for editors."""

    def test_schema(self) -> None:
        """It is valid, takes what is taken, refuses what is refused, and explains every option."""
        definitions: dict[str, Any] = {}
        schema = options_of(Everything).schema(definitions)
        Draft202012Validator.check_schema(schema)
        validator = Draft202012Validator({**schema, "$defs": definitions})
        self.assertTrue(validator.is_valid({"name": "x", "parts": [{"text": "t"}, "short"], "wait": "5s"}))
        for wrong in ({}, {"name": "x", "count": 11}, {"name": "x", "colour": "green"}, {"name": "x", "other": 1}):
            self.assertFalse(validator.is_valid(wrong), wrong)
        self.assertEqual(schema["properties"]["colour"]["default"], "red")
        self.assertTrue(all(one.get("description") for one in schema["properties"].values()))


