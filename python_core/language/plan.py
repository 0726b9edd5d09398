"""A plan: the operations that a strategy compiles to, each distinct one once."""

from __future__ import annotations

from typing import Final, NamedTuple

from python_core.errors import StrategyError
from python_core.indicators import INDICATORS
from python_core.numerics.elementwise import BINARY, COMPARISONS, UNARY

MAX_NODES: Final = 2_000
# Functions that keep a state of their own, and the values that all of them keep together.
MAX_SERIES: Final = 500
MAX_KEPT: Final = 10_000_000
# The strategy's bars before a signal is known: more than any data has.
MAX_WARM_UP: Final = 10_000_000

CROSSINGS: Final = ("crossover", "crossunder")
STREAKS: Final = ("rising", "falling")
# What the last closed bar of a higher timeframe says, on every bar.
SEEN: Final = ("at", "at_truth")
TRUTHS: Final = frozenset({*COMPARISONS, *CROSSINGS, *STREAKS, "and", "or", "not", "truth", "at_truth"})
# Where a strategy runs on the timeframe of its bars, these have at least one minute.
FINEST_MS: Final = 60_000


class Node(NamedTuple):
    """One operation: its name, the positions of its inputs (all earlier in the plan), its numbers, and the bars it runs on.

    `frame` is the length of a higher timeframe's bars in milliseconds, 0 for the strategy's own.
    """

    op: str
    inputs: tuple[int, ...] = ()
    args: tuple[float, ...] = ()
    frame: int = 0

    @property
    def is_truth(self) -> bool:
        return self.op in TRUTHS


class PlanBuilder:
    """Collects nodes; an operation asked for twice is kept once, so every distinct indicator is computed once.

    With parameters left `open`, it collects a template: those parameters, all numbers that depend on them, and the arguments of
    indicators are nodes, too.

    `strategy_ms` is the length of the strategy's bars, where it is known; `frame` that of the higher bars for which nodes are collected
    just now.
    """

    def __init__(self, open: tuple[str, ...] = (), strategy_ms: int | None = None) -> None:
        self.open = open
        self.strategy_ms = strategy_ms
        self.frame = 0
        self.nodes: list[Node] = []
        self.warm_ups: list[int] = []
        self._series = 0
        self._kept = 0
        self._seen: dict[Node | tuple[Node, str], int] = {}

    def add(self, op: str, inputs: tuple[int, ...] = (), args: tuple[float, ...] = ()) -> int:
        node = Node(op, inputs, args, self.frame)
        key = (node, str(args)) if op == "const" else node  # 0.0 and -0.0 are equal, and not the same
        if key not in self._seen:
            if len(self.nodes) >= MAX_NODES:
                raise StrategyError(f"the strategy needs more than {MAX_NODES:,} operations", hint="make it smaller", code="too_large")
            self._seen[key] = len(self.nodes)
            self.nodes.append(node)
            warm_up = max((self.warm_ups[i] for i in inputs), default=0)
            if op in SEEN:
                # The bar on which it is known ends with the last of as many finer bars as it spans.
                warm_up = (warm_up + 1) * (self.nodes[inputs[0]].frame // (self.frame or self.strategy_ms or FINEST_MS)) - 1
            own = self._own_warm_up(node)
            self.warm_ups.append(warm_up + own)
            self._check_size(node, own)
        return self._seen[key]

    def _check_size(self, node: Node, own_warm_up: int) -> None:
        self._kept += own_warm_up
        self._series += node.op in INDICATORS and node.op != "shift"
        if self._series > MAX_SERIES:
            raise StrategyError(f"the strategy needs more than {MAX_SERIES:,} series", hint="use fewer functions", code="too_large")
        if self._kept > MAX_KEPT:
            raise StrategyError(
                f"the functions look back {self._kept:,} bars in all", hint=f"use at most {MAX_KEPT:,}: shorter lengths", code="too_large"
            )
        if not node.frame and self.strategy_ms and self.warm_ups[-1] > MAX_WARM_UP:
            raise StrategyError(
                f"the first {self.warm_ups[-1]:,} bars would give no signal",
                hint=f"use at most {MAX_WARM_UP:,}: shorter lengths or less coarse timeframes",
                code="too_large",
            )

    def _own_warm_up(self, node: Node) -> int:
        if node.op in CROSSINGS:
            return 1
        if self.open:
            return 0
        if node.op in STREAKS:
            return int(node.args[0])
        if node.op not in INDICATORS:
            return 0
        indicator = INDICATORS[node.op]
        return indicator.warm_up(*indicator.values(node.args))

    def indicator(self, op: str, inputs: tuple[int, ...], arguments: tuple[int, ...], output: int | None = None) -> int:
        """Add an operation whose arguments are the numbers at these positions; which output, where there are several."""
        last = () if output is None else (float(output),)
        if self.open:
            return self.add(op, inputs + arguments, last)
        return self.add(op, inputs, tuple(self.nodes[i].args[0] for i in arguments) + last)

    def constant(self, i: int) -> float | None:
        return self.nodes[i].args[0] if self.nodes[i].op == "const" else None

    def is_open_number(self, i: int) -> bool:
        """Whether node `i` is a number that only the open parameters decide."""
        node = self.nodes[i]
        return node.op in ("param", "const") or (node.op in (*UNARY, *BINARY) and all(map(self.is_open_number, node.inputs)))

    def used(self, wanted: tuple[int, ...]) -> tuple[tuple[Node, ...], dict[int, int]]:
        """The nodes that those at the positions `wanted` need, and their new positions: no lengths, and no definitions, that nothing reads.

        A template keeps all, since the lengths in all definitions must be right for every combination.
        """
        read = set(range(len(self.nodes))) if self.open else {i for i in wanted if i >= 0}
        for i in reversed(range(len(self.nodes))):
            if i in read:
                read.update(self.nodes[i].inputs)
        place = {i: new for new, i in enumerate(sorted(read))} | {-1: -1}
        return tuple(self.nodes[i]._replace(inputs=tuple(place[k] for k in self.nodes[i].inputs)) for i in sorted(read)), place
