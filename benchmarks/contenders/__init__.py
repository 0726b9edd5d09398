"""The packages and loops compared, each with its fastest documented way to do the whole job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from cases import Floats, Grid, Job
from reference import Rules


class Output(NamedTuple):
    """Output of a run: equity at each bar's close, and trades, with excursions if the job includes them."""

    equity: Floats
    trades: Any
    count: int


class Table(NamedTuple):
    """Output of a sweep, one value per combination."""

    final_equity: Floats
    trades: Floats
    drawdown: Floats | None = None
    volatility: Floats | None = None


class Unsupported(Exception):
    """A contender does not support a job, or not in a comparable way; the message says why."""


class Contender:
    """Prepares jobs as calls without arguments, so that the conversion of inputs is not timed.

    The constructor imports the package, and raises ImportError or Unsupported if it is missing.
    """

    name: ClassVar[str]
    package: ClassVar[str] = ""  # what is timed as `import package`
    rules: ClassVar[Rules] = Rules()  # how it treats stops
    excursions: ClassVar[bool] = False  # whether it computes MAE and MFE of each trade
    max_bars: ClassVar[int] = 100_000_000  # above this, a run would take too long
    version: str = ""

    def single(self, job: Job) -> Callable[[], Output]:
        raise NotImplementedError

    def sweep(self, grid: Grid) -> Callable[[], Table]:
        raise Unsupported("runs one combination at a time")

    def report(self, job: Job) -> Callable[[], Any]:
        """As `single` with given signals, and all metrics of the contender."""
        raise Unsupported("has no metrics")


def all_contenders() -> list[tuple[str, type[Contender]]]:
    """In the order of the tables; each module is imported separately, since its package may be missing."""
    from contenders import backtesting_py, barstorm, c_loops, numba_loop, phasor_trader, raptorbt_rust, vectorbt_engines

    classes: list[type[Contender]] = [
        barstorm.Barstorm,
        c_loops.Limit,
        c_loops.Scalar,
        numba_loop.NumbaLoop,
        vectorbt_engines.Rust,
        phasor_trader.Phasor,
        raptorbt_rust.Raptor,
        vectorbt_engines.Numba,
        backtesting_py.Backtesting,
    ]
    return [(made.name, made) for made in classes]
