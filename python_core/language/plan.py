"""A plan: the distinct operations that a strategy compiles to, each computed once. The twin is `core_rs/src/plan`."""

from __future__ import annotations

from typing import Final, NamedTuple

from python_core.errors import StrategyError
from python_core.indicators import INDICATORS
from python_core.numerics.elementwise import BINARY, COMPARISONS, UNARY

MAX_NODES: Final = 2_000
# Functions that keep state, and the past values that all of them keep together.
MAX_SERIES: Final = 500
MAX_TOTAL_LOOKBACK: Final = 10_000_000
# Strategy bars before the first signal: more than any data has.
MAX_WARM_UP: Final = 100_000_000

CROSSINGS: Final = ("crossover", "crossunder")
STREAKS: Final = ("rising", "falling")
# The value on the last ended bar of a higher timeframe, repeated on every bar.
AT_OPS: Final = ("at", "at_condition")
CONDITIONS: Final = frozenset({*COMPARISONS, *CROSSINGS, *STREAKS, "and", "or", "not", "const_condition", "at_condition"})
# Where a strategy doesn't set its timeframe, warm-up is counted in minutes.
_MINUTE_MS: Final = 60_000


class Node(NamedTuple):
    """One operation: its name, the positions of its inputs (all earlier in the plan), its numbers, and the bars it runs on.

    `timeframe_ms` is the length of a higher timeframe as in `timeframes.MILLISECONDS`, or 0 for the strategy's own timeframe.
    """

    op: str
    inputs: tuple[int, ...] = ()
    args: tuple[float, ...] = ()
    timeframe_ms: int = 0

    @property
    def is_condition(self) -> bool:
        return self.op in CONDITIONS


class PlanBuilder:
    """Collects nodes. Equal operations share one node, so every distinct indicator is computed once.

    With `free` parameters, it builds a template for a sweep: those parameters, all numbers that depend on them, and the arguments of
    indicators are nodes, too.

    `strategy_ms` is the length of the strategy's timeframe, if known; `timeframe_ms` that of the higher timeframe on which nodes are being
    added, or 0.
    """

    def __init__(self, free: tuple[str, ...] = (), strategy_ms: int | None = None) -> None:
        self.free = free
        self.strategy_ms = strategy_ms
        self.timeframe_ms = 0
        self.nodes: list[Node] = []
        self.warm_ups: list[int] = []
        self.settles: list[int] = []
        self._series = 0
        self._total_lookback = 0
        self._seen: dict[Node | tuple[Node, str], int] = {}

    def add(self, op: str, inputs: tuple[int, ...] = (), args: tuple[float, ...] = ()) -> int:
        node = Node(op, inputs, args, self.timeframe_ms)
        key = (node, str(args)) if op == "const" else node  # 0.0 and -0.0 compare equal
        if key not in self._seen:
            if len(self.nodes) >= MAX_NODES:
                raise StrategyError(f"the strategy needs more than {MAX_NODES:,} operations", hint="make it smaller", code="too_large")
            self._seen[key] = len(self.nodes)
            self.nodes.append(node)
            own, own_settle = self._own_warm_up(node)
            self.warm_ups.append(self._inputs_known(op, inputs, self.warm_ups) + own)
            self.settles.append(self._inputs_known(op, inputs, self.settles) + own_settle)
            self._check_size(node, own)
        return self._seen[key]

    def _inputs_known(self, op: str, inputs: tuple[int, ...], known_after: list[int]) -> int:
        """The number of bars after which all inputs are known, from that of each node."""
        bars = max((known_after[i] for i in inputs), default=0)
        if op in AT_OPS:
            # A higher bar is known once the last finer bar that it spans has closed. A month has at most 31 days.
            finer_ms = self.timeframe_ms or self.strategy_ms or _MINUTE_MS
            bars = (bars + 1) * max(self.nodes[inputs[0]].timeframe_ms // finer_ms, 1) - 1
        return bars

    def _check_size(self, node: Node, own_warm_up: int) -> None:
        self._total_lookback += own_warm_up
        self._series += node.op in INDICATORS and node.op != "shift"
        if self._series > MAX_SERIES:
            raise StrategyError(f"the strategy needs more than {MAX_SERIES:,} series", hint="use fewer functions", code="too_large")
        if self._total_lookback > MAX_TOTAL_LOOKBACK:
            raise StrategyError(
                f"the functions look back {self._total_lookback:,} bars in total",
                hint=f"use at most {MAX_TOTAL_LOOKBACK:,}: shorten the lengths",
                code="too_large",
            )
        if not node.timeframe_ms and self.strategy_ms and self.warm_ups[-1] > MAX_WARM_UP:
            raise StrategyError(
                f"the first {self.warm_ups[-1]:,} bars would have no signal",
                hint=f"use at most {MAX_WARM_UP:,}: choose shorter lengths or finer timeframes",
                code="too_large",
            )

    def _own_warm_up(self, node: Node) -> tuple[int, int]:
        """The bars that a node adds to those of its inputs until it is known, and until it has settled."""
        if node.op in CROSSINGS:
            return 1, 1
        if self.free:
            return 0, 0
        if node.op in STREAKS:
            return int(node.args[0]), int(node.args[0])
        if node.op not in INDICATORS:
            return 0, 0
        indicator = INDICATORS[node.op]
        arguments = indicator.values(node.args)
        return indicator.warm_up(*arguments), (indicator.settle or indicator.warm_up)(*arguments)

    def indicator(self, op: str, inputs: tuple[int, ...], arguments: tuple[int, ...], output: int | None = None) -> int:
        """Add an operation whose arguments are the numbers at these positions; `output` selects one of several outputs."""
        last = () if output is None else (float(output),)
        if self.free:
            return self.add(op, inputs + arguments, last)
        return self.add(op, inputs, tuple(self.nodes[i].args[0] for i in arguments) + last)

    def constant(self, i: int) -> float | None:
        return self.nodes[i].args[0] if self.nodes[i].op == "const" else None

    def is_free_number(self, i: int) -> bool:
        """Whether node `i` is a number that depends on nothing but free parameters."""
        node = self.nodes[i]
        return node.op in ("param", "const") or (node.op in (*UNARY, *BINARY) and all(map(self.is_free_number, node.inputs)))

    def prune(self, roots: tuple[int, ...]) -> tuple[tuple[Node, ...], dict[int, int]]:
        """The nodes that those at the positions `roots` depend on, and the new position of each.

        A template keeps all nodes, as the lengths in every definition are checked for every combination of parameters.
        """
        needed = set(range(len(self.nodes))) if self.free else {i for i in roots if i >= 0}
        for i in reversed(range(len(self.nodes))):
            if i in needed:
                needed.update(self.nodes[i].inputs)
        positions = {i: new for new, i in enumerate(sorted(needed))} | {-1: -1}
        nodes = (self.nodes[i] for i in sorted(needed))
        return tuple(node._replace(inputs=tuple(positions[k] for k in node.inputs)) for node in nodes), positions
