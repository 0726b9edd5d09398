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
import json, sys, time
begin = time.process_time()  # wall time says more about the other programs
import msgspec, numpy
between = time.process_time()
import python_core
times = between - begin, time.process_time() - between
print(json.dumps([times, sorted({name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))]))
"""


def import_library() -> tuple[tuple[float, float], set[str]]:
    """CPU seconds of importing its dependencies and then the library in a new process, and the packages loaded."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT], cwd=ROOT, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True
    )
    times, loaded = json.loads(done.stdout)
    return tuple(times), set(loaded)


def test_layers_import_only_downwards() -> None:
    done = subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_library_imports_only_numpy_and_msgspec() -> None:
    _, loaded = import_library()
    by_msgspec = {"typing_extensions"}  # where it happens to be installed
    assert {name for name in loaded - by_msgspec if not name.startswith("_")} == {"msgspec", "numpy", "python_core"}


def test_the_library_imports_faster_than_numpy_and_msgspec() -> None:
    dependencies, library = zip(*(import_library()[0] for _ in range(5)), strict=True)
    assert min(library) < min(dependencies)


def test_the_list_of_public_names_is_complete() -> None:
    modules = {name for name, value in vars(python_core).items() if getattr(value, "__name__", "") == f"python_core.{name}"} - set(
        python_core.__all__
    )
    public = {name for name in vars(python_core) if not name.startswith("_")} - modules
    assert set(python_core.__all__) == public | {"__version__"}


def test_every_public_class_and_function_is_documented() -> None:
    bare = [name for name in python_core.__all__ if callable(getattr(python_core, name)) and not inspect.getdoc(getattr(python_core, name))]
    assert not bare
