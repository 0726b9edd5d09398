"""Those who run the benchmark's jobs, each by the fastest way that its authors offer for the whole job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from cases import Floats, Grid, Job
from reference import Rules


class Output(NamedTuple):
    """What a run leaves: equity at each bar's close, and trades, with their excursions where the job asks for them."""

    equity: Floats
    trades: Any
    count: int


class Table(NamedTuple):
    """What a sweep leaves, one value for each combination."""

    final_equity: Floats
    trades: Floats
    drawdown: Floats | None = None
    volatility: Floats | None = None


class Cannot(Exception):
    """A contender has no way to express a job, or no fair one; says why."""


class Contender:
    """Prepares jobs as calls that take no arguments, so that turning inputs into a contender's own form isn't timed.

    Making one imports its package, or raises ImportError or Cannot if there is none.
    """

    name: ClassVar[str]
    package: ClassVar[str] = ""  # what is timed as `import package`
    rules: ClassVar[Rules] = Rules()  # where it treats stops in another way than the others
    excursions: ClassVar[bool] = False  # whether it knows how far each trade went against and for its position
    largest: ClassVar[int] = 100_000_000  # bars beyond which a run takes too long to be worth while
    version: str = ""

    def single(self, job: Job) -> Callable[[], Output]:
        raise NotImplementedError

    def sweep(self, grid: Grid) -> Callable[[], Table]:
        raise Cannot("runs one combination at a time")

    def report(self, job: Job) -> Callable[[], Any]:
        """As `single` from given signals, with all metrics that the contender has."""
        raise Cannot("has no metrics")


def all_contenders() -> list[tuple[str, type[Contender]]]:
    """In the order in which tables show them; each module is imported by itself, since its package may be missing."""
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
