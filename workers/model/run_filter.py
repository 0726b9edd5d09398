"""Filters of runs."""

from __future__ import annotations

import re
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from python_core.language.vocabulary import suggest
from python_core.metrics import RUN_NAMES
from workers.model.clock import LAST_MS
from workers.model.labels import MAX_NAME, Tag, check_tag
from workers.model.names import TEXT_PATTERN, is_printable
from workers.model.states import RunState

MAX_IDS: Final = 1_000
MAX_CONDITIONS: Final = 20
METRIC_PATTERN: Final = rf"^({'|'.join(RUN_NAMES)})(>=|<=|>|<|=)-?\d+(\.\d+)?([eE][+-]?\d+)?$"
_CONDITION: Final = re.compile(r"\s*(?P<name>\w+)\s*(?P<operator>>=|<=|>|<|=)\s*(?P<value>[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)\s*")

_Owner = Annotated[str, Meta(max_length=MAX_NAME, extra_json_schema={"pattern": TEXT_PATTERN})]
_Text = Annotated[str, Meta(min_length=1, max_length=MAX_NAME, extra_json_schema={"pattern": TEXT_PATTERN})]
_Time = Annotated[int, Meta(ge=0, le=LAST_MS)]
_Ids = Annotated[tuple[_Text, ...], Meta(min_length=1, max_length=MAX_IDS)]
_Tags = Annotated[tuple[Tag, ...], Meta(min_length=1, max_length=MAX_CONDITIONS)]
_Metric = Annotated[str, Meta(max_length=100, extra_json_schema={"pattern": METRIC_PATTERN}, examples=["sharpe>=1"])]
_Metrics = Annotated[tuple[_Metric, ...], Meta(min_length=1, max_length=MAX_CONDITIONS)]


class MetricCondition(NamedTuple):
    name: str
    operator: str
    value: float


class RunFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Runs that meet all of these conditions; without any, all runs. An empty list is refused: taken for no condition, it would mean all runs."""

    ids: Annotated[_Ids | None, Meta(description="Runs with one of these ids.")] = None
    owner: Annotated[_Owner | None, Meta(description="Runs of this owner; empty: of none.")] = None
    dataset: Annotated[_Text | None, Meta(description="Runs on this dataset, by id or name, or on one version: `btcusdt-1h@3`.")] = None
    strategy: Annotated[_Text | None, Meta(description="Runs of this stored strategy, by id or name.")] = None
    symbol: Annotated[_Text | None, Meta(description="Runs on a dataset with this symbol; case and separators are ignored.")] = None
    state: Annotated[RunState | None, Meta(description="Runs in this state.")] = None
    tags: Annotated[_Tags | None, Meta(description="Runs that have all of these tags.")] = None
    name: Annotated[_Text | None, Meta(description="Runs with this name.")] = None
    name_contains: Annotated[_Text | None, Meta(description="Runs whose name contains this text; case is ignored.")] = None
    created_since: Annotated[_Time | None, Meta(description="Runs created at or after this time, UTC epoch milliseconds.")] = None
    created_before: Annotated[_Time | None, Meta(description="Runs created before this time, UTC epoch milliseconds.")] = None
    metrics: Annotated[
        _Metrics | None, Meta(description="Runs whose metrics meet all of these conditions: a metric, >=, <=, >, < or =, a number.")
    ] = None

    def __post_init__(self) -> None:
        for field in ("owner", "dataset", "strategy", "symbol", "name", "name_contains"):
            if (text := getattr(self, field)) is not None and not is_printable(text):
                raise ValueError(f"{field}: {text!r:.60} has characters that are not printable; leave them out")
        for field in ("ids", "tags", "metrics"):
            if getattr(self, field) == ():
                raise ValueError(f"{field}: the list is empty; give at least one value, or leave it out")
        for run_id in self.ids or ():
            if not is_printable(run_id):
                raise ValueError(f"ids: {run_id!r:.60} is not an id; use the ids of submitted runs")
        for tag in self.tags or ():
            check_tag(tag, "tags")
        for text in self.metrics or ():
            parse_condition(text)

    @property
    def is_empty(self) -> bool:
        """Whether there is no condition."""
        return all(getattr(self, name) is None for name in RunFilter.__struct_fields__)


def parse_condition(text: str) -> MetricCondition:
    """A condition such as `sharpe>=1`.

    Raises:
        ValueError: it is not one.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f"metrics: {text!r:.60} is not a condition; use a metric, one of >= <= > < =, and a number, as in sharpe>=1")
    if found["name"] not in RUN_NAMES:
        raise ValueError(f"metrics: unknown metric {found['name']!r:.60}; {suggest(found['name'], list(RUN_NAMES))}")
    return MetricCondition(found["name"], found["operator"], float(found["value"]))


ALL_RUNS: Final = RunFilter()
