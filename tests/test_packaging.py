"""The project installs: as a wheel and editable, each into a clean environment, without a network.

The gateway's dependencies come from the environment that runs the tests; the project itself must come
from nowhere but the installation, so everything runs with another current directory.
"""
from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

import edgegw
from tests.test_layers import all_imports

ROOT = Path(__file__).resolve().parent.parent
#: What building and installing may look at; the rest of a checkout has no say in it.
SOURCES = ("edgegw", "twisted", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.rst", "LICENSE")


def new_folder(case: SynchronousTestCase) -> Path:
    """Make an empty folder for a test, absolute."""
    folder = Path(case.mktemp()).resolve()
    folder.mkdir(parents=True)
    return folder


def clean_environment() -> dict[str, str]:
    """Give the environment without what would let an interpreter find the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**environment, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(command: list[str | Path], cwd: Path) -> str:
    """Run a command with nothing of the checkout on its path.

    :returns: its standard output.
    :raises AssertionError: its status is not 0; the text has what it printed.
    """
    done = subprocess.run(
        command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def copy_sources(target: Path) -> Path:
    """Copy what the build needs, without what an earlier build or run left behind."""
    target.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        else:
            shutil.copy2(source, target / name)
    return target


def make_environment(target: Path) -> Path:
    """Make a virtual environment that sees the running one's dependencies, and pip, but not its edgegw.

    :returns: the folder with its commands.
    """
    venv.create(target, with_pip=False, symlinks=True)
    bin_ = target / "bin"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    inside = Path(run([bin_ / "python", "-c", ask], target).strip())
    # Path files in a folder that a path file names are not read, so an editable edgegw of the other
    # environment stays behind; a regular one comes after what will be installed here.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (inside / "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
    return bin_


def install(bin_: Path, what: list[str | Path], cwd: Path) -> None:
    """Install with pip into an environment of :func:`make_environment`, without a network."""
    offline: list[str | Path] = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "--quiet"]
    run([bin_ / "python", "-m", "pip", "install", *offline, *what], cwd)


def where(bin_: Path, cwd: Path, module: str) -> Path:
    """Give the file that a module comes from in an environment."""
    return Path(run([bin_ / "python", "-c", f"import {module}; print({module}.__file__)"], cwd).strip())


def twistd(bin_: Path, *arguments: str) -> list[str | Path]:
    """Give twistd's command line in an environment whose Twisted is the other one's, without its scripts."""
    return [bin_ / "python", "-c", "from twisted.scripts.twistd import run; run()", *arguments]


@cache
def wheel() -> Path:
    """Build the wheel, once; trial removes the folder with its own."""
    folder = Path(mkdtemp(prefix="wheel-", dir=Path.cwd()))
    sources = copy_sources(folder / "sources")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", sources], folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


class WheelTests(SynchronousTestCase):
    """The wheel."""

    def test_contents(self) -> None:
        """It has every module of the gateway, the plugin, and nothing that would shadow Twisted."""
        with zipfile.ZipFile(wheel()) as archive:
            names = {name for name in archive.namelist() if ".dist-info/" not in name}
        expected = {str(path.relative_to(ROOT)) for top in ("edgegw", "twisted") for path in (ROOT / top).rglob("*.py")}
        expected |= {"edgegw/py.typed", "twisted/plugins/edgegw_plugin.py", "twisted/plugins/edgegw_endpoint.py"}
        self.assertEqual(expected - names, set())
        self.assertNotIn("twisted/__init__.py", names)
        self.assertNotIn("twisted/plugins/__init__.py", names)
        self.assertEqual({name.partition("/")[0] for name in names}, {"edgegw", "twisted"})

    def test_metadata(self) -> None:
        """It says its version, its licence, its Python and bounded dependencies."""
        with zipfile.ZipFile(wheel()) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = message_from_bytes(archive.read(name))
        self.assertEqual(metadata["Version"], edgegw.__version__)
        self.assertEqual(metadata["Requires-Python"], ">=3.11")
        required = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
        self.assertTrue(any(text.startswith("Twisted") for text in required), required)
        self.assertEqual([text for text in required if "<" not in text or ">=" not in text], [])

    def test_commands_in_a_clean_environment(self) -> None:
        """Installed from it, ``twistd edgegw`` and ``edgegw`` exist and come from it."""
        folder = new_folder(self)
        bin_ = make_environment(folder / "environment")
        install(bin_, [wheel()], folder)
        self.assertTrue(where(bin_, folder, "edgegw").is_relative_to(bin_.parent))
        self.assertIn("--config", run(twistd(bin_, "edgegw", "--help"), folder))
        self.assertIn("demo", run([bin_ / "edgegw", "--help"], folder))


class EditableTests(SynchronousTestCase):
    """The editable install."""

    def test_commands_in_a_clean_environment(self) -> None:
        """``twistd edgegw`` exists, which needs the install to be a plain path entry, and runs the sources."""
        folder = new_folder(self)
        sources = copy_sources(folder / "sources")
        bin_ = make_environment(folder / "environment")
        install(bin_, ["-e", sources], folder)
        self.assertEqual(where(bin_, folder, "edgegw"), sources / "edgegw" / "__init__.py")
        self.assertIn("--config", run(twistd(bin_, "edgegw", "--help"), folder))
        self.assertIn("demo", run([bin_ / "edgegw", "--help"], folder))


def normal(name: str) -> str:
    """Give a distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class SetupTests(SynchronousTestCase):
    """setup.cfg keeps up with the tree."""

    def setUp(self) -> None:
        """Read it."""
        self.setup = configparser.ConfigParser()
        self.setup.read(ROOT / "setup.cfg")

    def test_every_package_is_listed(self) -> None:
        """A package that setup.cfg does not name would be missing from the wheel."""
        found = {
            ".".join(path.parent.relative_to(ROOT).parts)
            for top in ("edgegw", "twisted")
            for path in (ROOT / top).rglob("*.py")
        }
        self.assertEqual(found, set(self.setup["options"]["packages"].split()))

    def test_every_import_is_a_dependency(self) -> None:
        """What the gateway imports is installed with it, and not by chance by something else."""
        imported = {found.imported.partition(".")[0] for found in all_imports()}
        foreign = imported - set(sys.stdlib_module_names) - {"edgegw"}
        lines = self.setup["options"]["install_requires"].strip().splitlines()
        required = {normal(line.split()[0]) for line in lines}
        owners = packages_distributions()
        missing = {name for name in foreign if not required & set(map(normal, owners.get(name, [])))}
        self.assertEqual(missing, set())

    def test_pyproject_leaves_the_project_to_setup_cfg(self) -> None:
        """Two places for one fact would drift apart."""
        self.assertNotIn("[project]", (ROOT / "pyproject.toml").read_text())
