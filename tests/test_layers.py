"""The house stands as it was drawn: imports run one way, modules have one idea and a name that says it."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

import edgegw

PACKAGE = Path(edgegw.__file__).parent

#: The rooms of the house, by the first element of a module's name under ``edgegw``, and which others each
#: may import; each may import itself.  A room that is not here does not exist.
CONTRACTS = {
    "model", "identity", "peer", "verdict", "interfaces", "names", "certificate", "der", "distinguished_name",
    "backend", "sni", "expressions", "garbage", "proxied", "reason_explanations",
}
#: What plugins are made of.
PLUGINS = {"kinds", "api"}
PURE = {"config", "filters", "match", "headers", "wire", "policies", "sources", "backends", "balancing"}
ALLOWED: dict[str, set[str]] = {
    "names": set(),
    "verdict": set(),
    "reason_explanations": {"verdict"},
    "model": set(),
    "der": set(),
    "distinguished_name": {"der"},
    "certificate": {"der", "distinguished_name"},
    "proxied": {"certificate"},
    "identity": {"certificate", "der", "names", "proxied", "verdict"},
    "peer": {"certificate", "identity", "proxied"},
    "interfaces": {"backend", "certificate", "identity", "model", "names", "peer", "sni", "verdict"},
    "backend": {"identity"},
    "sni": {"names", "verdict"},
    "expressions": {"certificate"},
    "garbage": set(),
    "kinds": CONTRACTS,
    "api": CONTRACTS | {"kinds"},
    "plugins": set(),
    **dict.fromkeys(PURE, CONTRACTS | PLUGINS),
    "policy_cache": CONTRACTS,
    "policy_step": CONTRACTS | {"policy_cache"},
    "policy_groups": CONTRACTS | {"policy_step"},
    "policy_chain": CONTRACTS | {"policy_groups", "policy_step"},
    "plugin_files": set(),
    "applications": CONTRACTS | PLUGINS | {"plugin_files"},
    "registry": CONTRACTS | PLUGINS | {"config", "plugin_files"},
    "gateway_api": CONTRACTS | PURE | PLUGINS,
    # the Twisted edge, from the bottom up
    "deadlines": CONTRACTS,
    "reactor": set(),
    "openssl_conf": set(),
    "descriptors": set(),
    "signals": set(),
    "systemd": CONTRACTS,
    "tcp": CONTRACTS | {"deadlines"},
    "observe": CONTRACTS,
    "following": CONTRACTS,
    "http_connections": CONTRACTS,
    "http_client": CONTRACTS | {"http_connections"},
    "environment": CONTRACTS | {"following", "http_client", "observe"},
    "tls": CONTRACTS | PURE | {"deadlines", "tcp", "observe", "policy_chain", "policy_step"},
    "upstream": CONTRACTS | PURE | {"deadlines", "tcp", "observe", "tls"},
    "proxy": CONTRACTS
    | PURE
    | {"deadlines", "http_client", "tcp", "observe", "policy_chain", "policy_step", "tls", "upstream"},
    "endpoints": CONTRACTS | {"config", "environment", "http_client", "observe", "proxy", "registry", "tls"},
    "endpoint_parser": {"endpoints"},
    # what puts it together
    "opening": CONTRACTS | {"proxy", "tls"},
    "watching": {"gateway_api"},
    "service": CONTRACTS
    | PURE
    | {
        "deadlines", "descriptors", "gateway_api", "http_client", "observe", "opening", "proxy", "signals", "systemd",
        "tcp", "tls", "upstream", "watching",
    },
    "configuration": CONTRACTS | {"config", "environment", "gateway_api", "observe", "registry", "tls", "watching"},
    "manifest_arguments": {"configuration"},
    "tap": CONTRACTS | {"config", "configuration", "observe", "service"},
    "demo": CONTRACTS | {"config", "descriptors", "observe", "service", "tap"},
    # commands, and what is there for plugins' authors
    "reasons": CONTRACTS | {"tls"},
    "handshakes_command": CONTRACTS | {"config", "descriptors", "observe"},
    "new_plugin": CONTRACTS | PLUGINS | {"descriptors", "registry"},
    "explanation": CONTRACTS
    | PURE
    | {
        "configuration", "environment", "manifest_arguments", "observe", "policy_chain", "policy_step", "proxy",
        "reasons", "registry", "tap", "tls",
    },
    "explain_command": CONTRACTS
    | {
        "config", "configuration", "descriptors", "explanation", "observe", "policy_chain", "policy_step", "proxy",
        "tls",
    },
    "plugins_command": CONTRACTS | PLUGINS | {"config", "descriptors", "observe", "registry", "tap"},
    "testing": CONTRACTS
    | PURE
    | PLUGINS
    | {"observe", "policy_chain", "policy_step", "proxy", "registry", "tcp", "tls"},
    "cli": CONTRACTS
    | {
        "config", "configuration", "demo", "descriptors", "garbage", "manifest_arguments", "observe", "openssl_conf",
        "proxy", "reactor", "registry", "service", "tap",
    },
    "gateway_api_commands": CONTRACTS | {"config", "descriptors", "gateway_api", "tap"},
    "status_command": CONTRACTS | {"config", "descriptors", "gateway_api", "manifest_arguments"},
    "convert_command": CONTRACTS | {"config", "descriptors", "gateway_api", "manifest_arguments"},
    "__main__": {"cli"},
}
#: What touches the world: no room of contracts or pure code may import it.
WORLD = ("twisted.internet", "socket", "ssl", "select", "selectors", "asyncio", "threading", "OpenSSL.SSL")
#: Words that do not say what something does.
NAMELESS = {"utils", "util", "helpers", "helper", "manager", "handler", "processor", "misc", "common", "engine"}
MOST_LINES = 450


@frozen
class Import:
    """One import, wherever in a module it stands."""

    module: str
    imported: str
    line: int

    @property
    def room(self) -> str:
        """The room of the importing module; empty for ``edgegw`` itself."""
        return self.module.partition(".")[2].partition(".")[0]

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.imported}"


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file of the package, once for all tests."""
    return ast.parse(path.read_text())


