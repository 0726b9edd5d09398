"""Time the kernel compared with other packages: `python benchmarks/run.py [CASE ...]`.

Each CASE is part of a case's name, such as `sweep`. Without one, everything is measured, and results.md and results.json are written.
The exit code is 1 if this project computes a wrong result or exceeds a limit in limits.py.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import limits
import report
from cases import TIGHT, WIDE, Grid, Job, Stops, cached_market, real_market
from contenders import Contender, Output, Table, Unsupported, all_contenders
from measure import HERE, Sampling, import_times, interleaved
from reference import expected
from report import Row, Section

SAMPLING = Sampling(seconds=1.5, min_samples=3, max_samples=40)
TOLERANCE = 1e-6  # of final equity; some contenders round quantities
FAST, SLOW = range(5, 55), range(60, 260, 10)


@dataclass(frozen=True)
class Case:
    """A job for every contender. `goal` is in ns per bar (and combination), or in µs per call of `report`."""

    name: str
    title: str
    bars: int
    goal: float | None = None
    density: float | None = None
    stops: Stops = None
    crossing: bool = False
    threads: int = 0
    excursions: bool = False
    report: bool = False
    real: str = ""

    def work(self) -> Job | Grid:
        market, long_only, both = real_market(self.real) if self.real else cached_market(self.bars, self.density)
        if self.threads:
            return Grid(market, FAST, SLOW, self.stops, self.threads)
        return Job(market, both if self.crossing else long_only, self.crossing, self.crossing, self.stops, self.excursions)

    @property
    def unit(self) -> tuple[str, float]:
        if self.report:
            return "µs", 1e-6
        if self.threads:
            return "ns per bar and combination", 1e-9 * self.bars * len(FAST) * len(SLOW)
        return "ns/bar", 1e-9 * self.bars


CASES = [
    Case("given-1k", "1,000 bars, given signals", 1_000),
    Case("given-100k", "100,000 bars, given signals", 100_000),
    Case("given-1m", "1M bars, given signals", 1_000_000, goal=1.5),
    Case("given-1m-excursions", "1M bars, given signals, MAE and MFE of every trade", 1_000_000, excursions=True),
    Case("given-10m", "10M bars, given signals", 10_000_000),
    Case("given-1m-wide", "1M bars, given signals, stops of 2 % and 4 %", 1_000_000, stops=WIDE),
    Case("given-1m-tight", "1M bars, given signals, stops of 0.3 % and 0.6 %", 1_000_000, stops=TIGHT),
    Case("given-1m-10", "1M bars, given signals, an event on 10 % of bars", 1_000_000, density=0.1),
    Case("given-1m-50", "1M bars, given signals, an event on 50 % of bars", 1_000_000, density=0.5),
    Case("averages-1k", "1,000 bars, two averages, long and short", 1_000, crossing=True),
    Case("averages-100k", "100,000 bars, two averages, long and short", 100_000, crossing=True, goal=1.8),
    Case("averages-1m", "1M bars, two averages, long and short", 1_000_000, crossing=True, goal=2.5),
    Case("averages-10m", "10M bars, two averages, long and short", 10_000_000, crossing=True),
    Case("averages-1m-wide", "1M bars, two averages, long and short, stops of 2 % and 4 %", 1_000_000, stops=WIDE, crossing=True, goal=3.0),
    Case("averages-1m-tight", "1M bars, two averages, long and short, stops of 0.3 % and 0.6 %", 1_000_000, stops=TIGHT, crossing=True),
    Case("sweep-1", "1,000 runs over 100,000 bars, one thread", 100_000, threads=1, goal=0.30),
    Case("sweep-2", "1,000 runs over 100,000 bars, two threads", 100_000, threads=2, goal=0.16),
    Case(
        "sweep-risk-1",
        "1,000 runs over 100,000 bars, stops of 2 % and 4 %, risk metrics, one thread",
        100_000,
        stops=WIDE,
        threads=1,
        goal=0.80,
    ),
    Case(
        "sweep-risk-2",
        "1,000 runs over 100,000 bars, stops of 2 % and 4 %, risk metrics, two threads",
        100_000,
        stops=WIDE,
        threads=2,
        goal=0.42,
    ),
    Case("real-goog", "GOOG daily, two averages, long and short", 2_149, crossing=True, real="GOOG"),
    Case("real-eurusd-tight", "EURUSD hourly, given signals, stops of 0.3 % and 0.6 %", 5_001, stops=TIGHT, real="EURUSD"),
    Case("report-1k", "a call of 1,000 bars, given signals, all metrics", 1_000, report=True, goal=15),
]


def main() -> int:
    warnings.simplefilter("ignore")
    selected = sys.argv[1:]
    contenders, absent = load()
    if report.OURS not in contenders:
        sys.exit(f"nothing to measure: {absent[report.OURS]}")

    for name, reason in absent.items():
        say(f"{name} is {reason}")

    def is_selected(name: str) -> bool:
        return not selected or any(part in name for part in selected)

    sections, faults = [], []
    for case in CASES:
        if is_selected(case.name):
            section, ours_fault = measure(case, contenders)
            faults += [ours_fault] if ours_fault else []
            say(report.section_text(section))
            sections.append(section)
    if is_selected("import"):
        sections.append(imports(contenders))
        say(report.section_text(sections[-1]))
    notes, extra = [], {}
    for name, check in limits.CHECKS.items():
        if is_selected(name):
            found = check(contenders)
            notes.append(found.text)
            extra[name] = found.data
            faults += found.faults
            say(found.text)
    versions = {name: contender.version for name, contender in contenders.items()}
    facts = report.machine(versions)
    if not selected:
        report.write(
            HERE, document(facts, absent, contenders, sections, notes), facts, sections, extra | {"absent": absent, "faults": faults}
        )
    print("\n".join(f"fault: {fault}" for fault in faults), file=sys.stderr, end="\n" if faults else "")
    return 1 if faults else 0


def load() -> tuple[dict[str, Contender], dict[str, str]]:
    """The installed contenders, and why others are absent."""
    contenders, absent = {}, {}
    for name, create in all_contenders():
        try:
            contenders[name] = create()
        except (ImportError, Unsupported) as error:
            absent[name] = f"absent: {error}"
    return contenders, absent


def measure(case: Case, contenders: dict[str, Contender]) -> tuple[Section, str]:
    """Times of the contenders with correct results, and this project's fault, if any."""
    work, calls, notes = case.work(), {}, {}
    for name, contender in contenders.items():
        try:
            call = prepare(case, contender, work)
            fault = "" if case.report else disagreement(call(), work, contender)
        except Unsupported as reason:
            notes[name] = f"not measured: {reason}"
            continue
        if fault:
            notes[name] = f"disagrees: {fault}"
        else:
            calls[name] = call
            notes[name] = "" if case.stops is None else str(contender.rules).replace("the same", "")
    times = interleaved(calls, SAMPLING)
    rows = [Row(name, times.get(name), notes[name]) for name in contenders]
    fault = "" if report.OURS in times else f"{case.name}: {notes[report.OURS]}"
    return Section(case.name, case.title, *case.unit, case.goal, rows), fault


