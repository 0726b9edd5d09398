"""Reports of the measurements, as Markdown and JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, NamedTuple

from measure import Times

OURS, LIMIT = "barstorm", "C limit"
LOOPS = ("C limit", "C loop", "numba loop")


class Row(NamedTuple):
    contender: str
    times: Times | None
    note: str = ""


class Section(NamedTuple):
    """One case. `unit` is in seconds; `goal` is in units."""

    name: str
    title: str
    unit_name: str
    unit: float
    goal: float | None
    rows: list[Row]


def machine(versions: dict[str, str]) -> dict[str, Any]:
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    known = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in lines if ":" in line}
    widest = next((name for name in ("avx512f", "avx2") if name in known.get("flags", "").split()), "")
    return " ".join(filter(None, (known.get("model name", platform.processor() or platform.machine()), widest)))


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    """An aligned Markdown table; the first `left` columns and the last are text."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        last = len(cells) - 1
        made = [cell.ljust(w) if i < left or i == last else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(made)} |"

    rule = [("-" * w if i < left or i == len(header) - 1 else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])


def section_text(section: Section) -> str:
    medians = {row.contender: row.times.median for row in section.rows if row.times}
    ours, limit = medians.get(OURS), medians.get(LIMIT)
    rows = []
    for row in section.rows:
        if row.times is None:
            rows.append([row.contender, "-", "", "", "", row.note])
            continue
        median = row.times.median
        against = [f"{median / base:.2f}" if base else "" for base in (ours, limit)]
        rows.append([row.contender, number(median / section.unit), f"{row.times.spread:.0%}", *against, row.note])
    head = f"### {section.title}\n\n"
    if ours and section.goal:
        value = ours / section.unit
        verdict = "met" if value <= section.goal else f"{value / section.goal:.2f} times the goal"
        head += f"Goal: {section.goal:g} {section.unit_name}; {verdict}.\n\n"
    return head + table(["", section.unit_name, "±", "x ours", "x C limit", ""], rows)


def goals_text(sections: list[Section]) -> str:
    """Our times compared with goal, limit and fastest package."""
    rows = []
    for section in sections:
        medians = {row.contender: row.times.median / section.unit for row in section.rows if row.times}
        ours, limit = medians.get(OURS), medians.get(LIMIT)
        packages = {name: value for name, value in medians.items() if name not in (OURS, *LOOPS)}
        if ours is None:
            continue
        fastest = min(packages, key=packages.__getitem__, default=None)
        rows.append(
            [
                section.title,
                section.unit_name,
                number(ours),
                f"{section.goal:g}" if section.goal else "",
                f"{ours / section.goal:.2f}" if section.goal else "",
                number(limit) if limit else "",
                f"{ours / limit:.2f}" if limit else "",
                number(packages[fastest]) if fastest else "",
                f"{packages[fastest] / ours:.1f}" if fastest else "",
                fastest or "",
            ]
        )
    header = ["", "", "ours", "goal", "x goal", "C limit", "x limit", "package", "times faster", "fastest package"]
    return table(header, rows, left=2)


def write(folder: Path, text: str, facts: dict[str, Any], sections: list[Section], extra: dict[str, Any]) -> None:
    (folder / "results.md").write_text(text + "\n")
    cases = [
        {
            "name": section.name,
            "title": section.title,
            "goal": section.goal,
            "unit": section.unit_name,
            "contenders": {
                row.contender: {"note": row.note}
                if row.times is None
                else {
                    "value": row.times.median / section.unit,
                    "seconds": row.times.median,
                    "spread": row.times.spread,
                    "samples": row.times.samples,
                    "note": row.note,
                }
                for row in section.rows
            },
        }
        for section in sections
    ]
    (folder / "results.json").write_text(json.dumps({"machine": facts, "command": sys.argv[1:], "cases": cases, **extra}, indent=1) + "\n")
