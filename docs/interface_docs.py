"""What autodoc lacks here: interfaces of ``zope.interface``, and names that a module passes on.

``.. interface:: edgegw.api.IPolicy`` documents an interface as a class: its docstring, and each attribute and method
in the order of the source with the annotations that stand there.  Inherited ones are left to the interface that they
come from.  A part without a description is a warning, and so fails ``make docs``.

Things are documented under the name by which they are imported, such as ``edgegw.api.Peer``.  A reference to the place
where one is defined, ``edgegw.peer.Peer``, leads there too, whether it stands in a docstring or in a signature.
"""
from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from zope.interface.interface import InterfaceClass, Method

_log = logging.getLogger(__name__)
_INDENT: Final = "   "
#: The modules that things are imported from, the one that is meant for it first.
PUBLIC: Final = ("edgegw.api", "edgegw.testing", "edgegw.config")
_INTERFACE: Final = re.compile(r"<InterfaceClass [\w.]*\.(\w+)>")


def public_names() -> dict[str, str]:
    """Give the names under which things are documented by those where they are defined."""
    names: dict[str, str] = {}
    for public in PUBLIC:
        module = import_module(public)
        for name in module.__all__:
            defined = getattr(module, name)
            where = getattr(defined, "__module__", None)
            if where:
                names.setdefault(f"{where}.{getattr(defined, '__name__', name)}", f"{public}.{name}")
    return names


class InterfaceDirective(Directive):
    """``.. interface:: module.IName``."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        module_name, _, name = self.arguments[0].rpartition(".")
        interface = getattr(import_module(module_name), name)
        if not isinstance(interface, InterfaceClass):
            raise self.error(f"{self.arguments[0]} is no interface")
        written = _definition(interface)
        self.state.document.settings.env.note_dependency(inspect.getsourcefile(import_module(interface.__module__)))
        lines = list(self._lines(interface, written, module_name))
        parent = nodes.section()
        parent.document = self.state.document
        self.state.nested_parse(StringList(lines, source=f"{self.arguments[0]} (docstring)"), 0, parent)
        return parent.children

    def _lines(self, interface: Any, written: ast.ClassDef, module_name: str) -> Iterator[str]:
        name = interface.__name__
        bases = [base for base in interface.__bases__ if base.__name__ != "Interface"]
        yield from (f".. py:class:: {name}", f"{_INDENT}:module: {module_name}", "")
        if bases:
            links = ", ".join(f":class:`~{base.__module__}.{base.__name__}`" for base in bases)
            yield from (f"{_INDENT}Extends {links}.", "")
        yield from _indented(self._described(interface, name), _INDENT)
        for node in written.body:
            member = _name_of(node)
            part = None if member is None else interface.get(member)
            if part is None or part.interface is not interface:
                continue
            yield ""
            if isinstance(part, Method):
                yield f"{_INDENT}.. py:method:: {member}{_signature(node)}"
                if isinstance(node, ast.AsyncFunctionDef):
                    yield f"{_INDENT * 2}:async:"
            else:
                yield f"{_INDENT}.. py:attribute:: {member}"
                if isinstance(node, ast.AnnAssign):
                    yield f"{_INDENT * 2}:type: {ast.unparse(node.annotation)}"
            yield ""
            yield from _indented(self._described(part, f"{name}.{member}"), _INDENT * 2)

    def _described(self, part: Any, name: str) -> list[str]:
        text = inspect.cleandoc(part.__doc__ or "")
        if not text:
            _log.warning("%s has no description", name, location=self.get_source_info())
        return text.splitlines()


def _definition(interface: Any) -> ast.ClassDef:
    source = inspect.getsource(import_module(interface.__module__))
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == interface.__name__:
            return node
    raise ValueError(f"{interface.__module__} does not define {interface.__name__}")


def _name_of(node: ast.stmt) -> str | None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.name
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def _signature(node: ast.stmt) -> str:
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    return f"({ast.unparse(node.args)}){returns}"


def _indented(lines: list[str], indent: str) -> Iterator[str]:
    for line in lines:
        yield indent + line if line else ""


def find_public(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """Resolve a reference to what is documented under another name (``missing-reference``)."""
    if node.get("refdomain") != "py":
        return None
    target = node.get("reftarget", "")
    domain = env.get_domain("py")
    found = _public(target, public_names())
    if found is None and "." not in target:
        # A docstring's own module is another one than that under whose name it is shown.
        named = [name for name in domain.objects if name.startswith("edgegw.") and name.endswith(f".{target}")]
        found = named[0] if len(named) == 1 else None
    if found is None:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], found, node, content)


def _public(target: str, names: dict[str, str]) -> str | None:
    # A method's name comes behind that of its class.
    owner, _, member = target.rpartition(".")
    return names.get(target) or (f"{names[owner]}.{member}" if owner in names else None)


def tidy_signature(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write interfaces in signatures by their names, and none for a protocol, which nobody calls."""
    if what == "class" and getattr(thing, "_is_protocol", False):
        return "", None
    tidied = [text and _INTERFACE.sub(r"\1", text) for text in (signature, returns)]
    return tidied[0], tidied[1]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it all."""
    app.add_directive("interface", InterfaceDirective)
    app.connect("missing-reference", find_public)
    app.connect("autodoc-process-signature", tidy_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