def module_name(path: Path) -> str:
    """Give the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_in(tree: ast.Module, module: str, package: str) -> Iterator[Import]:
    """Find every import in a module, with the absolute name of what each one asks for.

    :param package: what a relative import of the module starts from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            # `from edgegw import tls` asks for a module, `from edgegw.tls import X` for X in one.
            for alias in node.names:
                yield Import(module, f"{base}.{alias.name}", node.lineno)


def imports_of(path: Path) -> Iterator[Import]:
    """Find every import of a file of the package."""
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return imports_in(tree_of(path), module, package)


@cache
def all_imports() -> list[Import]:
    """Find every import of the package."""
    return [found for path in sorted(PACKAGE.rglob("*.py")) for found in imports_of(path)]


def starts(name: str, prefix: str) -> bool:
    """Whether a dotted name is another or lies in it."""
    return name == prefix or name.startswith(prefix + ".")


class ImportTests(SynchronousTestCase):
    """Imports run downwards only."""

    def test_every_module_has_a_room(self) -> None:
        """No module stands outside the drawn rooms."""
        rooms = {module_name(path).partition(".")[2].partition(".")[0] for path in PACKAGE.rglob("*.py")}
        self.assertEqual(rooms - set(ALLOWED) - {""}, set())

    def test_no_import_upwards_or_sideways(self) -> None:
        """Each room imports only the rooms below it; the package itself imports none."""
        wrong = []
        for found in all_imports():
            if not starts(found.imported, "edgegw"):
                continue
            target = found.imported.split(".")[1] if "." in found.imported else ""
            allowed = ALLOWED.get(found.room, set()) | {found.room}
            if target in ALLOWED and target not in allowed:
                wrong.append(str(found))
        self.assertEqual(wrong, [])

    def test_pure_rooms_do_not_touch_the_world(self) -> None:
        """Contracts, configuration, matching, headers and parsers work without sockets and reactor."""
        wrong = [
            str(found)
            for found in all_imports()
            if found.room in CONTRACTS | PURE and any(starts(found.imported, name) for name in WORLD)
        ]
        self.assertEqual(wrong, [])

    def test_nobody_imports_the_reactor_at_the_top(self) -> None:
        """Importing a module of the gateway never installs a reactor: a caller's choice of one holds."""
        wrong = []
        for path in sorted(PACKAGE.rglob("*.py")):
            for node in tree_of(path).body:
                if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                    wrong += [f"{path}:{node.lineno}" for alias in node.names if alias.name == "reactor"]
        self.assertEqual(wrong, [])

    def test_the_walk_sees_every_spelling(self) -> None:
        """Imports inside functions, of modules, of names and relative ones are all found."""
        source = "def f():\n    from edgegw import tls\n    import edgegw.proxy.x\n    from ..y import z\n"
        found = {found.imported for found in imports_in(ast.parse(source), "edgegw.wire.made_up", "edgegw.wire")}
        self.assertEqual(found, {"edgegw.tls", "edgegw.proxy.x", "edgegw.y.z"})


class ModuleTests(SynchronousTestCase):
    """Modules are small and their names say what they do."""

    def test_size(self) -> None:
        """No module grows past the length at which it has a second idea in it."""
        lines = {module_name(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
        self.assertEqual({name: count for name, count in lines.items() if count > MOST_LINES}, {})

    def test_names(self) -> None:
        """No module has a name that could be any module's."""
        wrong = [
            module_name(path)
            for path in PACKAGE.rglob("*.py")
            if NAMELESS & set(module_name(path).replace("_", ".").split("."))
        ]
        self.assertEqual(wrong, [])

    def test_every_package_and_module_says_what_it_is(self) -> None:
        """Each file opens with a docstring."""
        silent = [
            module_name(path) for path in PACKAGE.rglob("*.py") if not ast.get_docstring(tree_of(path))
        ]
        self.assertEqual(silent, [])

    def test_class_names(self) -> None:
        """No class is named by a word that says nothing either."""
        words = tuple(word.capitalize() for word in NAMELESS)
        wrong = [
            f"{module_name(path)}.{node.name}"
            for path in PACKAGE.rglob("*.py")
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.ClassDef) and node.name.endswith(words)
        ]
        self.assertEqual(wrong, [])
