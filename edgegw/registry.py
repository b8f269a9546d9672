"""Finds plugins, loudly: what cannot be loaded is known by file and traceback, and never left out in silence.

Kinds come from five places: the gateway's own packages, ``edgegw.plugins`` with every ``edgegw/plugins``
directory on ``sys.path``, entry points of the group ``edgegw.plugins``, the files of the directories in
``plugin_path``, and any ``module:object`` that a configuration names.  Code is loaded once in the life of a
process; a reload of the configuration reads no code again.

Twisted's own :func:`twisted.plugin.getPlugins` is not used: it logs import errors and goes on with
fewer plugins, and trusts a pickle beside them.
"""
from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from attrs import frozen
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

import edgegw
from edgegw.config.options import options_of
from edgegw.interfaces import (
    API_VERSION,
    IBackendKind,
    ICertificateSourceKind,
    IDynamicCertificateSourceKind,
    IHeaderInjectorKind,
    IPluginKind,
    IPolicyKind,
    ISNIRouterKind,
)
from edgegw.plugin_files import UnsafePath, changed_file, check_safe, traceback_line

__all__ = ["INTERFACES", "Found", "Problem", "Registry"]

ENTRY_POINTS: Final = "edgegw.plugins"

#: The interfaces of kinds, by the word that people use for them.
INTERFACES: Final[dict[str, Any]] = {
    "policy": IPolicyKind,
    "header_injector": IHeaderInjectorKind,
    "certificate_source": ICertificateSourceKind,
    "dynamic_certificate_source": IDynamicCertificateSourceKind,
    "sni_router": ISNIRouterKind,
    "backend": IBackendKind,
}

#: Packages of the gateway whose modules define kinds.
BUILT_IN: Final = ("edgegw.policies", "edgegw.backends", "edgegw.applications", "edgegw.sources")


@frozen
class Found:
    """A kind, and where it comes from.

    :ivar what: a key of :data:`INTERFACES`.
    :ivar origin: a file, an entry point or a module, for people.
    :ivar version: of the kind, or of the distribution that it comes with; may be empty.
    """

    kind: Any
    what: str
    origin: str
    version: str
    built_in: bool = False


@frozen
class Problem:
    """Something that could not be loaded.

    :ivar origin: the file, directory or entry point.
    :ivar problem: in one line, with the way through the files that it took.
    :ivar trace: the whole traceback; may be empty.
    """

    origin: str
    problem: str
    trace: str = ""

    def __str__(self) -> str:
        # The way to the error begins with the file, but for one that cannot be read at all.
        return self.problem if self.problem.startswith(f"{self.origin}:") else f"{self.origin}: {self.problem}"


