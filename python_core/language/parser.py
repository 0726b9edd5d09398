"""The grammar of expressions: text to a checked syntax tree, which never runs."""

from __future__ import annotations

import ast
import re
import sys
from typing import Final

from python_core.errors import StrategyError

MAX_FLOAT: Final = sys.float_info.max

# Characters that no expression needs, among them comments and look-alike letters.
_ILLEGAL: Final = re.compile(r"[^\w\s.,()\[\]{}<>=!+\-*/%&|^~@:'\"]|[^\x00-\x7f]|[\x1c-\x1f]", re.ASCII)
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER: Final = re.compile(r"(?<![\w.])\.?\d[\w.]*", re.ASCII)
_DECIMAL: Final = re.compile(r"(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE]\d*)?", re.ASCII)
_SPACES: Final = dict.fromkeys(map(ord, "\t\n\r\v\f"), " ")
# What Python's grammar has and the language doesn't, as written in source.
UNSUPPORTED: Final[dict[type, str]] = {
    ast.Pow: "**",
    ast.Mod: "%",
    ast.FloorDiv: "//",
    ast.MatMult: "@",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Attribute: "a dot after a name",
    ast.Lambda: "lambda",
    ast.JoinedStr: "f''",
    ast.NamedExpr: ":=",
    ast.Tuple: "a list",
    ast.List: "a list",
    ast.Set: "a list",
    ast.Dict: "a list",
    ast.ListComp: "for",
    ast.SetComp: "for",
    ast.DictComp: "for",
    ast.GeneratorExp: "for",
    ast.Starred: "*",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
}


def describe(node: ast.AST) -> str:
    """How an unsupported node is written."""
    return UNSUPPORTED.get(type(node), type(node).__name__)


def parse(where: str, text: str) -> ast.expr:
    """The syntax tree of one expression; its columns are those of `text`."""
    hint = "write it as in close > sma(close, 20)"
    if illegal := _ILLEGAL.search(text):
        raise StrategyError(f"{illegal[0]!r} is not allowed", where=f"{where}, column {illegal.start() + 1}", hint=hint)
    for number in _NUMBER.finditer(_QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)):
        # Python only warns about a number that runs into a word, as in 1or 2.
        if not _DECIMAL.fullmatch(number[0]):
            raise StrategyError(
                f"{number[0]!r:.60} is not a number", where=f"{where}, column {number.start() + 1}", hint="write it as 10, 0.5 or 1e3"
            )
    line = text.translate(_SPACES)
    indent = len(line) - len(line.lstrip())
    try:
        tree = ast.parse(line.strip(), mode="eval").body
    except SyntaxError as error:
        column = indent + (error.offset or len(line.strip()) + 1)
        raise StrategyError(f"not an expression: {error.msg}", where=f"{where}, column {column}", hint=hint) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise StrategyError(f"not an expression: {error}", where=where, hint=hint) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            node.col_offset += indent
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value > MAX_FLOAT:
            raise StrategyError("the number is too large", where=f"{where}, column {node.col_offset + 1}", hint="use a finite number")
    return tree