def prepare(case: Case, contender: Contender, work: Job | Grid) -> Callable[[], Any]:
    if case.bars > contender.max_bars:
        raise Unsupported("would take too long")
    if case.excursions and not contender.excursions:
        raise Unsupported("has no MAE and MFE of trades")
    if isinstance(work, Grid):
        return contender.sweep(work)
    return contender.report(work) if case.report else contender.single(work)


def disagreement(made: Output | Table, work: Job | Grid, contender: Contender) -> str:
    """How final equity and number of trades differ from the expected ones, if they do; a sweep is sampled."""
    if isinstance(made, Output):
        assert isinstance(work, Job)
        found = {"": (work, made.equity[-1], made.count)}
    else:
        assert isinstance(work, Grid)
        found = {
            f"averages of {pair[0]} and {pair[1]} bars: ": (
                Job(work.market, work.signals(pair), stops=work.stops),
                made.final_equity[i],
                made.trades[i],
            )
            for i, pair in enumerate(work.pairs)
            if i % 97 == 0
        }
    for where, (job, equity, trades) in found.items():
        expected_equity, expected_trades = expected(job, contender.rules)
        if trades != expected_trades or not math.isclose(equity, expected_equity, rel_tol=TOLERANCE):
            return f"{where}{equity:,.6f} after {trades:,.0f} trades, expected {expected_equity:,.6f} after {expected_trades:,}"
    return ""


def imports(contenders: dict[str, Contender]) -> Section:
    packages = {name: contender.package for name, contender in contenders.items() if contender.package}
    times = import_times(packages, 7)
    rows = [Row(name, times[name], f"import {package}") for name, package in packages.items()]
    return Section("import", "import, in a new process", "ms", 1e-3, 200.0, rows)


def document(
    facts: dict[str, Any], absent: dict[str, str], contenders: dict[str, Contender], sections: list[Section], notes: list[str]
) -> str:
    machine = f"{facts['processor']}, {facts['processors']} processors, {facts['system']}, Python {facts['python']}"
    packages = [[name, contender.version, str(contender.rules)] for name, contender in contenders.items()]
    packages += [[name, "", reason] for name, reason in absent.items()]
    return "\n\n".join(
        [
            "# Kernel benchmark",
            f"`make bench` on {machine}.",
            "Medians of interleaved samples; ± is half the interquartile range. Packages whose final equity or number of trades differs "
            "are not timed. The expected values come from a plain loop (`benchmarks/reference.py`) with each package's own rules for stops.",
            "## Goals\n\nThe C limit is a C loop compiled for this machine's vector instructions. The loops in C and numba do not count as packages.",
            report.goals_text(sections),
            *notes,
            "## Packages\n\n" + report.table(["", "version", "rules that differ"], packages, left=2),
            "## Cases",
            *map(report.section_text, sections),
        ]
    )


def say(text: str) -> None:
    print(text, end="\n\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