class Registry:
    """The kinds that a configuration may name.

    :param plugin_path: directories whose ``*.py`` files are plugins; absolute.  Files that begin with ``_`` or
        ``test_`` are not loaded.
    :ivar problems: what could not be loaded; each may have defined any name.
    :ivar changed: files whose code was loaded earlier in the life of the process, and that have changed since.
    """

    def __init__(self, plugin_path: Sequence[str] = ()) -> None:
        self.problems: list[Problem] = []
        self.changed: list[str] = []
        self._plugin_path = tuple(plugin_path)
        self._kinds: dict[tuple[str, str], Found] = {}
        self._scan()

    # --- what is asked --------------------------------------------------------------------------

    def find(self, what: str, name: str) -> Found | None:
        """Give the kind of a name; ``None`` if there is none.

        :param what: a key of :data:`INTERFACES`.
        :param name: its name, or ``module:object``.
        :raises ValueError: ``module:object`` cannot be loaded or is no such kind, with a traceback in one line.
        """
        if ":" in name:
            return self._named(what, name)
        return self._kinds.get((what, name))

    def names(self, what: str) -> list[str]:
        """Give every name of one sort of kinds, sorted."""
        return sorted(name for of, name in self._kinds if of == what)

    def all(self) -> Iterator[Found]:
        """Give every kind, those of one sort together, by name."""
        order = list(INTERFACES)
        for key in sorted(self._kinds, key=lambda key: (order.index(key[0]), key[1])):
            yield self._kinds[key]

    # --- looking --------------------------------------------------------------------------------

    def _scan(self) -> None:
        for package in BUILT_IN:
            self._scan_package(importlib.import_module(package), True)
        plugins = importlib.import_module("edgegw.plugins")
        own = str(Path(edgegw.__file__).parent / "plugins")
        for directory in plugins.__path__:
            if directory != own and Path(directory).is_dir():
                self._scan_directory(directory, lambda path: f"edgegw.plugins.{path.stem}")
        for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.value):
            version = entry.dist.version if entry.dist is not None else ""
            self._load(f"entry point {entry.name} = {entry.value}", entry.load, version)
            self._note_change(sys.modules.get(entry.module))
        for directory in self._plugin_path:
            self._scan_directory(directory, None)

    def _scan_package(self, package: ModuleType, built_in: bool) -> None:
        for info in pkgutil.iter_modules(package.__path__):
            name = f"{package.__name__}.{info.name}"
            self._load(name, lambda name=name: importlib.import_module(name), edgegw.__version__, built_in)

    def _scan_directory(self, directory: str, module_name: Any) -> None:
        compiled = Path(directory, "__pycache__")
        try:
            check_safe(Path(directory))
            if compiled.exists():
                # What is in it is run in place of the files.
                check_safe(compiled)
            paths = sorted(Path(directory).glob("*.py"))
        except (UnsafePath, OSError) as error:
            self.problems.append(Problem(directory, str(error)))
            return
        for path in paths:
            if path.name.startswith(("_", "test_")):
                continue
            try:
                check_safe(path)
            except (UnsafePath, OSError) as error:
                self.problems.append(Problem(str(path), str(error)))
                continue
            name = (_module_name if module_name is None else module_name)(path)
            if module_name is None:
                self._load(str(path), lambda name=name, path=path: _load_file(name, path))
            else:
                self._load(str(path), lambda name=name: importlib.import_module(name))
            self._note_change(sys.modules.get(name))

    def _load(self, origin: str, load: Any, version: str = "", built_in: bool = False) -> None:
        try:
            kinds = list(_kinds_in(load()))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self.problems.append(Problem(origin, *traceback_line(error)))
            return
        for found in kinds:
            self._add(found, origin, version, built_in)

    def _note_change(self, module: Any) -> None:
        changed = changed_file(module) if isinstance(module, ModuleType) else None
        if changed is not None and changed not in self.changed:
            self.changed.append(changed)

    def _add(self, kind: Any, origin: str, version: str, built_in: bool) -> None:
        for what, interface in INTERFACES.items():
            if not interface.providedBy(kind):
                continue
            try:
                check_kind(kind, interface)
            except ValueError as error:
                self.problems.append(Problem(origin, str(error)))
                continue
            known = self._kinds.get((what, kind.name))
            if known is None:
                self._kinds[what, kind.name] = Found(kind, what, origin, kind.version or version, built_in)
            elif known.kind is not kind:
                self.problems.append(
                    Problem(origin, f"defines the {what} {kind.name}, which {known.origin} defines already")
                )

    def _named(self, what: str, name: str) -> Found:
        module_name, _, attribute = name.partition(":")
        try:
            kind: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                kind = getattr(kind, part)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise ValueError(f"cannot be loaded: {traceback_line(error)[0]}") from error
        self._note_change(sys.modules.get(module_name))
        if not INTERFACES[what].providedBy(kind):
            raise ValueError(f"is no {what}; it takes the decorator of edgegw.api to make one")
        check_kind(kind, INTERFACES[what])
        return Found(kind, what, f"{name} as the configuration names it", kind.version)


def check_kind(kind: Any, interface: Any) -> None:
    """Make sure that a kind is what its interface says.

    :raises ValueError: it is not, or is written for another version of the interfaces.
    """
    try:
        verifyObject(interface, kind)
    except Invalid as error:
        raise ValueError(f"{getattr(kind, 'name', kind)!r} does not keep to its interface: {error}") from None
    if kind.api != API_VERSION:
        raise ValueError(f"{kind.name} is written for version {kind.api} of the interfaces; this gateway has "
                         f"version {API_VERSION}")
    if kind.config_type is not None:
        try:
            options_of(kind.config_type)
        except Exception as error:
            raise ValueError(f"{kind.name}: its options cannot be read: {error}") from None


def _kinds_in(loaded: Any) -> Iterable[Any]:
    """Give the kinds that a module defines, or the one that an entry point names."""
    if not isinstance(loaded, ModuleType):
        return [loaded] if _is_kind(loaded) else []
    return [value for value in dict.fromkeys(_hashable(vars(loaded).values())) if _is_kind(value)]


def _is_kind(value: Any) -> bool:
    try:
        return bool(IPluginKind.providedBy(value))
    except Exception:
        # It answers whatever it is asked for in a way of its own, as unittest.mock's objects do.
        return False


def _hashable(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        try:
            hash(value)
        except Exception:
            continue
        yield value


def _module_name(path: Path) -> str:
    return f"edgegw_plugin_{sha256(str(path).encode('utf-8', 'surrogateescape')).hexdigest()[:16]}_{path.stem}"


def _load_file(name: str, path: Path) -> ModuleType:
    """Import a file that is in no package, once in the life of the process."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Classes of the module look themselves up there, attrs' and typing's among them.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
