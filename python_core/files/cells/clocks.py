"""From times of a wall clock to UTC."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.data.columns import Integers, iso
from python_core.errors import BarsError
from python_core.files.options import option

_BLOCK: Final = 1 << 18


def to_utc(times: Integers, zone: str, *, newest_first: bool) -> tuple[Integers, int | None]:
    """Times of a wall clock (as if in UTC, in the order of rows) in UTC, and the position of one that its clock skips, if there is one.

    In an hour that the clock repeats, rows are of its second pass from the first that goes back, if that is the usual step after the row before; without
    such a row all are of the pass that is the usual step from more of their neighbours. `newest_first` files are read backwards.
    """
    import polars

    wall = times[::-1] if newest_first else times
    utc = np.empty(len(times), np.int64)
    repeated: list[int] = []
    later: list[int] = []
    for begin in range(0, len(times), _BLOCK):
        series = polars.Series(wall[begin : begin + _BLOCK]).cast(polars.Datetime("ms"))
        first, second = (
            series.dt.replace_time_zone(zone, ambiguous=which, non_existent="null").to_physical() for which in ("earliest", "latest")
        )
        if first.null_count():
            i = begin + int(first.is_null().arg_max() or 0)
            return utc, len(times) - 1 - i if newest_first else i
        utc[begin : begin + len(series)] = first.to_numpy()
        differs = (first != second).arg_true()
        repeated += [begin + i for i in differs.to_list()]
        later += second.gather(differs).to_list()
    steps = np.diff(wall)
    step = int(np.median(steps[steps > 0])) if (steps > 0).any() else 0
    second_pass = dict(zip(repeated, later, strict=True))
    for run in _runs(repeated):
        back = next((i for i in run[1:] if wall[i] <= wall[i - 1]), None)
        if back is not None:
            moved = range(back, run.stop) if second_pass[back] - utc[back - 1] == step else range(0)
        else:
            before, after = run.start - 1, run.stop
            regular = [
                int(before >= 0 and at(run.start) - utc[before] == step) + int(after < len(utc) and utc[after] - at(run.stop - 1) == step)
                for at in (utc.__getitem__, second_pass.__getitem__)
            ]
            moved = run if regular[1] > regular[0] else range(0)
        for i in moved:
            utc[i] = second_pass[i]
    return (utc[::-1].copy() if newest_first else utc), None


def _runs(positions: list[int]) -> list[range]:
    """Stretches of positions that follow each other."""
    edges = [i for i in range(1, len(positions)) if positions[i] != positions[i - 1] + 1]
    return [range(positions[a], positions[b - 1] + 1) for a, b in zip([0, *edges], [*edges, len(positions)], strict=True) if positions]


def skipped_time(time_ms: int, zone: str, where: str) -> BarsError:
    return BarsError(
        f"{iso(time_ms).removesuffix('Z')} does not exist in {zone}, where clocks are put forward over it",
        where=where,
        hint=f"set {option('timezone')} to the zone that the times are in",
        code="skipped_time",
    )
