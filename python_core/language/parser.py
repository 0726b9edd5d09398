"""The grammar of expressions: text to a checked syntax tree, which never runs, and back to one spelling."""

from __future__ import annotations

import ast
import re
import sys
from typing import Final

from python_core.errors import StrategyError

MAX_FLOAT: Final = sys.float_info.max

# Characters that no expression needs; comments and look-alike letters are among them.
_ALIEN: Final = re.compile(r"[^\w\s.,()\[\]{}<>=!+\-*/%&|^~@:'\"]|[^\x00-\x7f]|[\x1c-\x1f]", re.ASCII)
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER: Final = re.compile(r"(?<![\w.])\.?\d[\w.]*", re.ASCII)
_DECIMAL: Final = re.compile(r"(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE]\d*)?", re.ASCII)
_SPACES: Final = dict.fromkeys(map(ord, "\t\n\r\v\f"), " ")
# What Python's grammar knows and the language doesn't, as people write it.
FOREIGN: Final[dict[type, str]] = {
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
    ast.Attribute: "a point after a name",
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
    ast.Starred: "a star",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
}


def foreign(node: ast.AST) -> str:
    """What a node outside the language is called by people."""
    return FOREIGN.get(type(node), type(node).__name__)


def parse(where: str, text: str) -> ast.expr:
    """The syntax tree of one expression; its columns are those of `text`."""
    hint = "as in close > sma(close, 20)"
    if alien := _ALIEN.search(text):
        raise StrategyError(f"{alien[0]!r} is not part of the language", where=f"{where}, column {alien.start() + 1}", hint=hint)
    for found in _NUMBER.finditer(_QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)):
        # Python would only warn of a number that runs into a word, as in 1or 2.
        if not _DECIMAL.fullmatch(found[0]):
            raise StrategyError(
                f"{found[0]!r:.60} is no number", where=f"{where}, column {found.start() + 1}", hint="write it as 10, 0.5 or 1e3"
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
