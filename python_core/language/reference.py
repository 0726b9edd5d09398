"""Writes the table of functions in docs/strategies.md: `python -m python_core.language.reference docs/strategies.md`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from python_core.indicators import INDICATORS, MAX_LOOKBACK, Argument
from python_core.language.compiler import Compiler
from python_core.language.plan import PlanBuilder
from python_core.language.vocabulary import DESCRIPTIONS, FUNCTIONS, PARAMETERS

BEGIN: Final = "<!-- functions, written by python -m python_core.language.reference docs/strategies.md -->"
END: Final = "<!-- end of functions -->"
# For lengths that have no default.
SAMPLE: Final = 20


def update_page(text: str) -> str:
    """The page with its table of functions replaced."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + "\n" + function_table() + END + rest.split(END)[1]


def function_table() -> str:
    """A Markdown table: each function with its arguments, outputs and description, and the first bar on which it is known."""
    rows = ["| function | outputs | description | first known |", "|---|---|---|---|"]
    rows += [_builtin_row(name) if name in DESCRIPTIONS else _indicator_row(name) for name in FUNCTIONS]
    return "\n".join(rows) + "\n"


def _builtin_row(name: str) -> str:
    parameters = PARAMETERS.get(name, {"a": None, "b": None, "...": None})
    return f"| `{name}({', '.join(parameters)})` | | {DESCRIPTIONS[name]} | |"


def _indicator_row(name: str) -> str:
    row = INDICATORS[name]
    parts = [*row.conditions, *row.series]
    parts += [argument.name if argument.default is None else f"{argument.name}={argument.default:g}" for argument in row.arguments]
    words = re.sub(r"\s+", " ", row.description).strip().replace("|", "\\|")
    bounds = ", ".join(text for argument in row.arguments if (text := _bounds(argument)))
    outputs = " ".join(f"`.{output}`" for output in row.outputs)
    return f"| `{name}({', '.join(parts)})` | {outputs} | {words}{f' ({bounds})' if bounds else ''} | {_first_known(name)} |"


def _bounds(argument: Argument) -> str:
    if argument.integer and (argument.minimum, argument.maximum) == (1, MAX_LOOKBACK):
        return ""
    return f"{argument.name} from {argument.minimum:,g} to {argument.maximum:,g}"


def _first_known(name: str) -> str:
    """The first bar with a value, for the defaults or for lengths of 20; one for each output where they differ."""
    row = INDICATORS[name]
    inputs = [*["close > open"] * len(row.conditions), *["close"] * len(row.series)]
    lengths = [str(SAMPLE) for argument in row.arguments if argument.default is None]
    builder = PlanBuilder()
    compiler, call = Compiler(builder, {}, {}), f"{name}({', '.join([*inputs, *lengths])})"
    bars = [builder.warm_ups[compiler.expression(name, f"{call}.{output}" if output else call)] for output in row.outputs or ("",)]
    words = ", ".join(map(str, bars)) if len(set(bars)) > 1 else str(bars[0])
    return f"bar {words}" + (f" for {SAMPLE}" if lengths else "") + (", or later" if row.may_stay_unknown else "")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(update_page(path.read_text(encoding="utf-8")), encoding="utf-8")
