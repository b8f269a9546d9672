"""Plugins in the native document: lists of policies, and the one-key mappings that name a plugin.

What a plugin is called and which options it takes is known only when the plugins have been found, which the
document itself has a say in (``plugin_path``).  So the document is read with :class:`PluginNodes` in these
places, and :class:`PluginTranslation` makes the model of what stands there.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceABC
from functools import cached_property
from typing import Any, Final, Protocol

from attrs import frozen

from edgegw.config.faults import Report
from edgegw.config.nodes import Mapping, Node, Scalar, ScalarType, Sequence
from edgegw.config.options import no_options, options_of, report_raised
from edgegw.config.shapes import INVALID, Invalid, Schema, Shape, did_you_mean
from edgegw.model import PolicyAll, PolicyAny, PolicyNot, PolicyRule, PolicyUse

__all__ = ["PLUGIN", "MakeEnvironment", "POLICIES", "PluginTranslation", "Plugins", "describe_kinds"]

_NAME_PATTERN: Final = r"^([a-z][a-z0-9_]*|[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*)$"
#: Plugins that could not be loaded and are named in a fault; the rest is counted.
_MOST_PROBLEMS: Final = 3


class Plugins(Protocol):
    """Where kinds are found; :class:`edgegw.registry.Registry`."""

    problems: list[Any]
    changed: list[str]

    def find(self, what: str, name: str) -> Any:
        """Give what was found under a name, with its ``kind``; ``None`` if nothing was."""

    def names(self, what: str) -> list[str]:
        """Give every name of a sort."""


@frozen
class PluginNodes(Shape):
    """Something that only the plugins can judge; read as the node that it is.

    :ivar definition: of the JSON Schema, which :func:`describe_kinds` fills in.
    """

    definition: str
    wanted: str
    is_list: bool = False

    def read(self, node: Node, report: Report) -> Node | Invalid:
        if self.is_list:
            if not isinstance(node, Sequence):
                return self.mismatch(node, report)
            if not node.items:
                report.fault(node, "is an empty list, which would refuse everyone", "name a policy, or leave it out")
                return INVALID
        elif isinstance(node, Scalar) and node.type is ScalarType.NULL:
            return self.mismatch(node, report)
        return node

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        definitions.setdefault(self.definition, _any_plugin())
        reference = {"$ref": f"#/$defs/{self.definition}"}
        return {"type": "array", "items": reference, "minItems": 1} if self.is_list else reference


POLICIES: Final = PluginNodes("policy", "a list of policies", is_list=True)


def PLUGIN(what: str) -> PluginNodes:
    """Give the shape of a place that names one plugin of a sort."""
    return PluginNodes(what, f"the name of a {what}, or a mapping with the name as its one key")


def _any_plugin() -> Schema:
    return {
        "anyOf": [
            {"type": "string", "pattern": _NAME_PATTERN},
            {
                "type": "object",
                "propertyNames": {"pattern": _NAME_PATTERN},
                "additionalProperties": {"type": "object"},
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }


def describe_kinds(definitions: dict[str, Schema], kinds: Iterable[Any]) -> None:
    """Put what is known of plugins into a JSON Schema: their names, options and descriptions.

    Other plugins stay allowed, because which there are differs from machine to machine.

    :param kinds: with ``what`` and ``kind``, as the registry has them.
    """
    properties: dict[str, dict[str, Any]] = {}
    for found in kinds:
        kind = found.kind
        options: Schema = {"type": "object", "maxProperties": 0}
        if kind.config_type is not None:
            options = options_of(kind.config_type).schema(definitions)
        summary = kind.description.partition("\n\n")[0].replace("\n", " ")
        properties.setdefault(found.what, {})[kind.name] = {**options, "description": summary}
    for what, schema in definitions.items():
        if what == "policy":
            reference = {"$ref": "#/$defs/policy"}
            several = {"type": "array", "items": reference, "minItems": 1}
            combined: dict[str, Any] = {
                "all": {**several, "description": "All of these must accept."},
                "any": {**several, "description": "One of these must accept."},
                "not": {**reference, "description": "This must refuse."},
            }
            properties[what] = {**combined, **properties.get(what, {})}
        if what in properties:
            schema["anyOf"][1]["properties"] = properties[what]


#: Gives what a plugin may use of the gateway, by its name and its place in the document.
MakeEnvironment = Callable[[str, str], Any]


class PluginTranslation:
    """Makes the model of the places where plugins are named.

    :param find: looks for plugins; called once, when the first is named.
    :param make_environment: gives a plugin what it may use of the gateway.
    :param directory: what relative paths in options start from.
    """

    def __init__(
        self,
        find: Callable[[], Plugins | None],
        make_environment: MakeEnvironment | None,
        report: Report,
        directory: str,
    ) -> None:
        self._find = find
        self._make_environment = make_environment
        self._report = report
        self._directory = directory

    @cached_property
    def _plugins(self) -> Plugins | None:
        return None if self._make_environment is None else self._find()

    def policies(self, node: Node | None) -> tuple[PolicyRule, ...] | None:
        """Make a list of policies; ``None`` without one.

        Where the document has a fault the list is shorter than it should be, and never used.
        """
        if not isinstance(node, Sequence):
            return None
        return tuple(rule for item in node.items if (rule := self._policy(item)) is not None)

    def _policy(self, node: Node) -> PolicyRule | None:
        if isinstance(node, Mapping) and len(node.values) == 1:
            ((word, members),) = node.values.items()
            if word == "not":
                member = self._policy(members)
                return None if member is None else PolicyNot(member)
            if word in ("all", "any"):
                listed = POLICIES.read(members, self._report)
                rules = self.policies(None if isinstance(listed, Invalid) else listed) or ()
                return PolicyAll(rules) if word == "all" else PolicyAny(rules)
        used = self.use("policy", node)
        if used is not None and not callable(getattr(used[1], "check", None)):
            self._report.fault(node, f"its kind made a {type(used[1]).__name__}, which has no check()")
            return None
        return None if used is None else PolicyUse(*used)

    def warn_of_changes(self, place: Node) -> None:
        """Warn of code that is in use and not what its file has in it by now."""
        plugins = self._plugins if "_plugins" in vars(self) else None
        for path in () if plugins is None else plugins.changed:
            self._report.warn(
                place, f"{path} has changed since it was loaded, and what was loaded then stays in use",
                "restart the gateway to use it as it is now",
            )

    def environment(self, what: str, node: Node) -> Any:
        """Give what something that is no plugin, but wants to follow files as one does, may use of the gateway.

        ``None`` where there is none to be had, as for whoever only looks at a document.
        """
        return None if self._make_environment is None else self._make_environment(what, node.path)

    def use(self, what: str, node: Node) -> tuple[Any, Any, Any] | None:
        """Give the kind that a place names, what it has built, and its environment.

        ``None`` after a fault was reported.
        """
        if isinstance(node, Mapping):
            if len(node.values) != 1:
                self._report.fault(node, f"has {len(node.values)} keys", f"give one: the name of a {what}")
                return None
            ((name, options),) = node.values.items()
            place: Node = node.key(name)
        elif isinstance(node, Scalar) and node.type is ScalarType.TEXT and not node.broken:
            name, options, place = node.text, None, node
        else:
            PLUGIN(what).mismatch(node, self._report)
            return None
        kind = self._kind(what, name, place)
        if kind is None:
            return None
        return self._built(kind, options, place)

    def _kind(self, what: str, name: str, place: Node) -> Any:
        if self._plugins is None:
            self._report.fault(place, f"there is no {what} {name}")
            return None
        try:
            found = self._plugins.find(what, name)
        except ValueError as error:
            self._report.fault(place, str(error), "correct the module, or name another")
            return None
        if found is None:
            words = ["all", "any", "not"] if what == "policy" else []
            problems = self._plugins.problems
            remedy = did_you_mean(name, [*self._plugins.names(what), *words])
            if problems and not remedy.startswith("did you mean"):
                remedy = f"correct that, or name another {what}"
            self._report.fault(place, f"there is no {what} {name}{_unless(problems)}", remedy)
            return None
        return found.kind

    def _built(self, kind: Any, options: Node | None, place: Node) -> tuple[Any, Any, Any] | None:
        config = None
        if kind.config_type is not None:
            # A name alone leaves every option as it is.
            given = Mapping(place.path, place.line, place.column, {}, {}) if options is None else options
            config = options_of(kind.config_type, self._directory).read(given, self._report)
        elif options is not None and not no_options(options, self._report):
            config = INVALID
        if config is INVALID:
            return None
        assert self._make_environment is not None
        environment = self._make_environment(kind.name, place.path)
        try:
            built = kind.build(config, environment)
        except (Exception, SystemExit) as error:
            report_raised(self._report, place, error)
            return None
        environment.holds(built)
        return kind, built, environment


def _unless(problems: SequenceABC[Any]) -> str:
    """Name the plugins that could not be loaded: one of them may be the one that is wanted.

    Why each could not is a warning of the document.
    """
    if not problems:
        return ""
    origins = list(dict.fromkeys(str(problem.origin) for problem in problems))
    more = len(origins) - _MOST_PROBLEMS
    text = ", ".join(origins[:_MOST_PROBLEMS]) + (f" and {more} more" if more > 0 else "")
    return f", unless it is in what could not be loaded: {text}"
