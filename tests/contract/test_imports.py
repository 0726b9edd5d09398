"""Layers import only downwards, and the library needs only NumPy and msgspec."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import python_core

ROOT = Path(__file__).resolve().parents[2]
IMPORT = """
import json, sys
before = set(sys.modules)
import msgspec, numpy
between = set(sys.modules)
import python_core
print(json.dumps([list(between - before), list(set(sys.modules) - between)]))
"""


def import_library() -> tuple[set[str], set[str]]:
    """The modules that a new process loads for the dependencies of the library, and then those that it loads for the library."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT], cwd=ROOT, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True
    )
    dependencies, library = json.loads(done.stdout)
    return set(dependencies), set(library)


def test_layers_import_only_downwards() -> None:
    done = subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_library_imports_only_numpy_and_msgspec() -> None:
    loaded = {name.split(".")[0] for name in set.union(*import_library())} - set(sys.stdlib_module_names)
    by_msgspec = {"typing_extensions"}  # where it happens to be installed
    assert {name for name in loaded - by_msgspec if not name.startswith("_")} == {"msgspec", "numpy", "python_core"}


def test_the_library_loads_few_modules_of_others_beyond_those_of_its_dependencies() -> None:
    dependencies, library = import_library()
    others = {name for name in library if not name.startswith("python_core")}
    assert len(others) < len(dependencies) / 2, "import what takes long, such as asyncio, where it is needed"


def test_the_list_of_public_names_is_complete() -> None:
    modules = {name for name, value in vars(python_core).items() if getattr(value, "__name__", "") == f"python_core.{name}"} - set(
        python_core.__all__
    )
    public = {name for name in vars(python_core) if not name.startswith("_")} - modules
    assert set(python_core.__all__) == public | {"__version__"}


def test_every_public_class_and_function_is_documented() -> None:
    bare = [name for name in python_core.__all__ if callable(getattr(python_core, name)) and not inspect.getdoc(getattr(python_core, name))]
    assert not bare
