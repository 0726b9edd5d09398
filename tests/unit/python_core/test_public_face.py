"""The public names of `python_core`: few, sorted, documented, with examples that run."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

import python_core as bt

PACKAGE = Path(bt.__file__).parent


def test_public_names_are_sorted_and_exist() -> None:
    # Constants, classes, the rest: as ruff sorts them.
    assert bt.__all__ == sorted(bt.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert len(set(bt.__all__)) == len(bt.__all__)
    for name in bt.__all__:
        assert hasattr(bt, name)


def test_the_package_file_only_imports_and_lists() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    docstring, *statements = tree.body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(node, ast.ImportFrom) for node in statements[:-1])
    assert isinstance(statements[-1], ast.Assign)


def test_every_error_is_a_barstorm_error_and_a_value_error_with_a_code_of_its_own() -> None:
    errors = [getattr(bt, name) for name in bt.__all__ if inspect.isclass(getattr(bt, name)) and issubclass(getattr(bt, name), Exception)]
    assert {"BarsError", "Cancelled", "EngineError", "ExecutionError", "FileError", "StrategyError"} <= {error.__name__ for error in errors}
    for error in errors:
        assert issubclass(error, bt.BarstormError)
        assert issubclass(error, ValueError)
    assert len({error.code for error in errors}) == len(errors)


def test_an_error_is_a_sentence_made_of_its_parts() -> None:
    error = bt.StrategyError("unknown name 'foo'", where="entry_long, column 9", hint="did you mean 'for'?", code="unknown_name")
    assert str(error) == "entry_long, column 9: unknown name 'foo'; did you mean 'for'?"
    assert (error.code, error.where, error.hint) == ("unknown_name", "entry_long, column 9", "did you mean 'for'?")
    assert str(bt.BarstormError("no")) == "no"


def test_request_types_are_frozen_and_reject_unknown_fields() -> None:
    for struct in (bt.Strategy, bt.Execution, bt.Atr, bt.PerSide):
        assert struct.__struct_config__.frozen
        assert struct.__struct_config__.forbid_unknown_fields
        with pytest.raises(TypeError, match="Unexpected keyword"):
            struct(nonsense=1)
        with pytest.raises(TypeError, match="positional"):
            struct(1)


def test_the_version_is_that_of_the_distribution() -> None:
    cargo = PACKAGE.parent / "Cargo.toml"
    assert f'version = "{bt.__version__}"' in cargo.read_text()
    assert isinstance(bt.CONTRACT, int)


def documented() -> dict[str, str]:
    """Docstrings of public names, of their methods, and of public modules and what these list, by dotted name."""
    found: dict[str, Any] = {f"bt.{name}": getattr(bt, name) for name in bt.__all__}
    for module in (bt.builder, bt.diagnostics, bt.library):
        found |= {f"{module.__name__}.{name}": value for name, value in vars(module).items() if inspect.isfunction(value)}
    for name, value in list(found.items()):
        if inspect.isclass(value):
            found |= {f"{name}.{method}": made for method, made in vars(value).items() if not method.startswith("_")}
    return {name: inspect.getdoc(value) or "" for name, value in found.items() if not isinstance(value, int | str)}


def examples() -> dict[str, str]:
    split = {name: text.split("Example:\n", 1) for name, text in documented().items()}
    # An example ends where a line is indented less.
    return {name: dedent(re.match(r"(?:(?: {4}.*)?\n?)*", parts[1])[0]) for name, parts in split.items() if len(parts) > 1}  # type: ignore[index]


@pytest.mark.parametrize(("name", "code"), examples().items(), ids=examples())
def test_the_example_in_a_docstring_runs(name: str, code: str) -> None:
    exec(compile(code, name, "exec"), {"bt": bt})


def test_functions_and_request_types_have_an_example() -> None:
    assert {"bt.backtest", "bt.simulate", "bt.sweep", "bt.Strategy", "bt.Signals", "bt.Param", "bt.Control"} <= set(examples())


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_environment_can_select_the_python_engine() -> None:
    said = run("import python_core as bt; print(bt.engine, '|', bt.engine_reason)", BARSTORM_ENGINE="python")
    assert said == "python | BARSTORM_ENGINE=python is set\n"


def test_an_unavailable_engine_is_reported_with_the_reason() -> None:
    code = "import python_core as bt; b = bt.synthetic(bars=9); bt.simulate(b, bt.Signals(entry_long=b.close > 0), engine='rust')"
    assert (
        "EngineError: engine: the Rust engine is not available: BARSTORM_ENGINE=python is set; install a wheel that has it, or use auto"
        in run(code, BARSTORM_ENGINE="python")
    )


def test_a_compiled_module_of_another_contract_is_rejected_with_the_command_that_fixes_it() -> None:
    code = """
import sys, types
module = types.ModuleType("python_core._core_rs")
module.__version__, module.CONTRACT = "0.0.1", 99
module.Flag = object
sys.modules["python_core._core_rs"] = module
import python_core
"""
    said = run(code)
    assert "ImportError: python_core._core_rs is version 0.0.1 (contract 99), but the package is version " in said
    assert "rebuild it with `make install`" in said


def test_python_m_python_core_prints_the_engine_and_the_reason() -> None:
    done = subprocess.run([sys.executable, "-m", "python_core"], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout == f"barstorm {bt.__version__}: {bt.engine} engine; {bt.engine_reason}\n"


def test_importing_has_no_side_effects_on_numpy() -> None:
    assert run("import numpy; a = numpy.geterr(); import python_core; assert numpy.geterr() == a; print('same')") == "same\n"


def test_invalid_json_is_rejected_with_the_reason() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"unknown name 'foo'"):
        msgspec.json.decode(b'{"entry_long": "foo > 1"}', type=bt.Strategy)
